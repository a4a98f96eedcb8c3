// Package lbs is internal to kivaloo: other programs use package kivaloo.
//
// It serves a disk.Store with the block store's protocol.
//
//	eventloop --packets--> session --GET--> [waiting] --as many as readers--\
//	                         |  \------APPEND-------------------------------+--> disk.Store
//	                         |   \-----FREE, once it has been answered-----/        |
//	eventloop <---Output---- Server <----------------------[Completions]-----------/
//
// All of it runs on the loop's goroutine. When a connection ends, its reads that have not started
// are dropped. Started operations are finished, and answered if the client can still read. A
// connection is closed once none of its operations is running. So if connections are served one at
// a time, the next one sees the effects of the last one.
package lbs

// Reading order: limits.go, server.go (what the connections share), waiting.go, session.go (one
// connection), stop.go, counts.go (counters).
