package blackbox

import (
	"bytes"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/wire"
)

// One client's GETs beside many that each have thousands in flight: connected to serve, 99 % of them take no more than
// three times what they take through mux, which gives each client its turn.
func TestFairness(t *testing.T) {
	if !daemontest.Torture() {
		t.Skip("it measures times: set KIVALOO_TORTURE=1, on a machine that does nothing else")
	}
	s := newServe(t)
	s.start(t)
	through := filepath.Join(s.place, "mux.sock")
	mux, _ := daemontest.Foreground(t, exec.Command(daemontest.Program("kivaloo-mux"), "-t", s.addr(), "-s", through, "--foreground"))
	daemontest.Until(t, "mux listens", func() bool {
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

// slowGet returns p99 of one client's GETs, one at a time, beside so many greedy clients.
func slowGet(t *testing.T, addr string, greedy int) time.Duration {
	t.Helper()
	const inFlight, measured = 4096, 5 * time.Second
	one := connect(t, addr)
	must(t, one.Set("key", "value"))
	get := wire.KVRequest{Type: wire.TypeGet, Key: []byte("key")}
	for range greedy {
		nc := dialIdle(t, addr)
		defer nc.Close()
		go keepAsking(nc, wire.AppendPacket(nil, 1, wire.AppendKVRequest(nil, &get)), inFlight)
	}
	time.Sleep(measured / 5) // until all of them are at it
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

// keepAsking makes one request again and again, with n in flight, until the connection is closed.
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
