package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"kivaloo"
)

// Engine is a form of a store.
type Engine interface {
	// Open opens the store, or connects to it as often as is useful.
	Open() ([]kivaloo.Store, error)
	// Close closes what Open has opened. Nothing is under way then. With kill, the store ends
	// without warning.
	Close(kill bool) error
}

// Settings say what a history is like.
type Settings struct {
	Workers, Keys, Operations int
	MaxKey, MaxValue          int           // bytes, 8 and more
	Scratch                   string        // directory for backups that are restored
	Progress                  func(ops int) // called after each round; may be nil
}

// history is one run.
type history struct {
	*pairs
	Settings
	rng     *rand.Rand
	clock   atomic.Int64 // see package doc
	workers []*worker
	stores  []kivaloo.Store

	mutex     sync.Mutex
	views     []*view // of this round
	snapshots []*snapshot
}

// snapshot is a snapshot that may stay open for some rounds.
type snapshot struct {
	kivaloo.Snapshot
	taken span
	first *view // its first reading; nil: none yet
}

// Run runs a history on an engine whose store is empty.
func Run(ctx context.Context, rng *rand.Rand, e Engine, s Settings) error {
	h := &history{pairs: newPairs(rng, s.Keys, s.MaxKey, s.MaxValue), Settings: s, rng: rng}
	var batches atomic.Int64
	for i := range s.Workers {
		w := &worker{pairs: h.pairs, rng: rand.New(rand.NewPCG(rng.Uint64(), 0)), clock: &h.clock, batches: &batches}
		for key := i; key < s.Keys; key += s.Workers {
			w.mine = append(w.mine, key)
		}
		h.workers = append(h.workers, w)
	}
	var err error
	if h.stores, err = e.Open(); err != nil {
		return err
	}
	for made := 0; made < s.Operations; {
		n := 1 + rng.IntN(1000)
		if err := h.round(ctx, n); err != nil {
			return errors.Join(err, e.Close(false))
		}
		if made += n * s.Workers; s.Progress != nil {
			s.Progress(made)
		}
		if rng.IntN(4) > 0 {
			continue
		}
		if err := h.reopen(ctx, e, rng.IntN(2) == 0); err != nil {
			return err
		}
	}
	h.closeSnapshots()
	return e.Close(false)
}

// reopen closes the store, opens it again, and checks that it holds what it should.
func (h *history) reopen(ctx context.Context, e Engine, kill bool) (err error) {
	h.closeSnapshots()
	if err := e.Close(kill); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	if h.stores, err = e.Open(); err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	return h.checkAll(ctx)
}

// checkAll compares all pairs with what must be there.
func (h *history) checkAll(ctx context.Context) error {
	now := span{h.clock.Load(), h.clock.Load()}
	v, err := h.readView("after a round", 0, len(h.keys), h.stores[0].Range(ctx, nil, nil))
	if err == nil {
		v.read = now
		err = h.check(v)
	}
	return err
}

// reader reads in one way, and again when the clock has advanced by some ticks. A change takes two
// ticks. The pauses are long enough that reading does not take most of the time.
type reader struct {
	read  func(context.Context, *rand.Rand) error
	every int64
}

