package targets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"kivaloo/stress"
)

// depths are the numbers of requests in flight while a server is profiled.
var depths = []int{1, 64, stress.Depth}

// Breakdown measures where a server's time goes, and what the machine can do. It prints both to
// out, and its progress to progress. It keeps the profiles in the directory o.Profiles. When it
// returns it has removed everything else that it started and wrote.
func Breakdown(ctx context.Context, o Options, out, progress io.Writer) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	seconds := int(o.Time / time.Second)
	if seconds < 1 {
		return fmt.Errorf("%v: a profile takes whole seconds, at least one", o.Time)
	}
	if err := os.MkdirAll(o.Profiles, 0o755); err != nil {
		return fmt.Errorf("make a directory for the profiles: %w", err)
	}
	b := &Bench{Options: o, progress: progress}
	defer func() { err = errors.Join(err, b.cleanUp()) }()
	if err := b.prepare(ctx); err != nil {
		return interrupted(ctx, err)
	}
	columns, err := b.profileAll(ctx, seconds)
	if err != nil {
		return interrupted(ctx, err)
	}
	b.Say("what the machine can do")
	machine, err := measureMachine(filepath.Join(b.Dir, "appended"))
	if err != nil {
		return err
	}
	return printBreakdown(out, b.Pairs, o.Profiles, columns, machine)
}

// profileAll profiles a server under each load. GETs come first, while the values are still the
// original ones.
func (b *Bench) profileAll(ctx context.Context, seconds int) (columns []column, err error) {
	pairs, look := b.FirstPairs(b.Pairs), insight{}
	if look.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	s, err := b.serveFilled(ctx, pairs, "--debug-addr", look.addr)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if _, err := s.writtenWhenIdle(ctx, idleTime); err != nil { // GETs must not pay for its flush
		return nil, err
	}
	for _, name := range []string{"GET", "SET"} {
		for _, depth := range depths {
			b.Say("random %s, %d in flight, %d s", name, depth, seconds)
			c := column{name: name, depth: depth, seconds: seconds}
			w := newEndless(pairs, endlessChoices, name == "SET", b.Seed+uint64(depth))
			profile := filepath.Join(b.Profiles, fmt.Sprintf("%s-%d.pprof", name, depth))
			if err := b.profile(ctx, s, look, w, &c, profile); err != nil {
				return nil, err
			}
			columns = append(columns, c)
		}
	}
	return columns, nil
}

// profile drives a server with w while the server takes a profile, and stores the profile in a
// file.
func (b *Bench) profile(ctx context.Context, s *store, look insight, w *endless, c *column, file string) error {
	driving, stop := context.WithCancel(ctx)
	defer stop()
	took := make(chan error, 1)
	go func() {
		defer w.over.Store(true)
		took <- b.takeProfile(driving, s.processes[0].PID(), look, w, c, file)
	}()
	_, err := stress.Drive(ctx, s.conn, w, c.depth)
	if err != nil {
		stop()
		return errors.Join(s.processes[0].Lost(err), <-took)
	}
	if err := <-took; err != nil {
		return err
	}
	pprof := exec.CommandContext(ctx, "go", "tool", "pprof", "-traces", "-unit=ms", file)
	pprof.Stderr = b.progress
	traces, err := pprof.Output()
	if err != nil {
		return fmt.Errorf("read %s: go tool pprof: %w", file, err)
	}
	c.profiled, err = attribute(string(traces))
	return err
}

// takeProfile waits until a load has warmed up, takes a profile of it, and records in c what
// happened meanwhile.
func (b *Bench) takeProfile(ctx context.Context, pid int, look insight, w *endless, c *column, file string) error {
	select {
	case <-time.After(warmTime):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	worked, err := workedSeconds(pid)
	if err != nil {
		return err
	}
	requests, began := w.answered.Load(), time.Now()
	profile, err := look.get(ctx, "/debug/pprof/profile?seconds="+strconv.Itoa(c.seconds))
	if err != nil {
		return err
	}
	c.rate = float64(w.answered.Load()-requests) / time.Since(began).Seconds()
	until, err := workedSeconds(pid)
	if err != nil {
		return err
	}
	c.worked = (until - worked) / time.Since(began).Seconds()
	return os.WriteFile(file, profile, 0o644)
}

// What the kernel says a process has worked, in /proc/PID/stat: user time and system time, in
// hundredths of a second.
var (
	userTime   = regexp.MustCompile(`\) \S(?: \S+){10} (\d+) \d+ `)
	systemTime = regexp.MustCompile(`\) \S(?: \S+){11} (\d+) `)
)

const ticksPerSecond = 100

// workedSeconds returns how long a process has worked.
func workedSeconds(pid int) (float64, error) {
	user, err1 := kernelCount(pid, "stat", userTime)
	system, err2 := kernelCount(pid, "stat", systemTime)
	return (user + system) / ticksPerSecond, errors.Join(err1, err2)
}
