package kvlds

const (
	// sendBytes is the size of the answers at which a buffer goes to the loop even
	// though the tree has not ended its step: the one writes while the other goes on.
	sendBytes = 64 << 10

	// maxGetsHere is how many answers may be owed, to all connections together, for the loop to
	// answer GETs itself. docs/performance.md has the measurement.
	maxGetsHere = 8

	// memoryShare is the part of the cache's size that all connections together may take for
	// requests and answers, in addition to it. With as much again that waits for the collector,
	// the process stays within 1.2 times the cache.
	memoryShare = 16

	// leastMemory is what they may take beside a small cache: enough for the requests that all may
	// be owed answers to, the longest ones, and the answers of a few.
	leastMemory = 8 << 20

	// watchShare is the part of that memory that may be set aside for WATCHes that wait. Each has
	// at most watchAnswerBytes, and as little as leastWatchBytes when watchPart of them would take
	// the rest: some hundred changes, and some. Beside the smallest cache hundreds of WATCHes can
	// wait.
	watchShare       = 2
	watchAnswerBytes = 16 << 10
	leastWatchBytes  = 1 << 10
	watchPart        = 64

	// maxConnWatches is how many WATCHes of one connection wait. It may be that of a kivaloo-mux,
	// which has no more at a time.
	maxConnWatches = 1024

	// rangeAnswerBytes is what the answer to a RANGE, SCAN, WATCH or BACKUP takes besides the pairs
	// that it was asked for: packet, status, snapshot, count and next key, and one
	// pair that may exceed what was asked for.
	rangeAnswerBytes = 20 + 16 + 256 + 512
)

// batchSizes are the sizes of batches, each for what did not fit into the one before it in one
// read. The first takes little memory, for a client that sends one request at a time can have
// thousands of them waiting. The last takes a fair part of what one read can bring.
var batchSizes = [...]struct{ requests, dataBytes int }{{4, 1 << 10}, {16, 4 << 10}, {128, 16 << 10}}

// Memory returns how many bytes the connections to a tree with a cache of so many bytes may take.
// It is for eventloop.Loop.LimitMemory.
func Memory(cacheBytes int64) int { return int(max(leastMemory, cacheBytes/memoryShare)) }
