package stress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"kivaloo"
	"kivaloo/internal/must"
)

// memStore is a store in memory. before is called at the beginning of every operation, and its
// error is that of the operation.
type memStore struct {
	kivaloo.Store // nil: for methods that a run does not use

	mu     sync.Mutex
	pairs  map[string][]byte
	before func() error
	spoil  func(value []byte) []byte // changes what a read finds
	hide   func(key string) bool     // whether a range lacks a pair
}

func newMemStore() *memStore { return &memStore{pairs: map[string][]byte{}} }

func (s *memStore) enter() error {
	if s.before != nil {
		return s.before()
	}
	return nil
}

func (s *memStore) Get(ctx context.Context, key []byte) ([]byte, error) {
	return s.AppendGet(ctx, nil, key)
}

func (s *memStore) AppendGet(_ context.Context, dst, key []byte) ([]byte, error) {
	if err := s.enter(); err != nil {
		return dst, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.pairs[string(key)]
	if !ok {
		return dst, kivaloo.ErrNotFound
	}
	if s.spoil != nil {
		value = s.spoil(slices.Clone(value))
	}
	return append(dst, value...), nil
}

// change replaces the value of key, if it is as wanted, by value; nil removes it.
func (s *memStore) change(key []byte, wanted func(old []byte, found bool) bool, value []byte) (bool, error) {
	if err := s.enter(); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, found := s.pairs[string(key)]
	if !wanted(old, found) {
		return false, nil
	}
	if value == nil {
		delete(s.pairs, string(key))
	} else {
		s.pairs[string(key)] = append(old[:0:0], value...)
	}
	return true, nil
}

func always([]byte, bool) bool          { return true }
func present(_ []byte, found bool) bool { return found }
func absent(_ []byte, found bool) bool  { return !found }
func is(want []byte) func([]byte, bool) bool {
	return func(old []byte, found bool) bool { return found && bytes.Equal(old, want) }
}

func (s *memStore) Set(_ context.Context, key, value []byte) error {
	_, err := s.change(key, always, value)
	return err
}

func (s *memStore) Delete(_ context.Context, key []byte) error {
	_, err := s.change(key, always, nil)
	return err
}

func (s *memStore) Add(_ context.Context, key, value []byte) (bool, error) {
	return s.change(key, absent, value)
}

func (s *memStore) Modify(_ context.Context, key, value []byte) (bool, error) {
	return s.change(key, present, value)
}

func (s *memStore) CompareAndSwap(_ context.Context, key, old, value []byte) (bool, error) {
	return s.change(key, is(old), value)
}

func (s *memStore) CompareAndDelete(_ context.Context, key, old []byte) (bool, error) {
	return s.change(key, is(old), nil)
}

func (s *memStore) Scan(_ context.Context, o kivaloo.ScanOptions) iter.Seq2[kivaloo.Pair, error] {
	return func(yield func(kivaloo.Pair, error) bool) {
		if err := s.enter(); err != nil {
			yield(kivaloo.Pair{}, err)
			return
		}
		s.mu.Lock()
		pairs := maps.Clone(s.pairs)
		s.mu.Unlock()
		for _, key := range slices.Sorted(maps.Keys(pairs)) {
			if key < string(o.Start) || key >= string(o.End) || s.hide != nil && s.hide(key) {
				continue
			}
			if !yield(kivaloo.Pair{Key: []byte(key), Value: pairs[key]}, nil) {
				return
			}
		}
	}
}

func (s *memStore) Params(context.Context) (kivaloo.Params, error) {
	return kivaloo.Params{MaxKey: 255, MaxValue: 255}, nil
}

func (s *memStore) Close() error { return nil }

func testPlan(t *testing.T, mix string) Plan {
	t.Helper()
	m, err := ParseMix(mix)
	must.Do(t, err)
	return Plan{Mix: m, Distribution: mustDistribution(t, "zipfian"), Records: 1000, ValueSize: 100, Workers: 8,
		Interval: 50 * time.Millisecond, Seed: 1}
}

func loaded(t *testing.T, p Plan) *memStore {
	t.Helper()
	s := newMemStore()
	var done atomic.Uint64
	if err := Load(t.Context(), []kivaloo.Store{s}, p.Records, p.ValueSize, 1, &done); err != nil || done.Load() != p.Records {
		t.Fatalf("%d loaded: %v", done.Load(), err)
	}
	return s
}

func mustRun(t *testing.T, s kivaloo.Store, p Plan) *Outcome {
	t.Helper()
	o, err := Run(t.Context(), []kivaloo.Store{s}, p, func(*Interval) {})
	must.Do(t, err)
	return o
}

// TestRunVerified checks all operations against a correct store.
func TestRunVerified(t *testing.T) {
	for _, rate := range []float64{0, 20000} {
		p := testPlan(t, "get=20,set=10,insert=10,range=2,rmw=10,cas=10,add=10,modify=10,delete=10")
		p.Count, p.Rate, p.Verify = 5000, rate, true
		s := loaded(t, p)
		o := mustRun(t, s, p)
		if err := o.Err(); err != nil {
			t.Errorf("rate %g: %v", rate, err)
		}
		if o.Total.All.Done != 5000 || o.Total.All.Failed != 0 || o.Checked < 1000 {
			t.Errorf("rate %g: %d done, %d failed, %d checked", rate, o.Total.All.Done, o.Total.All.Failed, o.Checked)
		}
		for _, op := range o.Total.Ops {
			if op.Done == 0 || op.Response.TotalCount() != op.Done {
				t.Errorf("rate %g: %s: %d done, %d recorded", rate, op.Op, op.Done, op.Response.TotalCount())
			}
		}
		if rate > 0 && (o.Due != 5000 || o.Overdue != 0) {
			t.Errorf("%d due, %d overdue", o.Due, o.Overdue)
		}
	}
}

// TestRunFindsViolations checks that wrong answers of a store are noticed.
func TestRunFindsViolations(t *testing.T) {
	stale := newMemStore() // forgets every write
	for name, c := range map[string]struct {
		mix   string
		spoil func([]byte) []byte
		want  string
	}{
		"damage":  {"get=1", func(v []byte) []byte { v[50] ^= 1; return v }, "is damaged"},
		"another": {"get=1", func([]byte) []byte { return appendValue(nil, 5000, 1, 0, 100) }, "has the value of record 5000"},
		"stale":   {"get=1,set=1", func(v []byte) []byte { return appendValue(nil, uint64(v[7])|uint64(v[6])<<8, 1, 0, 100) }, "has a value of another run"},
	} {
		p := testPlan(t, c.mix)
		p.Count, p.Verify = 2000, true
		s := loaded(t, p)
		s.spoil = c.spoil
		err := mustRun(t, s, p).Err()
		if !errors.Is(err, ErrVerify) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := testPlan(t, "get=1")
	p.Count, p.Verify = 100, true
	if err := mustRun(t, stale, p).Err(); !errors.Is(err, ErrVerify) || !strings.Contains(err.Error(), "is absent") {
		t.Errorf("an empty store: %v", err)
	}
}

// TestRunFindsWhatRangesLack checks that a range that lacks a record is noticed, whether the record
// was loaded or inserted, and whatever else goes on.
func TestRunFindsWhatRangesLack(t *testing.T) {
	for _, lost := range []uint64{7, 1020} {
		p := testPlan(t, "range=70,insert=20,set=5,delete=5")
		p.Count, p.Verify = 3000, true
		s := loaded(t, p)
		key := string(appendKey(nil, lost))
		s.hide = func(k string) bool { return k == key }
		err := mustRun(t, s, p).Err()
		if !errors.Is(err, ErrVerify) || !strings.Contains(err.Error(), fmt.Sprintf("record %d is absent", lost)) {
			t.Errorf("record %d: %v", lost, err)
		}
	}
}

func TestRunCountsFailures(t *testing.T) {
	p := testPlan(t, "get=1,set=1,range=1")
	p.Count, p.Workers, p.Verify = 200, 50, true
	s := loaded(t, p)
	var n atomic.Int64
	s.before = func() error {
		if n.Add(1)%2 == 0 {
			return errors.New("gone")
		}
		return nil
	}
	o := mustRun(t, s, p)
	if o.Total.All.Failed != 100 || o.Total.All.Done != 100 || o.Violations != 0 {
		t.Errorf("%d failed, %d done, violations: %v", o.Total.All.Failed, o.Total.All.Done, o.Findings)
	}
	if err := o.Err(); err == nil || !strings.Contains(err.Error(), "100 operations failed") || !strings.Contains(err.Error(), "gone") {
		t.Error(err)
	}
}

func TestRunInterrupted(t *testing.T) {
	for _, rate := range []float64{0, 0.5} { // in the second case it is waiting for the schedule
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		p := testPlan(t, "get=1")
		p.Duration, p.Rate = time.Hour, rate
		s := loaded(t, p)
		start := time.Now()
		o, err := Run(ctx, []kivaloo.Store{s}, p, func(*Interval) {})
		if err != nil || !o.Cut || o.Overdue != 0 || time.Since(start) > 5*time.Second {
			t.Errorf("rate %g: %+v %v after %v", rate, o, err, time.Since(start))
		}
	}
}

// silent is a store that answers no get.
type silent struct{ *memStore }

func (silent) AppendGet(ctx context.Context, _, _ []byte) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestRunOnASilentStore checks when a load ends that waits for answers: at once if it is known that
// none will come, otherwise after a while.
func TestRunOnASilentStore(t *testing.T) {
	for cause, want := range map[error]time.Duration{os.ErrDeadlineExceeded: time.Second, context.Canceled: time.Second + drainTimeout} {
		for _, rate := range []float64{0, 100} {
			p := testPlan(t, "get=1")
			p.Duration, p.Rate, p.Warmup = time.Hour, rate, 0
			s := loaded(t, p)
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(cause) })
				start := time.Now()
				o, err := runWith(ctx, []kivaloo.Store{silent{s}}, p, func(*Interval) {}, sleeper{})
				took := time.Since(start)
				if err != nil || took < want || took > want+time.Second || o.Total.All.Failed == 0 || !errors.Is(o.FirstError, cause) {
					t.Errorf("%v, rate %g: %v after %v, want %v", cause, rate, err, took, want)
				}
			})
		}
	}
}

