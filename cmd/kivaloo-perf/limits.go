package main

import (
	"math"
	"time"
)

const (
	// defaultWindowSeconds and maxWindowSeconds are the default and the maximum of -w, as in the
	// original.
	defaultWindowSeconds = 60
	maxWindowSeconds     = 24 * 60 * 60

	// checkEvery is the interval of checks whether a window has ended, in case no answers come.
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

	// maxRecordBytes limits a record in either direction. The block store's protocol has records as
	// long as a packet can be. Memory is taken only for bytes that have arrived.
	maxRecordBytes = math.MaxUint32

	// longRecordBytes is the length from which a record is not copied but sent from the buffer that
	// it came in. That costs a further system call.
	longRecordBytes = 32 << 10

	// firstAnswerBytes is the predicted length of the first answer to a type of request: about the
	// largest block.
	firstAnswerBytes = 128 << 10

	// maxRangeBytes is the most that servers return for a RANGE, however much is requested.
	maxRangeBytes = 1 << 20

	// stopGrace is how long a stop waits for the client to read its answers.
	stopGrace = 5 * time.Second
)
