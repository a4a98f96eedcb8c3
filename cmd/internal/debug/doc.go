// Package debug shows over HTTP what happens inside a running server, if --debug-addr is given:
//
//	eventloop --Metrics--\                                    /--> /metrics          Prometheus
//	tree -----Metrics-----+--> Server --one sample a second--+---> /stats.json, /    the live page, kivaloo top
//	disk -----OnSync-----/        |                           \--> /livez, /readyz   is it all right?
//	tree, disk --Events-----------+--------------------------------> /events.json      flushes, cleaning, stalls
//	tree <----Call, Stats---------/
//	Go runtime -----------------------> /debug/pprof/, /debug/flightrecording
//
// Each owner counts its own work, in histograms of a fixed size and in atomic counters. Nobody
// waits for anybody. Only on demand, a Server asks the tree for its shape, with a tree.Batch
// without requests.
//
// Anyone who can connect can read all this and make the process work. Recordings and heap profiles
// may contain stored data. So the address must be a loopback address, unless that is waived.
// Requests that a foreign web page makes a browser send are refused.
//
// A nil Server means that none was requested. Its methods do nothing, and nothing is measured.
//
// Own gives programs with an embedded store, and no server, access to their own profiles and
// recordings.
package debug

// Reading order: flags.go, server.go, guard.go (access checks), profiles.go, recorder.go, own.go,
// health.go, inside.go (what is measured), events.go, collector.go (Prometheus), sampler.go and
// report.go (numbers for people), page.html, limits.go.
