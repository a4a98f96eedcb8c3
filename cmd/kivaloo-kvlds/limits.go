package main

import "time"

const (
	// maxConnections is the maximum of -n. File descriptors are the real limit: clients beyond it
	// wait.
	maxConnections = 1 << 16

	// maxBatch is the maximum of -g, as in the original.
	maxBatch = 1024

	// maxCommitDelaySeconds is the maximum of -w, as in the original.
	maxCommitDelaySeconds = 1

	// stopGrace is how long a stop waits for clients to read their answers.
	stopGrace = 5 * time.Second
)
