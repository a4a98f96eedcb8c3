package disk

import "time"

const (
	// DefaultReaders is the default number of concurrent reads, as in the original.
	DefaultReaders = 16
	// MaxReaders is the maximum of Options.Readers, as in the original. Each reader is a goroutine
	// that may hold an OS thread while the disk works.
	MaxReaders = 1000
	// MaxReadDelay is the maximum of Options.ReadDelay, as in the original. Close may have to wait
	// that long.
	MaxReadDelay = 999_999_999 * time.Nanosecond

	// readQueueOps is how many reads may wait for a reader before Submit blocks. One connection may
	// have that many outstanding requests, so that its window never blocks the event loop.
	readQueueOps = 4096

	// readRunOps is the most reads that one reader gets together. That is enough to make the cost
	// of waking it negligible, and few enough that on a slow disk the first does not wait long for
	// the last.
	readRunOps = 16

	// readTogetherBytes is the most that one system call reads of consecutive blocks.
	readTogetherBytes = 128 << 10

	// openFilesMax is the most descriptors of block files kept open for reading. A store gets about
	// 11 files for each doubling of its length up to 32 GiB, and then one for each 2 GiB. So this
	// covers 100 GiB. Larger stores close the least recently used files.
	openFilesMax = 256

	// openFilesShare limits the descriptors kept open if the process may have few: one part in
	// openFilesShare. The rest is for connections.
	openFilesShare = 4

	// maxFileBytes is the maximum length of a block file, which the original takes for the largest
	// file offset. A single append longer than this still gets a file of its own.
	maxFileBytes = 1<<31 - 1

	// fileFraction sets the granularity of reclaiming space: a file that holds more than
	// 1/fileFraction of all blocks gets no more.
	fileFraction = 16

	// iovMax is the most buffers that Linux accepts in one pwritev (IOV_MAX).
	iovMax = 1024

	// freePerFile is how many discardable files an append removes before it makes a new one. It is
	// more than one, so that they cannot pile up even if the janitor is slow.
	freePerFile = 2

	// sumsAfter is the time between sealing a file and writing its checksums. If everything is
	// overwritten repeatedly, most files are discarded before that, which saves the writes.
	sumsAfter = 2 * time.Second

	// sealRest is the janitor's pause after each sealChunkBytes of a file that an earlier run left
	// without checksums. So it reads at most 100 MiB/s.
	sealRest = 10 * time.Millisecond

	// DefaultScrubRate is the scrubber's default rate in bytes per second. It is a thousandth of
	// what an SSD can read, a fiftieth of what a hard disk can read, and still 2.5 TB in a week.
	DefaultScrubRate = 4 << 20

	// scrubAfter is the time between the start and the first scrub, so that a store opened only for
	// a moment is not scrubbed.
	scrubAfter = time.Minute

	// scrubEvery is the least time from one scrub to the next. Backups are seldom deleted sooner,
	// and a small store should let the disk sleep.
	scrubEvery = 24 * time.Hour

	// scrubChunkBytes is the most that the scrubber reads at once. A request that waits for such a
	// read waits 2 ms on a hard disk. At low rates it reads less, scrubSteps times per second.
	scrubChunkBytes = 256 << 10
	scrubSteps      = 16

	// scrubMaxDamaged is the most damaged blocks that the scrubber remembers, in 1 MiB.
	// scrubMaxLines is the most log lines of one pass.
	scrubMaxDamaged = 1 << 14
	scrubMaxLines   = 100

	// gapFactor times the remaining blocks of a damaged store, plus minGap, is the longest run of
	// blocks believed to be missing. A longer run comes from a wrong number in a file's name, and
	// searching each of its blocks could take years.
	gapFactor = 64
	minGap    = 1 << 10

	// maxSigns is the most signs of missing blocks that a damaged store reports.
	maxSigns = 100

	// stallTime is the time from which a sync counts as a stall. It is several times what a busy
	// disk needs, so that stalls are rare, and long enough that users notice.
	stallTime = 50 * time.Millisecond

	// sealChunkBytes is how much of a sealed file the janitor reads between checks for files to
	// free.
	sealChunkBytes = 1 << 20
)
