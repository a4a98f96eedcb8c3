package stress

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"kivaloo"
)

// Run carries out a plan on a store. There may be several connections to it; the workers are spread
// over them. watch is called for every interval, on one goroutine; the interval is valid during the
// call. Run records failed operations, and continues. Once the load has begun there is an outcome,
// even with an error.
//
//	open:    schedule --due--> worker --> store        closed:  worker --> store
//	                             |                                |
//	                          recorder ----each interval----> collector --> watch
//
// When ctx ends the load ends too, with what it has measured so far. Operations in flight may still
// finish, unless the cause is an os.ErrDeadlineExceeded, which means that the store no longer
// answers.
func Run(ctx context.Context, stores []kivaloo.Store, p Plan, watch func(*Interval)) (*Outcome, error) {
	w, err := newWaiter()
	if err != nil {
		return nil, err
	}
	defer w.close()
	return runWith(ctx, stores, p, watch, w)
}

func runWith(ctx context.Context, stores []kivaloo.Store, p Plan, watch func(*Interval), pause pauser) (*Outcome, error) {
	limits, err := stores[0].Params(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.check(limits); err != nil {
		return nil, err
	}
	r := newRun(p)
	r.ctx = ctx
	until := ctx
	if p.Duration > 0 {
		var cancel context.CancelFunc
		until, cancel = context.WithDeadline(ctx, r.base.Add(r.end))
		defer cancel()
	}
	defer context.AfterFunc(until, func() { r.over.Store(true) })()
	// Operations in flight at the end may finish.
	operations, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	defer context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), os.ErrDeadlineExceeded) {
			abandon()
		}
	})()

	var workers sync.WaitGroup
	all := make([]*worker, p.Workers)
	for i := range all {
		all[i] = r.newWorker(uint64(i), stores[i%len(stores)])
		workers.Go(func() { all[i].loop(operations) })
	}
	var due, overdue int64
	var scheduling error
	if p.Open() {
		workers.Go(func() { due, overdue, scheduling = r.dispatch(until, r.schedule(), pause) })
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		workers.Wait()
	}()
	r.collect(until, abandon, done, watch)
	o := r.outcome(all)
	o.Due, o.Overdue = due, overdue+r.overdue.Load()
	return o, scheduling
}

// run is a load in progress. Times are since base.
type run struct {
	plan   Plan
	ctx    context.Context // of the caller
	id     uint64          // distinguishes its values from those of other runs
	base   time.Time
	end    time.Duration
	ops    []Op
	keys   *keyspace
	ledger *ledger            // nil: reads are not verified
	due    chan time.Duration // open loop: when operations should start

	over    atomic.Bool   // no more operations may start
	taken   atomic.Uint64 // operations taken by the workers of a closed loop, out of plan.Count
	overdue atomic.Int64  // handed over too late

	recorders []*recorder
	total     *Interval

	mu         sync.Mutex
	violations int64
	findings   []string
	firstError error
}

func newRun(p Plan) *run {
	r := &run{plan: p, end: math.MaxInt64, ops: p.Mix.ops(), keys: newKeyspace(p.Records)}
	if p.Duration > 0 {
		r.end = p.Warmup + p.Duration
	}
	r.id = mix64(p.Seed) ^ uint64(time.Now().UnixNano())
	if p.Verify {
		r.ledger = newLedger(r.id, p.Records)
	}
	// An idle worker finds the next operation here, without waiting for the dispatcher.
	r.due = make(chan time.Duration, p.Workers)
	r.total = newInterval(r.ops, p.Open())
	r.base = time.Now() // last, because the schedule begins now
	return r
}

func (r *run) now() time.Duration { return time.Since(r.base) }

// interrupted reports whether the load was ended from outside.
func (r *run) interrupted() bool { return r.ctx.Err() != nil }

func (r *run) schedule() *schedule {
	if !r.plan.Poisson {
		return newSchedule(r.plan.Rate, nil)
	}
	return newSchedule(r.plan.Rate, rand.New(rand.NewPCG(r.plan.Seed, math.MaxUint64)))
}

// collect collects the records of the workers after every interval of the measured time, until they
// are done. Workers still busy some time after the end are abandoned.
func (r *run) collect(until context.Context, abandon func(), done <-chan struct{}, watch func(*Interval)) {
	current := newInterval(r.ops, r.plan.Open())
	over, late := until.Done(), (<-chan time.Time)(nil)
	timer := time.NewTimer(r.plan.Warmup + r.plan.Interval)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			r.gather(current, r.now(), watch)
			next := r.plan.Warmup + current.Start + current.Length + r.plan.Interval
			if next <= r.end-r.plan.Interval/2 { // otherwise the rest becomes the last interval
				timer.Reset(next - r.now())
			}
		case <-over:
			over, late = nil, time.After(drainTimeout)
			timer.Stop()
		case <-late:
			abandon()
		case <-done:
			// Operations started in the measured time belong to it, even if they took longer.
			r.gather(current, min(r.now(), r.end), watch)
			return
		}
	}
}

// gather closes the current interval at now, and adds it to the total.
func (r *run) gather(v *Interval, now time.Duration, watch func(*Interval)) {
	v.reset()
	v.Start += v.Length
	v.Length = max(now-r.plan.Warmup, 0) - v.Start
	v.Began = r.base.Add(r.plan.Warmup + v.Start)
	for _, rec := range r.recorders {
		rec.drain(v)
	}
	v.sum()
	r.total.merge(v)
	r.total.Length = v.Start + v.Length
	r.total.Began = r.base.Add(r.plan.Warmup)
	watch(v)
}

func (r *run) outcome(workers []*worker) *Outcome {
	o := &Outcome{Plan: r.plan, Total: r.total, Violations: r.violations,
		Findings: r.findings, FirstError: r.firstError, Cut: r.interrupted()}
	for _, w := range workers {
		o.Checked += w.checked + w.ranges.checked
	}
	return o
}

// judge records the finding of a check.
func (r *run) judge(finding error) {
	if finding == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.violations++
	if len(r.findings) < maxViolations {
		r.findings = append(r.findings, finding.Error())
	}
}

// failed records an operation without an answer.
func (r *run) failed(op Op, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cause := context.Cause(r.ctx); errors.Is(cause, os.ErrDeadlineExceeded) {
		err = cause // of the abandoned operations
	}
	if r.firstError == nil {
		r.firstError = fmt.Errorf("%s: %w", op, err)
	}
}