func at(h *hdrhistogram.Histogram, percentile float64) time.Duration {
	return time.Duration(h.ValueAtPercentile(percentile))
}

// sleeper waits by the clock of a synctest bubble, which is exact.
type sleeper struct{}

func (sleeper) wait(d time.Duration) error { time.Sleep(d); return nil }
func (sleeper) close()                     {}

// simulate runs a plan in a bubble: nothing takes time except sleeping.
func simulate(t *testing.T, p Plan, before func() func() error) (o *Outcome, intervals []time.Duration) {
	t.Helper()
	s := loaded(t, p)
	synctest.Test(t, func(t *testing.T) {
		s.before = before()
		var err error
		o, err = runWith(t.Context(), []kivaloo.Store{s, s}, p, func(v *Interval) { intervals = append(intervals, v.Length) }, sleeper{})
		must.Do(t, err)
	})
	return o, intervals
}

// TestStalls uses a server that stalls for 100 ms of every second. In an open loop the times must
// be what arithmetic says. In a closed loop the stalls are a few slow operations.
func TestStalls(t *testing.T) {
	const part, period, service = 100 * time.Millisecond, time.Second, time.Millisecond
	stalls := func() func() error {
		start := time.Now()
		return func() error {
			if in := time.Since(start) % period; in < part {
				time.Sleep(part - in)
			}
			time.Sleep(service)
			return nil
		}
	}
	p := testPlan(t, "get=1")
	p.Duration, p.Rate, p.Workers, p.Interval = 10*period, 2000, 64, period
	o, _ := simulate(t, p, stalls)
	// A tenth of the operations arrives during a stall. Their waiting times are spread evenly from
	// nothing to the whole stall. The backlog is worked off at 32 times the rate, which adds a
	// thirty-second.
	for _, percentile := range []float64{95, 99, 99.9} {
		want := part - time.Duration(float64(period)*(1-percentile/100)) + service
		if got := at(o.Total.All.Response, percentile); math.Abs(float64(got-want)) > 0.03*float64(want) {
			t.Errorf("response time %v at %g %%, want %v", got, percentile, want)
		}
	}
	if got := at(o.Total.All.Response, 50); got > 2*service {
		t.Errorf("response time %v at 50 %%", got)
	}
	if o.Due != 20000 || o.Overdue != 0 || o.Total.All.Done != 20000 {
		t.Errorf("%d due, %d overdue, %d done", o.Due, o.Overdue, o.Total.All.Done)
	}
	if lag := at(o.Total.Lag, 99); lag > 2*minPause {
		t.Errorf("the generator was late by %v", lag)
	}
	p.Rate, p.Workers = 0, 2
	o, _ = simulate(t, p, stalls)
	if got := at(o.Total.All.Response, 99.5); got > 2*service {
		t.Errorf("a closed loop has %v at 99.5 %%: it should not see the stalls", got)
	}
}

