package mux

import "time"

const (
	// maxOutstanding is the most requests outstanding at the target: as many as one of our servers
	// accepts from one connection. More would only wait in its socket.
	maxOutstanding = 4096

	// maxOutstandingBytes bounds the total length of the outstanding requests; a single one may be
	// longer. It is more than maxOutstanding requests of the key-value protocol can take, so it
	// only matters to other protocols.
	maxOutstandingBytes = 4 << 20

	// turnRequests is how many requests of one client are forwarded before the next client has its
	// turn. It is small because the others wait, but changing clients costs something.
	turnRequests = 16

	// sendBytes is the size at which gathered packets for a peer go to the loop. It keeps buffers
	// small enough for reuse.
	sendBytes = 64 << 10

	// longBytes is the length from which a record is forwarded in the buffer into which it was
	// read, if possible, instead of being copied.
	longBytes = 32 << 10

	// rangeAnswerBytes is the length of an answer to RANGE or SCAN without the requested pairs:
	// packet, status, count and next key, and one pair that may exceed the request.
	rangeAnswerBytes = 20 + 16 + 256 + 512

	// watchAnswerBytes is the most that a waiting WATCH may ask for. All waiting WATCHes may have
	// to be answered at the same moment, so each has this much memory reserved. One of our servers
	// returns as much.
	watchAnswerBytes = 16 << 10

	// maxWatches is the most waiting WATCHes of all clients together. maxClientWatches is the most
	// of one client. They take a quarter of the slots and 16 MiB.
	maxWatches       = maxOutstanding / 4
	maxClientWatches = 64

	// spareQueues is how many unused queue buffers are kept. Each has at most spareBytes.
	spareQueues = 64
	spareBytes  = 256 << 10

	// lostGrace is how long clients may take to read the remaining answers after the target is
	// lost. Together with tlsGrace it is within the second in which the original exits.
	lostGrace = 300 * time.Millisecond

	// complaintsPerPeriod is the most log lines about clients in a complaintPeriod. Further ones
	// are only counted, so that clients cannot fill a disk.
	complaintsPerPeriod = 20
	complaintPeriod     = 10 * time.Second
)

// Limits of connections with TLS.
const (
	// handshakeTimeout is how long a client may take to identify itself.
	handshakeTimeout = 10 * time.Second

	// stallTimeout is how long a client may read nothing although there is output for it. Without
	// TLS the loop waits for ever, because it notices the end of the connection. Here the end of a
	// client that does not read cannot be seen.
	stallTimeout = 60 * time.Second

	// drainTimeout is how long, at the end, input is awaited and discarded. Closing a socket with
	// unread input resets the connection, and the reset overtakes the last answers.
	drainTimeout = 200 * time.Millisecond

	// tlsGrace is how long Close lets connections forward what the loop has left in them.
	tlsGrace = 300 * time.Millisecond

	// recordBytes is the capacity of a TLS record, so that each read makes one record.
	recordBytes = 16 << 10

	// TLSDescriptors is how many file descriptors a connection with TLS uses: the client's socket
	// and a socket pair.
	TLSDescriptors = 3
)
