package blackbox

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

const (
	// stormers is how many clients of a storm come and go at once.
	stormers = 100

	// stormRounds is how often each does so in an ordinary run.
	stormRounds = 30
)

// TestReconnectStorm has clients connect, send nothing, half a request, rubbish or a whole request,
// and leave again, thousands of times. No descriptor may stay open, and nobody else may notice.
func TestReconnectStorm(t *testing.T) {
	t.Parallel()
	s := newServe(t, "--cache", "4M", "--no-sync")
	s.start(t)
	w := newWitness(t, s.addr())
	before := descriptors(t, s.process.Pid)
	rng := daemontest.Seeded(t)
	done := make(chan error, stormers)
	for range stormers {
		mine := rand.New(rand.NewPCG(rng.Uint64(), 0))
		go func() { done <- storm(t.Context(), s.addr(), mine, stormRounds) }()
	}
	for left := stormers; left > 0; {
		select {
		case err := <-done:
			must.Do(t, err)
			left--
		default:
			w.look(t)
		}
	}
	must.Eventually(t, "all descriptors are closed", func() bool { return descriptors(t, s.process.Pid) <= before })
	s.stop(t)
	checkStore(t, s.dir())
}

// storm connects and leaves again, rounds times or until ctx ends.
func storm(ctx context.Context, addr string, rng *rand.Rand, rounds int) error {
	set := wire.AppendPacket(nil, 1, record(wire.KVRequest{Type: wire.TypeSet, Key: fmt.Appendf(nil, "storm %d", rng.IntN(100)), Value: []byte("v")}))
	for n := 0; n < rounds && ctx.Err() == nil; n++ {
		nc, err := net.Dial("unix", addr)
		if err != nil {
			time.Sleep(time.Millisecond) // the backlog is full
			continue
		}
		switch rng.IntN(5) {
		case 0: // leaves at once
		case 1:
			_, _ = nc.Write(set[:rng.IntN(len(set))])
		case 2:
			_, _ = nc.Write([]byte("GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"))
		case 3: // does not wait for the answers
			_, _ = nc.Write(bytes.Repeat(set, 50))
		default:
			c := kvtest.NewConn(nc)
			if err := c.Set("storm", "answered"); err != nil {
				nc.Close()
				return err
			}
		}
		nc.Close()
	}
	return nil
}

// descriptors returns how many files a process has open.
func descriptors(t *testing.T, pid int) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	must.Do(t, err)
	return len(all)
}

// sample is the resource use of a server at one moment.
type sample struct{ memory, descriptors, goroutines int64 }

// TestSoak puts serve under all kinds of load at once for an hour, or as long as KIVALOO_SOAK says,
// and checks that nothing grows. It compares the most memory, descriptors and goroutines in the
// last quarter with those in the second.
func TestSoak(t *testing.T) {
	text := os.Getenv("KIVALOO_SOAK")
	if text == "" {
		t.Skip("it takes an hour: set KIVALOO_SOAK=1h")
	}
	length, err := time.ParseDuration(text)
	if err != nil {
		length = time.Hour
	}
	t.Parallel()
	s := newServe(t, "--cache", "32M", "--block-size", "2048", "--journal", "1M", "--debug-addr", "127.0.0.1:0")
	s.start(t)
	inside := lookInto(t, s.said(t))
	rng := daemontest.Seeded(t)
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	errs := make(chan error, 100)
	keep := func(what string, f func(rng *rand.Rand) error) {
		mine := rand.New(rand.NewPCG(rng.Uint64(), 0))
		group.Go(func() {
			for ctx.Err() == nil {
				if err := f(mine); err != nil && ctx.Err() == nil {
					errs <- fmt.Errorf("%s: %w", what, err)
					return
				}
			}
		})
	}
	for range 4 {
		keep("load", func(rng *rand.Rand) error { return busy(ctx, s.addr(), rng) })
	}
	keep("storm", func(rng *rand.Rand) error { return storm(ctx, s.addr(), rng, 10) })
	keep("range", func(rng *rand.Rand) error { _ = readAll(t, s.addr()); return nil })
	w := newWitness(t, s.addr())
	samples := make([]sample, 0, 400)
	for range cap(samples) {
		select {
		case err := <-errs:
			t.Error(err)
		case <-time.After(length / time.Duration(cap(samples))):
		}
		must.Do(t, w.conn.SetDeadline(time.Now().Add(patience)))
		w.look(t)
		samples = append(samples, sample{memory(t, s.process.Pid, "VmRSS"), int64(descriptors(t, s.process.Pid)), goroutines(t, inside)})
	}
	stop()
	group.Wait()
	second, last := most(samples[100:200]), most(samples[300:])
	t.Logf("in %v: second quarter %+v, last quarter %+v", length, second, last)
	if last.memory > second.memory+second.memory/5 || last.descriptors > second.descriptors+20 || last.goroutines > second.goroutines+5 {
		t.Errorf("something grows: %+v, then %+v", second, last)
	}
	s.stop(t)
	checkStore(t, s.dir())
}

// busy connects, makes requests of all kinds, a hundred at a time, and leaves.
func busy(ctx context.Context, addr string, rng *rand.Rand) error {
	c, err := kvtest.Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	source := kvtest.NewSource(rng, "", 20_000, 60, 60)
	for range 1 + rng.IntN(100) {
		for range 100 {
			change := source.Change(nil)
			if rng.IntN(3) == 0 {
				change = wire.KVRequest{Type: wire.TypeGet, Key: change.Key}
			}
			c.Queue(&change)
		}
		if err := c.Flush(); err != nil {
			return err
		}
		for range 100 {
			if _, err := c.Next(); err != nil {
				return err
			}
		}
	}
	return nil
}

// most returns the maximum of each value.
func most(samples []sample) (m sample) {
	for _, s := range samples {
		m = sample{max(m.memory, s.memory), max(m.descriptors, s.descriptors), max(m.goroutines, s.goroutines)}
	}
	return m
}

// goroutines returns how many goroutines a server reports.
func goroutines(t *testing.T, l *looking) (n int64) {
	t.Helper()
	_, page := l.get(t, "/metrics")
	_, rest, ok := strings.Cut(page, "\ngo_goroutines ")
	if _, err := fmt.Sscan(rest, &n); !ok || err != nil {
		t.Fatalf("no number of goroutines in the metrics: %v", err)
	}
	return n
}
