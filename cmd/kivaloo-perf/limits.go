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

	// maxWaitingWindows is the number of windows that may wait to be logged while the disk is slow.
	// More are dropped, so that a slow log does not slow down what it measures.
	maxWaitingWindows = 4

	// maxUnknownTypes is the number of request types unknown to all protocols that a window counts
	// separately. Further types are counted together, so that a client cannot make a window grow by
	// inventing types. A window takes 100 bytes for a type and 32 KiB for some thousands of
	// requests. Beyond that it takes 32 bytes for each different time in microseconds, and package
	// quantile bounds the number of these.
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
