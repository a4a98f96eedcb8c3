// Package memtable is internal to kivaloo: other programs use package kivaloo.
//
// It keeps recent changes in memory: what the journal says since the last flush.
//
//	Set, Delete --> arena: entry, entry, entry ...      append-only, in the order of arrival
//	                  ^
//	index: hash --> slot -> newest entry of a key -> older -> older
//
//	            durable        appended        tip
//	arena  ........|...............|............|
//	       readers | being written | decided
//
// One goroutine owns a Table and moves its three cursors. Any goroutine may read what is durable,
// without a lock: a durable entry never changes, and a reader skips entries beyond the durable
// cursor that it loaded when it began.
//
// Ordered reads sort the arena into runs when somebody first asks for an order. A Table that nobody
// reads in order is never sorted.
package memtable

// Reading order: table.go (cursors, entries), index.go (hash index), pool.go (memory), sort.go
// (runs), cursor.go (ordered reads).
