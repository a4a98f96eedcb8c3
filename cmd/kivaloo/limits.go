package main

import "time"

const (
	// connectTimeout bounds connecting and the first answer. A local server answers in
	// microseconds; one that takes this long is busy with somebody else.
	connectTimeout = 10 * time.Second

	// maxStdinValueBytes bounds what is read from standard input for one value: the
	// longest value in hex, with generous white space.
	maxStdinValueBytes = 4096

	// outputBufferBytes is how much of a listing is written at a time.
	outputBufferBytes = 64 << 10

	// progressPairs is how many pairs pass between two updates of the progress bar,
	// each of which costs as much as several pairs do.
	progressPairs = 1024
)
