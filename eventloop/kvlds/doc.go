// Package kvlds is internal to kivaloo: other programs use package kivaloo.
//
// It serves the key-value protocol from a tree.
//
//	eventloop --packets--> session --[Batch]--> tree's mailbox
//	eventloop <--Output--- session <--answers-- tree
//
// One session belongs to one connection. Its upper half runs on the loop: it takes
// packets apart, checks them, and copies what they say into batches, which are pushed once
// per read. Its lower half runs on the tree's goroutine: it encodes answers straight into the
// buffer that the loop will write. The two halves share nothing but a flag.
//
// While few requests are under way the loop answers GETs itself, from the pages and memtables that
// any goroutine may read, if it finds them in memory.
package kvlds

// Reading order: limits.go, server.go, session.go (loop), answers.go (tree), batch.go; what the
// original does not have: extensions.go, apply.go, watch.go. ops.go is for metrics.
