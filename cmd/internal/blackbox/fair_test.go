package blackbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// TestEqualShares checks that clients with the same load are served alike: the median time of one's
// requests, and the 99th percentile, are at most three times those of another. If the machine does
// not give the clients equal shares of its time, the measurement says nothing about the server. So
// it takes three failures in a row: a server that favours some clients does so each time.
func TestEqualShares(t *testing.T) {
	const clients, attempts, most = 8, 3, 3
	s := newServe(t, "--no-sync")
	s.start(t)
	for attempt := 1; ; attempt++ {
		p50, p99 := equalShares(t, s.addr(), clients)
		t.Logf("of %d clients, p50 %v, p99 %v", clients, p50, p99)
		if slices.Max(p50) <= most*slices.Min(p50) && slices.Max(p99) <= most*slices.Min(p99) {
			break
		}
		if attempt == attempts {
			t.Errorf("%d times one client's p50 or p99 was more than %d times another's", attempts, most)
			break
		}
	}
	s.stop(t)
}

// equalShares runs clients with the same load at the same time, until the slowest has been served
// often enough. It returns p50 and p99 of each.
func equalShares(t *testing.T, addr string, clients int) (p50, p99 []time.Duration) {
	t.Helper()
	const measured, enough = time.Second, 100
	p50, p99 = make([]time.Duration, clients), make([]time.Duration, clients)
	errs := make([]error, clients)
	var slow atomic.Int64 // clients not served often enough yet
	slow.Store(int64(clients))
	begin := time.Now()
	more := func(n int) bool {
		if n == enough {
			slow.Add(-1)
		}
		return time.Since(begin) < measured || slow.Load() > 0
	}
	var start, all sync.WaitGroup
	start.Add(clients)
	for i := range p99 {
		nc := dialIdle(t, addr)
		defer nc.Close()
		all.Go(func() {
			start.Done()
			start.Wait() // until all are connected
			p50[i], p99[i], errs[i] = bursts(nc, fmt.Appendf(nil, "key %d", i), more)
			if errs[i] != nil {
				slow.Store(0)
			}
		})
	}
	all.Wait()
	must.Do(t, errors.Join(errs...))
	return p50, p99
}

// bursts sends bursts of requests, each after the previous one was answered, while more returns
// true. more is given how many there have been. It returns the median and the 99th percentile of
// their times.
func bursts(nc net.Conn, key []byte, more func(n int) bool) (p50, p99 time.Duration, err error) {
	const size = 32 // number of SETs, and of GETs
	set := wire.AppendKVRequest(nil, &wire.KVRequest{Type: wire.TypeSet, Key: key, Value: []byte("value")})
	get := wire.AppendKVRequest(nil, &wire.KVRequest{Type: wire.TypeGet, Key: key})
	stored := len(wire.AppendPacket(nil, 0, wire.AppendKVStatus(nil, 0)))
	value := len(wire.AppendPacket(nil, 0, wire.AppendKVValue(nil, []byte("value"))))
	ask := func(requests []byte, answers int) (took time.Duration, err error) {
		before := time.Now()
		if _, err = nc.Write(requests); err == nil {
			_, err = io.ReadFull(nc, make([]byte, answers))
		}
		return time.Since(before), err
	}
	if _, err := ask(wire.AppendPacket(nil, 0, set), stored); err != nil { // otherwise the first GETs find nothing
		return 0, 0, err
	}
	var burst []byte
	for id := range uint64(size) {
		burst = wire.AppendPacket(wire.AppendPacket(burst, 2*id, set), 2*id+1, get)
	}
	var all []time.Duration
	for more(len(all)) {
		took, err := ask(burst, size*(stored+value))
		if err != nil {
			return 0, 0, err
		}
		all = append(all, took)
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)*99/100], nil
}

// TestFairness compares one client's GETs beside many clients with thousands in flight: connected
// to serve, their p99 must be at most three times that through mux, which gives each client its
// turn.
func TestFairness(t *testing.T) {
	if !daemontest.Torture() {
		t.Skip("it measures times: set KIVALOO_TORTURE=1, on a machine that does nothing else")
	}
	s := newServe(t)
	s.start(t)
	through := filepath.Join(s.place, "mux.sock")
	mux, _ := daemontest.Foreground(t, exec.Command(daemontest.Program("kivaloo-mux"), "-t", s.addr(), "-s", through, "--foreground"))
	must.Eventually(t, "mux listens", func() bool {
		nc, err := net.Dial("unix", through)
		if err == nil {
			nc.Close()
		}
		return err == nil
	})
	for _, greedy := range []int{8, 200} {
		muxed, direct := slowGet(t, through, greedy), slowGet(t, s.addr(), greedy)
		t.Logf("beside %d clients, p99 of a GET: %v through mux, %v directly", greedy, muxed, direct)
		if direct > 3*muxed {
			t.Errorf("beside %d clients, p99 of a GET is %v, through mux %v", greedy, direct, muxed)
		}
	}
	mux.Kill()
	mux.Wait(t)
	s.stop(t)
}

// slowGet returns p99 of one client's GETs, one at a time, beside greedy clients.
func slowGet(t *testing.T, addr string, greedy int) time.Duration {
	t.Helper()
	const inFlight, measured = 4096, 5 * time.Second
	one := connect(t, addr)
	must.Do(t, one.Set("key", "value"))
	get := wire.KVRequest{Type: wire.TypeGet, Key: []byte("key")}
	for range greedy {
		nc := dialIdle(t, addr)
		defer nc.Close()
		go keepAsking(nc, wire.AppendPacket(nil, 1, wire.AppendKVRequest(nil, &get)), inFlight)
	}
	time.Sleep(measured / 5) // until all of them are busy
	var took []time.Duration
	for start := time.Now(); time.Since(start) < measured; {
		before := time.Now()
		if value, err := one.Get("key"); err != nil || string(value) != "value" {
			t.Fatalf("%q, %v", value, err)
		}
		took = append(took, time.Since(before))
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// keepAsking repeats one request, with n in flight, until the connection is closed.
func keepAsking(nc net.Conn, request []byte, n int) {
	const answer = wire.Overhead + 4 + 1 + len("value")
	asked := make(chan int, n)
	asked <- n
	go func() {
		for k := range asked {
			if _, err := nc.Write(bytes.Repeat(request, k)); err != nil {
				return
			}
		}
	}()
	defer close(asked)
	b, rest := make([]byte, 64<<10), 0
	for {
		k, err := nc.Read(b)
		if err != nil {
			return
		}
		if rest += k; rest >= answer {
			asked <- rest / answer
			rest %= answer
		}
	}
}
