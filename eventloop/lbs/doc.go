// Package lbs is internal to kivaloo: other programs use package kivaloo.
//
// It serves a disk.Store with the block store's protocol.
//
//	eventloop --packets--> session --GET--> [waiting] --as many as readers--\
//	                         |  \------APPEND-------------------------------+--> disk.Store
//	                         |   \-----FREE, once it has been answered-----/        |
//	eventloop <---Output---- Server <----------------------[Completions]-----------/
//
// All of it runs on the loop's goroutine. The reads of a connection that ends are
// dropped if they have not started; what has started is finished, and answered if
// somebody is still there. A connection is closed when nothing of it is running,
// so that, of connections served one at a time, the next sees what the last did.
package lbs

// Reading order: limits.go, server.go (what the connections share), waiting.go, session.go (one
// connection), stop.go, counts.go (counters).
