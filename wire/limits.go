package wire

import "time"

// Every limit of the protocol, in bytes unless the name says otherwise. The lengths are part of the
// protocol: a peer may rely on them.
const (
	// MaxKeyLen is the greatest length that one length byte can express, for keys, values and
	// names.
	MaxKeyLen = 255

	// MaxKVRequestLen is the longest record of a key-value request, an APPLY. It has room for about
	// six thousand changes of usual size. The longest request of the original, a CAS, has 772
	// bytes.
	MaxKVRequestLen = 1 << 20

	// MaxApplyItems is the most conditions and changes in one APPLY, together. Servers keep each as
	// a structure many times longer than the shortest change.
	MaxApplyItems = 8192

	// maxReasonLen is the longest reason that comes with StatusTooMany, StatusFailed or
	// StatusRefused.
	maxReasonLen = MaxKeyLen

	// AnyLen is the longest request record of any type for programs that only forward records. It
	// is enough for ordinary requests, and little to keep.
	AnyLen = 64 << 10

	// LBSAppendHeadLen is the length of an APPEND's record before its blocks.
	LBSAppendHeadLen = 4 + 4 + 8

	// MaxS3PutLen bounds the object in an S3 PUT, because clients use signed lengths.
	MaxS3PutLen = 1<<31 - 1
	// MaxS3GetLen bounds the length in an S3 GET or RANGE.
	MaxS3GetLen = 1 << 31

	// MaxDDBValueLen bounds a value of the DynamoDB service. The encoded item then stays below
	// DynamoDB's limit of 400 KB.
	MaxDDBValueLen = 256 << 10

	// MaxUnixPathLen is the capacity of struct sockaddr_un on Linux, without the final NUL.
	MaxUnixPathLen = 107

	// askPatience is how long Ask waits for the first answer before it checks whether the server's
	// process is stopped. An idle server answers much faster.
	askPatience = time.Second

	// queueRetry is the time between two attempts to connect to a unix socket whose backlog is
	// full. It is short beside the time that serving a client takes.
	queueRetry = 5 * time.Millisecond

	// maxPort is the last TCP port.
	maxPort = 65535
)
