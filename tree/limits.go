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

	// DefaultMaxSpread keeps the disk that random writes take below three times the tree: what is
	// beyond the spread is files of which not all blocks are garbage, and appends under way.
	DefaultMaxSpread = 1.8

	// DefaultJournalBytes is how many bytes of changes a memtable collects: replaying them takes well
	// under a second.
	DefaultJournalBytes = 64 << 20

	// minMemtableBytes is how much a memtable may hold however small the tree is. Of a larger tree it
	// may hold an eighth: a flush of a small tree writes all of it anew, and the journal of two memtables
	// comes on top. Of one much larger than smallTreeBytes it may hold nearly a half, so that a flush has
	// several changes for each page. memtableMemoryShare is which part of Config's memory it may take: one may be
	// filling while another is flushed.
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

	// sortItems is how many changes are sorted at a time: one to two milliseconds.
	sortItems = 16 << 10

	// flushStepBytes is how much of a flush goes into one append: so little that the commit in it is
	// not held up for long.
	flushStepBytes = 1 << 20

	// flushStepChanges bounds the changes that are gathered for a step.
	flushStepChanges = 8 << 10

	// flushLead is how far a flush may be ahead of the pace that ends it when the next memtable is half
	// full.
	flushLead  = 1.0 / 16
	shortFlush = 4 * flushStepChanges

	// flushIdleAfter is how long nothing may have been committed before the memtable is flushed although
	// it is not full.
	flushIdleAfter = time.Second

	// crampedShare: on a full disk a flush step is this much shorter, so that it needs less room.
	crampedShare = 16

	// askAhead is how many requests behind one that waits for its page have theirs read ahead.
	askAhead = 256

	// minSamples is how many index entries a leaf has at the least, so that tiny pages are searched,
	// not scanned.
	minSamples = 8

	// maxOvercommit is how many times Config.CachePages there can be frames at the most: page commits
	// need pages that must stay, old ones and new ones, and readers may still look at what has been
	// replaced.
	maxOvercommit = 4

	// scanWindow is how many reads are under way together while a store is opened.
	scanWindow = 64

	// maxScanGap is how many block numbers without a block are passed over in a row while looking for
	// the root. A last file of length zero is the reason for any gap at all.
	maxScanGap = 1 << 16

	// maxBlankBlocks is how many blocks of zeros are taken for what is left of attempts to write the
	// first page. More are a store that has lost something.
	maxBlankBlocks = 4

	// maxBehindChild is how many blocks an append may have between its last page and its root: the
	// seal and the flush record.
	maxBehindChild = 3

	// maxFlippedBytes is the longest append that is looked through for a flipped bit. In a longer one, that was cut short, one could
	// be found that is none.
	maxFlippedBytes = 1 << 20

	// readAheadPages bounds how many leaves one RANGE asks for at once.
	readAheadPages = 64

	// rangeTries is how often a RANGE waits for pages before it is answered with what is there: in a
	// cache that is too small for it, pages leave as fast as they come.
	rangeTries = 4

	// readerSlots is how many goroutines can read pages at the same moment. Those beyond ask the tree:
	// with more of them than processors most are waiting to run anyway.
	readerSlots = 64

	// maxLeases bounds how many snapshots are kept for clients elsewhere, and leaseTime how long after
	// its last use: what a snapshot holds back cannot be freed.
	maxLeases = 4
	leaseTime = time.Minute

	// snapshotComplaint is how long a snapshot is open when the log says so, and again after as long.
	snapshotComplaint = 10 * time.Minute

	// getGroup is how many GETs descend the tree together, so that their cache misses overlap.
	getGroup = 64

	// indexLines is how many cache lines of an index are fetched ahead of need: all of that of a leaf of
	// 2048 bytes.
	indexLines = 6

	// touchStride, in bytes: what is between, the processor fetches by itself.
	touchStride = 128

	// maxFaults bounds the memory of which damaged blocks have been reported.
	maxFaults = 1024

	// noSpaceRetry is how long changes are refused after the disk was full. Then one append tries whether
	// there is room again.
	noSpaceRetry = time.Second

	// lostRetry is how long after a leaf could not be read cleaning tries it again.
	lostRetry = time.Minute

	// tickEvery is the period of cleaning and of FREE, from the original.
	tickEvery = time.Second

	// cleanShare is how many old leaves an append has cleaned, of the pages that it writes, while the
	// tree is spread over Config.MaxSpread times its size. Random writes leave one leaf in ten or so
	// behind at twice that size.
	cleanShare = 0.5

	// freeShare: with Config.MaxSpread, a FREE is sent when it is worth so small a part of the tree:
	// about half of what one block file holds.
	freeShare = 32

	// cleanTogether is how many old leaves are rewritten although the search for more is not done. Fewer
	// are rewritten all together: what is rewritten in two appends may be in two files.
	cleanTogether = 256

	// cleanAfter is how long without a commit before old leaves are rewritten by themselves, from the
	// original.
	cleanAfter = 5 * time.Second
)
