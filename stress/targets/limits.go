package targets

import "time"

const (
	// generatorLimit is the part of one processor above which the generator is reported as what may
	// limit a figure.
	generatorLimit = 0.9

	// redisRestInterval is how often Redis is asked whether it has finished rewriting its log.
	redisRestInterval = 100 * time.Millisecond

	// DefaultTime is how long a workload is measured at most, in each round.
	DefaultTime = 5 * time.Second
	// warmTime is how long it runs before that.
	warmTime = 500 * time.Millisecond
	// warmLargeTime is the same where the data does not fit into the cache, which has to fill
	// first.
	warmLargeTime = 2 * time.Second

	// requests is how many requests are prepared for a round, and warmRequests for the warm-up:
	// enough for the time that they have, within reason, as each takes 80 bytes.
	requests     = 1 << 22
	warmRequests = 1 << 20

	// largeFactor is how many times the data the large store has, and largeCache what it has for a
	// cache.
	largeFactor = 4
	largeCache  = "128Mi"

	// rangePairs is how many pairs a RANGE asks for. rangeConns is how many connections they share:
	// with few enough requests on each for a socket to hold, as a server does not read on while
	// many long answers wait for the client, which writes before it reads.
	rangePairs = 100
	rangeConns = 16

	// loneTime is how long lone GETs and SETs, and lone appends, are measured in each round.
	loneTime = time.Second
	// pacedTime is how long a load of a fixed rate runs in each round: long enough for a few
	// flushes.
	pacedTime = 8 * time.Second

	// idleTime is how long a server must not write to count as idle: longer than it waits, with
	// nothing to do, before it begins a flush. idleTries is how often it is given as long.
	idleTime  = 1500 * time.Millisecond
	idleTries = 20

	// collectedCacheBytes is the cache that is filled to see what the garbage collector makes of
	// it.
	collectedCacheBytes = 1 << 30

	// insightTimeout and insightBytes bound what is asked of a --debug-addr.
	insightTimeout = 30 * time.Second
	insightBytes   = 4 << 20

	// endlessChoices is how many choices are made before a server is profiled: so many that what
	// they are about does not stay in a cache.
	endlessChoices = 1 << 20

	// microsPerSecond: the kernel counts in seconds, and requests take microseconds.
	microsPerSecond = 1e6

	// samplePeriod is the processor time between two samples of a Go profile.
	samplePeriod = 10 * time.Millisecond

	// largeAppendBytes is what an append may be that many requests share.
	largeAppendBytes = 256 << 10

	// memoryLines is how much memory is read and copied to see how fast that is, more than any
	// cache has; memoryReads and memoryCopies how often.
	memoryLines  = 256 << 20 / lineBytes
	lineBytes    = 64
	memoryReads  = 1 << 22
	memoryCopies = 8

	// chunkBytes is what a server with much to say writes at once; it fits into what a socket pair
	// holds by default.
	chunkBytes = 64 << 10
	// ballBytes is about a request.
	ballBytes = 64
	// socketUses is how often a socket pair is used to see how long that takes.
	socketUses = 1 << 13
)
