package blackbox

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	kv "kivaloo"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
	"kivaloo/wire/wiretest"
)

// system is a store and the processes that serve it.
type system interface {
	dir() string  // directory of the block files
	addr() string // address for clients
	// start starts what is not running, and returns when clients can connect.
	start(t *testing.T)
	// stop ends everything by SIGTERM.
	stop(t *testing.T)
	// crash kills something, or everything. idle says whether anything is left.
	crash(t *testing.T, rnd *rand.Rand)
	// idle reports whether nothing has the store open.
	idle() bool
	// keeper returns the process that has the block files open.
	keeper() *daemontest.Daemon
	// said returns what the programs have written to stderr since the last start.
	said(t *testing.T) string
}

// onBoth runs a test on both kinds of system, each with a new directory. blockSize, in bytes, is
// that of the store that the test puts there.
func onBoth(t *testing.T, blockSize int, test func(t *testing.T, s system)) {
	t.Run("serve", func(t *testing.T) {
		t.Parallel()
		test(t, newServe(t))
	})
	t.Run("daemons", func(t *testing.T) {
		t.Parallel()
		test(t, newDaemons(t, blockSize))
	})
}

// serve is kivaloo serve.
type serve struct {
	place   string
	options []string
	env     []string           // added to this process's
	process *daemontest.Daemon // nil if it is not running
	stderr  string             // file with its stderr
}

func newServe(t *testing.T, options ...string) *serve {
	t.Helper()
	return &serve{place: daemontest.Place(t), options: options}
}

func (s *serve) dir() string  { return filepath.Join(s.place, "d") }
func (s *serve) addr() string { return filepath.Join(s.dir(), "kivaloo.sock") }
func (s *serve) idle() bool   { return s.process == nil }

func (s *serve) keeper() *daemontest.Daemon { return s.process }

// command returns the command line.
func (s *serve) command() *exec.Cmd {
	cmd := exec.Command(daemontest.Program("kivaloo"), append([]string{"serve", "--dir", s.dir()}, s.options...)...)
	cmd.Env = append(cmd.Environ(), s.env...)
	return cmd
}

func (s *serve) start(t *testing.T) {
	t.Helper()
	s.startCommand(t, s.command())
}

func (s *serve) startCommand(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	s.process, s.stderr = daemontest.Foreground(t, cmd)
	must.Eventually(t, "ready", func() bool {
		if !alive(s.process) {
			t.Fatalf("serve has ended: %s", s.said(t))
		}
		return strings.Contains(s.said(t), "msg=ready")
	})
}

func (s *serve) stop(t *testing.T) {
	t.Helper()
	s.signal(t, syscall.SIGTERM)
}

// signal stops serve, and expects it to have completed its work.
func (s *serve) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	s.process.Signal(t, sig)
	status := s.process.Wait(t)
	s.process = nil
	if !status.Exited() || status.ExitStatus() != 0 || !strings.Contains(s.said(t), "msg=stopped") {
		t.Fatalf("after %v: status %#x, said %q", sig, status, s.said(t))
	}
}

func (s *serve) crash(t *testing.T, _ *rand.Rand) {
	t.Helper()
	s.process.Kill()
	s.process.Wait(t)
	s.process = nil
}

func (s *serve) said(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(s.stderr)
	must.Do(t, err)
	return string(text)
}

// daemons are kivaloo-kvlds and kivaloo-lbs.
type daemons struct {
	place        string
	blockSize    int
	kvldsOptions []string
	kvlds, lbs   *daemontest.Daemon // nil if it is not running
	output       string             // of the last start commands
	results      []daemontest.Result
}

func newDaemons(t *testing.T, blockSize int, kvldsOptions ...string) *daemons {
	t.Helper()
	d := &daemons{place: daemontest.Place(t), blockSize: blockSize, kvldsOptions: kvldsOptions}
	must.Do(t, os.Mkdir(d.dir(), 0o700))
	return d
}

func (d *daemons) dir() string                { return filepath.Join(d.place, "d") }
func (d *daemons) addr() string               { return filepath.Join(d.place, "kvlds") }
func (d *daemons) idle() bool                 { return d.lbs == nil }
func (d *daemons) keeper() *daemontest.Daemon { return d.lbs }
func (d *daemons) said(*testing.T) string     { return d.output }
func (d *daemons) lbsAddr() string            { return filepath.Join(d.place, "lbs") }
func (d *daemons) socket(of string) string    { return filepath.Join(d.place, of) }
func (d *daemons) pidFile(of string) string   { return of + ".pid" }

