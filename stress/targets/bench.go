package targets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"kivaloo/stress"
)

// Options says what to measure. Programs are looked for in PATH unless they contain a slash.
type Options struct {
	Rows   *regexp.Regexp // names of those rows that are measured; nil: all
	Rounds int            // how often each is
	Pairs  uint64         // size of the data set; the large one has largeFactor times as many
	Time   time.Duration  // how long most workloads run at most, in each round
	Seed   uint64         // of the choice of keys

	Programs string // directory with the programs of module kivaloo; empty: they are built, which works inside the module only
	Redis    RedisPrograms
	Profiles string // directory where Breakdown keeps them
}

func (o *Options) check() error {
	if o.Rounds < 1 || o.Pairs < minPairs || o.Pairs%minPairs != 0 || o.Time <= 0 {
		return fmt.Errorf("%d rounds of %v with %d pairs: at least 1 is needed, some time, and a multiple of %d", o.Rounds, o.Time, o.Pairs, minPairs)
	}
	return nil
}

// minPairs is a group of them, which the hot spot is.
const minPairs = 1 << 16

// Stage measures rows that have something in common.
type Stage struct {
	Rows []*Row
	// Redis: a yardstick is what Redis does.
	Redis bool
	// Run measures those of Rows that are wanted.
	Run func(ctx context.Context, b *Bench) error
}

// Bench is a measurement under way.
type Bench struct {
	Options
	Dir      string // for stores; it is gone afterwards
	progress io.Writer
	redis    *redisServer  // nil until started
	pairs    []stress.Pair // the largest data set that was needed so far
}

// Run measures everything that is wanted, stage by stage, and prints the table to out, and what it
// is doing to progress. Whatever it starts and writes is gone when it returns, also when ctx is
// done.
func Run(ctx context.Context, o Options, stages []Stage, out, progress io.Writer) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	b := &Bench{Options: o, progress: progress}
	var rows []*Row
	var wanted []Stage
	needsRedis := false
	for _, s := range stages {
		rows = append(rows, s.Rows...)
		if b.wantsAny(s.Rows) {
			wanted = append(wanted, s)
			needsRedis = needsRedis || s.Redis
		}
	}
	if len(wanted) == 0 {
		return fmt.Errorf("no row is called %q; there are:\n%s", o.Rows, names(rows))
	}
	if needsRedis {
		if err := o.Redis.Check(); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, b.cleanUp()) }()
	if err := b.prepare(ctx); err != nil {
		return interrupted(ctx, err)
	}
	var failed error // what could be measured is printed all the same
	for _, s := range wanted {
		if err := s.Run(ctx, b); err != nil {
			if ctx.Err() != nil {
				return interrupted(ctx, err)
			}
			b.Say("%v", err)
			failed = errors.Join(failed, err)
		}
	}
	return errors.Join(failed, printTable(out, b.title(), rows))
}

// interrupted returns why ctx is done, or err if it is not: what was cut off has nothing of
// interest to say.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (b *Bench) title() string {
	return fmt.Sprintf("%d pairs of %d+%d bytes, %d requests in flight over unix sockets, %d rounds, %d CPUs",
		b.Pairs, stress.KeyLen, stress.KeyLen, stress.Depth, b.Rounds, runtime.NumCPU())
}

func names(rows []*Row) string {
	all := make([]string, len(rows))
	for i, r := range rows {
		all[i] = r.Name
	}
	return strings.Join(all, "\n")
}

// Wants reports whether a row is to be measured.
func (b *Bench) Wants(r *Row) bool { return b.Rows == nil || b.Rows.MatchString(r.Name) }

func (b *Bench) wantsAny(rows []*Row) bool {
	for _, r := range rows {
		if b.Wants(r) {
			return true
		}
	}
	return false
}

// Say tells of progress.
func (b *Bench) Say(format string, args ...any) { fmt.Fprintf(b.progress, format+"\n", args...) }

// FirstPairs returns the n pairs with the lowest numbers, in the order of their keys. The caller
// must not change them. n is a multiple of a group of pairs.
func (b *Bench) FirstPairs(n uint64) []stress.Pair {
	if uint64(len(b.pairs)) < n {
		b.Say("making %d pairs", n)
		b.pairs = stress.Collect(n)
	}
	return b.pairs[:n]
}

// prepare makes the directory, and the programs if none were given.
func (b *Bench) prepare(ctx context.Context) (err error) {
	if b.Dir, err = os.MkdirTemp("", "kivaloo-targets-"); err != nil {
		return fmt.Errorf("make a directory for the stores: %w", err)
	}
	return b.build(ctx)
}

// cleanUp stops Redis, and removes the directory if there is one.
func (b *Bench) cleanUp() error { return errors.Join(b.stopRedis(), os.RemoveAll(b.Dir)) }

// build makes the programs if none were given.
func (b *Bench) build(ctx context.Context) error {
	if b.Programs != "" {
		return nil
	}
	for _, program := range []string{"kivaloo", "kivaloo-lbs", "kivaloo-kvlds"} {
		b.Say("building %s", program)
		if _, err := stress.Build(ctx, b.Dir, program); err != nil {
			return err
		}
	}
	b.Programs = b.Dir
	return nil
}

func (b *Bench) program(name string) string { return filepath.Join(b.Programs, name) }
