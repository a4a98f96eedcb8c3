package lbs

import (
	"math"
	"time"

	"kivaloo/wire"
)

const (
	// MaxRecord is the longest record that is accepted, in bytes. An APPEND can be as long as a
	// packet allows; it takes memory as it arrives.
	MaxRecord = math.MaxUint32

	// longAppendBytes is the length from which an APPEND counts as memory of its connection. So the
	// loop reads nothing more until it is done. There are at most two shorter ones, one in the
	// store and one arriving.
	longAppendBytes = 16 << 20

	// quietTime is how long after its last append a client counts as writing. The key-value daemon
	// begins its last flush within a second of the last change, even while its own clients take
	// their answers. The appends of a flush follow each other closely.
	quietTime = 2 * time.Second

	// hangUpTime is how long a stop waits for a client that does not write. A client that stops at
	// the same moment hangs up meanwhile, and so does not take the end of the connection for a
	// failure.
	hangUpTime = 500 * time.Millisecond

	// stopTime is how long a stop waits for a client that goes on writing. The flush of a large
	// memtable to a slow disk takes less. Service managers kill after 90 seconds.
	stopTime = 30 * time.Second

	// stopGrace is how long a stop then waits for clients to read their answers.
	stopGrace = 5 * time.Second

	// blockAnswerBytes is the size of the answer to a GET without the block.
	blockAnswerBytes = wire.Overhead + 4
)
