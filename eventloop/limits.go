package eventloop

import "time"

// Every limit of the package. Sizes are in bytes where the name says so.
const (
	// maxOwed is how many answers a connection can be owed before it is no longer
	// read from. It is as many requests as the benchmarks keep in flight, and two
	// of the batches that a store makes durable at once.
	maxOwed = 4096

	// maxUnsentBytes is how much memory a connection's answers, sent and promised,
	// can take before it is no longer read from. One answer may pass it alone.
	maxUnsentBytes = 1 << 20

	// maxOwedTogether is the same for all connections together: it is how many requests one that
	// comes now finds in front of it. The eighth above maxOwed is what one connection leaves to the others.
	maxOwedTogether = maxOwed + maxOwed/owedShare

	// owedShare is how many times what is left of maxOwedTogether one connection may be owed. With n that
	// ask for all they can get, one part in 8n+1 is left for the next.
	owedShare = 8

	// leastOwed is how many answers a connection may be owed whatever the others are: as many as the
	// smallest batch of the key-value glue has room for.
	leastOwed = 4

	// maxBytesTogether is how much memory all connections together can take for answers, sent and promised,
	// and for input. Beyond it each has leastBytes and one read.
	maxBytesTogether = 64 << 20

	// leastBytes is how much memory a connection's answers may take whatever those of the others take: enough
	// that a RANGE, asked again and again, gets on. Ten thousand connections take 160 MiB then.
	leastBytes = 16 << 10

	// leastReadBytes is what one read takes when there is little room: some dozens of requests.
	leastReadBytes = 4 << 10

	// usualRequestBytes is about as long as the shortest usual request.
	usualRequestBytes = 64

	// readBufferBytes is the size of a loop's one read buffer, and so the most
	// that a closed window can leave lying uncut. One of 256 KiB measured hardly faster.
	readBufferBytes = 64 << 10

	// readsPerTurn is how often one connection is read before the others have
	// their turn: at most 1 MiB, less than a millisecond of work.
	readsPerTurn = 16

	// acceptsPerTurn is how many connections one listener accepts before
	// those that exist have their turn.
	acceptsPerTurn = 64

	// smallestBufferBytes and largestSpareBytes bound the sizes of the buffers for
	// input left over: a key-value request fits in the smallest, all that one read
	// can leave fits in the largest. Larger ones belong to one long record.
	smallestBufferBytes = 1 << 10
	largestSpareBytes   = readBufferBytes

	// hugeBytes is the size from which a buffer for input left over grows to what it needs at once, and
	// is given back to the system at once.
	hugeBytes = 16 << 20

	// sparesPerSize is how many unused buffers a loop keeps of each size.
	sparesPerSize = 16

	// maxPooledBytes is the largest Output.Buf that is kept for another use: the
	// answers to maxOwed GETs of a usual size. Larger ones are rare.
	maxPooledBytes = 512 << 10

	// maxPooledPages is the longest Output.Pages that is kept for another use.
	maxPooledPages = 1024

	// joinBytes is the longest answer that is copied behind the one before it, when
	// that has to wait anyway and has room. So a peer that never reads cannot
	// make us keep many large buffers with little in each.
	joinBytes = 4 << 10

	// wasteBytes is how much more room than it needs the buffer of an answer may have when it has to wait.
	wasteBytes = 8 << 10

	// outputBytes is what a queued Output takes besides its buffers, rounded up.
	outputBytes = 256

	// iovMax is how many buffers Linux takes in one writev (IOV_MAX).
	iovMax = 1024

	// discardBytes is how much unread input is thrown away before a socket is
	// closed. Closing a TCP socket that has some resets the connection, and the
	// reset would overtake the last answers.
	discardBytes = 1 << 20

	// fdReserve is how many of the process's file descriptors connections leave
	// for everything else: block files, logs, listeners, pollers.
	fdReserve = 64

	// maxFDs is assumed to be the limit on file descriptors where there is none.
	maxFDs = 1 << 20

	// tick is how often paused listeners are tried again and
	// lingering connections looked at, while there are any.
	tick = time.Second

	// longTimeout is how long the one connection that may receive a record beyond all limits may send
	// nothing of it while others wait.
	longTimeout = 10 * time.Second

	// lingerTimeout is how long a connection that only has to be flushed is kept
	// although its peer takes nothing. It would hold a descriptor for ever.
	lingerTimeout = 60 * time.Second

	// acceptWarnings is how long a listener's warning is not repeated.
	acceptWarnings = 10 * time.Second
)

// Lengths of the queue of connections that the kernel keeps for a listener.
const (
	// DropInBacklog is what the original's daemons use.
	DropInBacklog = 10
	// ServeBacklog lets many clients start at once; the kernel clips it.
	ServeBacklog = 1024
)
