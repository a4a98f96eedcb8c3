package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kivaloo"
	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/connect"
	"kivaloo/cmd/internal/number"
	"kivaloo/disk"
	"kivaloo/stress"
	"kivaloo/stress/results"
)

// The default number of operations in flight on a connection. An open loop needs room for
// everything that becomes due while the server stalls.
const (
	closedInFlight = 16
	openInFlight   = 256
)

// target describes where the store is, and its records.
type target struct {
	connect.Options
	addr, dir   string
	existing    bool // dir may hold a store
	connections int
	records     uint64
	valueSize   int
	seed        uint64
}

func (t *target) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	commandline.Text(f, &t.addr, "target", "t", "ADDRESS", "where the server is: the directory of its store, the path of a socket, host:port or [ip]:port")
	commandline.Text(f, &t.dir, "dir", "", "DIR", "open the store in this directory, in this process, instead")
	commandline.Complete(cmd, "dir", commandline.Directories)
	t.AddressFlags = "-t"
	t.AddFlags(cmd)
	f.BoolVar(&t.existing, "existing", false, "allow --dir to hold a store, whose records are changed")
	t.connections, t.records, t.valueSize, t.seed = 4, 100_000, 100, 1
	number.Int(f, &t.connections, "connections", "c", 1, maxConnections, "connections to the server")
	number.Uint64(f, &t.records, "records", "n", 1, stress.MaxLoaded, "number of records")
	number.Int(f, &t.valueSize, "value-size", "", stress.MinValueLen, kivaloo.MaxLen, "bytes in a value")
	number.Uint64(f, &t.seed, "seed", "", 0, math.MaxUint64, "seed of all random choices")
}

func (t *target) String() string { return t.addr + t.dir }

// open connects, or opens the directory. Close the stores with closeAll.
func (t *target) open(ctx context.Context) ([]kivaloo.Store, error) {
	switch {
	case (t.addr == "") == (t.dir == ""):
		return nil, errors.New("either -t with an address or --dir with a directory is needed")
	case t.dir != "":
		if err := t.checkDir(); err != nil {
			return nil, err
		}
		db, err := kivaloo.Open(t.dir, kivaloo.Options{})
		if err != nil {
			return nil, err
		}
		return []kivaloo.Store{db}, nil
	}
	var stores []kivaloo.Store
	for range t.connections {
		c, err := t.Dial(ctx, t.addr, connect.Repeated)
		if err != nil {
			return nil, errors.Join(err, closeAll(stores))
		}
		stores = append(stores, c)
	}
	return stores, nil
}

// checkDir refuses a directory with other files in it. It accepts a store only if that is intended.
func (t *target) checkDir() error {
	names, err := os.ReadDir(t.dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(names) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	files, err := disk.ScanDir(disk.OSFS{}, t.dir)
	switch {
	case err != nil:
		return fmt.Errorf("--dir: %w", err)
	case len(files) == 0:
		return fmt.Errorf("--dir %s is not empty, and there is no store in it: name a new directory", t.dir)
	case !t.existing:
		return fmt.Errorf("--dir %s holds a store, and a load changes it: name a new directory, or say --existing if that is meant", t.dir)
	}
	return nil
}

// maxConnections is the most that a process can have without raising its limit of open files.
const maxConnections = 1000

func closeAll(stores []kivaloo.Store) (err error) {
	for _, s := range stores {
		err = errors.Join(err, s.Close())
	}
	return err
}

// load writes the records, and shows its progress.
func (t *target) load(ctx context.Context, stores []kivaloo.Store, progress io.Writer) error {
	var done atomic.Uint64
	m := newMeter(progress, fmt.Sprintf("loading %d records", t.records))
	stop := m.follow(func() (float64, string) {
		return float64(done.Load()) / float64(t.records), fmt.Sprintf("%d", done.Load())
	})
	defer stop()
	return t.whileAnswered(ctx, stores, func(ctx context.Context) error {
		return stress.Load(ctx, stores, t.records, t.valueSize, t.seed, &done)
	})
}

// whileAnswered does work, and gives up if a server stops answering.
func (t *target) whileAnswered(ctx context.Context, stores []kivaloo.Store, work func(ctx context.Context) error) error {
	if c, ok := stores[0].(*kivaloo.Client); ok {
		return t.Run(ctx, c, work)
	}
	return work(ctx)
}

func loadCommand() *cobra.Command {
	t := target{}
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Write the records that run works on",
		Long: `Write records 0 to n-1. "run" does so itself if they are missing; this command also
restores those that it has changed.`,
		Args:              commandline.Arguments(0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			stores, err := t.open(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, closeAll(stores)) }()
			start := time.Now()
			if err := t.load(cmd.Context(), stores, cmd.ErrOrStderr()); err != nil {
				return err
			}
			took := time.Since(start)
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d records in %.1f s, %.0f per second\n", t.records, took.Seconds(), float64(t.records)/took.Seconds())
			return err
		},
	}
	t.flags(cmd)
	return cmd
}

