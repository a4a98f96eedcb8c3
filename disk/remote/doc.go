// Package remote is internal to kivaloo: other programs use package kivaloo.
//
// It is a disk.Store behind a socket: the client's side of the block
// store's protocol.
//
//	Submit --> [packets; an append's pages as they are] --> event loop --> socket
//	                                                            |
//	Op.Done <-- [a chain for each read] <-- [pending, by ID] <--+<-------- socket
//
// Whoever submits encodes; a loop of its own, with one goroutine, writes, reads and
// completes. There is no reconnecting: what the peer did with a request that was not
// answered cannot be known, so when the connection is lost everything that is outstanding
// fails, and everything later.
package remote

// Files in reading order: dial.go, store.go, replies.go, limits.go.
