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

	// settleInterval is how often Redis is asked whether it has finished rewriting its log.
	settleInterval = 100 * time.Millisecond
)

// What the store promises in comparison with Redis, as ratios of requests per second.
const (
	targetGet  = 1.0 // random GET / Redis GET
	targetLoad = 1.5 // ordered load / Redis SET
)