// TestOverdue checks that operations in flight are limited, and that due operations beyond the
// limit are counted.
func TestOverdue(t *testing.T) {
	p := testPlan(t, "get=1")
	p.Warmup, p.Duration, p.Rate, p.Workers = 100*time.Millisecond, 200*time.Millisecond, 10000, 4
	const service = 10 * time.Millisecond
	o, _ := simulate(t, p, func() func() error { return func() error { time.Sleep(service); return nil } })
	if o.Due != 2000 || o.Overdue < 1900 || o.Overdue+o.Total.All.Done != o.Due {
		t.Errorf("%d due, %d overdue, %d done", o.Due, o.Overdue, o.Total.All.Done)
	}
	// The server is slow, not the generator.
	if service, lag := at(o.Total.All.Service, 50), at(o.Total.Lag, 99); service > 11*time.Millisecond || lag > time.Millisecond {
		t.Errorf("service %v, lag %v", service, lag)
	}
}

func TestIntervals(t *testing.T) {
	for _, rate := range []float64{0, 1000} {
		p := testPlan(t, "get=1")
		p.Warmup, p.Duration, p.Workers, p.Rate = 60*time.Millisecond, 210*time.Millisecond, 1, rate
		o, lengths := simulate(t, p, func() func() error { return func() error { time.Sleep(time.Millisecond); return nil } })
		const ms = time.Millisecond
		// The last one, of a fifth, belongs to the one before.
		if want := []time.Duration{50 * ms, 50 * ms, 50 * ms, 60 * ms}; !slices.Equal(lengths, want) || o.Total.Length != p.Duration {
			t.Errorf("rate %g: intervals of %v in %v", rate, lengths, o.Total.Length)
		}
		// An operation that ends at the very end of the time may count or not.
		if n := o.Total.All.Done + o.Overdue; n < 210 || n > 211 || o.Overdue > 1 {
			t.Errorf("rate %g: %d operations of 1 ms in %v", rate, n, p.Duration)
		}
	}
}

