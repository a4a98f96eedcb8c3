package disk

import "time"

const (
	// DefaultReaders is how many reads are carried out at once when Options does
	// not say, as in the original.
	DefaultReaders = 16
	// MaxReaders bounds Options.Readers, as in the original: each is a goroutine
	// that may hold an OS thread while the disk works.
	MaxReaders = 1000
	// MaxReadDelay bounds Options.ReadDelay, as in the original. Close may have to
	// wait that long.
	MaxReadDelay = 999_999_999 * time.Nanosecond

	// readQueueOps is how many reads may wait for a reader before Submit blocks:
	// as many requests as one connection may have outstanding, so that a connection's
	// window never blocks the event loop.
	readQueueOps = 4096

	// readRunOps is how many reads one reader gets together at the most: so many that waking it
	// does not count, so few that on a slow disk the first of them does not wait long for the last.
	readRunOps = 16

	// readTogetherBytes is how much is read by one system call at the most, of blocks that follow
	// each other.
	readTogetherBytes = 128 << 10

	// openFilesMax is how many descriptors of block files are kept open for
	// reading. A store gets about 11 files for each doubling of its length up to 32 GiB
	// and then one for each 2 GiB, so this covers 100 GiB; with more, the least
	// recently used are closed.
	openFilesMax = 256

	// openFilesShare is the part of the descriptors that the process may have which are
	// kept open at most, where they are few: the rest is for connections.
	openFilesShare = 4

	// maxFileBytes is the length that appends do not let a block file pass: what the
	// original takes for the largest file offset. One append that is longer than
	// this by itself still gets a file of its own.
	maxFileBytes = 1<<31 - 1

	// fileFraction sets the granularity at which space can be reclaimed: a file is
	// not added to once it holds more than 1/fileFraction of all blocks.
	fileFraction = 16

	// iovMax is how many buffers Linux takes in one pwritev (IOV_MAX).
	iovMax = 1024

	// freePerFile is how many files that may be discarded an append that makes one removes first.
	// More than one, so that what is to be discarded cannot pile up however slow the janitor is.
	freePerFile = 2

	// sumsAfter is how long after it was sealed a file gets its checksums file. Where everything is
	// overwritten again and again, most files are discarded before that, which saves the writes.
	sumsAfter = 2 * time.Second

	// sealRest is how long the janitor rests after each sealChunkBytes of a file that an earlier
	// run has left without checksums: it reads at most 100 MiB/s.
	sealRest = 10 * time.Millisecond

	// DefaultScrubRate is how many bytes per second the scrubber of a store reads by default: a
	// thousandth of what an SSD can read, a fiftieth of what a hard disk can, and still 2.5 TB in a
	// week.
	DefaultScrubRate = 4 << 20

	// scrubAfter is how long a store is open before scrubbing begins, so that a store that is
	// opened for a moment only is not scrubbed.
	scrubAfter = time.Minute

	// scrubEvery is the least time from one scrub to the next: backups are seldom thrown away
	// sooner, and a small store should let the disk sleep.
	scrubEvery = 24 * time.Hour

	// scrubChunkBytes is the most that the scrubber reads at once: a request behind such a read
	// waits for 2 ms on a hard disk. At low rates it reads less, scrubSteps times in a second.
	scrubChunkBytes = 256 << 10
	scrubSteps      = 16

	// scrubMaxDamaged is how many damaged blocks the scrubber remembers: 1 MiB of them.
	// scrubMaxLines is how many lines of each pass go to the log.
	scrubMaxDamaged = 1 << 14
	scrubMaxLines   = 100

	// gapFactor times the blocks that are left of a damaged store, plus minGap, is the longest run
	// of blocks that is believed to be missing. A longer one comes from a wrong number in the name
	// of a file, and looking for each block in it could take years.
	gapFactor = 64
	minGap    = 1 << 10

	// stallTime is how long a sync may take before it counts as a stall: several times what a busy
	// disk needs, so that there are few, and what a user would notice.
	stallTime = 50 * time.Millisecond

	// sealChunkBytes is how much of a sealed file the janitor reads between looks
	// at whether something is waiting to be freed.
	sealChunkBytes = 1 << 20
)
