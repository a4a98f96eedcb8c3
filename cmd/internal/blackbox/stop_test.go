package blackbox

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/cmd/internal/stopping"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// TestServeStops stops a serve under load by a signal. It must exit with status 0, everything
// acknowledged must be there, and its socket must be gone.
func TestServeStops(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			rnd := daemontest.Seeded(t)
			s := newServe(t)
			loads := []*kvtest.Load{kvtest.NewLoad(rnd, "one"), kvtest.NewLoad(rnd, "two")}
			errs := make([]error, len(loads))
			s.start(t)
			under := runLoads(t.Context(), s.addr(), loads, errs)
			must.Eventually(t, "something has been acknowledged to both", func() bool {
				return loads[0].Acknowledged() > 0 && loads[1].Acknowledged() > 0
			})
			s.signal(t, sig)
			under.Wait()
			must.Do(t, errors.Join(errs...))
			if _, err := os.Lstat(s.addr()); !os.IsNotExist(err) {
				t.Errorf("the socket is left: %v", err)
			}
			wantNoJournal(t, s.dir())
			s.start(t)
			found := readAll(t, s.addr())
			for _, l := range loads {
				must.Do(t, l.Check(found))
			}
		})
	}
}

// TestNobodyReadsWhatServeSays checks that serve goes on when the reader of its output goes away,
// and stops properly when it is told to.
func TestNobodyReadsWhatServeSays(t *testing.T) {
	t.Parallel()
	for _, both := range []bool{false, true} {
		t.Run(map[bool]string{false: "stderr", true: "stdout and stderr"}[both], func(t *testing.T) {
			t.Parallel()
			s := newServe(t)
			cmd := s.command()
			said, err := cmd.StderrPipe()
			must.Do(t, err)
			if both {
				cmd.Stdout = cmd.Stderr
			}
			must.Do(t, cmd.Start())
			timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
			defer timer.Stop()
			lines := bufio.NewScanner(said)
			for lines.Scan() && !strings.Contains(lines.Text(), "msg=ready") {
			}
			must.Do(t, said.Close())
			c := connect(t, s.addr())
			must.Do(t, c.Set("key", "value"))
			must.Do(t, cmd.Process.Signal(syscall.SIGTERM)) // serve says that it is stopping
			if err := cmd.Wait(); err != nil {
				t.Fatalf("stopped, while nobody reads what it says: %v", err)
			}
			if _, err := os.Lstat(s.addr()); !os.IsNotExist(err) {
				t.Errorf("the socket is left: %v", err)
			}
			checkStore(t, s.dir())
		})
	}
}

// wantNoJournal checks that kivaloo check finds no fault in a cleanly stopped store, and nothing to
// replay.
func wantNoJournal(t *testing.T, dir string) {
	t.Helper()
	if report := checkStore(t, dir); strings.Contains(report, "journal") {
		t.Errorf("after a stop in order check says\n%s", report)
	}
}

// TestStopFlushes checks that a stop right after a change leaves nothing in the journal only.
func TestStopFlushes(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]system{"serve": newServe(t), "daemons": newDaemons(t, 512, "--journal", "1M")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rounds := 3
			if daemontest.Torture() {
				rounds = 100
			}
			for round := range rounds {
				s.start(t)
				c := connect(t, s.addr())
				for i := range 20 {
					must.Do(t, c.Set(fmt.Sprint(i), fmt.Sprint(round)))
				}
				must.Do(t, c.Close())
				s.stop(t)
				wantNoJournal(t, s.dir())
			}
		})
	}
}

// TestDaemonsStopInAnyOrder checks that the last flush succeeds however a script stops the daemons:
// the block store serves the key-value daemon until that has left. A load is running, and so is a
// flush, because the memtable of a small tree is small.
func TestDaemonsStopInAnyOrder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lbsFirst bool
		pause    time.Duration // between the signals
	}{
		"kvlds first": {false, 20 * time.Millisecond},
		"at once":     {true, 0},
		"lbs first":   {true, 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rnd := daemontest.Seeded(t)
			d := newDaemons(t, 512)
			load := kvtest.NewLoad(rnd, "load")
			d.start(t)
			for range 3 {
				errs := make([]error, 1)
				under := runLoads(t.Context(), d.addr(), []*kvtest.Load{load}, errs)
				some := load.Acknowledged() + rnd.IntN(5000)
				must.Eventually(t, "changes have been acknowledged", func() bool { return load.Acknowledged() > some })
				first, second := d.kvlds, d.lbs
				if c.lbsFirst {
					first, second = second, first
				}
				first.Signal(t, syscall.SIGTERM)
				time.Sleep(c.pause)
				second.Signal(t, syscall.SIGTERM)
				d.wait(t)
				under.Wait()
				must.Do(t, errs[0])
				wantNoJournal(t, d.dir())
				d.start(t)
				must.Do(t, load.Check(readAll(t, d.addr())))
			}
			d.stop(t)
		})
	}
}

