package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
)

func TestMain(m *testing.M) { daemontest.Main(m, ".", "../kivaloo-lbs") }

// patience bounds every wait. It is long enough for busy machines.
const patience = 60 * time.Second

// place is a directory for a block store and a kvlds. Its path is short, because the paths of
// sockets are limited.
type place string

func newPlace(t *testing.T) place {
	t.Helper()
	dir := daemontest.Place(t)
	must.Do(t, os.Mkdir(filepath.Join(dir, "d"), 0o700))
	return place(dir)
}

func (p place) path(name string) string { return filepath.Join(string(p), name) }
func (p place) socket() string          { return p.path("s") }

// args returns a kvlds command line for this place, followed by options. Without an option for the
// journal's length there is no journal: most tests check which pages a batch writes to the block
// store, as the original's would.
func (p place) args(options ...string) []string {
	if !slices.Contains(options, "--journal") {
		options = append([]string{"--journal", "0"}, options...)
	}
	return append([]string{"-s", p.socket(), "-l", p.path("b")}, options...)
}

// run runs a start command that should not leave a daemon.
func (p place) run(t *testing.T, args ...string) daemontest.Result {
	t.Helper()
	return daemontest.Run(t, string(p), daemontest.Program("kivaloo-kvlds"), args...)
}

// start starts a kvlds on the running block store.
func (p place) start(t *testing.T, options ...string) *daemontest.Daemon {
	t.Helper()
	return daemontest.Start(t, string(p), "s.pid", daemontest.Program("kivaloo-kvlds"), p.args(options...)...)
}

// startBlocks starts a block store.
func (p place) startBlocks(t *testing.T, blockSize int, options ...string) *daemontest.Daemon {
	t.Helper()
	return daemontest.Start(t, string(p), "b.pid", daemontest.Program("kivaloo-lbs"), p.blocksArgs(blockSize, options...)...)
}

// blocksArgs returns a command line of a block store for this place, followed by options.
func (p place) blocksArgs(blockSize int, options ...string) []string {
	return append([]string{"-s", p.path("b"), "-d", p.path("d"), "-b", strconv.Itoa(blockSize), "-L"}, options...)
}

// launch starts a daemon that may print something at the start, and returns that.
func (p place) launch(t *testing.T, program, pidFile string, args ...string) (d *daemontest.Daemon, said string) {
	t.Helper()
	r := daemontest.Run(t, string(p), daemontest.Program(program), args...)
	if r.Status != 0 {
		t.Fatalf("%s %q: status %v, said %q", program, args, r.Status, r.Output)
	}
	return daemontest.Take(t, p.path(pidFile)), r.Output
}

// stack is a kvlds on a block store.
type stack struct {
	place
	blocks *daemontest.Daemon
	kvlds  *daemontest.Daemon
}

// startStack starts both daemons in a new place, the kvlds with options.
func startStack(t *testing.T, blockSize int, options ...string) *stack {
	t.Helper()
	p := newPlace(t)
	s := &stack{place: p, blocks: p.startBlocks(t, blockSize)}
	s.kvlds = s.start(t, options...)
	return s
}

// restart kills the kvlds and starts another one.
func (s *stack) restart(t *testing.T, options ...string) {
	t.Helper()
	s.end(t, s.kvlds)
	s.kvlds = s.start(t, options...)
}

// end kills a kvlds and cleans up for another one.
func (p place) end(t *testing.T, kvlds *daemontest.Daemon) {
	t.Helper()
	kvlds.Kill()
	kvlds.Wait(t)
	p.clear(t)
}

// clear removes the socket of a kvlds that has ended.
func (p place) clear(t *testing.T) {
	t.Helper()
	must.Do(t, os.Remove(p.socket()))
}

// mustRefuse checks that a start command ended with status 1 and the right message.
func mustRefuse(t *testing.T, r daemontest.Result, why string) {
	t.Helper()
	if r.Status.ExitStatus() != 1 || !strings.HasPrefix(r.Output, "kivaloo-kvlds: ") || !strings.Contains(r.Output, why) {
		t.Errorf("status %v, said %q, want %q", r.Status, r.Output, why)
	}
}

// mustHaveSocket checks that the socket of a kvlds exists.
func (p place) mustHaveSocket(t *testing.T) {
	t.Helper()
	if info, err := os.Lstat(p.socket()); err != nil || info.Mode().Type() != os.ModeSocket {
		t.Errorf("socket: %v, %v", info, err)
	}
}

// files returns the names of the block files.
func (p place) files(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob(p.path("d/blks_*"))
	must.Do(t, err)
	return names
}

// process is a kvlds in the foreground, with readable output.
type process struct {
	cmd   *exec.Cmd
	said  bytes.Buffer
	ended chan struct{}
}

// foreground starts a kvlds on the running block store, and waits until it serves.
func (p place) foreground(t *testing.T, options ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	args := p.args(append([]string{"--foreground"}, options...)...)
	pr := &process{
		cmd:   exec.CommandContext(ctx, daemontest.Program("kivaloo-kvlds"), args...),
		ended: make(chan struct{}),
	}
	pr.cmd.Stderr = &pr.said
	if err := pr.cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	go func() {
		defer close(pr.ended)
		_ = pr.cmd.Wait() // the process state has the result
	}()
	t.Cleanup(func() {
		cancel()
		<-pr.ended
	})
	pid := strconv.Itoa(pr.cmd.Process.Pid)
	must.Eventually(t, "the pid file is there", func() bool {
		text, _ := os.ReadFile(p.path("s.pid"))
		return string(text) == pid
	})
	return pr
}

// wait returns the exit status and the output of the process.
func (pr *process) wait() (syscall.WaitStatus, string) {
	<-pr.ended
	return pr.cmd.ProcessState.Sys().(syscall.WaitStatus), pr.said.String()
}

// mustFail checks that the process ends with status 1 and the right message.
func (pr *process) mustFail(t *testing.T, why string) {
	t.Helper()
	status, said := pr.wait()
	if status.ExitStatus() != 1 || !strings.HasPrefix(said, "kivaloo-kvlds: ") || !strings.Contains(said, why) {
		t.Errorf("status %v, said %q, want %q", status, said, why)
	}
}

// absent reports whether there is no file of that name.
func absent(name string) bool {
	_, err := os.Lstat(name)
	return errors.Is(err, os.ErrNotExist)
}

// number returns the i-th key. These keys sort like numbers.
func number(i int) string { return fmt.Sprintf("%06d", i) }
