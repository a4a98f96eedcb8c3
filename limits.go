package kivaloo

import (
	"math"
	"time"

	"kivaloo/wire"
)

const (
	// MaxOutstanding is how many requests of one Client can be under way. The
	// server reads no further once it owes this many answers, so that more would
	// wait in buffers and gain nothing.
	MaxOutstanding = 4096

	// MaxLen is the longest key or value in bytes: the protocol has one length byte
	// for each. A server may take less, see Params.
	MaxLen = 255

	// rangeMaxBytes is how much one RANGE asks for: enough that the round trips do
	// not matter, and what every server of this protocol is known to handle.
	rangeMaxBytes = 1 << 20

	// maxScanLimit is the most pairs that one request can be limited to.
	maxScanLimit = math.MaxUint32

	// maxApplyBytes bounds the conditions and changes of a Batch that a Client sends: the record
	// has a type and two counts besides.
	maxApplyBytes = wire.MaxKVRequestLen - 12

	// deleteTogether is how many keys one request of a DeleteRange deletes at most, in one commit:
	// enough that the round trips do not matter, and a small part of a commit.
	deleteTogether = 4096

	// maxAnswerBytes bounds the record of an answer. The longest is that to a RANGE:
	// what was asked for, or one pair if that is longer, behind a status, a count
	// and the next key. Nothing legal reaches the round number.
	maxAnswerBytes = rangeMaxBytes + 1024

	// maxHelloBytes bounds the record of the first answer, that to PARAMS: three numbers.
	maxHelloBytes = 64

	// backupChunkBytes is how much one BACKUP asks for. It becomes a chunk of the backup, which is
	// what is lost, or read again, when that is interrupted.
	backupChunkBytes = rangeMaxBytes

	// maxBackupChunkBytes bounds the pairs in a chunk: it may be all of an answer.
	maxBackupChunkBytes = maxAnswerBytes

	// maxCommitDelay bounds how long a change waits on purpose.
	maxCommitDelay = time.Second

	// stillThereTime is how long a server may take to answer another connection after it has hung
	// up on a BACKUP.
	stillThereTime = 5 * time.Second

	// keepSnapshotEvery is how often a server is told that a snapshot is still in use. It gives one
	// up a minute after its last use.
	keepSnapshotEvery = 20 * time.Second

	// readBufferBytes is what one read can take in: hundreds of short answers. The
	// buffer grows, with what has arrived, to hold a longer packet.
	readBufferBytes = 64 << 10

	// drainTime is how long answers are still waited for once nothing can be sent
	// any more. They are normally there already, in front of the end of the stream.
	drainTime = time.Second

	// redialMin and redialMax bound the pause before an attempt to connect again. At
	// first it is what a server takes to restart, in the end so long that a thousand
	// clients do not burden a network that has other troubles.
	redialMin = 50 * time.Millisecond
	redialMax = 5 * time.Second

	// redialTimeout bounds one such attempt, the answer to its first request
	// included. A server that is alive answers at once; one that has vanished would
	// otherwise be waited for until the kernel gives up, which takes minutes.
	redialTimeout = 10 * time.Second
)
