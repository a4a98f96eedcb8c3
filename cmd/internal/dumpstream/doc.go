// Package dumpstream moves whole stores: from a server into a dump, and back.
//
//	server --Range--> Dump --> Sink: Writer, to a stream
//	                                 TreeWriter, to a tree of directories
//
//	server <--Set, many outstanding-- Load <-- Source: Reader, TreeReader
//
// A dump holds the pairs of a store in ascending key order. Both forms are the original's. Pairs
// are processed one at a time: no dump is ever in memory as a whole.
package dumpstream

// Reading order: move.go (Dump and Load), stream.go and tree.go (the two forms), tool.go (the
// command line of the original's programs), limits.go.