// idleDaemons starts daemons that have flushed a change, and have written nothing for a while.
func idleDaemons(t *testing.T) *daemons {
	d := newDaemons(t, 512)
	d.start(t)
	must.Do(t, connect(t, d.addr()).Set("key", "value"))
	time.Sleep(4 * time.Second)
	return d
}

// TestIdleDaemonsStopAtOnce checks that idle daemons stop cleanly when both are told to at once:
// neither may take the other's stop for a failure.
func TestIdleDaemonsStopAtOnce(t *testing.T) {
	t.Parallel()
	d := idleDaemons(t)
	for range 10 {
		d.lbs.Signal(t, syscall.SIGTERM)
		d.kvlds.Signal(t, syscall.SIGTERM)
		d.wait(t)
		wantNoJournal(t, d.dir())
		d.start(t)
	}
	d.stop(t)
}

// TestLbsStopsWithoutItsIdleClient checks that a block store does not wait for a client that writes
// nothing.
func TestLbsStopsWithoutItsIdleClient(t *testing.T) {
	t.Parallel()
	d := idleDaemons(t)
	before := time.Now()
	d.lbs.Signal(t, syscall.SIGTERM)
	if status := d.lbs.Wait(t); !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("status %#x", status)
	}
	if took := time.Since(before); took > 10*time.Second { // it would wait for 30 s
		t.Errorf("the stop took %v", took)
	}
	if status := d.kvlds.Wait(t); !status.Exited() || status.ExitStatus() != 1 {
		t.Errorf("the block store has left, and kvlds ended with status %#x", status)
	}
	wantNoJournal(t, d.dir())
}

// TestServeAnswersBeforeItStops checks that every request accepted before the stop is answered.
func TestServeAnswersBeforeItStops(t *testing.T) {
	t.Parallel()
	const requests = 1000
	s := newServe(t, "--commit-delay", "500ms")
	s.start(t)
	c := connect(t, s.addr())
	for i := range requests {
		c.Queue(&wire.KVRequest{Type: wire.TypeSet, Key: fmt.Appendf(nil, "%04d", i)})
	}
	c.Queue(&wire.KVRequest{Type: wire.TypeParams}) // answered at once, so the others have been accepted by then
	must.Do(t, c.Flush())
	if p, err := c.Next(); err != nil || p.ID != requests+1 {
		t.Fatalf("answer to request %d, %v; want that to %d", p.ID, err, requests+1)
	}
	s.process.Signal(t, syscall.SIGTERM)
	for i := range uint64(requests) {
		if p, err := c.Next(); err != nil || p.ID != i+1 {
			t.Fatalf("answer to request %d, %v; want that to %d", p.ID, err, i+1)
		}
	}
	must.Do(t, c.Closed())
	if status := s.process.Wait(t); status != 0 {
		t.Fatalf("status %#x, said %q", status, s.said(t))
	}
	s.start(t)
	if found := readAll(t, s.addr()); len(found) != requests {
		t.Errorf("%d pairs are there, want %d", len(found), requests)
	}
}

