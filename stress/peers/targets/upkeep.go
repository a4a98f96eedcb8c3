package targets

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"kivaloo/stress"
)

// Upkeep measures what durability, recovery and memory cost.
func Upkeep() []Stage { return []Stage{writtenStage(), killStage(), collectorStage()} }

// writtenStage measures how much a random SET makes the server write, until it is idle again.
func writtenStage() Stage {
	row := &Row{Name: "bytes written per random SET", Target: Target{Plus: 300, AtMost: true, Unit: Bytes}}
	return filledStage(row, func(ctx context.Context, b *Bench, s *store, pairs []stress.Pair, round int) error {
		before, err := s.writtenWhenIdle(ctx, min(idleTime, b.Time))
		if err != nil {
			return err
		}
		w := stress.Within(stress.RandomSet(pairs, requests, b.Seed+uint64(round)), b.Time)
		r, err := stress.Drive(ctx, s.conn, w, stress.Depth)
		if err != nil {
			return s.processes[0].Lost(err)
		}
		after, err := s.writtenWhenIdle(ctx, min(idleTime, b.Time))
		if err != nil {
			return err
		}
		row.Record((after-before)/float64(r.Requests), 0)
		return nil
	})
}

// writtenWhenIdle waits until the server has written nothing for a while, and returns how many
// bytes it has written.
func (s *store) writtenWhenIdle(ctx context.Context, idle time.Duration) (float64, error) {
	last := -1.0
	for range idleTries {
		n, err := writtenBytes(s.processes[0].PID())
		if err != nil || n == last {
			return n, err
		}
		last = n
		select {
		case <-time.After(idle):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return last, nil // it never rests; count what it has written so far
}

// killStage measures how long a server takes to answer after it was killed during writes. The state
// of the journal at that moment is random, so the longest time counts.
func killStage() Stage {
	row := &Row{Name: "kill -9 during random SETs, to the first answer", Target: Target{Plus: 300, AtMost: true, Unit: Millis}}
	return Stage{Rows: []*Row{row}, Run: func(ctx context.Context, b *Bench) (err error) {
		pairs := b.FirstPairs(b.Pairs)
		s, err := b.serveFilled(ctx, pairs)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		longest := 0.0
		for round := range b.Rounds {
			b.Say("round %d: %s", round+1, row.Name)
			took, err := s.killAndRestart(ctx, b, stress.RandomSet(pairs, requests, b.Seed+uint64(round)))
			if err != nil {
				return err
			}
			longest = max(longest, micros(took)/1000)
		}
		row.Record(longest, 0)
		row.Note("the longest of %d", b.Rounds)
		return nil
	}}
}

// killAndRestart returns the time from the start of the new server to its first answer.
func (s *store) killAndRestart(ctx context.Context, b *Bench, w stress.Workload) (time.Duration, error) {
	failed := make(chan error, 1)
	go func() {
		_, err := stress.Drive(ctx, s.conn, w, stress.Depth)
		failed <- err
	}()
	select {
	case err := <-failed: // too early
		return 0, s.processes[0].Lost(fmt.Errorf("no SETs to interrupt: %w", err))
	case <-time.After(b.Time):
	}
	s.processes[0].Kill()
	<-failed
	s.processes = nil
	began := time.Now()
	if err := s.start(ctx, "kivaloo serve", filepath.Join(s.dir, "kivaloo.sock"), b.program("kivaloo"), []string{"serve", "--dir", s.dir}); err != nil {
		return 0, err
	}
	_, err := s.drive(ctx, stress.RandomMixed(b.FirstPairs(b.Pairs), 1, b.Seed, 0), nil)
	return time.Since(began), err
}

// collectorStage measures the work of the garbage collector when a large cache is full, and how
// much memory that takes.
func collectorStage() Stage {
	marking := &Row{Name: "garbage collector, 1 GiB cache: marking, processor time", Target: Target{Plus: 5, AtMost: true, Unit: Millis}}
	resident := &Row{Name: "memory, 1 GiB cache: resident over cache size", Target: Target{Plus: 1.2, AtMost: true, Unit: Times}}
	return Stage{Rows: []*Row{marking, resident}, Run: func(ctx context.Context, b *Bench) (err error) {
		look := insight{}
		if look.addr, err = freeAddr(); err != nil {
			return err
		}
		s, err := b.serve(ctx, "--cache", fmt.Sprint(collectedCacheBytes), "--debug-addr", look.addr)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		b.Say("filling a cache of %d MiB", collectedCacheBytes>>20)
		if _, err := s.drive(ctx, &fill{n: collectedCacheBytes / fillPairBytes}, nil); err != nil {
			return err
		}
		part, err := look.cachedPart(ctx)
		if err != nil {
			return err
		}
		marking.Note("%.0f %% of the cache is full", 100*part)
		for range b.Rounds {
			before, err := look.markingSeconds(ctx)
			if err != nil {
				return err
			}
			if err := look.collect(ctx); err != nil {
				return err
			}
			after, err := look.markingSeconds(ctx)
			if err != nil {
				return err
			}
			size, err := residentBytes(s.processes[0].PID())
			if err != nil {
				return err
			}
			if b.Wants(marking) {
				marking.Record((after-before)*1000, 0)
			}
			if b.Wants(resident) {
				resident.Record(size/collectedCacheBytes, 0)
			}
		}
		return nil
	}}
}