// round lets each worker make n operations while readers read, and checks what all have seen.
func (h *history) round(ctx context.Context, n int) error {
	var working, reading sync.WaitGroup
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var over atomic.Bool
	for i, w := range h.workers {
		working.Go(func() {
			if err := w.work(ctx, h.stores[i%len(h.stores)], n); err != nil {
				stop(err)
			}
		})
	}
	for i, r := range []reader{{h.readRange, 300}, {h.readSnapshot, 1000}, {h.readBackup, 10_000}} {
		rng := rand.New(rand.NewPCG(h.rng.Uint64(), uint64(i)))
		reading.Go(func() {
			for !over.Load() && context.Cause(ctx) == nil {
				if err := r.read(ctx, rng); err != nil {
					stop(err)
				}
				for next := h.clock.Load() + r.every; h.clock.Load() < next && !over.Load() && context.Cause(ctx) == nil; {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	working.Wait()
	over.Store(true)
	reading.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return h.endRound(ctx)
}

// endRound checks what was read in a round.
func (h *history) endRound(ctx context.Context) error {
	for _, v := range h.views {
		if err := h.check(v); err != nil {
			return err
		}
	}
	h.views = nil
	for _, w := range h.workers {
		for _, g := range w.foreign {
			if err := h.checkValue(g.key, g.value, g.found, g.read); err != nil {
				return err
			}
		}
		w.foreign = w.foreign[:0]
	}
	if err := h.checkAll(ctx); err != nil {
		return err
	}
	h.settle()
	return nil
}

// saw records a view, to be checked when the round has ended.
func (h *history) saw(v *view) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.views = append(h.views, v)
}

// readRange reads some of the keys.
func (h *history) readRange(ctx context.Context, rng *rand.Rand) error {
	first, end := 0, len(h.keys)
	if rng.IntN(3) > 0 {
		first = rng.IntN(len(h.keys))
		end = min(end, first+1+rng.IntN(300))
	}
	from, to := h.bounds(first, end)
	read := span{from: h.clock.Add(1)}
	v, err := h.readView("range", first, end, h.stores[rng.IntN(len(h.stores))].Range(ctx, from, to))
	if err != nil {
		return err
	}
	read.to = h.clock.Add(1)
	v.read = read
	h.saw(v)
	return nil
}

// maxSnapshots is how many snapshots are open at once.
const maxSnapshots = 3

// readSnapshot takes a snapshot, or reads or closes an old one, if the store has snapshots.
func (h *history) readSnapshot(ctx context.Context, rng *rand.Rand) error {
	db, ok := h.stores[0].(*kivaloo.DB)
	if !ok {
		return h.readRange(ctx, rng)
	}
	i := rng.IntN(len(h.snapshots) + 1)
	if len(h.snapshots) == maxSnapshots {
		i %= maxSnapshots
	}
	if i == len(h.snapshots) {
		from := h.clock.Add(1)
		at, err := db.Snapshot(ctx)
		if err != nil {
			return err
		}
		h.snapshots = append(h.snapshots, &snapshot{Snapshot: at, taken: span{from, h.clock.Add(1)}})
	}
	s := h.snapshots[i]
	v, err := h.readView("snapshot", 0, len(h.keys), s.Range(ctx, nil, nil))
	if err != nil {
		return err
	}
	v.read, v.atomic = s.taken, true
	if s.first == nil { // so it was taken in this round
		h.saw(v)
		s.first = v
	} else if err := h.same(s.first, v); err != nil {
		return err
	}
	if rng.IntN(6) == 0 {
		h.snapshots = append(h.snapshots[:i], h.snapshots[i+1:]...)
		return s.Close()
	}
	return nil
}

func (h *history) closeSnapshots() {
	for _, s := range h.snapshots {
		s.Close()
	}
	h.snapshots = nil
}

// readBackup makes a backup, restores it, and reads the copy.
func (h *history) readBackup(ctx context.Context, rng *rand.Rand) error {
	s := h.stores[rng.IntN(len(h.stores))]
	var file bytes.Buffer
	read := span{from: h.clock.Add(1)}
	if err := s.Backup(ctx, &file, kivaloo.BackupOptions{}); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	read.to = h.clock.Add(1)
	dir, err := os.MkdirTemp(h.Scratch, "copy")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	options := kivaloo.Options{NoSync: true, MaxKey: h.MaxKey, MaxValue: h.MaxValue}
	if err := kivaloo.Restore(ctx, &file, dir+"/d", options, kivaloo.RestoreOptions{}); err != nil {
		return fmt.Errorf("restore a backup: %w", err)
	}
	db, err := kivaloo.Open(dir+"/d", options)
	if err != nil {
		return fmt.Errorf("open a copy: %w", err)
	}
	defer db.Close()
	v, err := h.readView("backup", 0, len(h.keys), db.Range(ctx, nil, nil))
	if err != nil {
		return err
	}
	v.read, v.atomic = read, true
	h.saw(v)
	return nil
}
