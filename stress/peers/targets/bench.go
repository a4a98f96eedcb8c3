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

// Options says what to measure. Programs are looked for in PATH unless their names contain a slash.
type Options struct {
	Rows   *regexp.Regexp // names of the rows to measure; nil: all
	Rounds int            // how often to measure each
	Pairs  uint64         // size of the data set; the large one has largeFactor times as many
	Time   time.Duration  // most time for most workloads, in each round
	Seed   uint64         // seed for the choice of keys

	Programs string // directory with the programs of module kivaloo
	Redis    RedisPrograms
}

func (o *Options) check() error {
	if o.Rounds < 1 || o.Pairs < minPairs || o.Pairs%minPairs != 0 || o.Time <= 0 {
		return fmt.Errorf("%d rounds of %v with %d pairs: at least 1 is needed, some time, and a multiple of %d", o.Rounds, o.Time, o.Pairs, minPairs)
	}
	return nil
}

// minPairs is the size of one group of pairs. The hot spot is one group.
const minPairs = 1 << 16

// Stage measures rows that share something.
type Stage struct {
	Rows []*Row
	// Redis says that a yardstick is measured on Redis.
	Redis bool
	// Run measures the rows that are wanted.
	Run func(ctx context.Context, b *Bench) error
}

// Bench is a measurement in progress.
type Bench struct {
	Options
	Dir      string // for stores; removed afterwards
	progress io.Writer
	redis    *redisServer  // nil until started
	pairs    []stress.Pair // the largest data set needed so far
}

// Run measures everything wanted, stage by stage. It prints the table to out, and its progress to
// progress. When it returns it has removed everything that it started and wrote, even if ctx was
// cancelled.
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
	if b.Dir, err = os.MkdirTemp("", "kivaloo-targets-"); err != nil {
		return fmt.Errorf("make a directory for the stores: %w", err)
	}
	defer func() { err = errors.Join(err, b.cleanUp()) }()
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

// interrupted returns the cause if ctx is cancelled, and err otherwise. The error of something cut
// off is of no interest.
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

// Say prints progress.
func (b *Bench) Say(format string, args ...any) { fmt.Fprintf(b.progress, format+"\n", args...) }

// FirstPairs returns the n pairs with the lowest numbers, in key order. The caller must not change
// them. n must be a multiple of minPairs.
func (b *Bench) FirstPairs(n uint64) []stress.Pair {
	if uint64(len(b.pairs)) < n {
		b.Say("making %d pairs", n)
		b.pairs = stress.Collect(n)
	}
	return b.pairs[:n]
}

// cleanUp stops Redis, and removes the directory if there is one.
func (b *Bench) cleanUp() error { return errors.Join(b.stopRedis(), os.RemoveAll(b.Dir)) }

func (b *Bench) program(name string) string { return filepath.Join(b.Programs, name) }
