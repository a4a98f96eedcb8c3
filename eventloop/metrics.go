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
	Read  actors.Durations // one read from a socket, including splitting and passing on its packets
	Write actors.Durations // from sending an Output until the socket had accepted it

	// Requests has the time of each request, by the number of its operation. It is measured from
	// the read of the request until the socket had accepted its answer. See Output.Time.
	Requests [MaxOps]actors.Durations

	broken [len(endings)]atomic.Uint64 // connections that did not end cleanly, by reason

	start time.Time
}

// endings are the reasons why a connection does not end cleanly.
var endings = [...]struct {
	err    error // nil: any other
	reason string
}{
	{wire.ErrHeaderSum, "header_checksum"}, // a peer with another protocol ends like this
	{wire.ErrRecordSum, "record_checksum"},
	{wire.ErrRecordLong, "record_too_long"},
	{wire.ErrBadRecord, "bad_record"},
	{nil, "io"}, // the peer has gone, or hung up within a packet
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

// Broken calls f with the number of connections that did not end cleanly, for each reason, always
// in the same order.
func (m *Metrics) Broken(f func(reason string, n uint64)) {
	for i := range endings {
		f(endings[i].reason, m.broken[i].Load())
	}
}

// MaxOps is the most operations of a service.
const MaxOps = 32

// timing is the timing of answers to requests for one operation from one read.
type timing struct {
	op    uint8
	n     uint32
	began time.Duration
}

// Time notes that o answers a request for the operation op, which is less than MaxOps. began is
// when the request arrived, according to Conn.Now.
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

// add counts the requests whose answers the socket accepted at now.
func (m *Metrics) add(timings []timing, now time.Duration) {
	for _, t := range timings {
		m.Requests[t.op].AddN(now-t.began, uint64(t.n))
	}
}

// Measure makes the loop fill m, or nothing if m is nil. Call it while the loop does not run, or in
// a Post when no answers are pending.
func (l *Loop) Measure(m *Metrics) {
	if m != nil && m.start.IsZero() {
		m.start = time.Now()
	}
	l.metrics = m
}

// now returns the time since measuring began, as kept in an Output.
func (m *Metrics) now() time.Duration { return time.Since(m.start) }

// Status is how a request ended.
type Status uint8

const (
	StatusOK      Status = iota
	StatusNotDone        // the key is absent, or a condition did not hold
	StatusFailed         // it failed
	StatusDropped        // it was not started, because its client was gone
)

// Statuses is the number of statuses.
const Statuses = int(StatusDropped) + 1

var statusNames = [Statuses]string{"ok", "not_done", "failed", "dropped"}

// RequestCounts has the number of ended requests of a service, by operation and status. One
// goroutine adds. Any goroutine may read. A nil one counts nothing.
type RequestCounts struct {
	ops    []string
	counts [][Statuses]atomic.Uint64 // one for each of ops
}

// NewRequestCounts returns counts of operations with these names. The index of a name is the
// operation's number.
func NewRequestCounts(ops ...string) *RequestCounts {
	return &RequestCounts{ops: ops, counts: make([][Statuses]atomic.Uint64, len(ops))}
}

// Add adds n requests.
func (c *RequestCounts) Add(op int, s Status, n uint64) {
	if c != nil {
		c.counts[op][s].Add(n)
	}
}

// Each calls f with all counts, including zeros, always in the same order.
func (c *RequestCounts) Each(f func(op, status string, n uint64)) {
	for op := range c.counts {
		for s := range c.counts[op] {
			f(c.ops[op], statusNames[s], c.counts[op][s].Load())
		}
	}
}
