package tree

import "time"

// Limits of the engine, in one place. Those that the page format or the original
// fixes say so; the others are ours.
const (
	// MaxStringBytes is the longest key or value: their length is one byte.
	MaxStringBytes = 255

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

	// DefaultMaxSpread keeps the disk that random writes take below three times the tree: what is beyond
	// the spread is files of which not all blocks are garbage, and commits under way.
	DefaultMaxSpread = 1.8

	// minSamples is how many index entries a leaf has at the least, so that tiny
	// pages are searched, not scanned.
	minSamples = 8

	// readShare: pages that are not unsaved leave memory only while there are more of them than this part of the cache. It is what
	// requests that wait for pages may need together; with less, the pages of one drive out those of another before it goes on.
	readShare = 4

	// maxOvercommit is how many times Config.CachePages there can be frames at the most: batches that are under way
	// need pages that must stay, old ones and new ones, and readers may still look at what has been replaced.
	maxOvercommit = 4

	// batchWindow is how many modifying requests go into one batch while there is no
	// commit delay: half of what one connection may have in flight, so that the
	// next batch is built while this one syncs.
	batchWindow = 2048

	// scanWindow is how many reads are under way together while the store is
	// scanned for its root.
	scanWindow = 64

	// maxScanGap is how many block numbers without a block are passed over in a row while looking
	// for the root. A last file of length zero is the reason for any gap at all.
	maxScanGap = 1 << 16

	// maxBlankBlocks is how many blocks of zeros are taken for what is left of attempts to write the first
	// page. More are a store that has lost something.
	maxBlankBlocks = 4

	// readAheadPages bounds how many leaves one RANGE asks for at once.
	readAheadPages = 64

	// rangeTries is how often a RANGE waits for pages before it is answered with what is
	// there: in a cache that is too small for it, pages leave as fast as they come.
	rangeTries = 4

	// readerSlots is how many goroutines can read pages at the same moment. Those beyond ask the tree: with more of
	// them than processors most are waiting to run anyway.
	readerSlots = 64

	// rereads is how often a reader reads anew because values have been overwritten meanwhile, before it asks the tree.
	rereads = 8

	// maxLeases bounds how many snapshots are kept for clients elsewhere, and leaseTime how long after
	// its last use: what a snapshot holds back cannot be freed.
	maxLeases = 4
	leaseTime = time.Minute

	// snapshotComplaint is how long a snapshot may be open before the log is told, and after that again.
	snapshotComplaint = 10 * time.Minute

	// getGroup is how many GETs descend the tree together, so that their cache misses
	// overlap.
	getGroup = 64

	// leafGroup is how many leaves of a batch of changes are fetched together.
	leafGroup = 32

	// overwriteGroup is how many values that are to be overwritten are fetched together.
	overwriteGroup = 64

	// indexLines is how many cache lines of an index are fetched ahead of need: all of that of a leaf of 2048 bytes.
	indexLines = 6

	// touchStride, in bytes: what is between, the processor fetches by itself.
	touchStride = 128

	// maxFaults bounds the memory of which damaged blocks have been reported.
	maxFaults = 1024

	// noSpaceRetry is how long modifying requests are refused after the disk was
	// found full, before one batch is let through to see whether it still is.
	noSpaceRetry = time.Second

	// tickEvery is the period of cleaning and of FREE, from the original.
	tickEvery = time.Second

	// checkpointChunkBytes is how much of a checkpoint goes into one append: so little that the batch in it is not held up for long.
	checkpointChunkBytes = 1 << 20

	// checkpointIdle is how long nothing may have been changed before what is in memory only is saved all the same.
	checkpointIdle = time.Second

	// minJournalBytes is how long the journal may become however small the tree is, and journalShare which part of the
	// tree it may be long: so that it does not take more space than the tree.
	minJournalBytes = 1 << 20
	journalShare    = 2

	// sweepPages is how many parents a step tells of the numbers that their children have got.
	sweepPages = 256

	// DefaultJournalBytes is how long the journal becomes: replaying it takes well under a second.
	DefaultJournalBytes = 64 << 20

	// cleanShare is how many old leaves a commit has cleaned, of the pages that it writes, while the tree
	// is spread over Config.MaxSpread times its size. Random writes leave one leaf in ten or so
	// behind at twice that size.
	cleanShare = 0.5

	// freeShare: with Config.MaxSpread, a FREE is sent when it is worth so small a part of the tree: about half
	// of what one block file holds.
	freeShare = 32

	// stuckRetry is how long after a page could not be read the cleaner reads it again. The delay doubles up to maxStuckRetry.
	stuckRetry    = 5 * time.Second
	maxStuckRetry = 10 * time.Minute

	// cleanAfter is how long without a batch before one is run just to clean, from the
	// original.
	cleanAfter = 5 * time.Second
)