// TestServeLeavesAtOnce checks that a second signal ends a serve that is waiting for a client to
// take its answers.
func TestServeLeavesAtOnce(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	s.start(t)
	c := connect(t, s.addr())
	must.Do(t, c.Set("key", strings.Repeat("v", 255)))
	for range 4000 { // more than the sockets hold
		c.Queue(&wire.KVRequest{Type: wire.TypeGet, Key: []byte("key")})
	}
	must.Do(t, c.Flush())
	if _, err := c.Next(); err != nil { // the rest is not read
		t.Fatal(err)
	}
	s.process.Signal(t, syscall.SIGTERM)
	s.process.Signal(t, syscall.SIGTERM) // together they are one request
	must.Eventually(t, "stopping", func() bool { return strings.Contains(s.said(t), "msg=stopping") })
	time.Sleep(2 * stopping.Together)
	if strings.Contains(s.said(t), "leaving at once") {
		t.Error("two signals at the same time are not taken for one")
	}
	s.process.Signal(t, syscall.SIGTERM)
	if status := s.process.Wait(t); !status.Exited() || status.ExitStatus() != 1 || !strings.Contains(s.said(t), "leaving at once") {
		t.Errorf("status %#x, said %q", status, s.said(t))
	}
	s.start(t)
	if value, err := connect(t, s.addr()).Get("key"); err != nil || len(value) != 255 {
		t.Errorf("after a restart: %q, %v", value, err)
	}
}

// TestServeLeavesAmidItsLastFlush checks that a second signal ends a serve whose last flush waits
// for the store.
func TestServeLeavesAmidItsLastFlush(t *testing.T) {
	t.Parallel()
	b := newBucketService(t)
	b.faults = 0
	s := newS3Serve(t, b)
	s.start(t)
	must.Do(t, connect(t, s.addr()).Set("key", "value"))
	b.setDown(true)
	s.process.Signal(t, syscall.SIGTERM)
	must.Eventually(t, "no connection is accepted", func() bool {
		nc, err := net.Dial("unix", s.addr())
		if err == nil {
			nc.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	time.Sleep(2 * stopping.Together)
	s.process.Signal(t, syscall.SIGTERM)
	for end := time.Now().Add(15 * time.Second); alive(s.process); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("serve stays after a second signal")
		}
	}
	if status := s.process.Wait(t); !status.Exited() || status.ExitStatus() != 1 || !strings.Contains(s.said(t), "leaving at once") {
		t.Errorf("status %#x, said %q", status, s.said(t))
	}
	b.setDown(false)
	s.start(t)
	if value, err := connect(t, s.addr()).Get("key"); err != nil || string(value) != "value" {
		t.Errorf("after a restart: %q, %v", value, err)
	}
	s.stop(t)
}

// TestServeReady checks that the ready line names every address that clients can connect to, and a
// command to try.
func TestServeReady(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	tcp, extra := freePort(t), filepath.Join(s.place, "extra.sock")
	s.options = []string{"--listen", tcp, "--listen", extra}
	s.start(t)
	said := s.said(t)
	for _, want := range []string{s.addr(), tcp, extra, `"block size"=2048`, `"storage cost"=10000`,
		`try="` + daemontest.Program("kivaloo") + ` set --addr ` + s.addr() + ` greeting hello"`} {
		if !strings.Contains(said, want) {
			t.Errorf("said %q, want %q", said, want)
		}
	}
	for _, addr := range []string{s.addr(), tcp, extra} {
		kivaloo(t, "", "set", "--addr", addr, "greeting", "hello").want(t, 0, "", "")
	}
	s.stop(t)
	if _, err := os.Lstat(extra); !os.IsNotExist(err) {
		t.Errorf("a socket is left: %v", err)
	}
}

// freePort returns an unused address.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must.Do(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

// TestServeNotifies checks that a service manager is told when clients can connect, and when the
// stop begins.
func TestServeNotifies(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	path := filepath.Join(s.place, "notify")
	manager, err := net.ListenPacket("unixgram", path)
	must.Do(t, err)
	defer manager.Close()
	must.Do(t, manager.SetReadDeadline(time.Now().Add(patience)))
	cmd := s.command()
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path)
	s.process, s.stderr = daemontest.Foreground(t, cmd)
	hears := func(want string) {
		t.Helper()
		b := make([]byte, 1024)
		n, _, err := manager.ReadFrom(b)
		if err != nil || !slices.Contains(strings.Fields(string(b[:n])), want) {
			t.Fatalf("told %q, %v; want %q", b[:n], err, want)
		}
	}
	hears("READY=1")
	must.Do(t, connect(t, s.addr()).Set("key", "value"))
	s.process.Signal(t, syscall.SIGTERM)
	hears("STOPPING=1")
	if status := s.process.Wait(t); status != 0 {
		t.Errorf("status %#x, said %q", status, s.said(t))
	}
}
