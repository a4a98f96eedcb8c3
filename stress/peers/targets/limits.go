package targets

import "time"

const (
	// generatorLimit is the part of one processor above which the generator is reported as a
	// possible limit.
	generatorLimit = 0.9

	// redisRestInterval is how often Redis is asked whether it has finished rewriting its log.
	redisRestInterval = 100 * time.Millisecond

	// DefaultTime is the most time for a workload, in each round.
	DefaultTime = 5 * time.Second
	// warmTime is how long a workload runs before that, to warm up.
	warmTime = 500 * time.Millisecond
	// warmLargeTime is the same if the data does not fit into the cache, which has to fill first.
	warmLargeTime = 2 * time.Second

	// requests is how many requests are prepared for a round, and warmRequests for the warm-up.
	// They are enough for the time, within reason: each takes 80 bytes.
	requests     = 1 << 22
	warmRequests = 1 << 20

	// largeFactor is the size of the large store, as a multiple of the data. largeCache is its
	// cache.
	largeFactor = 4
	largeCache  = "128Mi"

	// rangePairs is how many pairs a RANGE asks for. rangeConns is how many connections share them.
	// Each must have few enough requests for a socket to hold: a server stops reading while many
	// long answers wait for the client, and the client writes before it reads.
	rangePairs = 100
	rangeConns = 16

	// loneTime is how long lone GETs, SETs and appends are measured in each round.
	loneTime = time.Second
	// pacedTime is how long a load of a fixed rate runs in each round: long enough for a few
	// flushes.
	pacedTime = 8 * time.Second

	// idleTime is how long a server must write nothing to count as idle. It is longer than an idle
	// server waits before it begins a flush. idleTries is how many such periods it may take.
	idleTime  = 1500 * time.Millisecond
	idleTries = 20

	// collectedCacheBytes is the size of the cache that is filled to measure the garbage collector.
	collectedCacheBytes = 1 << 30

	// insightTimeout and insightBytes bound a request to a --debug-addr.
	insightTimeout = 30 * time.Second
	insightBytes   = 4 << 20

	// microsPerSecond converts the kernel's seconds to microseconds.
	microsPerSecond = 1e6
)
