package history

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"kivaloo"
)

// batcher is a store with atomic batches.
type batcher interface {
	Apply(context.Context, *kivaloo.Batch) error
}

// worker changes its own keys, which are every nth key for n workers. It also reads those of
// others.
type worker struct {
	*pairs
	rng     *rand.Rand
	clock   *atomic.Int64
	mine    []int
	serial  uint32
	batches *atomic.Int64
	foreign []foreignGet // of this round
}

// foreignGet is what a worker has read from a key that may belong to another.
type foreignGet struct {
	key   int
	value []byte
	found bool
	read  span
}

// work makes n operations on a store.
func (w *worker) work(ctx context.Context, s kivaloo.Store, n int) error {
	for range n {
		var err error
		b, batches := s.(batcher)
		switch r := w.rng.IntN(32); {
		case r < 6:
			err = w.get(ctx, s)
		case r < 8:
			err = w.getForeign(ctx, s)
		case r == 8 && batches:
			err = w.applyBatch(ctx, b)
		default:
			err = w.change(ctx, s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) key() int { return w.mine[w.rng.IntN(len(w.mine))] }

func get(ctx context.Context, s kivaloo.Store, key []byte) (value []byte, found bool, err error) {
	value, err = s.Get(ctx, key)
	if errors.Is(err, kivaloo.ErrNotFound) {
		return nil, false, nil
	}
	return value, err == nil, err
}

func (w *worker) get(ctx context.Context, s kivaloo.Store) error {
	key := w.key()
	value, found, err := get(ctx, s, w.keys[key])
	if err != nil {
		return err
	}
	return w.holds(key, value, found)
}

// getForeign reads a key that another worker may be changing. The value is checked when the round
// has ended, because only then all versions are known.
func (w *worker) getForeign(ctx context.Context, s kivaloo.Store) error {
	g := foreignGet{key: w.rng.IntN(len(w.keys))}
	g.read.from = w.clock.Add(1)
	var err error
	g.value, g.found, err = get(ctx, s, w.keys[g.key])
	g.read.to = w.clock.Add(1)
	w.foreign = append(w.foreign, g)
	return err
}

// next returns the number of a new change, and the value that it writes to a key.
func (w *worker) next(key int) (serial uint32, value []byte) {
	w.serial++
	return w.serial, w.value(key, w.serial)
}

// change makes one change of a random kind.
func (w *worker) change(ctx context.Context, s kivaloo.Store) error {
	key := w.key()
	k, before := w.keys[key], w.now(key)
	serial, value := w.next(key)
	old, matches := w.value(key, max(1, before)), before > 0
	if w.rng.IntN(3) == 0 {
		old, matches = append(old[:len(old)-1], old[len(old)-1]^1), false
	}
	var err error
	var done, want bool
	v := version{serial: serial, sent: w.clock.Add(1)}
	kind := w.rng.IntN(8)
	switch kind {
	case 0:
		want = before == 0
		done, err = s.Add(ctx, k, value)
	case 1:
		want = before > 0
		done, err = s.Modify(ctx, k, value)
	case 2:
		want = matches
		done, err = s.CompareAndSwap(ctx, k, old, value)
	case 3:
		want, v.serial = matches, 0
		done, err = s.CompareAndDelete(ctx, k, old)
	case 4:
		want, done, v.serial = true, true, 0
		err = s.Delete(ctx, k)
	default:
		want, done = true, true
		err = s.Set(ctx, k, value)
	}
	v.done = w.clock.Add(1)
	if err != nil {
		return err
	}
	if done != want {
		return fmt.Errorf("operation %d on %.40q: done %t, want %t; it had change %d", kind, k, done, want, before)
	}
	if done {
		w.versions[key] = append(w.versions[key], v)
	}
	return nil
}

// applyBatch changes several keys at once.
func (w *worker) applyBatch(ctx context.Context, s batcher) error {
	b, batch := new(kivaloo.Batch), int(w.batches.Add(1))
	changed := make(map[int]uint32)
	for range 2 + w.rng.IntN(6) {
		key := w.key()
		if changed[key] = 0; w.rng.IntN(4) == 0 {
			b.Delete(w.keys[key])
			continue
		}
		serial, value := w.next(key)
		b.Set(w.keys[key], value)
		changed[key] = serial
	}
	sent := w.clock.Add(1)
	if err := s.Apply(ctx, b); err != nil {
		return err
	}
	done := w.clock.Add(1)
	for key, serial := range changed {
		w.versions[key] = append(w.versions[key], version{serial: serial, batch: batch, sent: sent, done: done})
	}
	return nil
}
