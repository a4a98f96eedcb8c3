package eventloop

import "time"

// Limits that tests check from outside.
const (
	MaxOwed        = maxOwed
	MaxUnsentBytes = maxUnsentBytes
)

// SetClocks shortens what would keep tests waiting. It must be called before Run.
func (l *Loop) SetClocks(tick, linger time.Duration) { l.tickEvery, l.lingerFor = tick, linger }
