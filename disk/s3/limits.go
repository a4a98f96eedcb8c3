package s3

import "time"

const (
	// DefaultReaders is how many reads are under way at once by default. Each waits for S3, and
	// takes no processor time meanwhile.
	DefaultReaders = 64
	// MaxReaders bounds Options.Readers.
	MaxReaders = 1000
	// readQueueOps is how many reads, or runs of reads, wait for a reader before Submit blocks.
	readQueueOps = 4096
	// readTogetherBytes is how much one GET of blocks that follow each other fetches at most.
	readTogetherBytes = 256 << 10

	// wholeBytes bounds the objects that a recovery has in memory.
	wholeBytes = 64 << 20
	// wholeAhead is how many objects a recovery reads ahead of itself.
	wholeAhead = 16

	// deletesAtOnce is how many objects are deleted at once.
	deletesAtOnce = 32
	// markerEvery is how many objects go between two puts of the marker, as in the original.
	markerEvery = 256

	// attemptTime is how long a request may take, and bytesPerSecond how much more its content adds
	// to that.
	attemptTime    = 10 * time.Second
	bytesPerSecond = 1 << 20
	// readTime is how long a read is tried before it fails.
	readTime = 20 * time.Second
	// firstPause is the longest pause before the first repetition of a request; each is twice as
	// long as the one before, up to lastPause.
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
	// complainAfter is how long a request may fail before that is logged, and how often it is then.
	complainAfter = 10 * time.Second

	// closeTime is how long Close waits for what is under way.
	closeTime = 30 * time.Second
	// DefaultLookEvery is how often a writer without appends looks whether it is still the writer.
	DefaultLookEvery = 10 * time.Second

	// maxSettingsBytes bounds the settings that are read.
	maxSettingsBytes = 1 << 20
	// maxClaims is how often a claim starts over because others claim, too.
	maxClaims = 100
)
