package lbs

import (
	"math"

	"kivaloo/wire"
)

const (
	// MaxRecord is the longest record that is taken, in bytes. An APPEND can be as
	// long as a packet can say; it takes memory as it arrives.
	MaxRecord = math.MaxUint32

	// longAppendBytes is the length from which an APPEND counts as memory that the connection has, so that
	// nothing more is read until it has been carried out. Of shorter ones there are
	// two at most, one in the store and one that is coming in.
	longAppendBytes = 16 << 20

	// blockAnswerBytes is what the answer to a GET takes besides the block.
	blockAnswerBytes = wire.Overhead + 4
)
