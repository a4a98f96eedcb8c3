// Package targets measures what this project has set out to reach, each beside its yardstick in the
// same round, and prints the table.
//
//	Stages --Run--> servers, stress.Drive --figure--> Row --> table
//	                Redis, the disk, peers --yardstick--^
//
// A Row is a line of the table. A Stage measures rows that share a store, round by round. Wire,
// Latency and Upkeep measure servers. The command measures stores in process.
package targets

// Reading order: row.go (what a target is, and when it is met), table.go, bench.go (the whole run),
// store.go (servers), redis.go, yardstick.go (Redis), wire.go, ranges.go, large.go, latency.go,
// upkeep.go, fill.go, insight.go (what servers and the kernel tell), limits.go.
