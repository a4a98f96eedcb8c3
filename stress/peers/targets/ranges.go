package targets

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"kivaloo/stress"
)

// rangeStage measures short scans, as in YCSB's workload E, and how much they slow down with SETs
// beside them.
func rangeStage() Stage {
	row := &Row{
		Name:   fmt.Sprintf("RANGE of %d pairs beside 5 %% SETs, pairs", rangePairs),
		Target: Target{Factor: 0.5, Yardstick: "without SETs", Unit: PerSecond},
	}
	return filledStage(row, func(ctx context.Context, b *Bench, s *store, pairs []stress.Pair, round int) error {
		if _, err := s.writtenWhenIdle(ctx, min(idleTime, b.Time)); err != nil { // the load without SETs must not pay for them
			return err
		}
		alone := &Row{}
		without, err := s.ranges(ctx, b, alone, false, round)
		if err != nil {
			return err
		}
		row.yardCost = append(row.yardCost, alone.cost...)
		beside, err := s.ranges(ctx, b, row, true, round)
		if err != nil {
			return err
		}
		row.Record(beside, without)
		return nil
	})
}

// ranges returns how many pairs a second ranges return, after a short warm-up with other choices.
func (s *store) ranges(ctx context.Context, b *Bench, row *Row, sets bool, round int) (float64, error) {
	seed := b.Seed + uint64(round)
	if _, err := s.rangesFor(ctx, b, sets, ^seed, min(warmTime, b.Time)); err != nil {
		return 0, err
	}
	return s.watch(row, func() (stress.Result, error) { return s.rangesFor(ctx, b, sets, seed, b.Time) })
}

// rangesFor makes each of rangeConns connections send its part of the requests. The Result counts
// pairs.
func (s *store) rangesFor(ctx context.Context, b *Bench, sets bool, seed uint64, d time.Duration) (stress.Result, error) {
	var found [rangeConns]int
	var errs [rangeConns]error
	var driving sync.WaitGroup
	began := time.Now()
	for i := range rangeConns {
		w := stress.RandomRange(b.FirstPairs(b.Pairs), rangePairs, sets, seed+uint64(i)<<32)
		driving.Go(func() {
			nc, err := s.processes[0].Connect(ctx)
			if err != nil {
				errs[i] = err
				return
			}
			defer nc.Close()
			_, errs[i] = stress.Drive(ctx, nc, stress.Within(w, d), stress.Depth/rangeConns)
			found[i] = w.Found()
		})
	}
	driving.Wait()
	r := stress.Result{Elapsed: time.Since(began)}
	for _, n := range found {
		r.Requests += n
	}
	return r, errors.Join(errs[:]...)
}
