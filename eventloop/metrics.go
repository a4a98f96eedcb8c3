package eventloop

import (
	"errors"
	"sync/atomic"
	"time"

	"kivaloo/actors"
	"kivaloo/wire"
)

// Metrics is what a loop measures of its work. Any goroutine may read it.
type Metrics struct {
	Read  actors.Durations // one read from a socket, with taking apart and handing on what came
	Write actors.Durations // from when an Output was sent until the socket had taken it

	// Requests has the time of each request, by the number of its operation: from the read that
	// brought it until the socket had taken its answer. See Output.Time.
	Requests [MaxOps]actors.Durations

	broken [len(endings)]atomic.Uint64 // connections that did not end in order, by why

	start time.Time
}

// endings are why a connection does not end in order.
var endings = [...]struct {
	err    error // nil: any other
	reason string
}{
	{wire.ErrHeaderSum, "header_checksum"}, // what speaks another protocol ends so
	{wire.ErrRecordSum, "record_checksum"},
	{wire.ErrRecordLong, "record_too_long"},
	{wire.ErrBadRecord, "bad_record"},
	{nil, "io"}, // the peer has gone, or broke off within a packet
}

// ended counts a connection that ended because of an error.
func (m *Metrics) ended(why error) {
	for i := range endings {
		if e := &endings[i]; e.err == nil || errors.Is(why, e.err) {
			m.broken[i].Add(1)
			return
		}
	}
}

// Broken calls f with how many connections did not end in order, for each reason, always in the
// same order.
func (m *Metrics) Broken(f func(reason string, n uint64)) {
	for i := range endings {
		f(endings[i].reason, m.broken[i].Load())
	}
}

// MaxOps is how many operations a service can have.
const MaxOps = 32

// timing is that of answers to requests of one operation that one read has brought.
type timing struct {
	op    uint8
	n     uint32
	began time.Duration
}

// Time notes that this answers a request of an operation, whose number is less than MaxOps, that
// arrived at began, as Conn.Now told.
func (o *Output) Time(op uint8, began time.Duration) {
	if began == 0 {
		return // it was not measured
	}
	for i := len(o.timings) - 1; i >= max(0, len(o.timings)-timingsTried); i-- {
		if t := &o.timings[i]; t.op == op && t.began == began {
			t.n++
			return
		}
	}
	o.timings = append(o.timings, timing{op, 1, began})
}

// Now returns the time on the clock of Output.Time, or 0 if the loop does not measure.
func (c *Conn) Now() time.Duration {
	if m := c.loop.metrics; m != nil {
		return m.now()
	}
	return 0
}

// add counts the requests whose answers the socket has taken at a time.
func (m *Metrics) add(timings []timing, now time.Duration) {
	for _, t := range timings {
		m.Requests[t.op].AddN(now-t.began, uint64(t.n))
	}
}

// Measure has the loop fill m, or, if that is nil, nothing. It is called while the loop does not
// run, or by a Post when no answers are on their way.
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

// RequestCounts is how many requests of a service have ended, by operation and status. One
// goroutine adds, anybody may read. A nil one counts nothing.
type RequestCounts struct {
	ops    []string
	counts [][Statuses]atomic.Uint64 // of each of ops
}

// NewRequestCounts returns counts of operations with these names; their numbers are the places of
// the names.
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
