package eventloop

import "time"

// Every limit of the package. Sizes are in bytes where the name says so.
const (
	// maxOwed is how many answers a connection can be owed. At this number the loop stops reading
	// from it. The benchmarks keep as many requests in flight.
	maxOwed = 4096

	// maxUnsentBytes is how much memory the answers of one connection can take, queued and promised
	// ones. At this size the loop stops reading from it. A single answer may exceed it.
	maxUnsentBytes = 1 << 20

	// maxOwedTogether is how many answers all connections together can be owed. So a new request
	// has at most this many in front of it. One connection alone reaches maxOwed; the eighth above
	// it is left for the others.
	maxOwedTogether = maxOwed + maxOwed/owedShare

	// owedShare bounds what one connection may be owed: this many times the rest of
	// maxOwedTogether. With n greedy connections, one part in 8n+1 is left for the next.
	owedShare = 8

	// leastOwed is how many answers a connection may be owed in any case, unless memory is short:
	// as many as the smallest batch of the key-value glue holds.
	leastOwed = 4

	// defaultMemory is how many bytes all connections together can take for answers, requests and
	// input, unless LimitMemory sets another number. Above it memory is short: then each connection
	// has one request, leastBytes, and one read of shortReadBytes.
	defaultMemory = 64 << 20

	// leastBytes is how much memory the answers of one connection may take in any case: enough for
	// a client to make progress with RANGEs. With ten thousand connections this is 40 MiB.
	leastBytes = 4 << 10

	// leastReadBytes is the size of one read when there is little room: some dozens of requests.
	leastReadBytes = 4 << 10

	// shortReadBytes is the size of one read when memory is short: one key-value request of any
	// length.
	shortReadBytes = 1 << 10

	// usualRequestBytes is about the length of the shortest common request.
	usualRequestBytes = 64

	// readBufferBytes is the size of a loop's one read buffer. So a shut window leaves at most this
	// much input uncut. A buffer of 256 KiB measured hardly faster.
	readBufferBytes = 64 << 10

	// readsPerTurn is how many reads a connection gets before the others have their turn: at most 1
	// MiB, less than a millisecond of work.
	readsPerTurn = 16

	// acceptsPerTurn is how many connections a listener accepts before existing connections have
	// their turn.
	acceptsPerTurn = 64

	// smallestBufferBytes and largestSpareBytes bound the sizes of buffers for leftover input. A
	// key-value request fits into the smallest, the rest of any read into the largest. A larger
	// buffer belongs to one long record.
	smallestBufferBytes = 1 << 10
	largestSpareBytes   = readBufferBytes

	// longSpareBytes is the longest buffer that a loop keeps for the next long record. A flush step
	// of the key-value daemon with the commit behind it fits.
	longSpareBytes = 4 << 20

	// hugeBytes is the size from which a buffer grows to its final size in one step, and goes back
	// to the system at once after use.
	hugeBytes = 16 << 20

	// sparesPerSize is how many unused buffers a loop keeps of each size.
	sparesPerSize = 16

	// maxPooledBytes is the largest Output.Buf that is kept for another use: the
	// answers to maxOwed GETs of a usual size. Larger ones are rare.
	maxPooledBytes = 512 << 10

	// maxPooledPages is the longest Output.Pages that is kept for another use.
	maxPooledPages = 1024

	// maxPooledTimings is the longest list of timings that an Output keeps for another use.
	maxPooledTimings = 1024

	// timingsTried is how many timings Output.Time looks at for one to count the answer with: more
	// than there are operations in what a read usually brings.
	timingsTried = 8

	// timingBytes is what a timing takes.
	timingBytes = 16

	// joinBytes is the longest answer that is copied into the buffer of the answer before it, if
	// that one waits and has room. So a peer that never reads cannot make us keep many large
	// buffers with little in each.
	joinBytes = 4 << 10

	// wasteBytes is how much unused room the buffer of a waiting answer may have.
	wasteBytes = 8 << 10

	// outputBytes is what a queued Output takes besides its buffers, rounded up.
	outputBytes = 256

	// iovMax is how many buffers Linux takes in one writev (IOV_MAX).
	iovMax = 1024

	// discardBytes is how much unread input is discarded before a socket is closed. Closing a TCP
	// socket with unread input resets the connection, and the reset would overtake the last
	// answers.
	discardBytes = 1 << 20

	// fdReserve is how many file descriptors of the process are not for connections: block files,
	// logs, listeners and pollers need them.
	fdReserve = 64

	// maxFDs is assumed to be the limit on file descriptors where there is none.
	maxFDs = 1 << 20

	// tick is how often the loop retries paused listeners and checks lingering connections, while
	// there are any.
	tick = time.Second

	// longTimeout is how long a connection may stall within a long record while others wait for
	// memory.
	longTimeout = 10 * time.Second

	// lingerTimeout is how long a closing connection is kept while its peer takes nothing. Without
	// it, the connection would hold its descriptor for ever.
	lingerTimeout = 60 * time.Second

	// acceptWarnings is the shortest time between two warnings of a listener.
	acceptWarnings = 10 * time.Second
)

// Lengths of the queue of connections that the kernel keeps for a listener.
const (
	// DropInBacklog is what the original's daemons use.
	DropInBacklog = 10
	// ServeBacklog lets many clients start at once; the kernel clips it.
	ServeBacklog = 1024
)
