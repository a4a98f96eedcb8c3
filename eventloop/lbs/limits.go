package lbs

import (
	"math"

	"kivaloo/wire"
)

const (
	// MaxRecord is the longest record that is taken, in bytes. An APPEND can be as
	// long as a packet can say; it takes memory as it arrives.
	MaxRecord = math.MaxUint32

	// blockAnswerBytes is what the answer to a GET takes besides the block.
	blockAnswerBytes = wire.Overhead + 4
)
