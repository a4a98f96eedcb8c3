package disk

import "time"

// RequestCount is what requests of one kind to a service that keeps a store have cost since the
// store was opened.
type RequestCount struct {
	Requests uint64 // sent, repetitions included
	Retries  uint64 // repetitions among them
	Failures uint64 // answered with an error, or not answered
	Bytes    uint64 // of content, sent or received
	Time     time.Duration
}

// RequestCounts are the costs by kind of request.
type RequestCounts map[string]RequestCount
