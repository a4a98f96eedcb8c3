package tree

import (
	"time"

	"kivaloo/tree/memtable"
	"kivaloo/tree/page"
)

// Limits of the engine, in one place. Those that the page format or the original
// fixes say so; the others are ours.
const (
	// MaxStringBytes is the longest key or value: their length is one byte.
	MaxStringBytes = page.MaxString

	// maxBlock bounds block numbers: those above stand for pages that have
	// no number yet, and arithmetic on those below cannot overflow.
	maxBlock = uint64(1) << 62

	// MaxRangePairBytes bounds the pairs of one RANGE answer, whatever was asked
	// for: the length that the original's own dump asks for.
	MaxRangePairBytes = 1 << 20

	// MinCachePages and MaxCachePages are the original's limits for -C.
	MinCachePages = 1024
	MaxCachePages = 1 << 30

	// DefaultCacheBytes is the original's default for -c.
	DefaultCacheBytes = 128 << 20

	// DefaultMaxSpread keeps the directory that random writes make at about three times the tree. The
	// rest of the three is files of which not all blocks are garbage, and appends under way.
	DefaultMaxSpread = 2.5

	// minSpread is how many times the tree its blocks may take where the disk is small. Below that,
	// moving old leaves gains little.
	minSpread = 1.25

	// rootBlocks is how many blocks a root takes that is written once more: seal, flush record,
	// root.
	rootBlocks = 3

	// DefaultJournalBytes is how many bytes of changes a memtable collects: replaying them takes
	// well under a second.
	DefaultJournalBytes = 64 << 20

	// minMemtableBytes is how much a memtable may hold however small the tree is. Of a larger tree
	// it may hold an eighth: a flush of a small tree writes all of it anew, and the journal of two
	// memtables comes on top. Of one much larger than smallTreeBytes it may hold nearly a half, so
	// that a flush has several changes for each page. memtableMemoryShare is which part of Config's
	// memory it may take: one may be filling while another is flushed.
	minMemtableBytes    = 128 << 10
	smallTreeBytes      = 8 << 20
	memtableMemoryShare = 4
	maxMemtableBytes    = memtable.MaxBytes / 4

	// maxFrozen is how many frozen memtables there are at most. A flush has one; more come of
	// snapshots that are taken faster than memtables are flushed.
	maxFrozen = 4

	// minCacheShare is which part of Config's memory pages have, whatever memtables take: an
	// atomic batch or the replay of a journal may exceed the share of memtables for a while.
	minCacheShare = 4

	// touchGroup is how many changes have their index slots fetched together.
	touchGroup = 64

	// sortItems is how many changes a flush sorts at a time, in less than a millisecond. A RANGE
	// sorts rangeSortItems: it has to look into every run.
	sortItems      = 4 << 10
	rangeSortItems = 16 << 10

	// flushStepBytes is how much of a flush goes into one append: so little that the commit in it
	// is not held up for long.
	flushStepBytes = 1 << 20

	// flushStepChanges is how many changes a step of a flush takes where nothing waits for the
	// flush: building it takes about two milliseconds. A flush beside a load takes minStepChanges
	// to maxStepChanges in a step, as the load goes. One of shortFlush changes is over at once.
	minStepChanges   = 1 << 10
	flushStepChanges = 2 << 10
	maxStepChanges   = 8 << 10
	shortFlush       = 16 << 10

	// flushIdleAfter is how long nothing may have been committed before the memtable is flushed
	// although it is not full.
	flushIdleAfter = time.Second

	// crampedShare: on a full disk a flush step is this much shorter, so that it needs less room.
	crampedShare = 16

	// askAhead is how many requests behind one that waits for its page have theirs read ahead.
	askAhead = 256

	// minSamples is how many index entries a leaf has at the least, so that tiny pages are
	// searched, not scanned.
	minSamples = 8

	// maxOvercommit is how many times Config.CachePages there can be frames at the most: page
	// commits need pages that must stay, old ones and new ones, and readers may still look at what
	// has been replaced.
	maxOvercommit = 4

	// scanWindow is how many reads are under way together while a store is opened.
	scanWindow = 64

	// maxScanGap is how many missing block numbers in a row the search for the root skips. There
	// can be a gap at all only because the last file may have length zero.
	maxScanGap = 1 << 16

	// maxBlankBlocks is how many blocks of zeros are taken for what is left of attempts to write
	// the first page. More are a store that has lost something.
	maxBlankBlocks = 4

	// maxBehindChild is how many blocks an append may have between its last page and its root: the
	// seal and the flush record.
	maxBehindChild = 3

	// maxFlippedBytes is the longest append that is looked through for a flipped bit. In a longer
	// one, that was cut short, one could be found that is none.
	maxFlippedBytes = 1 << 20

	// readAheadShare is which part of the cache one RANGE asks for at once, at the most: so little
	// that the first pages are there when the last have come.
	readAheadShare = 16

	// rangeTries is how often a RANGE waits for pages before it is answered with what is there: in
	// a cache that is too small for it, pages leave as fast as they come.
	rangeTries = 4

	// maxScanWork is how many leaves, and changes in memtables, one Scan passes: a few milliseconds
	// of work. What it finds on its way is bounded by Request.Max, but a count, or what has been
	// deleted, takes no room in the answer.
	maxScanWork = 32 << 10

	// maxRangeDeletes is how many keys one DeleteRange deletes: one commit has them.
	maxRangeDeletes = 4096

	// maxWatches is how many Watches wait at a time, and maxWatchWait how long one may.
	maxWatches   = 1024
	maxWatchWait = time.Minute

	// fewWatches is up to how many Watches each looks at all new changes by itself.
	fewWatches = 8

	// MaxWatchBytes bounds the changes of one answer to a Watch, and watchScanBytes how many one
	// Watch looks at in a step.
	MaxWatchBytes  = 1 << 20
	watchScanBytes = 1 << 20

	// watchMemoryShare is which part of Config's memory changes may take that are kept for Watches
	// when their memtable has gone, and maxWatchBytes how much that is at most: they are copied at
	// the end of a flush. They are kept as long as there was a Watch in the last watchKeep.
	watchMemoryShare = 16
	maxWatchBytes    = 4 << 20
	watchKeep        = 10 * time.Minute

	// watchRunBytes is how many of these changes go together when the oldest are dropped.
	watchRunBytes = 256 << 10

	// maxParts is how many places within a commit are known that an answer to a Watch ended at.
	maxParts = 1 << 10

	// readerSlots is how many goroutines can read pages at the same moment. Those beyond ask the
	// tree: with more of them than processors most are waiting to run anyway.
	readerSlots = 64

	// maxLeases bounds how many snapshots are kept for clients elsewhere, and leaseTime how long
	// after its last use: what a snapshot holds back cannot be freed.
	maxLeases = 4
	leaseTime = time.Minute

	// snapshotComplaint is how long a snapshot is open when the log says so, and again after as
	// long.
	snapshotComplaint = 10 * time.Minute

	// getGroup is how many GETs descend the tree together, so that their cache misses overlap.
	getGroup = 64

	// indexLines is how many cache lines of an index are fetched ahead of need: all of that of a
	// leaf of 2048 bytes.
	indexLines = 6

	// touchStride, in bytes: what is between, the processor fetches by itself.
	touchStride = 128

	// maxFaults bounds the memory of which damaged blocks have been reported.
	maxFaults = 1024

	// noSpaceRetry is how long changes are refused after the disk was full. Then one append tries
	// whether there is room again.
	noSpaceRetry = time.Second

	// unreadableRetry is how long after a leaf could not be read cleaning tries it again.
	unreadableRetry = time.Minute

	// tickEvery is the period of cleaning and of FREE, from the original.
	tickEvery = time.Second

	// freeShare: with Config.MaxSpread, a FREE is sent when it is worth so small a part of the
	// tree: about half of what one block file holds.
	freeShare = 32

	// cleanAfter is how long without a commit before old leaves are rewritten by themselves, from
	// the original.
	cleanAfter = 5 * time.Second

	// maxMendedBytes is the longest append of which a salvage calls the pages certain although the
	// seal fits only when a bit is flipped back. If more than one bit has changed, a bit is found
	// nevertheless with a probability of 8 x this over 2^32.
	maxMendedBytes = 64 << 10

	// salvageBytes is how much memory stray leaves, or holes, take while a store is salvaged. What
	// does not fit is found by reading the store once more.
	salvageBytes = 64 << 20
	// strayBytes is about what a stray leaf takes beside its keys.
	strayBytes = 160
	// maxSalvageParents bounds the pages that are asked for the bounds of stray leaves, 8 bytes
	// each.
	maxSalvageParents = 1 << 20
	// maxMoved bounds the blocks of the journal that are at wrong places.
	maxMoved = 1 << 16
	// maxRootLeaves bounds the roots among which that is looked for of which another is a copy.
	maxRootLeaves = 1 << 16
	// maxSalvagedRanges bounds the report of what was salvaged.
	maxSalvagedRanges = 100_000
	// progressBlocks is how many blocks are read between two reports of progress.
	progressBlocks = 256
)