// TestOpenLoopLastsAsLongAsItsSchedule checks that an open loop lasts as long as its schedule, so
// that its rate is the requested one.
func TestOpenLoopLastsAsLongAsItsSchedule(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		rate     float64
		duration time.Duration
		count    uint64
		poisson  bool
		done     int64
		length   time.Duration
	}{
		{rate: 1, duration: 3 * s, done: 3, length: 3 * s},
		{rate: 0.3, duration: 10 * s, done: 3, length: 10 * s}, // at 3.3, 6.7 and 10 s; the warm-up ends at 2 s
		{rate: 1, count: 3, done: 3, length: 3 * s},
		{rate: 1, duration: 100 * s, count: 3, done: 3, length: 3 * s},
		{rate: 1, duration: 3 * s, poisson: true, done: -1, length: 3 * s},
		{rate: 7, duration: 1500 * time.Millisecond, done: 11, length: 1500 * time.Millisecond},
	} {
		p := testPlan(t, "get=1")
		p.Warmup, p.Duration, p.Count, p.Rate, p.Poisson, p.Workers, p.Interval = 2*s, c.duration, c.count, c.rate, c.poisson, 4, s
		o, lengths := simulate(t, p, func() func() error { return func() error { return nil } })
		if off := o.Total.Length - c.length; off < 0 || off > minPause || c.done >= 0 && o.Total.All.Done != c.done || o.Due != o.Total.All.Done {
			t.Errorf("%+v: %d of %d done in %v", c, o.Total.All.Done, o.Due, o.Total.Length)
		}
		sum := time.Duration(0)
		for _, l := range lengths {
			sum += l
		}
		if sum != o.Total.Length {
			t.Errorf("%+v: intervals of %v in %v", c, lengths, o.Total.Length)
		}
	}
}

// TestFailedScheduleKeepsTheOutcome checks that the results before a failure of the schedule are
// kept.
func TestFailedScheduleKeepsTheOutcome(t *testing.T) {
	p := testPlan(t, "get=1")
	p.Rate, p.Duration, p.Workers = 1000, time.Second, 2
	left := 20
	o, err := runWith(t.Context(), []kivaloo.Store{loaded(t, p)}, p, func(*Interval) {}, failingPauser{&left})
	if !errors.Is(err, errNoTimer) || o == nil || o.Total.All.Done == 0 {
		t.Fatalf("%v, %v", o, err)
	}
}

var errNoTimer = errors.New("no timer")

// failingPauser fails after a number of waits.
type failingPauser struct{ left *int }

func (p failingPauser) wait(d time.Duration) error {
	if *p.left--; *p.left < 0 {
		return errNoTimer
	}
	time.Sleep(d)
	return nil
}

func (failingPauser) close() {}

