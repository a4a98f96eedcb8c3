package main

import (
	"math"
	"time"
)

const (
	// defaultWindowSeconds and maxWindowSeconds are for -w, from the original.
	defaultWindowSeconds = 60
	maxWindowSeconds     = 24 * 60 * 60

	// checkEvery is how often it is looked whether a window has ended while nothing is
	// answered.
	checkEvery = 500 * time.Millisecond

	// maxWaitingWindows is how many windows may wait to be logged while the disk is
	// slow. More are dropped: the log is not worth holding up what it is about.
	maxWaitingWindows = 4

	// maxUnknownTypes is how many different types of request that no protocol has are
	// told apart in a window, so that a client cannot have it grow by making up types. Further
	// ones are counted together. A window takes 100 bytes for a type, 32 KiB for some
	// thousands of requests, and beyond that 32 bytes for each different time in microseconds
	// that one took, of which package quantile bounds the number.
	maxUnknownTypes = 16

	// maxRecordBytes bounds a record in either direction. The protocol of the block store
	// has some as long as a packet can be. Memory is taken only for what has arrived.
	maxRecordBytes = math.MaxUint32

	// longRecordBytes is from when on a record is sent from the buffer that it came in,
	// which costs a system call some more, instead of being copied.
	longRecordBytes = 32 << 10

	// firstAnswerBytes is how long the answer to a type of request is expected to be
	// before the first has been seen: the largest block or so.
	firstAnswerBytes = 128 << 10

	// maxRangeBytes is what servers cut the answer to a RANGE off at, whatever is asked for.
	maxRangeBytes = 1 << 20

	// stopGrace is how long a stop waits for the client to get the answers that it is owed.
	stopGrace = 5 * time.Second
)
