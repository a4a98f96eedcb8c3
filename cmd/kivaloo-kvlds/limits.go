package main

import "time"

const (
	// maxConnections is the most that -n takes. Descriptors are the limit that is met
	// first; clients beyond it wait.
	maxConnections = 1 << 16

	// maxBatch is the most that -g takes, from the original.
	maxBatch = 1024

	// maxCommitDelaySeconds is the most that -w takes, from the original.
	maxCommitDelaySeconds = 1

	// stopGrace is how long a stop waits for clients to take the answers that they
	// are owed.
	stopGrace = 5 * time.Second
)
