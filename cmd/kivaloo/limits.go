package main

import "time"

const (
	// maxStdinValueBytes is the most to read from standard input for one value: the longest value
	// in hex, with generous white space.
	maxStdinValueBytes = 4096

	// dumpHeadBytes is the number of bytes that show whether an input is a dump: several of the
	// longest pairs.
	dumpHeadBytes = 4096

	// outputBufferBytes is the number of bytes of a listing that are written at once.
	outputBufferBytes = 64 << 10

	// progressPairs is the number of pairs between two updates of the progress bar. One update
	// costs as much as several pairs.
	progressPairs = 1024

	// progressBlocks is the number of blocks read between two updates of the progress bar.
	progressBlocks = 64

	// maxStorageCost is the maximum of --storage-cost. A tenth of it already removes all garbage
	// within a second.
	maxStorageCost = 1e12

	// maxMinCommit is the maximum of --min-commit, far above what waits for a commit.
	maxMinCommit = 1 << 20

	// maxConnections is the maximum of --max-connections. File descriptors are the real limit.
	maxConnections = 1 << 20

	// maxTopEvery and maxTopCount are the maxima of the flags of top.
	maxTopEvery = 24 * time.Hour
	maxTopCount = 1 << 30

	// maxSumFaults is the most faults of blocks that check --sums prints, so that a disk that has
	// lost everything does not fill another one.
	maxSumFaults = 1000

	// maxSize is the maximum of a number of bytes in a flag. Adding a few of them does not
	// overflow.
	maxSize = 1 << 50
)
