// Package stress is internal to kivaloo: other programs use package kivaloo.
//
// It puts load on a store and measures it.
//
// There are two generators. Run measures how long operations take: it uses kivaloo.Store, as a
// program would, over a socket or in process, and records each operation in histograms.
//
//	Plan --> schedule --due--> workers: choose, send, check --> kivaloo.Store
//	           (open loop)       |
//	                          recorders --each interval--> collector --> watch, Outcome
//
// Drive measures how many requests a server can answer. It works on packets directly, makes one
// write for everything that one read brought, and allocates nothing per request. So the measurement
// is limited by the server.
//
//	Pairs --> Workload --Next--> driver: at most depth requests outstanding --+
//	                   <--Check--        one connection, written and read <---+--> server
//
// Process runs servers as child processes. CompareSettings is a whole benchmark. Paced measures the
// latency of packets at a fixed rate. Package targets measures everything that the project has set
// out to reach. Package results stores and compares the results of Run.
package stress

// Reading order: limits.go; for Run: plan.go, mix.go, dist.go (which operations, which records),
// records.go (keys, values, and what a read may find), ranges.go (what a range may find),
// schedule.go (when), worker.go, record.go (histograms), run.go, preload.go; for Drive: pairs.go
// (the data set), workload.go, choices.go, drive.go, sender.go, paced.go, original.go (the
// original's seven benchmarks); then process.go, settings.go.
