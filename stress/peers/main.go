// Command peers compares the store in process, kivaloo.DB, with two others that Go programs embed: bbolt, a
// B+tree in a mapped file, and pebble, a log-structured merge tree. It is a module of its own so that
// theirs do not become part of the one that everybody imports.
//
//	cd stress/peers && go run .
//
// All three get the same pairs, and as much memory as they like. Rounds are interleaved, so that
// what else the machine does hits all alike; the report has the medians and how they compare.
//
// Files in reading order: this one (the command line, the plan), peer.go (what a store has to do),
// kivaloo.go, bbolt.go and pebble.go (how each does it), report.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"kivaloo/stress"
)

// The ratios that are aimed at.
const (
	targetBbolt  = 2   // Get over bbolt's View and Get
	targetPebble = 4   // Get over pebble's
	targetTwo    = 1.7 // Get on two goroutines over one
	targetRange  = 5   // Range over pebble's iterator
)

func main() {
	pairs := flag.Uint64("pairs", 1<<20, "how many pairs of 40+40 bytes")
	rounds := flag.Int("rounds", 3, "how often everything is measured")
	seed := flag.Uint64("seed", 1, "of the choice of keys")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := compare(ctx, plan{*pairs, *rounds, *seed}, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// plan says what to measure.
type plan struct {
	pairs  uint64
	rounds int
	seed   uint64 // of the choice of keys
}

// compare carries out a plan and prints a report to out, and what it is doing to progress. The
// stores are gone when it returns.
func compare(ctx context.Context, p plan, out, progress io.Writer) (failed error) {
	if p.pairs == 0 || p.rounds < 1 {
		return fmt.Errorf("%d pairs and %d rounds: at least one of each is needed", p.pairs, p.rounds)
	}
	dir, err := os.MkdirTemp("", "kivaloo-peers-")
	if err != nil {
		return err
	}
	defer func() { failed = errors.Join(failed, os.RemoveAll(dir)) }()

	pairs := stress.Collect(p.pairs)
	stores := make(map[string]peer)
	for name, open := range openers {
		fmt.Fprintf(progress, "loading %d pairs into %s\n", len(pairs), name)
		s, err := open(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("open %s: %w", name, err)
		}
		defer func() { failed = errors.Join(failed, s.close()) }()
		if err := s.load(pairs); err != nil {
			return fmt.Errorf("load %s: %w", name, err)
		}
		if err := errors.Join(s.scan(pairs), s.get(pairs)); err != nil { // once without the clock
			return fmt.Errorf("read from %s: %w", name, err)
		}
		stores[name] = s
	}
	all := measurements(stores, pairs)
	random := rand.New(rand.NewPCG(p.seed, 0))
	for round := range p.rounds {
		for _, m := range all {
			if err := ctx.Err(); err != nil {
				return err
			}
			fmt.Fprintf(progress, "round %d of %d: %s\n", round+1, p.rounds, m.name)
			if err := m.measure(choose(random, pairs)); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
		}
	}
	return report(out, fmt.Sprintf("%d pairs of %d+%d bytes in process, %d CPUs", p.pairs, stress.KeyLen, stress.KeyLen, runtime.NumCPU()), all)
}

// choose returns as many pairs as there are, each chosen at random. They are copied, because looking them
// up while the clock runs would cost what a Get does.
func choose(random *rand.Rand, pairs []stress.Pair) []stress.Pair {
	chosen := make([]stress.Pair, len(pairs))
	for i := range chosen {
		chosen[i] = pairs[random.IntN(len(pairs))]
	}
	return chosen
}

// measurement is one line of the report.
type measurement struct {
	name       string
	goroutines int
	do         func(chosen []stress.Pair) error // handles as many pairs as are chosen

	rates []float64 // pairs per second, each time
}

// The names of what the ratios are about.
const (
	kivalooGet    = "kivaloo DB.Get"
	kivalooGetTwo = "kivaloo DB.Get, two goroutines"
	kivalooRange  = "kivaloo DB.Range"
	bboltGet      = "bbolt View and Get"
	pebbleGet     = "pebble Get"
	pebbleIter    = "pebble iterator"
)

// measurements returns what is measured, in this order, in each round.
func measurements(stores map[string]peer, pairs []stress.Pair) []*measurement {
	kv, bb, peb := stores["kivaloo"], stores["bbolt"], stores["pebble"]
	all := func(s peer) func([]stress.Pair) error {
		return func([]stress.Pair) error { return s.scan(pairs) }
	}
	return []*measurement{
		{name: kivalooGet, goroutines: 1, do: kv.get},
		{name: bboltGet, goroutines: 1, do: bb.get},
		{name: pebbleGet, goroutines: 1, do: peb.get},
		{name: kivalooGetTwo, goroutines: 2, do: kv.get},
		{name: "bbolt, two goroutines", goroutines: 2, do: bb.get},
		{name: "pebble, two goroutines", goroutines: 2, do: peb.get},
		{name: kivalooRange, goroutines: 1, do: all(kv)},
		{name: "bbolt cursor", goroutines: 1, do: all(bb)},
		{name: pebbleIter, goroutines: 1, do: all(peb)},
	}
}

// measure does it once, with each goroutine taking its part of what is chosen.
func (m *measurement) measure(chosen []stress.Pair) error {
	runtime.GC() // of what came before
	errs := make([]error, m.goroutines)
	var working sync.WaitGroup
	began := time.Now()
	for i := range errs {
		part := chosen[i*len(chosen)/m.goroutines : (i+1)*len(chosen)/m.goroutines]
		working.Go(func() { errs[i] = m.do(part) })
	}
	working.Wait()
	m.rates = append(m.rates, float64(len(chosen))/time.Since(began).Seconds())
	return errors.Join(errs...)
}
