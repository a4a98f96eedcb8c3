package targets

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kivaloo/stress"
)

// Latency measures how long requests take: a lone GET, a lone SET, and a mix that arrives at a
// fixed rate.
func Latency() []Stage { return []Stage{loneGetStage(), loneStage(), openStage()} }

// loneGetStage measures the time of a GET, here and in Redis, alternately and with the same calls.
func loneGetStage() Stage {
	row := &Row{Name: "one GET in flight, p50", Target: Target{Factor: 1, Yardstick: "Redis", AtMost: true, Unit: Micros}}
	return Stage{Rows: []*Row{row}, Redis: true, Run: func(ctx context.Context, b *Bench) (err error) {
		pairs := b.FirstPairs(b.Pairs)
		s, err := b.serveFilled(ctx, pairs)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		if err := b.fillRedis(ctx); err != nil {
			return err
		}
		if _, err := s.writtenWhenIdle(ctx, min(idleTime, b.Time)); err != nil { // GETs must not pay for its flush
			return err
		}
		d := min(loneTime, b.Time)
		for round := range b.Rounds {
			b.Say("round %d: %s", round+1, row.Name)
			if err := b.redis.Settle(ctx); err != nil {
				return err
			}
			seed := b.Seed + uint64(round)
			before, err := workedSeconds(b.redis.PID())
			if err != nil {
				return err
			}
			yard, err := b.redis.LoneGets(ctx, b.Pairs, d, seed)
			if err != nil {
				return err
			}
			after, err := workedSeconds(b.redis.PID())
			if err != nil {
				return err
			}
			row.yardCost = append(row.yardCost, (after-before)*microsPerSecond/float64(len(yard)))
			took, err := s.lone(ctx, stress.Within(stress.RandomGet(pairs, warmRequests, seed), d), row)
			if err != nil {
				return err
			}
			row.Record(micros(percentile(took, 50)), micros(percentile(yard, 50)))
		}
		return nil
	}}
}

// loneStage measures the time of a SET beside that of the disk, alternately in the same file
// system.
func loneStage() Stage {
	row := &Row{Name: "one durable SET in flight, p50", Target: Target{Factor: 1, Yardstick: "fdatasync", Plus: 90, AtMost: true, Unit: Micros}}
	return filledStage(row, func(ctx context.Context, b *Bench, s *store, pairs []stress.Pair, round int) error {
		disk, err := appendTime(filepath.Join(b.Dir, "appended"), blockSize)
		if err != nil {
			return err
		}
		took, err := s.lone(ctx, stress.Within(stress.RandomSet(pairs, warmRequests, b.Seed+uint64(round)), loneTime), row)
		if err != nil {
			return err
		}
		row.Record(micros(percentile(took, 50)), micros(disk))
		return nil
	})
}

// filledStage measures row in rounds, on one `kivaloo serve` with b.Pairs pairs.
func filledStage(row *Row, round func(ctx context.Context, b *Bench, s *store, pairs []stress.Pair, round int) error) Stage {
	return Stage{Rows: []*Row{row}, Run: func(ctx context.Context, b *Bench) (err error) {
		pairs := b.FirstPairs(b.Pairs)
		s, err := b.serveFilled(ctx, pairs)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		for n := range b.Rounds {
			b.Say("round %d: %s", n+1, row.Name)
			if err := round(ctx, b, s, pairs, n); err != nil {
				return err
			}
		}
		return nil
	}}
}

// serveFilled starts `kivaloo serve` on a new store and fills it with these pairs.
func (b *Bench) serveFilled(ctx context.Context, pairs []stress.Pair, args ...string) (*store, error) {
	s, err := b.serve(ctx, args...)
	if err != nil {
		return nil, err
	}
	b.Say("filling a store with %d pairs", len(pairs))
	_, err = s.drive(ctx, stress.OrderedLoad(pairs), nil)
	return s.orStop(err)
}

