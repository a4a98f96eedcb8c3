// Package tree is the store of pairs: a B+tree of immutable pages in a store of
// blocks, and everything that happens to it.
//
//	requests --> queue of reads  ---------------> committed root --> answers
//	         \-> queue of changes --> [batch] --> new pages, bottom-up, in memory
//	                                     |                 |
//	                            what it made of keys       | now and then: [checkpoint]
//	                                     v                 v
//	                     one append:  journal ...       pages ... root
//	                                     |
//	             answers <-- new committed root, when the store has acknowledged it
//
// A Tree is a state machine: Step takes in what has happened and says what is to be done. It has
// no goroutine, no lock and no clock. An Actor gives it a goroutine, a mailbox and a
// store.
//
// A page in the store never changes. A batch of changes is sorted, judged against the tree as it
// is, and made into the pages that replace those it touches. What it made of each key goes out in one append, a few blocks of
// the journal, and when that is acknowledged the new root is swapped in and the batch is answered. So every read
// sees one whole tree. Meanwhile the next batch is built on the root that is on its way.
//
// A value of the same length is written over the old one, where a leaf is in memory only and no other tree has it; most pages
// are copied and changed in a few bytes, and only the others built anew. The pages stay in memory until a checkpoint saves them, those of many batches at once, the root last. Whatever a crash leaves, some
// root is whole, and the journal has what came after it. Without a journal the pages of each batch go out in its
// append, as the original writes them.
//
// Where the store is embedded in a program, its goroutines read the committed tree, or a snapshot of an earlier
// one, themselves, as far as its pages are in memory; Readers says how frames are kept for them.
//
// Pages are kept in frames outside the Go heap, where the garbage collector does not
// look. Beside each page is an index without pointers: where its keys and values are, and the first bytes
// of each key as a number, so that a search touches few cache lines.
//
// Reading order:
//
//	request.go     what comes in and goes out
//	tree.go        the state machine and its Step; configuration
//	page.go        the format, and how a page that comes in is checked
//	frame.go       pages in memory, and their index
//	cache.go       which pages are in memory
//	search.go      a key in a page
//	find.go        GETs, many at a time
//	range.go       RANGE
//	readers.go     the same on other goroutines
//	snapshot.go    committed trees that stay
//	fetch.go       pages that have to be read, and who waits for them
//	commit.go      the life of a batch of changes
//	batch.go       sorting and judging it
//	rebuild.go     the new tree, bottom-up
//	split.go       pages that are too long
//	merge.go       pages that are too short
//	patch.go       pages that change in a few bytes
//	overwrite.go   values that are put into a page in place, as their batch is published
//	write.go       pages as bytes
//	journal.go     what batches have made of keys, as blocks
//	append.go      what goes to the store, and what comes of it
//	checkpoint.go  saving the pages that are in memory only
//	seal.go        how an append is known to be whole
//	clean.go       rewriting old pages, so that space can be reclaimed
//	recover.go     opening a store after whatever has happened
//	journalread.go the batches of a journal; checking it, folding it
//	replay.go      carrying them out
//	check.go       checking all of it
//	doubtful.go    which blocks are not what was written, by the journal's checksums and the seals
//	describe.go    one page for people
//	detect.go      the block size of a directory
//	opendir.go     a store in a directory: nothing is changed before it is known to be one
//	actor.go       the goroutine
//	metrics.go     what is counted, for those who watch
//	limits.go      every limit, with its reason
package tree
