package kivaloo

import (
	"math"
	"time"

	"kivaloo/wire"
)

const (
	// MaxOutstanding is the most requests of one Client that can be outstanding. The server stops
	// reading when it owes this many answers, so more would only wait in buffers.
	MaxOutstanding = 4096

	// MaxLen is the longest key or value in bytes, because the protocol has one length byte for
	// each. A server may accept less, see Params.
	MaxLen = 255

	// rangeMaxBytes is how much one RANGE or SCAN asks for: enough that the round trips do not
	// matter, and what every server of this protocol is known to handle.
	rangeMaxBytes = 1 << 20

	// maxScanLimit is the greatest limit on the pairs of one request.
	maxScanLimit = math.MaxUint32

	// maxApplyBytes bounds the conditions and changes of a Batch that a Client sends. The record
	// also has a type and two counts.
	maxApplyBytes = wire.MaxKVRequestLen - 12

	// deleteTogether is how many keys one request of a DeleteRange deletes, in one commit: enough
	// that the round trips do not matter, and a small part of a commit.
	deleteTogether = 4096

	// maxAnswerBytes bounds the record of an answer. The longest is that of a SCAN: the requested
	// bytes, or one longer pair, after a status, a count and the next key. The round number is
	// above any legal answer.
	maxAnswerBytes = rangeMaxBytes + 1024

	// maxHelloBytes bounds the record of the first answer, to PARAMS: three numbers.
	maxHelloBytes = 64

	// maxBackupChunkBytes bounds the pairs in a chunk of a backup, which may be a whole answer. An
	// interruption loses at most one chunk.
	maxBackupChunkBytes = maxAnswerBytes

	// maxCommitDelay bounds how long a change waits on purpose.
	maxCommitDelay = time.Second

	// keepSnapshotEvery is how often a server is told that a snapshot is still in use. The server
	// drops it a minute after its last use.
	keepSnapshotEvery = 20 * time.Second

	// releaseTime is how long closing a snapshot waits for the server's answer.
	releaseTime = time.Second

	// readBufferBytes is the most that one read takes: hundreds of short answers. The buffer grows,
	// together with the input, to hold a longer packet.
	readBufferBytes = 64 << 10

	// drainTime is how long to wait for answers when nothing can be sent any more. They are usually
	// there already, before the end of the stream.
	drainTime = time.Second

	// redialMin and redialMax bound the pause before another attempt to connect. The shortest is
	// about the time that a server takes to restart. The longest is long enough that a thousand
	// clients do not burden a network that has other problems.
	redialMin = 50 * time.Millisecond
	redialMax = 5 * time.Second

	// redialTimeout bounds one such attempt, including the answer to its first request. A live
	// server answers at once. For one that has vanished, the kernel gives up only after minutes.
	redialTimeout = 10 * time.Second
)
