package blackbox

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kivaloo/cmd/internal/daemon/daemontest"
)

// TestHarnessLooksIntoServe checks that the harness takes profiles and a flight recording from a
// server while it measures it, and leaves its recorder as it was.
func TestHarnessLooksIntoServe(t *testing.T) {
	t.Parallel()
	s := newServe(t, "--debug-addr", "127.0.0.1:0")
	s.start(t)
	l := lookInto(t, s.said(t))
	out := filepath.Join(t.TempDir(), "results")
	r := runCommand(t, exec.CommandContext(t.Context(), daemontest.Program("kivaloo-stress"), "run", "-t", s.addr(), "-n", "500", "-c", "2", "-R", "500",
		"--warmup", "100ms", "--duration", "1s", "--interval", "250ms", "-o", out,
		"--debug-addr", l.url, "--profile", "cpu,heap,mutex,block,trace", "--flight-recorder", "p99.9>0ms"))
	if r.status != 0 {
		t.Fatalf("status %#x, said %q", r.status, r.stderr)
	}
	if !strings.Contains(r.out, "p99.9>0ms held, all.p99.9 was ") {
		t.Errorf("printed %s", r.out)
	}
	for name, begin := range map[string]string{
		"profile-cpu.pprof": "\x1f\x8b", "profile-heap.pprof": "\x1f\x8b", "profile-mutex.pprof": "\x1f\x8b", "profile-block.pprof": "\x1f\x8b",
		"trace.out": "go 1.", "flight.trace": "go 1.",
	} {
		text, err := os.ReadFile(filepath.Join(out, name))
		if err != nil || !strings.HasPrefix(string(text), begin) {
			t.Errorf("%s: %.50q, %v", name, text, err)
		}
	}
	l.want(t, "/debug/flightrecording", 409)
	s.stop(t)
	r = runCommand(t, exec.CommandContext(t.Context(), daemontest.Program("kivaloo-stress"), "run", "-t", s.addr(), "--profile", "cpu"))
	r.want(t, 1, "", "start it with that")
}