// start starts the daemons as a script would. It removes what a killed daemon has left before it
// starts the next one.
func (d *daemons) start(t *testing.T) {
	t.Helper()
	d.output, d.results = "", nil
	if d.lbs == nil {
		d.lbs = d.launch(t, "lbs", "-s", d.lbsAddr(), "-d", d.dir(), "-b", strconv.Itoa(d.blockSize))
	}
	if d.kvlds == nil {
		d.kvlds = d.launch(t, "kvlds", append([]string{"-s", d.addr(), "-l", d.lbsAddr()}, d.kvldsOptions...)...)
	}
}

func (d *daemons) launch(t *testing.T, name string, args ...string) *daemontest.Daemon {
	t.Helper()
	if err := os.Remove(d.socket(name)); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	r := daemontest.Run(t, d.place, daemontest.Program("kivaloo-"+name), args...)
	if r.Status != 0 {
		t.Fatalf("%s %q: status %#x, said %q", name, args, r.Status, r.Output)
	}
	d.output += r.Output
	d.results = append(d.results, r)
	return daemontest.Take(t, filepath.Join(d.place, d.pidFile(name)))
}

// log returns what the daemons of the last start have written to stderr so far.
func (d *daemons) log(t *testing.T) (all string) {
	t.Helper()
	for _, r := range d.results {
		all += r.Said(t)
	}
	return all
}

func (d *daemons) stop(t *testing.T) {
	t.Helper()
	d.kvlds.Signal(t, syscall.SIGTERM)
	d.mustDie(t, d.kvlds)
	d.lbs.Signal(t, syscall.SIGTERM)
	d.mustDie(t, d.lbs)
	d.kvlds, d.lbs = nil, nil
}

// wait waits for both daemons after they have been told to stop.
func (d *daemons) wait(t *testing.T) {
	t.Helper()
	d.mustDie(t, d.kvlds)
	d.mustDie(t, d.lbs)
	d.kvlds, d.lbs = nil, nil
}

// mustDie expects a daemon to complete its work and then to die of the signal, as the original
// does.
func (d *daemons) mustDie(t *testing.T, one *daemontest.Daemon) {
	t.Helper()
	if status := one.Wait(t); !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Fatalf("after SIGTERM: status %#x", status)
	}
}

// crash kills one daemon or both. Without its block store a kvlds ends by itself.
func (d *daemons) crash(t *testing.T, rnd *rand.Rand) {
	t.Helper()
	switch rnd.IntN(3) {
	case 0:
		d.kvlds.Kill()
		d.kvlds.Wait(t)
	case 1:
		d.lbs.Kill()
		d.lbs.Wait(t)
		if status := d.kvlds.Wait(t); !status.Exited() || status.ExitStatus() != 1 {
			t.Fatalf("the block store was killed, and kvlds ended with status %#x", status)
		}
		d.lbs = nil
	default:
		d.lbs.Kill()
		d.kvlds.Kill()
		d.lbs.Wait(t)
		d.kvlds.Wait(t)
		d.lbs = nil
	}
	d.kvlds = nil
}

// freeze stops a process, and returns a function that continues it.
func freeze(t *testing.T, d *daemontest.Daemon) (thaw func()) {
	t.Helper()
	d.Signal(t, syscall.SIGSTOP)
	must.Eventually(t, "stopped", func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.Pid))
		must.Do(t, err)
		_, rest, _ := strings.Cut(string(text), ") ")
		return strings.HasPrefix(rest, "T")
	})
	return func() { d.Signal(t, syscall.SIGCONT) }
}

// alive reports whether a process has not ended.
func alive(d *daemontest.Daemon) bool { return syscall.Kill(d.Pid, 0) == nil }

// readAll returns everything that a store holds.
func readAll(t *testing.T, addr string) wiretest.Model {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := kv.Dial(ctx, addr, kv.DialOptions{})
	must.Do(t, err)
	defer c.Close()
	m := make(wiretest.Model)
	for p, err := range c.Range(ctx, nil, nil) {
		must.Do(t, err)
		m[string(p.Key)] = string(p.Value)
	}
	return m
}

// mustHold checks that a store holds exactly m.
func mustHold(t *testing.T, addr string, m wiretest.Model) {
	t.Helper()
	if diff := m.Diff(readAll(t, addr)); diff != "" {
		t.Fatal(diff)
	}
}

// dump returns the hash of the output of kivaloo dump, in hex.
func dump(t *testing.T, addr string) string {
	t.Helper()
	r := kivaloo(t, "", "dump", "--addr", addr)
	if r.status != 0 {
		t.Fatalf("dump: status %#x, said %q", r.status, r.stderr)
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(r.out)))
}
