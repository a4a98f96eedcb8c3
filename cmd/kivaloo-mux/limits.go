package main

import "time"

const (
	// maxConnections is the maximum of -n, as in the original.
	maxConnections = 65535

	// stopGrace is how long a stop waits for the target to answer pending requests, and for clients
	// to read the answers.
	stopGrace = 5 * time.Second
)
