package blackbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	kv "kivaloo"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
)

const (
	// overwrites is how often each pair is overwritten.
	overwrites = 10

	// shrinkTime is how long an idle store has to shrink. shrinkTo is the most that its files may
	// then take, as a multiple of the pages of its tree.
	shrinkTime = time.Minute
	shrinkTo   = 2.0

	// writtenTo is the same while the store is being written.
	writtenTo = 3.0
)

// TestShrinks overwrites everything in a store again and again, in random order. The store must not
// grow far beyond its live data, and must shrink further while it is idle.
func TestShrinks(t *testing.T) {
	t.Parallel()
	t.Run("serve", func(t *testing.T) {
		t.Parallel()
		shrinks(t, 0, func(cost string) system { return newServe(t, "--storage-cost", cost) })
	})
	t.Run("serve, pages", func(t *testing.T) {
		t.Parallel()
		// A commit writes up to one leaf for each change before it frees what the leaves replace.
		const leaf = 2048
		shrinks(t, leaf, func(cost string) system { return newServe(t, "--storage-cost", cost, "--journal", "0") })
	})
	t.Run("daemons", func(t *testing.T) {
		t.Parallel()
		shrinks(t, 0, func(cost string) system { return newDaemons(t, 2048, "-S", cost) })
	})
}

// shrinks runs the test on a system whose commits write this many bytes of pages per change.
func shrinks(t *testing.T, perChange int, newSystem func(cost string) system) {
	t.Helper()
	// The ordinary run cleans at a higher rate, because it has less garbage. It writes smaller
	// batches, because each is a larger part of the store.
	pairs, window, cost := 10_000, 250, "100000"
	if daemontest.Torture() {
		pairs, window, cost = 200_000, 1000, "1000"
	}
	s := newSystem(cost)
	s.start(t)
	written := overwrite(t, s, pairs, window)
	live := liveBytes(t, s)
	if written > int64(writtenTo*float64(live))+int64(window*perChange) {
		t.Errorf("while everything was being overwritten the files took %d bytes, for pages of %d", written, live)
	}
	begin := time.Now()
	for limit := int64(shrinkTo * float64(live)); diskUse(t, s.dir()) > limit; <-time.After(20 * time.Millisecond) {
		if time.Since(begin) > shrinkTime {
			t.Fatalf("after %v the files take %d bytes, for pages of %d", shrinkTime, diskUse(t, s.dir()), live)
		}
	}
	t.Logf("pages of %d bytes; the files took up to %d, and %d when idle for %v", live, written, diskUse(t, s.dir()), time.Since(begin))
	s.stop(t)
	checkStore(t, s.dir())
}

// TestCleansMeanwhile checks that a store full of garbage is cleaned while it is only read, while
// clients come and go, and while there is no client.
func TestCleansMeanwhile(t *testing.T) {
	t.Parallel()
	const pairs = 3000
	read := func(ctx context.Context, t *testing.T, c *kv.Client) {
		if _, err := c.Get(ctx, fmt.Appendf(nil, "%040d", rand.IntN(pairs))); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}
	meanwhile := map[string]func(ctx context.Context, t *testing.T, s *serve){
		"nobody": func(ctx context.Context, t *testing.T, s *serve) { <-ctx.Done() },
		"reads": func(ctx context.Context, t *testing.T, s *serve) {
			c, err := kv.Dial(ctx, s.addr(), kv.DialOptions{})
			must.Do(t, err)
			defer c.Close()
			for ctx.Err() == nil {
				read(ctx, t, c)
			}
		},
		"short connections": func(ctx context.Context, t *testing.T, s *serve) {
			for ctx.Err() == nil {
				if c, err := kv.Dial(ctx, s.addr(), kv.DialOptions{}); err == nil {
					read(ctx, t, c)
					c.Close()
				} else if ctx.Err() == nil {
					t.Error(err)
				}
			}
		},
	}
	for name, do := range meanwhile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServe(t, "--storage-cost", "0", "--no-sync", "--journal", "0") // every batch leaves garbage
			s.start(t)
			overwrite(t, s, pairs, 100)
			live := liveBytes(t, s)
			s.stop(t)
			before := diskUse(t, s.dir())
			if before < 4*live {
				t.Fatalf("%d bytes for pages of %d: there is nothing to clean", before, live)
			}
			s.options = []string{"--storage-cost", "1000000", "--no-sync"}
			s.start(t)
			ctx, cancel := context.WithCancel(t.Context())
			var group sync.WaitGroup
			group.Go(func() { do(ctx, t, s) })
			must.Eventually(t, "cleaned", func() bool { return diskUse(t, s.dir()) < int64(shrinkTo*float64(live)) })
			cancel()
			group.Wait()
			s.stop(t)
			checkStore(t, s.dir())
		})
	}
}

