package mux

import "time"

const (
	// maxOutstanding is how many requests the target is sent before it has answered any: as
	// many as a server of ours takes from one connection. More would only lie in its socket.
	maxOutstanding = 4096

	// maxOutstandingBytes is how long the requests that have not been answered may be, all
	// together; one alone may be longer. It is above what maxOutstanding requests of the
	// key-value protocol can take, so it matters to other protocols only.
	maxOutstandingBytes = 4 << 20

	// turnRequests is how many requests of one client are forwarded before the next client
	// has its turn: few, for the others wait, but each change of client costs something.
	turnRequests = 16

	// sendBytes is the size at which what is being gathered for a peer is handed to the
	// loop. It keeps buffers small enough to be used again.
	sendBytes = 64 << 10

	// longBytes is the length from which a record is passed on in the buffer that it was
	// read into, where that is possible, instead of being copied.
	longBytes = 32 << 10

	// rangeAnswerBytes is what the answer to a RANGE or BACKUP takes besides the pairs that were
	// asked for: packet, status, snapshot, count and next key, and one pair that may exceed it.
	rangeAnswerBytes = 20 + 16 + 256 + 512

	// watchAnswerBytes is the most that a WATCH that waits may ask for. All that wait can have to
	// be answered at the same moment, so each has that much memory set aside. It is as much as a
	// server of ours gives.
	watchAnswerBytes = 16 << 10

	// maxWatches is how many WATCHes that wait there are, of all clients together, and
	// maxClientWatches of one client. They take a quarter of the slots and 16 MiB.
	maxWatches       = maxOutstanding / 4
	maxClientWatches = 64

	// spareQueues is how many unused queue buffers are kept, each of at most spareBytes.
	spareQueues = 64
	spareBytes  = 256 << 10

	// lostGrace is how long, when the target is gone, clients may take for the answers that it
	// has given before: with tlsGrace it is within the second in which the original is gone.
	lostGrace = 300 * time.Millisecond

	// complaintsPerPeriod is how often something is logged about clients in a complaintPeriod; of
	// what is beyond only the number is. Clients must not be able to fill a disk.
	complaintsPerPeriod = 20
	complaintPeriod     = 10 * time.Second
)

// Limits of connections with TLS.
const (
	// handshakeTimeout is how long a client may take to say who it is.
	handshakeTimeout = 10 * time.Second

	// stallTimeout is how long a client may take nothing of what is there for it. Without TLS
	// the loop waits for ever, for it knows when the connection is over; here it cannot be
	// seen through a client that does not read.
	stallTimeout = 60 * time.Second

	// drainTimeout is how long, at the end, input is awaited and thrown away. Closing a
	// socket that has some resets the connection, and the reset overtakes the last answers.
	drainTimeout = 200 * time.Millisecond

	// tlsGrace is how long Close lets connections pass on what the loop has left in them.
	tlsGrace = 300 * time.Millisecond

	// recordBytes is the most that a TLS record holds, so that each read makes one.
	recordBytes = 16 << 10

	// TLSDescriptors is how many file descriptors a connection with TLS takes: the client's
	// socket and a pair.
	TLSDescriptors = 3
)