// load has the settings of `run`.
type load struct {
	target
	workload, mix, distribution string
	inFlight                    int
	rate                        float64
	arrivals, sweep             string
	warmup, duration, interval  time.Duration
	count                       uint64
	verify                      bool
	out                         string
	originalOutput              bool
	looking                     insideFlags
	inside                      *inside // nil: do not look into the store
}

func runCommand() *cobra.Command {
	l := load{warmup: 2 * time.Second, duration: 10 * time.Second, interval: time.Second}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Load a store, and measure how long it takes to answer",
		Long: `Put a load on a store and print how long its operations take. Records that are missing
are loaded first.

Without -R each worker sends its next operation once the one before is answered (a closed
loop). With -R operations start on a schedule, whatever the server does (an open loop).
They are timed from their scheduled start: that is what users see.

The original's seven benchmarks are workloads too: bulk-insert, bulk-update, bulk-extract,
random-read, random-mixed, hotspot-read and tokyo. They use one connection with 4096
requests outstanding and the first n pairs of "kivaloo-stress pairs", which bulk-insert
stores. By default they warm up for 50 s and measure in windows of 1 s.

Exit status: 0 done, 1 wrong usage, no connection, a server that stopped answering for
--timeout, operations that failed or a profile that could not be had, 2 --verify has found
something wrong.`,
		Args:              commandline.Arguments(0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return l.run(cmd.Context(), cmd.Flags(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	l.target.flags(cmd)
	l.workload = "a"
	commandline.Text(f, &l.workload, "workload", "w", "NAME", "one of the original's benchmarks, or a workload of YCSB: a (half updates), b (mostly reads), c (reads), d (latest), e (ranges), f (read-modify-write)")
	commandline.Text(f, &l.mix, "mix", "", "MIX", "instead of a workload, a mix such as get=90,set=10; also insert, range, rmw, cas, add, modify, delete")
	commandline.Text(f, &l.distribution, "distribution", "", "NAME", "how records are chosen: uniform, zipfian[:THETA], latest, hotspot[:SET:OPS], sequential (default: that of the workload, uniform for a mix)")
	number.Int(f, &l.inFlight, "in-flight", "P", 1, stress.MaxWorkers, fmt.Sprintf("operations in flight on each connection (default %d, open loop %d)", closedInFlight, openInFlight))
	number.Float64(f, &l.rate, "rate", "R", stress.MinRate, stress.MaxRate, "operations per second: an open loop")
	commandline.Text(f, &l.sweep, "sweep", "", "FROM:TO:STEP", "open loops at one rate after the other, such as 10k:100k:10k, to find the rate that the store can sustain")
	l.arrivals = "constant"
	commandline.Choice(cmd, &l.arrivals, "arrivals", "when the operations of an open loop start", "constant", "poisson")
	number.Duration(f, &l.warmup, "warmup", "", 0, stress.MaxTime, "how long to run before measuring")
	number.Duration(f, &l.duration, "duration", "", time.Millisecond, stress.MaxTime, "how long to measure")
	number.Uint64(f, &l.count, "count", "", 1, math.MaxUint64, "measure this many operations, instead of for a duration")
	number.Duration(f, &l.interval, "interval", "", stress.MinInterval, stress.MaxTime, "time between lines of progress, and in intervals.csv")
	f.BoolVar(&l.verify, "verify", false, "compare every read with what was written; two writes of one record then wait for each other")
	commandline.Text(f, &l.out, "output", "o", "DIR", "directory for the results, new or empty (default: a new one below $TMPDIR)")
	l.looking.flags(f)
	commandline.Complete(cmd, "output", commandline.Directories)
	for flag, words := range map[string][]string{
		"workload":     append([]string{"a", "b", "c", "d", "e", "f"}, stress.Originals()...),
		"distribution": {"uniform", "zipfian", "latest", "hotspot", "sequential"},
		"profile":      slices.Sorted(maps.Keys(profilePaths)),
	} {
		commandline.Complete(cmd, flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	f.BoolVar(&l.originalOutput, "original-output", false, "print exactly the lines of the original's benchmarks")
	return cmd
}

// run executes the command.
func (l *load) run(ctx context.Context, f *pflag.FlagSet, out, progress io.Writer) (err error) {
	if slices.Contains(stress.Originals(), l.workload) {
		return l.original(ctx, f, out)
	}
	if l.originalOutput {
		return fmt.Errorf("--original-output is for the workloads %s", strings.Join(stress.Originals(), ", "))
	}
	var rates []float64
	if l.sweep != "" {
		if l.rate > 0 || l.count > 0 {
			return errors.New("--sweep has rates of its own, and a duration for each: neither -R nor --count is possible with it")
		}
		if rates, err = parseSweep(l.sweep); err != nil {
			return err
		}
	}
	plan, err := l.plan(f)
	if err != nil {
		return err
	}
	looking, err := l.looking.check(&l.target, &plan)
	if err != nil {
		return err
	}
	_, missing := os.Stat(l.out)
	dir, err := l.makeResultsDir()
	if err != nil {
		return err
	}
	if missing != nil {
		defer os.Remove(dir) // unless there is something in it
	}
	stores, err := l.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll(stores)) }()
	if l.inside, err = l.looking.open(ctx, looking, stores[0]); err != nil {
		return err
	}
	defer l.inside.close()
	there := false
	err = l.whileAnswered(ctx, stores, func(ctx context.Context) (err error) {
		there, err = stress.Loaded(ctx, stores[0], l.records)
		return err
	})
	if err == nil && !there {
		err = l.load(ctx, stores, progress)
	}
	if err != nil {
		return err
	}
	if len(rates) > 0 {
		return l.sweepRates(ctx, stores, plan, rates, dir, out, progress)
	}
	o, s, err := l.measure(ctx, stores, plan, dir, progress)
	if o == nil {
		return err
	}
	return errors.Join(s.Table(out), l.draw(dir, out), err, o.Err())
}

// makeResultsDir makes the directory for the results before anything else is done. So a load does
// not begin without a place for its results.
func (l *load) makeResultsDir() (string, error) {
	if l.out == "" {
		dir, err := os.MkdirTemp("", "kivaloo-stress-"+l.workload+"-")
		if err != nil {
			err = fmt.Errorf("make a directory for results: %w", err)
		}
		return dir, err
	}
	if err := results.MakeDir(l.out); err != nil {
		return "", err
	}
	out, err := os.Stat(l.out)
	if err != nil {
		return "", err
	}
	if store, err := os.Stat(l.dir); err == nil && os.SameFile(out, store) {
		return "", fmt.Errorf("-o and --dir are both %s: results and the store need a directory each", l.out)
	}
	return l.out, nil
}

// measure runs a plan, and writes its results to a directory. After a load it returns an outcome
// even with an error.
func (l *load) measure(ctx context.Context, stores []kivaloo.Store, plan stress.Plan, dir string, progress io.Writer) (*stress.Outcome, *results.Summary, error) {
	config, host := l.config(plan), results.ThisHost()
	w, err := results.Create(dir, config, host)
	if err != nil {
		return nil, nil, err
	}
	watched := ctx
	if c, ok := stores[0].(*kivaloo.Client); ok {
		var stop func()
		if watched, stop, err = l.Watch(ctx, c); err != nil {
			return nil, nil, errors.Join(err, w.Close())
		}
		defer stop()
	}
	what := l.workload
	if plan.Open() {
		what += fmt.Sprintf(" at %g/s", plan.Rate)
	}
	seen, err := l.inside.begin(watched, dir, &plan)
	if err != nil {
		return nil, nil, errors.Join(err, w.Close())
	}
	defer seen.stop()
	m := newMeter(progress, what)
	used := startUsage(&l.target, plan.Warmup)
	o, err := stress.Run(watched, stores, plan, func(v *stress.Interval) {
		w.Interval(v)
		m.interval(v, plan)
		seen.interval(v)
	})
	took := used.taken()
	m.stop()
	if o == nil {
		return nil, nil, errors.Join(err, w.Close())
	}
	if ctx.Err() == nil && !errors.Is(o.FirstError, os.ErrDeadlineExceeded) {
		err = errors.Join(err, watched.Err()) // nil, unless the server has stopped answering
	}
	s := results.Summarize(config, host, o)
	s.Usage, s.Command = took, thisCommand()
	return o, s, errors.Join(err, seen.found(s), w.Finish(s))
}

// draw makes the page, and prints its path. Without a page it prints the path of the results.
func (l *load) draw(dir string, out io.Writer) error {
	path, err := results.Report(dir)
	if err != nil {
		_, printed := fmt.Fprintf(out, "\nResults are in %s, not drawn\n", dir)
		return errors.Join(err, printed)
	}
	_, err = fmt.Fprintf(out, "\nResults are in %s, drawn in %s\n", dir, path)
	return err
}

// plan checks the flags and converts them for stress.Run. It fills in defaults.
func (l *load) plan(f *pflag.FlagSet) (p stress.Plan, err error) {
	distribution := l.distribution
	if l.mix != "" {
		if f.Changed("workload") {
			return p, errors.New("either --workload or --mix is possible, not both")
		}
		l.workload = "mix"
		if p.Mix, err = stress.ParseMix(l.mix); err != nil {
			return p, err
		}
		if distribution == "" {
			distribution = "uniform"
		}
	} else if p.Mix, p.Distribution, err = stress.YCSB(l.workload); err != nil {
		return p, err
	}
	if distribution != "" {
		if p.Distribution, err = stress.ParseDistribution(distribution); err != nil {
			return p, err
		}
	}
	if !f.Changed("in-flight") {
		if l.inFlight = closedInFlight; l.rate > 0 || l.sweep != "" {
			l.inFlight = openInFlight
		}
	}
	if l.count > 0 && !f.Changed("duration") {
		l.duration = 0
	}
	p.Records, p.ValueSize, p.Workers = l.records, l.valueSize, l.connections*l.inFlight
	p.Rate, p.Poisson = l.rate, l.arrivals == "poisson"
	p.Warmup, p.Duration, p.Count, p.Interval = l.warmup, l.duration, l.count, l.interval
	p.Seed, p.Verify = l.seed, l.verify
	return p, p.Check()
}

// config returns the settings as the results record them.
func (l *load) config(p stress.Plan) results.Config {
	c := results.Config{Target: l.String(), Workload: l.workload, Mix: p.Mix.String(), Distribution: p.Distribution.String(),
		Records: p.Records, ValueSize: p.ValueSize, Connections: l.connections, InFlight: l.inFlight, Rate: p.Rate,
		Warmup: p.Warmup.Seconds(), Duration: p.Duration.Seconds(), Count: p.Count, Seed: p.Seed, Verify: p.Verify}
	if p.Open() {
		c.Arrivals = l.arrivals
	}
	return c
}
