package blackbox

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
)

// TestRanges runs the commands on ranges.
func TestRanges(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	s.start(t)
	for _, tc := range []struct{ args, out, stderr string }{
		{"set a/1 1 a/2 2 b/1 3 b/2 4 c 5", "", ""},
		{"count", "5\n", ""},
		{"count a/2 c", "3\n", ""},
		{"delete --prefix a/", "", "removed 2 keys\n"},
		{"delete --range b/2 c", "", "removed 1 key\n"},
		{"range --keys-only", "b/1\nc\n", ""},
		{"delete --all", "", "removed 2 keys\n"},
		{"count", "0\n", ""},
	} {
		kivaloo(t, "", append(strings.Fields(tc.args), "--addr", s.addr())...).want(t, 0, tc.out, tc.stderr)
	}
}

// TestLogs checks the format and the level of logs.
func TestLogs(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	process, stderr := daemontest.Foreground(t, serveIn(s.place, "--dir", "d", "--log-format", "json"))
	logged := func() string {
		text, err := os.ReadFile(stderr)
		must.Do(t, err)
		return string(text)
	}
	must.Eventually(t, "ready", func() bool { return strings.Contains(logged(), `"msg":"ready"`) })
	process.Signal(t, syscall.SIGTERM)
	process.Wait(t)
	for line := range strings.Lines(logged()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("logged %q", line)
		}
	}

	process, stderr = daemontest.Foreground(t, serveIn(s.place, "--dir", "d", "--log-level", "warn"))
	must.Eventually(t, "it listens", func() bool { return kivaloo(t, "", "get", "-a", s.addr(), "k").status.ExitStatus() == 3 })
	process.Signal(t, syscall.SIGTERM)
	if status := process.Wait(t); status != 0 || logged() != "" {
		t.Errorf("status %#x, logged %q", status, logged())
	}
	runCommand(t, serveIn(s.place, "--log-format", "xml")).want(t, 1, "", "want text or json; see")
	runCommand(t, serveIn(s.place, "--log-level", "loud")).want(t, 1, "", "want debug, info, warn or error; see")

	s.start(t)
	mux, stderr := daemontest.Foreground(t, muxIn(s.place, "-t", s.addr(), "-s", "./mux2", "-p", "mux2.pid", "--foreground", "--log-format", "json"))
	must.Eventually(t, "it listens", func() bool { return kivaloo(t, s.place, "get", "-a", "./mux2", "k").status.ExitStatus() == 3 })
	s.stop(t)
	mux.Wait(t)
	text, err := os.ReadFile(stderr)
	must.Do(t, err)
	if line, _, _ := strings.Cut(string(text), "\n"); !json.Valid([]byte(line)) || !strings.Contains(line, "the target is lost") {
		t.Errorf("mux logged %q", text)
	}
	for _, args := range [][]string{{"--log-format", "xml"}, {"--log-level", "loud"}} {
		r := runCommand(t, muxIn(s.place, append(args, "-t", "./t", "-s", "./mux3")...))
		if r.status.ExitStatus() != 1 || !strings.Contains(r.stderr, "is none of ") {
			t.Errorf("%q: status %#x, said %q", args, r.status, r.stderr)
		}
	}
}

// muxIn returns a command line of kivaloo-mux in a place.
func muxIn(place string, args ...string) *exec.Cmd {
	cmd := exec.Command(daemontest.Program("kivaloo-mux"), args...)
	cmd.Dir = place
	return cmd
}
