package eventloop

import "time"

// Limits that tests check from outside.
const (
	MaxOwed        = maxOwed
	MaxUnsentBytes = maxUnsentBytes

	MaxOwedTogether  = maxOwedTogether
	MaxBytesTogether = defaultMemory
	LeastOwed        = leastOwed
	LeastBytes       = leastBytes
)

// SetClocks shortens waiting times in tests. It must be called before Run.
func (l *Loop) SetClocks(tick, linger time.Duration) {
	l.tickEvery, l.lingerFor, l.longFor = tick, linger, linger
}