// overwrite stores pairs of 40 and 40 bytes, then overwrites them in random order, with window
// writes in flight. It returns the most bytes that the files took.
func overwrite(t *testing.T, s system, pairs, window int) (most int64) {
	t.Helper()
	c, err := kv.Dial(t.Context(), s.addr(), kv.DialOptions{Window: window})
	must.Do(t, err)
	defer c.Close()
	p := c.Pipeline(t.Context())
	rnd := daemontest.Seeded(t)
	for round := range overwrites + 1 {
		for n, i := range rnd.Perm(pairs) {
			must.Do(t, p.Set(fmt.Appendf(nil, "%040d", i), fmt.Appendf(nil, "%040d", i^round)))
			if round > 0 && n%(pairs/8) == 0 {
				most = max(most, diskUse(t, s.dir()))
			}
		}
	}
	must.Do(t, p.Wait())
	return most
}

// liveBytes returns how many bytes the pages of the tree take, as kivaloo check counts them in a
// copy.
func liveBytes(t *testing.T, s system) int64 {
	t.Helper()
	copied := t.TempDir()
	thaw := freeze(t, s.keeper()) // so that no file appears or disappears
	for name := range blockFiles(t, s.dir()) {
		content, err := os.ReadFile(filepath.Join(s.dir(), name))
		must.Do(t, err)
		must.Do(t, os.WriteFile(filepath.Join(copied, name), content, 0o600))
	}
	thaw()
	report := checkStore(t, copied)
	var blockSize, pages int64
	for line := range strings.Lines(report) {
		fields := strings.Fields(line)
		switch fields[0] {
		case "blocks":
			fmt.Sscan(fields[1], &blockSize)
		case "pages":
			fmt.Sscan(strings.TrimSuffix(fields[1], ":"), &pages)
		}
	}
	if blockSize == 0 || pages == 0 {
		t.Fatalf("check does not say how many pages there are: %s", report)
	}
	return blockSize * pages
}

// TestDeletedStoreGoes checks that all files of a store but one disappear within ten seconds after
// everything was deleted.
func TestDeletedStoreGoes(t *testing.T) {
	t.Parallel()
	const goneWithin = 10 * time.Second
	onBoth(t, 512, func(t *testing.T, s system) {
		copyGolden(t, "s512-seq", s.dir())
		s.start(t)
		c, err := kv.Dial(t.Context(), s.addr(), kv.DialOptions{})
		must.Do(t, err)
		defer c.Close()
		deletes := c.Pipeline(t.Context())
		for pair, err := range c.Range(t.Context(), nil, nil) {
			must.Do(t, err)
			must.Do(t, deletes.Delete(pair.Key))
		}
		must.Do(t, deletes.Wait())
		begin := time.Now()
		must.Eventually(t, "one block file is left", func() bool { return len(blockFiles(t, s.dir())) == 1 })
		if took := time.Since(begin); took > goneWithin {
			t.Errorf("the files have gone after %v", took)
		}
		must.Do(t, c.Set(t.Context(), []byte("key"), []byte("value")))
	})
}
