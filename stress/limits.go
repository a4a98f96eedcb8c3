package stress

import "time"

// Limits and sizes of the load generator.
const (
	// Depth is how many requests are kept outstanding: as many as a connection of the original's
	// daemons accepts.
	Depth = 4096

	// inputBytes is the size of the buffer for answers, and so also the longest accepted answer. It
	// holds the answers of a whole window of small requests.
	inputBytes = 512 << 10

	// extractBytes is the same for the original's benchmarks. One of them asks for a range of
	// extractMax bytes at a time.
	extractBytes = 2 * extractMax

	// stallTimeout ends a load in which nothing has been answered for this long.
	stallTimeout = 60 * time.Second

	// readyTimeout is how long a started server may take to accept connections.
	readyTimeout = 60 * time.Second
	// readyInterval is the time between two attempts to connect.
	readyInterval = 10 * time.Millisecond

	// stopGrace is how long a server has to stop after it was told to.
	stopGrace = 10 * time.Second

	// deathWait is how long to wait for a server's death after an error on its connection.
	deathWait = 500 * time.Millisecond

	// tailBytes is how much of a server's last output is kept for an error.
	tailBytes = 4 << 10

	// settleInterval is the time between two looks at the directory of a store, until it no longer
	// changes.
	settleInterval = 100 * time.Millisecond
)

// Limits of loads with measured latency.
const (
	// MaxWorkers is the most operations in flight.
	MaxWorkers = 4096
	// maxRecorders is how many sets of histograms the workers share. With more sets than processors
	// they rarely contend. Each takes 29 KB and, every interval, 7 us for each histogram. One for
	// each of thousands of workers would delay the generator.
	maxRecorders = 32
	// maxRecords is the most records of a load, including inserted ones.
	maxRecords = ledgerChunks * ledgerChunkLen
	// MaxLoaded is how many of them can exist at the start.
	MaxLoaded = maxRecords / 2
	// maxScan is the most records that a range asks for, as in YCSB.
	maxScan = 100

	ledgerChunks   = 1 << 16
	ledgerChunkLen = 1 << 16
	// recordsInPart is about how many records a part of the index has. A range looks through so
	// many besides those that it wants.
	recordsInPart = 32

	// Times are recorded to 1 % (two digits), from 64 ns up. Three digits would take eight times
	// the memory, and use more of the processor's caches, which the server uses too.
	lowestTime        = 100 * time.Nanosecond
	longestTime       = 10 * time.Minute
	significantDigits = 2

	// minPause is the least time that the clock of an open loop waits. More wake-ups would take the
	// processor from the server. Operations that become due meanwhile are late by at most that.
	minPause = 100 * time.Microsecond

	// drainTimeout is how long operations in flight at the end may take.
	drainTimeout = 10 * time.Second

	// errorPause keeps a worker from failing in a tight loop when the server is gone.
	errorPause = 10 * time.Millisecond

	// maxViolations is how many findings of --verify are kept in full.
	maxViolations = 10

	// MinRate and MaxRate bound the rate of an open loop, per second: from an operation in a
	// quarter of an hour to one in 100 ns.
	MinRate = 0.001
	MaxRate = 10_000_000

	// MinInterval is the least time between reports, and MaxTime the longest duration of a load. A
	// few of these can be added without overflow.
	MinInterval = time.Millisecond
	MaxTime     = 30 * 24 * time.Hour

	// MaxPairs and MaxRounds are the most pairs and rounds of a comparison. The pairs are kept in
	// memory.
	MaxPairs  = 1 << 30
	MaxRounds = 1000

	// loadWorkers is how many SETs are in flight while records are loaded.
	loadWorkers = 2048
)
