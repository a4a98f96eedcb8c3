package wire

import "time"

// Every limit of the protocol, in bytes unless the name says otherwise. The
// lengths are part of the protocol: a peer may rely on them.
const (
	// MaxKeyLen is what the one length byte in front of a key, a value or a name
	// can say.
	MaxKeyLen = 255

	// MaxKVRequestLen is the longest record of a key-value request, which is an APPLY. Six thousand
	// changes of a usual size fit. The longest request of the original, a CAS, has 772 bytes.
	MaxKVRequestLen = 1 << 20

	// MaxApplyItems is how many conditions and changes one APPLY may have together. Servers keep
	// each as a structure that is many times longer than the shortest change.
	MaxApplyItems = 8192

	// maxReasonLen is the longest reason that comes with StatusFailed.
	maxReasonLen = MaxKeyLen

	// AnyLen is how long a request's record may be whatever its type, where records are only passed
	// on: enough for whatever is asked, and little to keep.
	AnyLen = 64 << 10

	// LBSAppendHeadLen is how much of an APPEND request's record comes before the blocks.
	LBSAppendHeadLen = 4 + 4 + 8

	// MaxS3PutLen bounds the object in an S3 PUT: lengths are signed in clients.
	MaxS3PutLen = 1<<31 - 1
	// MaxS3GetLen bounds what an S3 GET or RANGE may ask for.
	MaxS3GetLen = 1 << 31

	// MaxDDBValueLen bounds a value of the DynamoDB service, so that the item
	// stays below DynamoDB's own limit of 400 KB once encoded.
	MaxDDBValueLen = 256 << 10

	// MaxUnixPathLen is what struct sockaddr_un holds on Linux with its final NUL.
	MaxUnixPathLen = 107

	// askPatience is how long the answer to a first request takes at least before it is looked
	// whether the server's process is stopped. One that is not busy answers in far less.
	askPatience = time.Second

	// queueRetry is how long after finding the queue of a unix socket full another attempt
	// to connect is made: short beside the time that a client which is served takes.
	queueRetry = 5 * time.Millisecond

	// maxPort is the last TCP port.
	maxPort = 65535
)
