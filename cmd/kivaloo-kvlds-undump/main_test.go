package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
)

func TestMain(m *testing.M) {
	daemontest.Main(m, ".", "../kivaloo-kvlds-dump", "../kivaloo-kvlds", "../kivaloo-lbs")
}

// stack is a kvlds on a block store. Both sockets are in one directory.
type stack struct {
	dir           string // its path is short, because those of sockets are limited
	blocks, kvlds *daemontest.Daemon
}

func (s *stack) path(name string) string { return filepath.Join(s.dir, name) }
func (s *stack) addr() string            { return s.path("s") }

// startStack starts both daemons on an empty store, the kvlds with options. The block store ends
// with its first connection.
func startStack(t *testing.T, blockSize int, options ...string) *stack {
	t.Helper()
	dir := daemontest.Place(t)
	s := &stack{dir: dir}
	must.Do(t, os.Mkdir(s.path("d"), 0o700))
	s.blocks = daemontest.Start(t, dir, "b.pid", daemontest.Program("kivaloo-lbs"),
		"-s", s.path("b"), "-d", s.path("d"), "-b", strconv.Itoa(blockSize), "-L", "-1")
	s.kvlds = daemontest.Start(t, dir, "s.pid", daemontest.Program("kivaloo-kvlds"),
		append([]string{"-s", s.addr(), "-l", s.path("b")}, options...)...)
	return s
}

// result is the exit status and the output of a program.
type result struct {
	status      int // -1: killed
	out, stderr string
}

// run runs one of the two programs.
func run(t *testing.T, program string, stdin io.Reader, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), daemontest.Program(program), args...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout = stdin, &out
	r := daemontest.RunCommand(t, cmd)
	return result{r.Status.ExitStatus(), out.String(), r.Output}
}

func undump(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	return run(t, "kivaloo-kvlds-undump", strings.NewReader(stdin), args...)
}

func dump(t *testing.T, args ...string) result {
	t.Helper()
	return run(t, "kivaloo-kvlds-dump", nil, args...)
}

// want checks the status, that stdout is empty, and that stderr is one line that begins with the
// program's name and contains says, or nothing if says is empty.
func (r result) want(t *testing.T, status int, says string) {
	t.Helper()
	said := strings.HasPrefix(r.stderr, "kivaloo-kvlds-undump: ") && strings.Contains(r.stderr, says) && strings.Count(r.stderr, "\n") == 1
	if r.status != status || r.out != "" || !said && (says != "" || r.stderr != "") {
		t.Errorf("status %d, printed %q, said %q; want %d, %q", r.status, r.out, r.stderr, status, says)
	}
}

// holds checks the content of the store.
func (s *stack) holds(t *testing.T, stream string) {
	t.Helper()
	if r := dump(t, "-t", s.addr()); r.status != 0 || r.stderr != "" || r.out != stream {
		t.Errorf("dump: status %d, %s; %d bytes, want %d", r.status, r.stderr, len(r.out), len(stream))
	}
}
