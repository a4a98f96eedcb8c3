package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"kivaloo/stress/peers/targets"

	"github.com/prometheus/procfs"
)

const (
	hugePairs = 1 << 24
	hugeSets  = 1 << 22 // in each round

	mebibytes targets.Unit = "MiB"

	// A store counts as idle once it writes less than restBytes during restTime. restTries is the
	// number of such periods to wait. sizeEvery is how often its size is sampled.
	restTime  = 1500 * time.Millisecond
	restTries = 20
	restBytes = 64 << 10
	sizeEvery = 100 * time.Millisecond
)

// hugePair is a key of 24 bytes, which begins with the number of the pair, and a value of 40 bytes.
type hugePair [64]byte

func (p *hugePair) key() []byte   { return p[:24] }
func (p *hugePair) value() []byte { return p[24:] }

// set makes p pair number i. version decides the value.
func (p *hugePair) set(i, version uint64) {
	random := rand.NewPCG(i, version)
	for at := 0; at < len(p); at += 8 {
		binary.BigEndian.PutUint64(p[at:], random.Uint64())
	}
	binary.BigEndian.PutUint64(p[:], i)
	hash := rand.NewPCG(i, 0)
	binary.BigEndian.PutUint64(p[8:], hash.Uint64())
	binary.BigEndian.PutUint64(p[16:], hash.Uint64())
}

// writer is a store that is only written to.
type writer interface {
	// put stores pairs in one durable commit.
	put(pairs []hugePair) error
	// rest starts the work that the store would do later by itself.
	rest() error
	close() error
}

// hugeStage measures the cost of a random SET in a store of this many pairs, and the disk space
// that it takes. All commits are durable.
func hugeStage(pairs, sets int) targets.Stage {
	row := func(name string, unit targets.Unit) *targets.Row {
		return &targets.Row{Name: fmt.Sprintf("%d Mi pairs: ", pairs>>20) + name, Target: targets.Target{Factor: 1, Yardstick: "pebble", AtMost: true, Unit: unit}}
	}
	written, disk := row("bytes written per random durable SET", targets.Bytes), row("peak disk use", mebibytes)
	return targets.Stage{Rows: []*targets.Row{written, disk}, Run: func(ctx context.Context, b *targets.Bench) error {
		written.Note("pairs of 24+40 bytes, %d SETs in commits of %d after the load and as many unmeasured ones", sets, commitPairs)
		for round := range b.Rounds {
			ours, err := hugeCosts(ctx, b, "kivaloo", pairs, sets, round)
			if err != nil {
				return err
			}
			theirs, err := hugeCosts(ctx, b, "pebble", pairs, sets, round)
			if err != nil {
				return err
			}
			written.Record(ours.perSet, theirs.perSet)
			disk.Record(ours.peak, theirs.peak)
		}
		return nil
	}}
}

type hugeCost struct{ perSet, peak float64 } // bytes, mebibytes

// hugeCosts fills a new store and changes pairs at random.
func hugeCosts(ctx context.Context, b *targets.Bench, name string, pairs, sets, round int) (c hugeCost, failed error) {
	dir := filepath.Join(b.Dir, name+"-huge")
	store, err := openers[name](dir, true)
	if err != nil {
		return c, fmt.Errorf("open %s: %w", name, err)
	}
	defer func() { failed = errors.Join(failed, store.close(), os.RemoveAll(dir)) }()
	w := store.(writer)
	peak := watchSize(dir)
	defer func() { c.peak = peak() / (1 << 20) }()
	random := rand.New(rand.NewPCG(b.Seed, uint64(round)))
	number := uint64(0)
	for _, step := range []struct {
		what string
		n    int
		next func() uint64
	}{
		{"load", pairs, func() uint64 { number++; return number - 1 }},
		{"SETs to warm up", sets, func() uint64 { return random.Uint64N(uint64(pairs)) }},
		{"SETs", sets, func() uint64 { return random.Uint64N(uint64(pairs)) }},
	} {
		b.Say("round %d: %s: %d %s", round+1, name, step.n, step.what)
		before, err := bytesWritten()
		if err != nil {
			return c, err
		}
		if err := putAll(ctx, w, step.n, step.next, random); err != nil {
			return c, fmt.Errorf("%s: %s: %w", name, step.what, err)
		}
		after, err := writtenAtRest(ctx, w)
		if err != nil {
			return c, err
		}
		c.perSet = (after - before) / float64(step.n) // of the last step
	}
	return c, nil
}

// putAll stores n pairs, in commits of commitPairs.
func putAll(ctx context.Context, w writer, n int, next func() uint64, random *rand.Rand) error {
	pairs := make([]hugePair, commitPairs)
	for done := 0; done < n; done += len(pairs) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for i := range pairs {
			pairs[i].set(next(), random.Uint64())
		}
		if err := w.put(pairs); err != nil {
			return err
		}
	}
	return nil
}

// bytesWritten returns how many bytes this process has written by system calls, on any file system.
func bytesWritten() (float64, error) {
	self, err := procfs.Self()
	if err != nil {
		return 0, err
	}
	io, err := self.IO()
	return float64(io.WChar), err
}

// writtenAtRest waits until less than restBytes has been written for a while, and returns
// bytesWritten. Zero is never reached: goroutines wake each other through pipes, and pebble writes
// 16 KiB in each pause.
func writtenAtRest(ctx context.Context, w writer) (float64, error) {
	if err := w.rest(); err != nil {
		return 0, err
	}
	last := -1.0
	for range restTries {
		n, err := bytesWritten()
		if err != nil || n-last < restBytes && last >= 0 {
			return n, err
		}
		last = n
		select {
		case <-time.After(restTime):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return last, nil // it never rests; count what it has written so far
}

// watchSize watches the size of a directory. The returned function ends that, and returns the
// largest size seen, in bytes on disk.
func watchSize(dir string) func() float64 {
	var peak float64
	var watching sync.WaitGroup
	over := make(chan struct{})
	watching.Go(func() {
		for {
			peak = max(peak, sizeOf(dir))
			select {
			case <-over:
				return
			case <-time.After(sizeEvery):
			}
		}
	})
	return func() float64 {
		close(over)
		watching.Wait()
		return peak
	}
}

// sizeOf returns the size of a directory. It ignores files that disappear meanwhile.
func sizeOf(dir string) (bytes float64) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			bytes += float64(info.Sys().(*syscall.Stat_t).Blocks) * 512
		}
		return nil
	})
	return bytes
}
