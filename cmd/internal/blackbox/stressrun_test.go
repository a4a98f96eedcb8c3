package blackbox

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// stressed runs kivaloo-stress, and checks its exit status and that its output contains some texts.
func stressed(t *testing.T, status int, args []string, wanted ...string) {
	t.Helper()
	r := runCommand(t, exec.CommandContext(t.Context(), daemontest.Program("kivaloo-stress"), args...))
	if !r.status.Exited() || r.status.ExitStatus() != status {
		t.Fatalf("%q: status %#x, want %d: %s%s", args, r.status, status, r.out, r.stderr)
	}
	for _, want := range wanted {
		if !strings.Contains(r.out+r.stderr, want) {
			t.Errorf("%q: no %q in:\n%s%s", args, want, r.out, r.stderr)
		}
	}
}

// TestStressOfAServedStore loads, measures, verifies and compares a served store, and checks the
// exit statuses.
func TestStressOfAServedStore(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	s.start(t)
	at := func(name string) string { return filepath.Join(s.place, name) }
	run := func(out string, more ...string) []string {
		return append([]string{"run", "-t", s.addr(), "-n", "1000", "-c", "2", "--warmup", "50ms", "--interval", "50ms", "-o", at(out)}, more...)
	}
	stressed(t, 0, run("old", "--duration", "600ms", "-P", "2"), "workload a: get=50,set=50", "closed loop: 2 connections, 2 in flight on each", "drawn in "+at("old"))
	stressed(t, 0, run("new", "--duration", "600ms", "-P", "2"))
	for _, name := range []string{"summary.json", "intervals.csv", "latency.hlog", "bench.txt", "report.html"} {
		if info, err := os.Stat(filepath.Join(at("old"), name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	stressed(t, 0, []string{"compare", at("old"), at("new"), "--fail-if", "rate<1/s"}, "p99.9")
	stressed(t, 3, []string{"compare", at("old"), at("new"), "--fail-if", "rate>1/s"}, "beyond what --fail-if allows")
	stressed(t, 0, run("open", "--duration", "300ms", "-R", "500", "--arrivals", "poisson", "--verify", "--mix", "get=30,set=20,insert=10,range=10,delete=10,cas=10,rmw=10"),
		"Verified: ", ", 0 violations", "open loop: 500 per second, poisson arrivals")
	stressed(t, 0, run("sweep", "--duration", "200ms", "--sweep", "200:400:200", "-w", "c"), "asked", "drawn in "+at("sweep"))
	for _, name := range []string{"sweep.json", "report.html", "200/summary.json", "400/summary.json"} {
		if _, err := os.Stat(filepath.Join(at("sweep"), name)); err != nil {
			t.Error(err)
		}
	}
	stressed(t, 1, run("old", "--duration", "100ms"), "is not empty: name a new directory")
	s.stop(t)
	stressed(t, 1, run("none", "--duration", "100ms"), s.addr())
}

// TestStressFindsALoss checks that a record lost behind the back of a load is missed by its ranges,
// and by its reads.
func TestStressFindsALoss(t *testing.T) {
	t.Parallel()
	const recordOne = "user910a2dec89025cc1"
	s := newServe(t)
	s.start(t)
	stressed(t, 0, []string{"load", "-t", s.addr(), "-n", "100"}, "100 records in ")
	c := connect(t, s.addr())
	_, err := c.Get(recordOne)
	must.Do(t, err)
	_, err = c.Ask(&wire.KVRequest{Type: wire.TypeDelete, Key: []byte(recordOne)})
	must.Do(t, err)
	for _, op := range []string{"range", "get"} {
		stressed(t, 2, []string{"run", "-t", s.addr(), "-n", "100", "--mix", op + "=1", "--count", "2000", "--warmup", "0s", "--verify", "-o", filepath.Join(s.place, op)},
			"verification failed", "record 1 is absent")
	}
	s.stop(t)
}

// setsDone finds in metrics that a SET was done.
var setsDone = regexp.MustCompile(`kivaloo_requests_total{op="set",status="ok"} [1-9]`)

// measured reports whether the results of a run or sweep have an interval, below their head.
func measured(out string) bool {
	run, _ := os.ReadFile(filepath.Join(out, "intervals.csv"))
	step, _ := os.ReadFile(filepath.Join(out, "500", "intervals.csv"))
	return bytes.Count(append(run, step...), []byte("\n")) > 1
}

// TestStressOfAServerThatStops checks that a load ends within the timeout if the server stops
// answering, and that the results so far are kept.
func TestStressOfAServerThatStops(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"closed": {"--duration", "1h", "--interval", "50ms"},
		"open":   {"--duration", "1h", "--interval", "50ms", "-R", "500"},
		"sweep":  {"--duration", "1h", "--interval", "50ms", "--sweep", "500:1000:500"},
		"looked": {"--duration", "1h", "--interval", "50ms", "--profile", "cpu", "--flight-recorder", "p99>1000s"},
		"tokyo":  {"-w", "tokyo"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServe(t, "--debug-addr", "127.0.0.1:0")
			s.start(t)
			l, out := lookInto(t, s.said(t)), filepath.Join(s.place, "out")
			args = append([]string{"run", "-t", s.addr(), "--timeout", "1s"}, args...)
			if name == "tokyo" {
				args = append(args, "-n", "1000000000")
			} else {
				args = append(args, "-n", "100", "-o", out)
			}
			if name == "looked" {
				args = append(args, "--debug-addr", l.url)
			}
			cmd := exec.CommandContext(t.Context(), daemontest.Program("kivaloo-stress"), args...)
			var said strings.Builder
			cmd.Stdout, cmd.Stderr = &said, &said
			must.Do(t, cmd.Start())
			must.Eventually(t, "it measures", func() bool {
				if name != "tokyo" {
					return measured(out)
				}
				_, metrics := l.get(t, "/metrics")
				return setsDone.MatchString(metrics)
			})
			thaw := freeze(t, s.process)
			frozen := time.Now()
			err := cmd.Wait()
			thaw()
			if took := time.Since(frozen); cmd.ProcessState.ExitCode() != 1 || took > patience/4 {
				t.Errorf("%v after %v", err, took)
			}
			if want := "no answer within 1s: the server is stopped"; !strings.Contains(said.String(), want) {
				t.Errorf("no %q in:\n%s", want, &said)
			}
			if _, err := os.Stat(filepath.Join(out, "summary.json")); err != nil && name != "tokyo" && name != "sweep" {
				t.Error(err)
			}
			s.stop(t)
		})
	}
}

// A server that is killed and does not come back ends a load within the time-out, too.
func TestStressOfAServerThatIsKilled(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	s.start(t)
	out := filepath.Join(s.place, "out")
	cmd := exec.CommandContext(t.Context(), daemontest.Program("kivaloo-stress"), "run", "-t", s.addr(), "--timeout", "1s",
		"--duration", "1h", "--interval", "50ms", "-n", "100", "-o", out)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	must.Do(t, cmd.Start())
	must.Eventually(t, "it measures", func() bool { return measured(out) })
	s.crash(t, nil)
	killed := time.Now()
	err := cmd.Wait()
	if took := time.Since(killed); cmd.ProcessState.ExitCode() != 1 || took > patience/4 || !strings.Contains(said.String(), "no answer within 1s: ") {
		t.Errorf("%v after %v:\n%s", err, took, &said)
	}
}
