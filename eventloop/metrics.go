package eventloop

import (
	"sync/atomic"
	"time"

	"kivaloo/actors"
)

// Metrics is what a loop measures of its work, for those who watch it. Anybody may read it.
type Metrics struct {
	Read  actors.Durations // one read from a socket, with taking apart and handing on what came
	Write actors.Durations // from when an Output was sent until the socket had taken it

	start time.Time
}

// Measure has the loop fill m, or, if that is nil, nothing. It is called while the loop does not run, or by a Post when no
// answers are on their way.
func (l *Loop) Measure(m *Metrics) {
	if m != nil && m.start.IsZero() {
		m.start = time.Now()
	}
	l.metrics = m
}

// now is the time since the measuring began, as it is kept in an Output.
func (m *Metrics) now() time.Duration { return time.Since(m.start) }

// Status is how a request ended.
type Status uint8

const (
	StatusOK      Status = iota
	StatusNotDone        // what was asked for is absent, or a condition did not hold
	StatusFailed         // it could not be carried out
	StatusDropped        // it was not started, because its client was gone
)

// Statuses is how many there are.
const Statuses = int(StatusDropped) + 1

var statusNames = [Statuses]string{"ok", "not_done", "failed", "dropped"}

// RequestCounts is how many requests of a service have ended, by operation and status. One goroutine adds, anybody
// may read. A nil one counts nothing.
type RequestCounts struct {
	ops    []string
	counts [][Statuses]atomic.Uint64 // of each of ops
}

// NewRequestCounts returns counts of operations with these names; their numbers are the places of the names.
func NewRequestCounts(ops ...string) *RequestCounts {
	return &RequestCounts{ops: ops, counts: make([][Statuses]atomic.Uint64, len(ops))}
}

// Add adds n requests.
func (c *RequestCounts) Add(op int, s Status, n uint64) {
	if c != nil {
		c.counts[op][s].Add(n)
	}
}

// Each calls f with all counts, also those that are 0, always in the same order.
func (c *RequestCounts) Each(f func(op, status string, n uint64)) {
	for op := range c.counts {
		for s := range c.counts[op] {
			f(c.ops[op], statusNames[s], c.counts[op][s].Load())
		}
	}
}