func TestSchedule(t *testing.T) {
	s := newSchedule(1000, nil)
	for i := range 5 {
		if got := s.next(); got != time.Duration(i)*time.Millisecond {
			t.Errorf("operation %d at %v", i, got)
		}
	}
	p := testPlan(t, "get=1")
	p.Rate, p.Poisson = 1000, true
	poisson := newRun(p).schedule()
	var last time.Duration
	var squares float64 // in seconds
	const n = 100_000
	for range n {
		at := poisson.next()
		squares += (at - last).Seconds() * (at - last).Seconds() / n
		last = at
	}
	// The mean of exponential gaps is their standard deviation, so the mean of the squares is twice
	// its square.
	if last < 99*time.Second || last > 101*time.Second || squares < 1.95e-6 || squares > 2.05e-6 {
		t.Errorf("%d operations take %v, mean square of gaps %g", n, last, squares)
	}
}

func TestWaiter(t *testing.T) {
	w, err := newWaiter()
	must.Do(t, err)
	least := time.Hour
	for range 50 {
		start := time.Now()
		must.Do(t, w.wait(200*time.Microsecond))
		took := time.Since(start)
		if took < 200*time.Microsecond {
			t.Fatalf("only %v", took)
		}
		least = min(least, took)
	}
	if least > 800*time.Microsecond {
		t.Errorf("at least %v for 200 us", least)
	}
	time.AfterFunc(10*time.Millisecond, w.close)
	if err := w.wait(time.Hour); err == nil {
		t.Error("no error once it is closed")
	}
}

// TestRecordingDoesNotAllocate checks that nothing is allocated from choosing an operation to
// recording it, verified or not.
func TestRecordingDoesNotAllocate(t *testing.T) {
	for _, verify := range []bool{false, true} {
		p := testPlan(t, "get=1,set=1,rmw=1,cas=1,modify=1")
		p.Rate, p.Count, p.Verify = 1, 1, verify
		s := loaded(t, p)
		r := newRun(p)
		w := r.newWorker(0, quiet{s})
		for i := range p.Records {
			w.acknowledged(i) // creates the entries of the records
		}
		if n := testing.AllocsPerRun(5000, func() { w.do(t.Context(), r.now(), 0) }); n != 0 {
			t.Errorf("verified %t: %v allocations for an operation", verify, n)
		}
	}
}

// quiet is a store that allocates nothing. What it changes exists already, with the same length.
type quiet struct{ *memStore }

func (q quiet) Set(_ context.Context, key, value []byte) error {
	copy(q.pairs[string(key)], value)
	return nil
}

func (q quiet) Modify(ctx context.Context, key, value []byte) (bool, error) {
	return true, q.Set(ctx, key, value)
}

func (q quiet) CompareAndSwap(ctx context.Context, key, _, value []byte) (bool, error) {
	return true, q.Set(ctx, key, value)
}

func TestPlanCheck(t *testing.T) {
	for want, change := range map[string]func(*Plan){
		"no operations":       func(p *Plan) { p.Mix = Mix{} },
		"0 records":           func(p *Plan) { p.Records = 0 },
		"values of 256 bytes": func(p *Plan) { p.ValueSize = 256 },
		"values of 19 bytes":  func(p *Plan) { p.ValueSize = 19 },
		"0 operations":        func(p *Plan) { p.Workers = 0 },
		"a rate of":           func(p *Plan) { p.Rate = 1e9 },
		"neither a duration":  func(p *Plan) { p.Count = 0 },
		"intervals of":        func(p *Plan) { p.Interval = 1 },
	} {
		p := testPlan(t, "get=1")
		p.Count = 1
		change(&p)
		if _, err := Run(t.Context(), []kivaloo.Store{newMemStore()}, p, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with: %s", err, want)
		}
	}
}

func TestLoadFails(t *testing.T) {
	s := newMemStore()
	if ok, err := Loaded(t.Context(), s, 10); ok || err != nil {
		t.Errorf("an empty store is loaded: %t %v", ok, err)
	}
	var done atomic.Uint64
	s.before = func() error { return errors.New("full") }
	if err := Load(t.Context(), []kivaloo.Store{s}, 10, 100, 1, &done); err == nil || !strings.Contains(err.Error(), "full") {
		t.Error(err)
	}
	s.before = nil
	must.Do(t, Load(t.Context(), []kivaloo.Store{s}, 10, 100, 1, &done))
	if ok, err := Loaded(t.Context(), s, 10); !ok || err != nil {
		t.Errorf("a loaded store is not: %t %v", ok, err)
	}
}
