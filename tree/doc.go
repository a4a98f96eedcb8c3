// Package tree is internal to kivaloo: other programs use package kivaloo.
//
// It is the engine: a journal, memtables, and a B+tree of immutable pages in a store of
// blocks.
//
//	Get, Range -----> view: memtables, then the committed tree -----> answer
//	                         ^                  ^
//	Set, CAS, ... -> decide -+                  | swapped in when durable
//	                         v                  |
//	                  newest memtable --full--> flush: page commits
//	                         |                  |
//	                         v                  v
//	one append:   [journal blocks of a commit]  [pages of a flush step, root]
//	                         |
//	                         v
//	              durable: in the view, and answered
//
// In the append itself the pages come first. Package journal defines journal blocks, package page
// defines pages, and package memtable keeps changes in memory.
//
// # Commits
//
// The tree decides modifying requests in order of arrival. The outcome for the key goes into the
// newest memtable. While one append is under way, more requests are decided. When it ends,
// everything decided meanwhile goes out as one commit: a few journal blocks, one append, one sync.
// When that is durable, readers see it and its requests are answered.
//
// # Flushes
//
// A page in the store never changes. A page commit takes changes in key order, and builds the pages
// that replace those it touches, bottom-up, the root last. Pages are written in no other way. A
// full memtable is frozen, and an empty one takes its place. A flush writes the frozen one in
// several page commits of about a megabyte, each in front of the journal blocks of an append.
// Recovery can start from the root of each. The frozen memtable answers for all its keys until the
// last page commit is durable.
//
// Without a journal each commit is a page commit, as in the original.
//
// # Concurrency
//
// A Tree is a state machine: Step takes events and returns what to do next. It has no goroutine, no
// lock and no clock. An Actor gives it a goroutine, a mailbox and a store.
//
// A program that embeds the store reads on its own goroutines, from pages in memory and from
// memtables. No page and no durable change is ever modified, so readers need no lock. The type
// Readers keeps the memory in use by readers from being reused.
//
// Pages are in frames outside the Go heap, where the garbage collector does not look. Each page has
// an index without pointers beside it: the offsets of its keys and values, and the first bytes of
// each key as a number. So a search touches few cache lines.
//
// # Terms
//
// A request is one operation. A Batch is a chain of requests of one client, on its way through the
// mailbox. If it is Atomic, it is the public batch of package kivaloo: all of it is in one commit.
// A commit is what one append makes durable. A version is one whole tree. A view is a version and
// the memtables that it lacks. A snapshot is a view that is kept.
package tree

// Reading order:
//
//	request.go     requests and their answers
//	tree.go        the state machine and its Step; configuration
//	view.go        what readers see
//	replies.go     sending answers
//
// Cache:
//
//	frame.go       pages in memory, and their index
//	cache.go       which pages are in memory, and which leave
//	fetch.go       reading pages, and the requests that wait for them
//
// Reads:
//
//	search.go      a key in a page
//	find.go        Gets, many at a time
//	range.go       Range and Scan: memtables and leaves merged
//	scandown.go    the same from the last key to the first
//	readers.go     the same on other goroutines
//	snapshot.go    views that are kept; leases of remote clients
//	watch.go       Watch: changes after a position
//	changelog.go   the changes of the latest commits, in order
//
// Commit:
//
//	writer.go      deciding requests and answering them
//	deleterange.go DeleteRange: a Scan, and an atomic batch
//	append.go      what goes to the store, and what follows from the outcome
//
// Flush:
//
//	flush.go       which memtable is written when, in which steps
//	pagecommit.go  from a tree and changes to the next tree
//	patch.go       pages that change in a few bytes
//	split.go       pages that are too long
//	merge.go       pages that are too short
//	write.go       pages as bytes, and their block numbers
//
// Clean:
//
//	clean.go       rewriting old leaves, so that space can be freed
//	space.go       disk space reserved for the flush and for cleaning
//
// Recover:
//
//	opendir.go     a store in a directory: nothing is changed before it is known to be one
//	detect.go      the block size of a directory
//	open.go        the initial state of a tree
//	recover.go     the last root, and the commits that its tree lacks
//	wholeappend.go whether an append is whole
//	sealed.go      whether it fits its seal
//	tornend.go     what recovery may skip, and what is damage
//	blockreader.go reading blocks during recovery, several at a time
//	replay.go      commits into a memtable
//	doubtful.go    whether blocks without a checksum are what was written
//
// Check:
//
//	check.go       every page of a tree
//	describe.go    one block in readable form
//
// Salvage:
//
//	salvage.go     what is left of a damaged store, range by range
//	strays.go      leaves that no page leads to
//	misplaced.go   roots that are not where they were written
//	separators.go  bounds between leaves, where a parent may be wrong
//	salvagejournal.go what the journal still has, and whether it is complete
//	remains.go     blocks of a damaged store; repairs one flipped bit
//	moved.go       journal blocks at wrong places
//
// Around it:
//
//	actor.go       the goroutine
//	metrics.go     counters and events
//	limits.go      every limit, with its reason
