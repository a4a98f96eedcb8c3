package targets

import "time"

const (
	// generatorLimit is the part of one processor above which the generator is reported as what may limit a figure.
	generatorLimit = 0.9

	// DefaultTime is how long a workload is measured at most, in each round.
	DefaultTime = 5 * time.Second
	// warmTime is how long it runs before that.
	warmTime = 500 * time.Millisecond
	// warmLargeTime is the same where the data does not fit into the cache, which has to fill first.
	warmLargeTime = 2 * time.Second

	// requests is how many requests are prepared for a round, and warmRequests for the warm-up: enough for the time
	// that they have, within reason, as each takes 80 bytes.
	requests     = 1 << 22
	warmRequests = 1 << 20

	// largeFactor is how many times the data the large store has, and largeCache what it has for a cache.
	largeFactor = 4
	largeCache  = "128Mi"

	// loneTime is how long lone SETs, and lone appends, are measured in each round.
	loneTime = time.Second
	// pacedTime is how long a load of a fixed rate runs in each round: long enough for a few checkpoints.
	pacedTime = 8 * time.Second

	// idleTime is how long a server must not write to count as idle, and idleTries how often it is given as long.
	idleTime  = 500 * time.Millisecond
	idleTries = 20

	// collectedCacheBytes is the cache that is filled to see what the garbage collector makes of it.
	collectedCacheBytes = 1 << 30

	// insightTimeout and insightBytes bound what is asked of a --debug-addr.
	insightTimeout = 30 * time.Second
	insightBytes   = 4 << 20
)
