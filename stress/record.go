package stress

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Times holds two histograms of the same operations, in nanoseconds.
type Times struct {
	Response *hdrhistogram.Histogram // from when an operation should have started, by the schedule
	Service  *hdrhistogram.Histogram // from when it was sent; the same histogram in a closed loop
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(lowestTime), int64(longestTime), significantDigits)
}

func newTimes(open bool) Times {
	t := Times{Response: newHistogram()}
	t.Service = t.Response
	if open {
		t.Service = newHistogram()
	}
	return t
}

func (t Times) merge(from Times) {
	t.Response.Merge(from.Response)
	if t.Service != t.Response {
		t.Service.Merge(from.Service)
	}
}

func (t Times) reset() {
	t.Response.Reset()
	t.Service.Reset()
}

// record records a time. Longer times count as longestTime.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	h.RecordValue(int64(min(max(d, 0), longestTime))) // cannot fail: it is in range
}

// OpStats is what is known about one operation of a load, or about all together.
type OpStats struct {
	Op     string // "all" for all together
	Done   int64  // successful
	Missed int64  // successful, but nothing was found or the condition failed
	Failed int64
	Times
}

func newOpStats(op string, open bool) *OpStats { return &OpStats{Op: op, Times: newTimes(open)} }

func (s *OpStats) merge(from *OpStats) {
	s.Done += from.Done
	s.Missed += from.Missed
	s.Failed += from.Failed
	s.Times.merge(from.Times)
}

func (s *OpStats) reset() {
	s.Done, s.Missed, s.Failed = 0, 0, 0
	s.Times.reset()
}

// recorder is where a worker records its operations, alone or with a few others. The lock is held
// for a fraction of a microsecond at a time, except once in each interval, so it is nearly free.
type recorder struct {
	mu  sync.Mutex
	ops [numOps]*OpStats // nil: not in the mix
	lag *hdrhistogram.Histogram
}

func newRecorder(ops []Op, open bool) *recorder {
	r := &recorder{lag: newHistogram()}
	for _, op := range ops {
		r.ops[op] = newOpStats(op.String(), open)
	}
	return r
}

// done records one operation. lag is how much later it was sent than it could have been.
func (r *recorder) done(op Op, response, service, lag time.Duration, missed bool) {
	r.mu.Lock()
	s := r.ops[op]
	s.Done++
	if missed {
		s.Missed++
	}
	record(s.Response, response)
	if s.Service != s.Response {
		record(s.Service, service)
	}
	record(r.lag, lag)
	r.mu.Unlock()
}

// failed records an operation without an answer.
func (r *recorder) failed(op Op) {
	r.mu.Lock()
	r.ops[op].Failed++
	r.mu.Unlock()
}

// drain moves the records to an interval.
func (r *recorder) drain(to *Interval) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, into := range to.Ops {
		op, _ := parseOp(into.Op) // these names come from operations
		if from := r.ops[op]; from.Done+from.Failed > 0 {
			into.merge(from)
			from.reset()
		}
	}
	if r.lag.TotalCount() > 0 {
		to.Lag.Merge(r.lag)
		r.lag.Reset()
	}
}

// Interval is what happened in one part of the measured time.
type Interval struct {
	Began  time.Time     // by the host's clock
	Start  time.Duration // since the beginning of the measured time
	Length time.Duration
	Ops    []*OpStats // of the mix, in its order
	All    *OpStats   // of all together
	Lag    *hdrhistogram.Histogram
}

func newInterval(ops []Op, open bool) *Interval {
	v := &Interval{All: newOpStats("all", open), Lag: newHistogram()}
	for _, op := range ops {
		v.Ops = append(v.Ops, newOpStats(op.String(), open))
	}
	return v
}

// sum fills in All.
func (v *Interval) sum() {
	for _, s := range v.Ops {
		v.All.merge(s)
	}
}

func (v *Interval) merge(from *Interval) {
	for i, s := range v.Ops {
		s.merge(from.Ops[i])
	}
	v.All.merge(from.All)
	v.Lag.Merge(from.Lag)
}

func (v *Interval) reset() {
	for _, s := range v.Ops {
		s.reset()
	}
	v.All.reset()
	v.Lag.Reset()
}

// Rate returns the completed operations per second.
func (v *Interval) Rate() float64 { return perSecond(v.All.Done, v.Length) }

func perSecond(n int64, in time.Duration) float64 {
	if in <= 0 {
		return 0
	}
	return float64(n) / in.Seconds()
}
