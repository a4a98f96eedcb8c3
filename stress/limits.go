package stress

import "time"

// Limits and sizes of the load generator.
const (
	// Depth is how many requests are kept outstanding: as many as a connection of the
	// original's daemons takes.
	Depth = 4096

	// inputBytes is the buffer for answers, and so also the longest one accepted.
	// It holds the answers of a whole window of small requests.
	inputBytes = 512 << 10

	// extractBytes is the same for the original's benchmarks, of which one asks for a
	// range of extractMax bytes at a time.
	extractBytes = 2 * extractMax

	// stallTimeout ends a load in which nothing has been answered for this long.
	stallTimeout = 60 * time.Second

	// readyTimeout is how long a server that was started may take to accept.
	readyTimeout = 60 * time.Second
	// readyInterval is how often a connection is tried until then.
	readyInterval = 10 * time.Millisecond

	// stopGrace is how long a server has to stop once it was asked to.
	stopGrace = 10 * time.Second

	// deathWait is how long after an error on its connection a server may be found dead.
	deathWait = 500 * time.Millisecond

	// tailBytes is how much of what a server printed last is kept for an error.
	tailBytes = 4 << 10

	// settleInterval is how often the directory of a store is looked at until it has come to rest.
	settleInterval = 100 * time.Millisecond
)

// Limits of loads with measured latency.
const (
	// MaxWorkers is how many operations can be in flight.
	MaxWorkers = 4096
	// maxRecorders is how many sets of histograms the workers share. More of them than processors
	// are enough that they hardly meet; each takes 29 KB and, every interval, 7 us for each
	// histogram, so that one for each of thousands of workers would make the generator late.
	maxRecorders = 32
	// maxRecords is how many records a load can have, those that it inserts included.
	maxRecords = ledgerChunks * ledgerChunkLen
	// MaxLoaded is how many of them can be there at the start.
	MaxLoaded = maxRecords / 2
	// maxScan is the most records that a range asks for, as in YCSB.
	maxScan = 100

	ledgerChunks   = 1 << 16
	ledgerChunkLen = 1 << 16
	// recordsInPart is how many records a part of the index has, about: what a range looks through
	// besides those that it wants.
	recordsInPart = 32

	// Times are recorded to 1 % (two digits), from 64 ns up. Three digits would take eight times
	// the memory, and stir more of the CPU's caches, which are also the server's.
	lowestTime        = 100 * time.Nanosecond
	longestTime       = 10 * time.Minute
	significantDigits = 2

	// minPause is how long the clock of an open loop waits at least: more wake-ups would
	// take the processor from the server. Operations that become due meanwhile are late by
	// no more than that.
	minPause = 100 * time.Microsecond

	// drainTimeout is how long operations that are in flight at the end may take.
	drainTimeout = 10 * time.Second

	// errorPause keeps a worker from failing in a tight loop when the server is gone.
	errorPause = 10 * time.Millisecond

	// maxViolations is how many findings of --verify are kept word for word.
	maxViolations = 10

	// MinRate and MaxRate are the rates per second that an open loop can have: from an operation in
	// a quarter of an hour to one in 100 ns.
	MinRate = 0.001
	MaxRate = 10_000_000

	// MinInterval is the least time between reports, and MaxTime the longest that a load can be
	// told to take. The sum of a few of these is a time too.
	MinInterval = time.Millisecond
	MaxTime     = 30 * 24 * time.Hour

	// MaxPairs and MaxRounds are how many pairs and rounds a comparison can have. The pairs are
	// kept in memory.
	MaxPairs  = 1 << 30
	MaxRounds = 1000

	// loadWorkers is how many SETs are in flight while records are loaded.
	loadWorkers = 2048
)
