package tree

import (
	"time"

	"kivaloo/tree/memtable"
	"kivaloo/tree/page"
)

// Limits of the engine, in one place. Those fixed by the page format or by the original say so. The
// others are ours.
const (
	// MaxStringBytes is the longest key or value: their length is one byte.
	MaxStringBytes = page.MaxString

	// maxBlock bounds block numbers. Numbers above it mark pages without a number yet. Arithmetic
	// on numbers below it cannot overflow.
	maxBlock = uint64(1) << 62

	// MaxRangePairBytes bounds the pairs of one RANGE answer, whatever the request says. It is what
	// the original's own dump asks for.
	MaxRangePairBytes = 1 << 20

	// MinCachePages and MaxCachePages are the original's limits for -C.
	MinCachePages = 1024
	MaxCachePages = 1 << 30

	// DefaultCacheBytes is the original's default for -c.
	DefaultCacheBytes = 128 << 20

	// DefaultMaxSpread keeps the directory at about three times the tree under random writes. The
	// part above 2.5 is files that still hold some live blocks, and appends under way.
	DefaultMaxSpread = 2.5

	// minSpread bounds the spread from below where the disk is small, as a multiple of the tree.
	// Below it, moving old leaves gains little.
	minSpread = 1.25

	// rootBlocks is how many blocks it takes to rewrite only the root: seal, flush record, root.
	rootBlocks = 3

	// DefaultJournalBytes is how many bytes of changes a memtable collects. Replaying them takes
	// well under a second.
	DefaultJournalBytes = 64 << 20

	// minMemtableBytes is how much a memtable may hold, however small the tree is. For a larger
	// tree it may hold an eighth of the tree: a flush of a small tree rewrites all of it, and the
	// journal of two memtables comes on top. For a tree much larger than smallTreeBytes it may hold
	// nearly half of the tree, so that a flush has several changes for each page.
	// memtableMemoryShare is the share of Config's memory that one memtable may take: one may be
	// filling while another is flushed.
	minMemtableBytes    = 128 << 10
	smallTreeBytes      = 8 << 20
	memtableMemoryShare = 4
	maxMemtableBytes    = memtable.MaxBytes / 4

	// carriedMemoryShare is the share of Config's memory up to which changes are carried. With as
	// much in the journal, and room for as much again, a memtable then exceeds its limit by the
	// share of one memtable.
	carriedMemoryShare = 4 * memtableMemoryShare

	// maxFrozen is the most frozen memtables at a time. A flush needs one. More occur only when
	// snapshots are taken faster than memtables are flushed.
	maxFrozen = 4

	// minCacheShare is the share of Config's memory reserved for pages. An atomic batch or the
	// replay of a journal may exceed the share of the memtables for a while.
	minCacheShare = 4

	// touchGroup is how many changes have their index slots prefetched together.
	touchGroup = 64

	// sortItems is how many changes a flush sorts at a time, in less than a millisecond. A RANGE
	// uses rangeSortItems, because it has to look into every sorted run.
	sortItems      = 4 << 10
	rangeSortItems = 16 << 10

	// flushStepBytes is how much of a flush goes into one append. It is small, so that the commit
	// in the same append is not delayed for long.
	flushStepBytes = 1 << 20

	// flushStepChanges is how many changes a flush step takes when nothing waits for the flush.
	// Building such a step takes about two milliseconds. Beside a load, a step takes minStepChanges
	// to maxStepChanges, depending on the load. A flush of up to shortFlush changes is not spread.
	minStepChanges   = 1 << 10
	flushStepChanges = 2 << 10
	maxStepChanges   = 8 << 10
	shortFlush       = 16 << 10

	// flushIdleAfter is how long without a commit before a memtable is flushed although it is not
	// full.
	flushIdleAfter = time.Second

	// crampedShare divides the size of a flush step on a full disk, so that it needs less room.
	crampedShare = 16

	// askAhead is how many requests behind a waiting one have their pages prefetched.
	askAhead = 256

	// minSamples is the least number of index entries of a leaf, so that tiny pages are searched
	// and not scanned.
	minSamples = 8

	// maxOvercommit bounds the number of frames, as a multiple of Config.CachePages. Page commits
	// pin old and new pages, and readers may still look at replaced ones.
	maxOvercommit = 4

	// scanWindow is how many reads run at once while a store is opened.
	scanWindow = 64

	// maxScanGap is how many consecutive missing block numbers the search for the root skips. There
	// can be a gap only because the last file may be empty.
	maxScanGap = 1 << 16

	// maxBlankBlocks is how many blocks of zeros are taken for leftovers of attempts to write the
	// first page. More of them mean that the store has lost something.
	maxBlankBlocks = 4

	// maxBehindChild is how many blocks an append may have from its last page to its root: the
	// seal, the flush record, and the root itself.
	maxBehindChild = 3

	// maxFlippedBytes is the longest append searched for a flipped bit. In a longer append that was
	// cut short, the search could find a bit that did not flip.
	maxFlippedBytes = 1 << 20

	// readAheadShare is the largest share of the cache that one RANGE requests at once. It is
	// small, so that the first pages are still there when the last arrive.
	readAheadShare = 16

	// rangeTries is how often a RANGE waits for pages before it is answered with what it has. In a
	// cache too small for it, pages leave as fast as they arrive.
	rangeTries = 4

	// maxScanWork is how many leaves and memtable changes one Scan passes: a few milliseconds of
	// work. Request.Max bounds the pairs it returns, but counted or deleted pairs take no room in
	// the answer.
	maxScanWork = 32 << 10

	// maxRangeDeletes is how many keys one DeleteRange deletes. They are all in one commit.
	maxRangeDeletes = 4096

	// maxWatches is the most Watches waiting at a time. maxWatchWait is the longest that one may
	// wait.
	maxWatches   = 1024
	maxWatchWait = time.Minute

	// fewWatches is the number of Watches up to which each one looks at all new changes itself.
	fewWatches = 8

	// MaxWatchBytes bounds the changes in one answer to a Watch. watchScanBytes bounds what one
	// Watch looks at in a step.
	MaxWatchBytes  = 1 << 20
	watchScanBytes = 1 << 20

	// watchMemoryShare is the share of Config's memory for changes kept for Watches after their
	// memtable was dropped. maxWatchBytes bounds it too, because they are copied at the end of a
	// flush. They are kept until watchKeep after the last Watch.
	watchMemoryShare = 16
	maxWatchBytes    = 4 << 20
	watchKeep        = 10 * time.Minute

	// watchRunBytes is how many bytes of these changes are dropped together.
	watchRunBytes = 256 << 10

	// maxParts is how many positions inside commits are remembered. These are where an answer to a
	// Watch ended.
	maxParts = 1 << 10

	// readerSlots is how many goroutines can read pages at the same moment. Others send their
	// requests to the tree. With more readers than processors, most are waiting to run anyway.
	readerSlots = 64

	// maxLeases bounds how many snapshots are kept for remote clients. Each keeps its root page in
	// memory: all of them take a sixteenth of the smallest cache. The disk space does not depend on
	// their number: blocks are freed in order, so the oldest snapshot keeps all blocks from its own
	// on. leaseTime bounds that space: it is how long a snapshot is kept after its last use.
	maxLeases = 64
	leaseTime = time.Minute

	// snapshotComplaint is the age at which an open snapshot is logged, and the interval after
	// which it is logged again.
	snapshotComplaint = 10 * time.Minute

	// getGroup is how many GETs descend the tree together, so that their cache misses overlap.
	getGroup = 64

	// indexLines is how many cache lines of an index are prefetched. It covers the index of a leaf
	// of 2048 bytes.
	indexLines = 6

	// touchStride is the prefetch distance in bytes. The processor fetches the lines in between
	// itself.
	touchStride = 128

	// maxFaults bounds how many damaged blocks are remembered as reported.
	maxFaults = 1024

	// noSpaceRetry is how long changes are refused after the disk was full. Then one append tests
	// whether there is room again.
	noSpaceRetry = time.Second

	// unreadableRetry is how long cleaning waits before it tries an unreadable leaf again.
	unreadableRetry = time.Minute

	// tickEvery is the period of cleaning and of FREE, from the original.
	tickEvery = time.Second

	// freeShare is the smallest part of the tree worth a FREE when Config.MaxSpread is set. It is
	// about half of what one block file holds.
	freeShare = 32

	// cleanAfter is how long without a commit before old leaves are rewritten in steps of their
	// own. It is the original's.
	cleanAfter = 5 * time.Second

	// maxMendedBytes is the longest append whose pages a salvage calls certain although its seal
	// only fits with one bit flipped back. If more than one bit has changed, such a bit is still
	// found with a probability of 8 x this over 2^32.
	maxMendedBytes = 64 << 10

	// salvageBytes bounds the memory for stray leaves, or holes, during a salvage. What does not
	// fit is found by reading the store once more.
	salvageBytes = 64 << 20
	// strayBytes is the approximate memory of a stray leaf, without its keys.
	strayBytes = 160
	// maxSalvageParents bounds the pages that are searched for the bounds of stray leaves, at 8
	// bytes each.
	maxSalvageParents = 1 << 20
	// maxMoved bounds how many misplaced journal blocks are remembered.
	maxMoved = 1 << 16
	// maxRootLeaves bounds how many roots are remembered for finding copies among them.
	maxRootLeaves = 1 << 16
	// maxSalvagedRanges bounds the report of a salvage.
	maxSalvagedRanges = 100_000
	// progressBlocks is how many blocks are read between two progress reports.
	progressBlocks = 256
)
