// Package remote is internal to kivaloo: other programs use package kivaloo.
//
// It is a disk.Store behind a socket: the client's side of the block store's protocol.
//
//	Submit --> [packets; an append's pages as they are] --> event loop --> socket
//	                                                            |
//	Op.Done <-- [a chain for each read] <-- [pending, by ID] <--+<-------- socket
//
// The submitting goroutine encodes requests. A loop with one goroutine writes, reads and completes
// them. There is no reconnecting, because it is unknown what the peer did with an unanswered
// request. When the connection is lost, all outstanding and all later operations fail.
package remote

// Files in reading order: dial.go, store.go, replies.go, limits.go.
