package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"kivaloo/stress"
	"kivaloo/stress/peers/targets"
)

// embedded returns the stages that are measured in process.
func embedded() []targets.Stage {
	return []targets.Stage{readStage(), largeStage(), updateStage(), growthStage()}
}

func rate(name string, factor float64, over string) *targets.Row {
	return &targets.Row{Name: "embedded " + name, Target: targets.Target{Factor: factor, Yardstick: over, Unit: targets.PerSecond}}
}

// comparison is a row, with the actions for it and for its yardstick. Both handle any number of
// pairs.
type comparison struct {
	row      *targets.Row
	of, over action
	changes  bool // the chosen pairs are stored; otherwise they must be found unchanged
}

// action is the work of one or more goroutines, each with its part of the chosen pairs.
type action struct {
	goroutines int
	do         func(chosen []stress.Pair) error
}

// readStage gives all three stores the same pairs and as much memory as they want.
func readStage() targets.Stage {
	getBbolt, getPebble, two := rate("GET", 3, "bbolt"), rate("GET, over pebble", 4, "pebble"), rate("GET, two goroutines", 1.7, "one")
	scanBbolt, scanPebble := rate("scan, pairs", 1, "bbolt"), rate("scan, over pebble", 5, "pebble")
	return targets.Stage{
		Rows: []*targets.Row{getBbolt, getPebble, two, scanBbolt, scanPebble},
		Run: func(ctx context.Context, b *targets.Bench) error {
			pairs := b.FirstPairs(b.Pairs)
			return withPeers(b, false, b.Pairs, func(stores map[string]peer) error {
				for name, s := range stores { // once without the clock, to warm up
					if err := errors.Join(s.scan(pairs), s.get(pairs)); err != nil {
						return fmt.Errorf("read from %s: %w", name, err)
					}
				}
				scan := func(s peer) action {
					return action{1, func([]stress.Pair) error { return s.scan(pairs) }}
				}
				ours, bolt, peb := stores["kivaloo"], stores["bbolt"], stores["pebble"]
				return measure(ctx, b, pairs, []comparison{
					{row: getBbolt, of: action{1, ours.get}, over: action{1, bolt.get}},
					{row: getPebble, of: action{1, ours.get}, over: action{1, peb.get}},
					{row: two, of: action{2, ours.get}, over: action{1, ours.get}},
					{row: scanBbolt, of: scan(ours), over: scan(bolt)},
					{row: scanPebble, of: scan(ours), over: scan(peb)},
				})
			})
		},
	}
}

// largeStage measures GETs of so many pairs that the processor's caches hold few of them. All
// stores hold them in memory.
func largeStage() targets.Stage {
	overBbolt, overPebble := rate("GET, 4 x the pairs", 3, "bbolt"), rate("GET, 4 x the pairs, over pebble", 4, "pebble")
	return targets.Stage{
		Rows: []*targets.Row{overBbolt, overPebble},
		Run: func(ctx context.Context, b *targets.Bench) error {
			pairs := b.FirstPairs(largeFactor * b.Pairs)
			overBbolt.Note("%d pairs", len(pairs))
			return withPeers(b, false, uint64(len(pairs)), func(stores map[string]peer) error {
				for name, s := range stores { // once without the clock, to warm up
					if err := s.get(pairs); err != nil {
						return fmt.Errorf("read from %s: %w", name, err)
					}
				}
				ours := action{1, stores["kivaloo"].get}
				return measure(ctx, b, pairs, []comparison{
					{row: overBbolt, of: ours, over: action{1, stores["bbolt"].get}},
					{row: overPebble, of: ours, over: action{1, stores["pebble"].get}},
				})
			})
		},
	}
}

// updateStage measures updates in which each commit is on disk before the next.
func updateStage() targets.Stage {
	row := rate("durable updates, commits of 2048", 2.5, "pebble")
	return targets.Stage{Rows: []*targets.Row{row}, Run: func(ctx context.Context, b *targets.Bench) error {
		return withPeers(b, true, b.Pairs, func(stores map[string]peer) error {
			return measure(ctx, b, b.FirstPairs(b.Pairs), []comparison{
				{row: row, of: action{1, stores["kivaloo"].update}, over: action{1, stores["pebble"].update}, changes: true},
			})
		})
	}}
}

// withPeers calls f with stores that hold n pairs, and removes them afterwards. Durable stores are
// filled with durable commits.
func withPeers(b *targets.Bench, durable bool, n uint64, f func(map[string]peer) error) (failed error) {
	stores := make(map[string]peer)
	for name, open := range openers {
		b.Say("filling %s with %d pairs", name, n)
		s, done, err := fill(b, name, open, durable, n)
		if err != nil {
			return err
		}
		defer func() { failed = errors.Join(failed, done()) }()
		stores[name] = s
	}
	return f(stores)
}

// fill creates a store with n pairs. done closes and removes it.
func fill(b *targets.Bench, name string, open opener, durable bool, n uint64) (s peer, done func() error, err error) {
	dir := filepath.Join(b.Dir, name+"-embedded")
	if s, err = open(dir, durable); err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", name, err)
	}
	done = func() error { return errors.Join(s.close(), os.RemoveAll(dir)) }
	if err := s.load(b.FirstPairs(n)); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("load %s: %w", name, err), done())
	}
	return s, done, nil
}

// measure measures the wanted rows, with pairs that the stores hold. What is compared runs back to
// back, so that other load on the machine affects both.
func measure(ctx context.Context, b *targets.Bench, pairs []stress.Pair, all []comparison) error {
	random := rand.New(rand.NewPCG(b.Seed, 0))
	for round := range b.Rounds {
		for _, c := range all {
			if !b.Wants(c.row) {
				continue
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			b.Say("round %d: %s", round+1, c.row.Name)
			chosen := choose(random, pairs, int(b.Pairs))
			if c.changes {
				change(random, chosen)
			}
			figure, err := c.of.rate(chosen)
			if err != nil {
				return fmt.Errorf("%s: %w", c.row.Name, err)
			}
			yard, err := c.over.rate(chosen)
			if err != nil {
				return fmt.Errorf("%s, the yardstick: %w", c.row.Name, err)
			}
			c.row.Record(figure, yard)
		}
	}
	return nil
}

// choose returns n pairs, each chosen at random. They are copied, because looking them up during
// the measurement would cost as much as a Get.
func choose(random *rand.Rand, pairs []stress.Pair, n int) []stress.Pair {
	chosen := make([]stress.Pair, n)
	for i := range chosen {
		chosen[i] = pairs[random.IntN(len(pairs))]
	}
	return chosen
}

// change gives each pair another last byte, because setting the current value again would write
// nothing.
func change(random *rand.Rand, chosen []stress.Pair) {
	for i := range chosen {
		chosen[i][stress.PairLen-1] = byte(random.Uint32())
	}
}

// rate runs the action once, with each goroutine taking its part of the chosen pairs, and returns
// the pairs per second.
func (a action) rate(chosen []stress.Pair) (float64, error) {
	runtime.GC() // of earlier garbage
	errs := make([]error, a.goroutines)
	var working sync.WaitGroup
	began := time.Now()
	for i := range errs {
		part := chosen[i*len(chosen)/a.goroutines : (i+1)*len(chosen)/a.goroutines]
		working.Go(func() { errs[i] = a.do(part) })
	}
	working.Wait()
	return float64(len(chosen)) / time.Since(began).Seconds(), errors.Join(errs...)
}