// appendTime returns the median time to append this many bytes to a file and sync it.
func appendTime(path string, bytes int) (_ time.Duration, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(path)) }()
	block := make([]byte, bytes)
	var took []time.Duration
	for end := time.Now().Add(loneTime); time.Now().Before(end); {
		began := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, fmt.Errorf("fdatasync %s: %w", path, err)
		}
		took = append(took, time.Since(began))
	}
	return percentile(took, 50), nil
}

// lone runs a workload with one request at a time, and returns the time of each.
func (s *store) lone(ctx context.Context, w stress.Workload, row *Row) ([]time.Duration, error) {
	l := &lone{Workload: w}
	_, err := s.watch(row, func() (stress.Result, error) { return stress.Drive(ctx, s.conn, l, 1) })
	return l.took, err
}

// lone measures the time of each request of a workload, one at a time.
type lone struct {
	stress.Workload
	sent time.Time
	took []time.Duration
}

func (l *lone) Next(dst []byte) ([]byte, uint64, bool) {
	l.sent = time.Now()
	return l.Workload.Next(dst)
}

func (l *lone) Check(tag uint64, answer []byte) error {
	l.took = append(l.took, time.Since(l.sent))
	return l.Workload.Check(tag, answer)
}

// percentile sorts times, and returns the one that p percent of them do not exceed. There must be
// at least one.
func percentile(times []time.Duration, p float64) time.Duration {
	slices.Sort(times)
	return times[min(int(float64(len(times))*p/100), len(times)-1)]
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// openStage runs the mix at half of the peak rate. It first measures the peak, with as many
// requests in flight as allowed.
func openStage() Stage {
	row := &Row{Name: "mix at half the peak rate, p99.9 during flushes", Target: Target{Factor: 3, Yardstick: "p99 without", AtMost: true, Unit: Millis}}
	return Stage{Rows: []*Row{row}, Run: func(ctx context.Context, b *Bench) (err error) {
		pairs, look := b.FirstPairs(b.Pairs), insight{}
		if look.addr, err = freeAddr(); err != nil {
			return err
		}
		s, err := b.serveFilled(ctx, pairs, "--debug-addr", look.addr)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		b.Say("the peak rate of the mix")
		peak, err := s.drive(ctx, stress.Within(stress.RandomMixed(pairs, requests, b.Seed, 2), b.Time), nil)
		if err != nil {
			return err
		}
		rate, long := peak/2, pacedTime
		for round := range b.Rounds {
			b.Say("round %d: the mix at %.0f per second", round+1, rate)
			w := stress.RandomMixed(pairs, int(rate*long.Seconds())+1, b.Seed+1+uint64(round), 2)
			all, began, err := stress.Paced(ctx, s.conn, w, rate, long)
			if err != nil {
				return s.processes[0].Lost(err)
			}
			flushes, err := look.flushes(ctx)
			if err != nil {
				return err
			}
			during, without := split(all, began, flushes)
			if len(during) == 0 || len(without) == 0 {
				during, without = append(during, without...), append(without, during...)
				row.Note("at %.0f/s; no flush was seen, or one all the time: it is p99.9 of everything over p99 of everything", rate)
			} else {
				row.Note("at %.0f/s, %d of %d requests during flushes", rate, len(during), len(all))
			}
			row.Record(micros(percentile(during, 99.9))/1000, micros(percentile(without, 99))/1000)
		}
		return nil
	}}
}

// split separates the requests that overlap one of the periods from the others.
func split(all []stress.Answered, began time.Time, periods []period) (during, without []time.Duration) {
	for _, a := range all {
		due := began.Add(a.Due)
		if slices.ContainsFunc(periods, func(p period) bool { return p.overlaps(due, due.Add(a.Took)) }) {
			during = append(during, a.Took)
		} else {
			without = append(without, a.Took)
		}
	}
	return during, without
}

// period is a stretch of time.
type period struct{ began, ended time.Time }

func (p period) overlaps(began, ended time.Time) bool {
	return began.Before(p.ended) && ended.After(p.began)
}
