package mux

import "time"

// Limits that tests check from outside.
const (
	MaxOutstanding = maxOutstanding
	TurnRequests   = turnRequests
	LongBytes      = longBytes
	Complaints     = complaintsPerPeriod

	WatchAnswerBytes = watchAnswerBytes
	MaxWatches       = maxWatches
	MaxClientWatches = maxClientWatches
)

// SetClocks shortens what would keep tests waiting. It must be called before Serve.
func (m *Mux) SetClocks(handshake, stall time.Duration) {
	m.tunnels.handshakeFor, m.tunnels.stallFor = handshake, stall
}
