package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
)

func TestMain(m *testing.M) {
	daemontest.Main(m, ".", "../kivaloo", "../kivaloo-kvlds", "../kivaloo-lbs")
}

const (
	// patience bounds every wait. It is long enough for busy machines.
	patience = 60 * time.Second

	// silence is how long nothing must happen to conclude that nothing will.
	silence = 100 * time.Millisecond
)

// place is a directory for the sockets, files and stores of some daemons. Its path is short,
// because the paths of sockets are limited.
type place string

func newPlace(t *testing.T) place {
	t.Helper()
	dir := daemontest.Place(t)
	must.Do(t, os.Mkdir(filepath.Join(dir, "d"), 0o700))
	return place(dir)
}

func (p place) path(name string) string { return filepath.Join(string(p), name) }
func (p place) socket() string          { return p.path("s") } // of the mux
func (p place) target() string          { return p.path("t") }

// startTarget starts a key-value server and its block store.
func (p place) startTarget(t *testing.T) (kvlds *daemontest.Daemon) {
	t.Helper()
	dir := string(p)
	daemontest.Start(t, dir, "b.pid", daemontest.Program("kivaloo-lbs"), "-s", p.path("b"), "-d", p.path("d"), "-b", "512", "-L")
	return daemontest.Start(t, dir, "t.pid", daemontest.Program("kivaloo-kvlds"),
		"-s", p.target(), "-l", p.path("b"), "-C", "1024", "-v", "104")
}

// args returns a mux command line for this place, followed by options.
func (p place) args(options ...string) []string {
	return append([]string{"-t", p.target(), "-s", p.socket()}, options...)
}

// run runs a start command that should not leave a daemon.
func (p place) run(t *testing.T, args ...string) daemontest.Result {
	t.Helper()
	return daemontest.Run(t, string(p), daemontest.Program("kivaloo-mux"), args...)
}

// start starts a mux to the running target.
func (p place) start(t *testing.T, options ...string) *daemontest.Daemon {
	t.Helper()
	return daemontest.Start(t, string(p), "s.pid", daemontest.Program("kivaloo-mux"), p.args(options...)...)
}

// foreground starts a mux in the foreground, with readable output, and waits until it serves.
func (p place) foreground(t *testing.T, options ...string) *process {
	t.Helper()
	return p.foregroundCommand(t, exec.Command(daemontest.Program("kivaloo-mux"), p.args(append(options, "--foreground")...)...))
}

func (p place) foregroundCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	d, said := daemontest.Foreground(t, cmd)
	must.Eventually(t, "the mux serves", func() bool {
		pid, _ := os.ReadFile(p.path("s.pid"))
		return string(pid) == fmt.Sprint(d.Pid)
	})
	return &process{d, said}
}

// process is a daemon in the foreground.
type process struct {
	*daemontest.Daemon
	file string
}

// said returns the stderr output of the process so far.
func (d *process) said(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(d.file)
	must.Do(t, err)
	return string(text)
}

// mustSay waits until the process has written what to stderr.
func (d *process) mustSay(t *testing.T, what string) {
	t.Helper()
	must.Eventually(t, "it says "+what, func() bool { return strings.Contains(d.said(t), what) })
}

// stack is a mux on a kvlds on an lbs.
type stack struct {
	place
	kvlds, mux *daemontest.Daemon
}

func startStack(t *testing.T, options ...string) *stack {
	t.Helper()
	s := &stack{place: newPlace(t)}
	s.kvlds = s.startTarget(t)
	s.mux = s.start(t, options...)
	return s
}

// dial connects a client.
func dial(t *testing.T, addr string) *kvtest.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := kvtest.Dial(ctx, addr)
	must.Do(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// mustServe checks that a connection is served.
func mustServe(t *testing.T, c *kvtest.Conn) {
	t.Helper()
	must.Do(t, c.Set("served", "yes"))
	value, err := c.Get("served")
	must.Do(t, err)
	if string(value) != "yes" {
		t.Fatalf("got %q", value)
	}
}

// absent reports whether there is no file of that name.
func absent(name string) bool {
	_, err := os.Lstat(name)
	return errors.Is(err, os.ErrNotExist)
}
