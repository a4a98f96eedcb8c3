package kvlds

const (
	// sendBytes is the size at which a buffer of answers goes to the loop although the tree has not
	// ended its step. So the loop writes while the tree continues.
	sendBytes = 64 << 10

	// maxGetsHere is the most answers owed to all connections together for which the loop answers
	// GETs itself. See docs/performance.md for the measurement.
	maxGetsHere = 8

	// memoryShare is the share of the cache's size that all connections together may use for
	// requests and answers, in addition to the cache. With as much again waiting for the garbage
	// collector, the process stays within 1.2 times the cache.
	memoryShare = 16

	// leastMemory is what they may use beside a small cache: enough for the longest requests that
	// all may be owed answers to, and the answers to a few.
	leastMemory = 8 << 20

	// watchShare is the share of that memory that may be reserved for waiting WATCHes. Each has at
	// most watchAnswerBytes, and at least leastWatchBytes. Beside the smallest cache, too,
	// maxConnWatches can wait. One gets a part of what is not needed for that.
	watchShare       = 2
	watchAnswerBytes = 16 << 10
	leastWatchBytes  = 1 << 10
	watchPart        = 64

	// maxConnWatches is the most waiting WATCHes of one connection. The connection may be that of a
	// kivaloo-mux, which never has more.
	maxConnWatches = 1024

	// rangeAnswerBytes is the length of an answer to RANGE, SCAN or WATCH without the requested
	// pairs: packet, status, position, count, next key, and one pair that may exceed the request.
	rangeAnswerBytes = 20 + 16 + 256 + 512
)

// batchSizes are the sizes of batches. Each holds what did not fit into the previous one in one
// read. The first uses little memory, because a client that sends one request at a time can have
// thousands of them waiting. The last has room for a fair part of a read.
var batchSizes = [...]struct{ requests, dataBytes int }{{4, 1 << 10}, {16, 4 << 10}, {128, 16 << 10}}

// Memory returns how many bytes the connections to a tree with a cache of this size may use. It is
// for eventloop.Loop.LimitMemory.
func Memory(cacheBytes int64) int { return int(max(leastMemory, cacheBytes/memoryShare)) }
