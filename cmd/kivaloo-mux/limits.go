package main

import "time"

const (
	// maxConnections is the most that -n takes, from the original.
	maxConnections = 65535

	// stopGrace is how long a stop waits for the target to answer what it has been asked,
	// and for clients to take the answers.
	stopGrace = 5 * time.Second
)
