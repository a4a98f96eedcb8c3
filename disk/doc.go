// Package disk is internal to kivaloo: other programs use package kivaloo.
//
// It keeps numbered blocks of one size. It appends them durably, reads them back, and discards the
// oldest.
//
// Store is the interface that the tree uses. This package has the store in a local directory, and
// kivaloo/disk/remote has one behind a socket.
//
//	           Submit: a chain of Ops
//	                    |
//	     +--------------+-----------------+
//	     | reads        | append          | free
//	     v              v                 v
//	[bounded queue]  (at most one)     (at most one)
//	     |              |                 |
//	N readers        appender          janitor
//	     |              |                 |
//	     | find         | grow, add       | drop the first, seal
//	     |              v                 v
//	     +----> table of block files (immutable, swapped atomically)
//	     |              |                 |
//	  pread          pwritev, fsync     unlink, fsync; checksums
//	     |              |                 |
//	     +--------------+-----------------+--> Op.Done (a mailbox)
//
// Readers never wait for an append, and nothing waits for the janitor. An optional scrubber slowly
// reads all blocks and compares each with its checksum.
//
// On disk a store is a directory of files blks_<number of the first block, 16 hex digits>. Each
// file is a plain sequence of blocks, and together they form an unbroken chain. A file followed by
// another one is sealed: it never changes again. It gets a companion sums_<same digits> with one
// checksum for each block. The last file gets one at a stop, for its blocks so far.
//
// Local runs the goroutines above. Inline is the same store without goroutines. It executes each
// operation inside Submit, so that a test can run a whole store from a seed on the crashable file
// system of kivaloo/disk/simfs.
package disk

// Reading order: store.go (the interface), fs.go (what is asked of a file system), files.go,
// open.go and renew.go (what a start finds and does), chain.go (the state), appender.go, reader.go,
// janitor.go, sums.go, summedsize.go, verdict.go, scan.go and scrub.go; then descriptors.go,
// local.go, inline.go, remains.go (a damaged store, to be read), await.go, osfs.go (with parts for
// each system), makedir.go, memfs.go, requests.go, stall.go, limits.go.
