package main

import "time"

const (
	// maxStdinValueBytes bounds what is read from standard input for one value: the
	// longest value in hex, with generous white space.
	maxStdinValueBytes = 4096

	// dumpHeadBytes is the number of bytes that show whether an input is a dump: several of the
	// longest pairs.
	dumpHeadBytes = 4096

	// outputBufferBytes is the number of bytes of a listing that are written at once.
	outputBufferBytes = 64 << 10

	// progressPairs is the number of pairs between two updates of the progress bar. One update
	// costs as much as several pairs.
	progressPairs = 1024

	// progressBlocks is how many blocks are read between two updates of the progress bar.
	progressBlocks = 64

	// maxStorageCost is the most that --storage-cost takes: at a tenth of it all garbage is gone in
	// a second.
	maxStorageCost = 1e12

	// maxMinCommit is the most that --min-commit takes, far above what waits for a commit.
	maxMinCommit = 1 << 20

	// maxConnections is the most that --max-connections takes. Descriptors are the limit that is
	// met.
	maxConnections = 1 << 20

	// maxTopEvery and maxTopCount are the most that the flags of top take.
	maxTopEvery = 24 * time.Hour
	maxTopCount = 1 << 30

	// maxSumFaults is how many faults check --sums prints of blocks, so that a disk that has lost
	// everything does not fill another.
	maxSumFaults = 1000

	// maxSize is the most that a number of bytes in a flag can be. Sums of a few do not overflow.
	maxSize = 1 << 50
)
