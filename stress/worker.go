package stress

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"kivaloo"
)

// worker is one goroutine of a load, with one operation in flight. It allocates nothing for an
// operation, except for ranges and what the store's methods allocate.
type worker struct {
	r      *run
	store  kivaloo.Store
	rec    *recorder
	random *rand.Rand
	pick   func(n uint64) uint64

	key, end, value []byte // of the request
	got             []byte // the answer
	scratch         []byte // for checking it
	checked         int64
	ranges          rangeCheck

	// Times of the current operation. free is when the record became writable, in a verified load.
	free, sent, answered time.Duration
}

func (r *run) newWorker(i uint64, store kivaloo.Store) *worker {
	if len(r.recorders) < maxRecorders {
		r.recorders = append(r.recorders, newRecorder(r.ops, r.plan.Open()))
	}
	w := &worker{r: r, store: store, rec: r.recorders[i%uint64(len(r.recorders))], random: rand.New(rand.NewPCG(r.plan.Seed, i))}
	w.pick = r.plan.Distribution.picker(w.random, r.keys)
	w.key, w.end = make([]byte, 0, recordKeyLen), make([]byte, 0, recordKeyLen)
	w.got, w.scratch = make([]byte, 0, kivaloo.MaxLen), make([]byte, 0, kivaloo.MaxLen+8) // filled in pieces of 8 bytes
	w.value = make([]byte, 0, kivaloo.MaxLen+8)
	w.ranges = rangeCheck{ledger: r.ledger, judge: r.judge, scratch: w.scratch}
	return w
}

// loop works until the load is over.
func (w *worker) loop(ctx context.Context) {
	r := w.r
	if r.plan.Open() {
		idle := time.Duration(0)
		for at := range r.due {
			if !r.over.Load() {
				idle = w.do(ctx, at, idle)
			} else if at >= r.plan.Warmup && !r.interrupted() {
				r.overdue.Add(1)
			}
		}
		return
	}
	for at := r.now(); !r.over.Load() && w.take(at); {
		at = w.do(ctx, at, at)
	}
}

// take reports whether a closed loop needs more operations.
func (w *worker) take(at time.Duration) bool {
	r := w.r
	return r.plan.Count == 0 || at < r.plan.Warmup || r.taken.Add(1) <= r.plan.Count
}

// do carries out one operation. It should have started at at; the worker has been idle since idle.
// It returns when the operation was done.
func (w *worker) do(ctx context.Context, at, idle time.Duration) time.Duration {
	op := w.r.plan.Mix.pick(w.random)
	w.free = 0
	missed, err := w.perform(ctx, op)
	measured, due := at >= w.r.plan.Warmup, at
	if !w.r.plan.Open() {
		at = w.sent // there is no schedule to compare with
	}
	switch {
	case err != nil:
		w.r.failed(op, err)
		if measured {
			w.rec.failed(op)
		}
		time.Sleep(errorPause)
		return w.r.now()
	case measured:
		w.rec.done(op, w.answered-at, w.answered-w.sent, w.sent-max(due, idle, w.free), missed)
	}
	return w.answered
}

func (w *worker) perform(ctx context.Context, op Op) (missed bool, err error) {
	switch op {
	case OpGet:
		return w.get(ctx)
	case OpRange:
		return false, w.scan(ctx)
	}
	return w.write(ctx, op)
}

func (w *worker) get(ctx context.Context) (missed bool, err error) {
	n := w.pick(w.r.keys.limit.Load())
	w.key = appendKey(w.key[:0], n)
	from := w.acknowledged(n)
	w.sent = w.r.now()
	found, err := w.read(ctx)
	w.answered = w.r.now()
	if err == nil {
		w.check(n, from, found)
	}
	return !found, err
}

// read reads the record of w.key into w.got.
func (w *worker) read(ctx context.Context) (found bool, err error) {
	w.got, err = w.store.AppendGet(ctx, w.got[:0], w.key)
	if errors.Is(err, kivaloo.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// acknowledged returns the oldest version that a read of record n may see.
func (w *worker) acknowledged(n uint64) uint32 {
	if w.r.ledger == nil {
		return 0
	}
	return w.r.ledger.entry(n).acked.Load()
}

// check checks what was read from record n.
func (w *worker) check(n uint64, from uint32, found bool) {
	l := w.r.ledger
	if l == nil {
		return
	}
	w.checked++
	if found {
		w.r.judge(l.checkFound(n, l.entry(n), from, w.got, w.scratch))
	} else {
		w.r.judge(l.checkAbsent(n, l.entry(n), from))
	}
}

// scan reads about as many records as it wants. Keys are evenly spread, so it asks for a part of
// the key space. A limit on their number would leave most of an answer of 1 MiB unused.
func (w *worker) scan(ctx context.Context) error {
	total := w.r.keys.limit.Load()
	n, count := w.pick(total), 1+w.random.Uint64N(maxScan)
	last := lastOfScan(n, min(count, total), total)
	w.key, w.end = appendKey(w.key[:0], n), appendEnd(w.end[:0], last)
	verify := w.r.ledger != nil
	if verify {
		w.ranges.begin(mix64(n), last)
	}
	w.sent = w.r.now()
	for pair, err := range w.store.Scan(ctx, kivaloo.ScanOptions{Start: w.key, End: w.end, Borrow: true}) {
		if err != nil {
			return err
		}
		if verify {
			w.ranges.pair(pair.Key, pair.Value)
		}
	}
	w.answered = w.r.now()
	if verify {
		w.ranges.end()
	}
	return nil
}

// write carries out an operation that changes a record.
func (w *worker) write(ctx context.Context, op Op) (missed bool, err error) {
	n := uint64(0)
	if op == OpInsert {
		n = w.r.keys.next.Add(1) - 1
	} else {
		n = w.pick(w.r.keys.limit.Load())
	}
	w.key = appendKey(w.key[:0], n)
	version := w.random.Uint32()
	l := w.r.ledger
	var e *entry
	if l != nil {
		e = l.entry(n)
		e.Lock()
		defer e.Unlock()
		w.free = w.r.now()
		version = e.issued.Add(1)
		switch op {
		case OpDelete:
			e.removed.Store(version)
		case OpInsert:
			l.index.add(n)
		}
	}
	w.value = appendValue(w.value[:0], n, w.r.id, version, w.r.plan.ValueSize)
	w.sent = w.r.now()
	made, err := w.change(ctx, op, n)
	w.answered = w.r.now()
	if l != nil {
		w.r.judge(l.written(n, e, op, version, made, err))
	}
	if op == OpInsert { // even if it failed, so that later records can be reached
		w.r.keys.acknowledge(n)
	}
	return !made, err
}

// change sends the change of w.key, and reports whether it was made.
func (w *worker) change(ctx context.Context, op Op, n uint64) (made bool, err error) {
	switch op {
	case OpAdd:
		return w.store.Add(ctx, w.key, w.value)
	case OpModify:
		return w.store.Modify(ctx, w.key, w.value)
	case OpDelete:
		return true, w.store.Delete(ctx, w.key)
	case OpCAS, OpRMW:
		from := w.acknowledged(n)
		found, err := w.read(ctx)
		if err != nil {
			return false, err
		}
		w.check(n, from, found)
		if op == OpCAS {
			if !found {
				return false, nil
			}
			return w.store.CompareAndSwap(ctx, w.key, w.got, w.value)
		}
	}
	return true, w.store.Set(ctx, w.key, w.value)
}
