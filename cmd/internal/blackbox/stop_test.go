package blackbox

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
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
	"kivaloo/wire"
)

// A signal stops a serve under load: it ends with status 0, whatever was acknowledged is there, and its
// socket is not.
func TestServeStops(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			rnd := daemontest.Seeded(t)
			s := newServe(t)
			loads := []*kvtest.Load{kvtest.NewLoad(rnd, "one"), kvtest.NewLoad(rand.New(rand.NewPCG(rnd.Uint64(), 0)), "two")}
			errs := make([]error, len(loads))
			s.start(t)
			under := runLoads(t.Context(), s.addr(), loads, errs)
			daemontest.Until(t, "something has been acknowledged to both", func() bool {
				return loads[0].Acknowledged() > 0 && loads[1].Acknowledged() > 0
			})
			s.signal(t, sig)
			under.Wait()
			must(t, errors.Join(errs...))
			if _, err := os.Lstat(s.addr()); !os.IsNotExist(err) {
				t.Errorf("the socket is left: %v", err)
			}
			wantNoJournal(t, s.dir())
			s.start(t)
			found := readAll(t, s.addr())
			for _, l := range loads {
				must(t, l.Check(found))
			}
		})
	}
}

// Whoever reads what serve says may go away: serve goes on, and stops in order when it is told to.
func TestNobodyReadsWhatServeSays(t *testing.T) {
	t.Parallel()
	for _, both := range []bool{false, true} {
		t.Run(map[bool]string{false: "stderr", true: "stdout and stderr"}[both], func(t *testing.T) {
			t.Parallel()
			s := newServe(t)
			cmd := s.command()
			said, err := cmd.StderrPipe()
			must(t, err)
			if both {
				cmd.Stdout = cmd.Stderr
			}
			must(t, cmd.Start())
			timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
			defer timer.Stop()
			lines := bufio.NewScanner(said)
			for lines.Scan() && !strings.Contains(lines.Text(), "msg=ready") {
			}
			must(t, said.Close())
			c := connect(t, s.addr())
			must(t, c.Set("key", "value"))
			must(t, cmd.Process.Signal(syscall.SIGTERM)) // serve says that it is stopping
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

// wantNoJournal has kivaloo check find no fault in a store that was stopped in order, and nothing to replay.
func wantNoJournal(t *testing.T, dir string) {
	t.Helper()
	if report := checkStore(t, dir); strings.Contains(report, "journal") {
		t.Errorf("after a stop in order check says\n%s", report)
	}
}

// A stop right after a change leaves nothing in the journal only.
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
					must(t, c.Set(fmt.Sprint(i), fmt.Sprint(round)))
				}
				must(t, c.Close())
				s.stop(t)
				wantNoJournal(t, s.dir())
			}
		})
	}
}

// What was asked before the stop is answered, to the last request that has been taken in.
func TestServeAnswersBeforeItStops(t *testing.T) {
	t.Parallel()
	const requests = 1000
	s := newServe(t, "--commit-delay", "500ms")
	s.start(t)
	c := connect(t, s.addr())
	for i := range requests {
		c.Queue(&wire.KVRequest{Type: wire.TypeSet, Key: fmt.Appendf(nil, "%04d", i)})
	}
	c.Queue(&wire.KVRequest{Type: wire.TypeParams}) // is answered at once: then the others have been taken in
	must(t, c.Flush())
	if p, err := c.Answer(); err != nil || p.ID != requests+1 {
		t.Fatalf("answer to request %d, %v; want that to %d", p.ID, err, requests+1)
	}
	s.process.Signal(t, syscall.SIGTERM)
	for i := range uint64(requests) {
		if p, err := c.Answer(); err != nil || p.ID != i+1 {
			t.Fatalf("answer to request %d, %v; want that to %d", p.ID, err, i+1)
		}
	}
	must(t, c.Closed())
	if status := s.process.Wait(t); status != 0 {
		t.Fatalf("status %#x, said %q", status, s.said(t))
	}
	s.start(t)
	if found := readAll(t, s.addr()); len(found) != requests {
		t.Errorf("%d pairs are there, want %d", len(found), requests)
	}
}

// A second signal ends a serve that is waiting for a client to take its answers.
func TestServeLeavesAtOnce(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	s.start(t)
	c := connect(t, s.addr())
	must(t, c.Set("key", strings.Repeat("v", 255)))
	for range 4000 { // more than the sockets hold
		c.Queue(&wire.KVRequest{Type: wire.TypeGet, Key: []byte("key")})
	}
	must(t, c.Flush())
	if _, err := c.Answer(); err != nil { // the rest is not taken
		t.Fatal(err)
	}
	s.process.Signal(t, syscall.SIGTERM)
	daemontest.Until(t, "stopping", func() bool { return strings.Contains(s.said(t), "msg=stopping") })
	s.process.Signal(t, syscall.SIGTERM)
	if status := s.process.Wait(t); !status.Exited() || status.ExitStatus() != 1 || !strings.Contains(s.said(t), "leaving at once") {
		t.Errorf("status %#x, said %q", status, s.said(t))
	}
	s.start(t)
	if value, err := connect(t, s.addr()).Get("key"); err != nil || len(value) != 255 {
		t.Errorf("after a restart: %q, %v", value, err)
	}
}

// The ready line says where clients can connect, to every address that was given, and what to try.
func TestServeReady(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	tcp, extra := freePort(t), filepath.Join(s.place, "extra.sock")
	s.options = []string{"--listen", tcp, "--listen", extra}
	s.start(t)
	said := s.said(t)
	for _, want := range []string{s.addr(), tcp, extra, `"block size"=2048`, `"storage cost"=10000`,
		`try="kivaloo set --addr ` + s.addr() + ` greeting hello"`} {
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

// freePort returns an address that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

// A service manager is told when clients can connect, and when the stop begins.
func TestServeNotifies(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	path := filepath.Join(s.place, "notify")
	manager, err := net.ListenPacket("unixgram", path)
	must(t, err)
	defer manager.Close()
	must(t, manager.SetReadDeadline(time.Now().Add(patience)))
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
	must(t, connect(t, s.addr()).Set("key", "value"))
	s.process.Signal(t, syscall.SIGTERM)
	hears("STOPPING=1")
	if status := s.process.Wait(t); status != 0 {
		t.Errorf("status %#x, said %q", status, s.said(t))
	}
}
