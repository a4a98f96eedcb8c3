// Package stress loads a store and measures what it does.
//
//	Pairs --> Workload --Next--> driver: at most depth requests outstanding --+
//	                   <--Check--        one connection, one goroutine <------+--> server
//
// A Workload makes requests and judges their answers; Drive carries them over one
// connection as cheaply as it can, so that it is the server that is measured: it
// works on packets directly, writes once for all that one read brought, and
// allocates nothing per request. Process runs servers as child processes.
// CompareRedis is a whole benchmark.
//
// Reading order: limits.go, pairs.go (the data set), workload.go, drive.go,
// process.go, redis.go, report.go.
package stress
