package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/cmd/internal/version"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// take takes over the daemon running in this place.
func (p place) take(t *testing.T) *server {
	t.Helper()
	return &server{daemontest.Take(t, p.path("s.pid")), p, p.socket()}
}

func TestReadyWhenTheStartCommandReturns(t *testing.T) {
	t.Parallel()
	for range 5 {
		s := newPlace(t).start(t, 512)
		if _, _, err := s.connect(t).params(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPidFile(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if r := p.run(t, p.args(512, "-p", "elsewhere")...); r.Status != 0 {
		t.Fatalf("status %v, said %q", r.Status, r.Output)
	}
	d := daemontest.Take(t, p.path("elsewhere"))
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", d.Pid)); err != nil || exe != daemontest.Program("kivaloo-lbs") {
		t.Errorf("process %d runs %s, %v", d.Pid, exe, err)
	}
	if _, err := os.Stat(p.path("s.pid")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("-p does not replace the default pid file: %v", err)
	}
}

func TestRefusedStarts(t *testing.T) {
	p := newPlace(t)
	d, s := p.path("d"), p.socket()
	const usage = "usage: kivaloo-lbs "
	for _, c := range []struct {
		args []string
		says string
	}{
		{nil, usage},
		{[]string{"-s", s, "-d", d}, usage},
		{[]string{"-s", s, "-b", "512"}, usage},
		{[]string{"-d", d, "-b", "512"}, usage},
		{p.args(512, "left"), usage},
		{p.args(512, "-x"), "illegal option -- -x\n" + usage},
		{p.args(512, "--nonsense"), "illegal option -- --nonsense\n" + usage},
		{p.args(512, "-n"), "requires an argument -- -n\n" + usage},
		{p.args(512, "-L", "-L"), usage},
		{p.args(512, "-n", "4", "-n", "5"), usage},
		{p.args(511), "option -b: "},
		{p.args(131073), "option -b: "},
		{p.args(512, "-n", "0"), "option -n: "},
		{p.args(512, "-n", "1001"), "option -n: "},
		{p.args(512, "-n", "4x"), "option -n: "},
		{p.args(512, "-l", "1000000000"), "option -l: "},
		{p.args(512, "-l", "-1"), "option -l: "},
		{[]string{"-s", "", "-d", d, "-b", "512"}, "address"},
		{[]string{"-s", ":5", "-d", d, "-b", "512"}, "address"},
		{[]string{"-s", "localhost", "-d", d, "-b", "512"}, "address"},
		{[]string{"-s", "[127.0.0.1]:0", "-d", d, "-b", "512"}, "address"},
		{[]string{"-s", "/" + strings.Repeat("x", 107), "-d", d, "-b", "512"}, "address"},
		{[]string{"-s", filepath.Join(d, "no", "s"), "-d", d, "-b", "512"}, "no such file"},
	} {
		r := p.run(t, c.args...)
		if r.Status.ExitStatus() != 1 || !strings.Contains(r.Output, c.says) {
			t.Errorf("%q: status %v, said %q", c.args, r.Status, r.Output)
		}
		if !strings.HasPrefix(r.Output, "kivaloo-lbs: ") {
			t.Errorf("%q: said %q", c.args, r.Output)
		}
	}
	if entries, err := os.ReadDir(string(p)); err != nil || len(entries) != 1 {
		t.Errorf("refused command lines leave %v, %v", entries, err)
	}
}

func TestVersion(t *testing.T) {
	r := newPlace(t).run(t, "-n", "3", "--version", "--nonsense")
	if want := "kivaloo-lbs " + version.Release + " ("; r.Status != 0 || !strings.HasPrefix(r.Output, want) {
		t.Errorf("status %v, said %q, want %q", r.Status, r.Output, want)
	}
}

func TestOptionSyntax(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	r := p.run(t, "-Ln0x2", "-b01000", "-l", " 5", "-s"+p.socket(), "-d", p.path("d"), "--")
	if r.Status != 0 {
		t.Fatalf("status %v, said %q", r.Status, r.Output)
	}
	if size, _, err := p.take(t).connect(t).params(); size != 512 || err != nil {
		t.Errorf("block size %d, %v", size, err)
	}
}

// TestSocketIsLeftBehind checks that a daemon with an unusable directory leaves its socket behind.
func TestSocketIsLeftBehind(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	must.Do(t, os.Remove(p.path("d")))
	r := p.run(t, p.args(512)...)
	if r.Status.ExitStatus() != 1 || !strings.Contains(r.Output, "no such file") {
		t.Errorf("no directory: status %v, said %q", r.Status, r.Output)
	}
	p.mustHaveSocket(t)
	if _, err := os.Stat(p.path("s.pid")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pid file: %v", err)
	}

	// The remaining socket prevents the next start, even if everything else is repaired.
	must.Do(t, os.Mkdir(p.path("d"), 0o700))
	r = p.run(t, p.args(512)...)
	if r.Status.ExitStatus() != 1 || !strings.Contains(r.Output, "address already in use") {
		t.Errorf("stale socket: status %v, said %q", r.Status, r.Output)
	}
	p.mustHaveSocket(t)
	must.Do(t, os.Remove(p.socket()))
	s := p.start(t, 512)

	// A clean stop leaves the socket and the pid file too.
	s.Signal(t, syscall.SIGTERM)
	if status := s.Wait(t); status.Signal() != syscall.SIGTERM {
		t.Errorf("SIGTERM: ended with %v", status)
	}
	p.mustHaveSocket(t)
	if _, err := os.Stat(p.path("s.pid")); err != nil {
		t.Error(err)
	}
}

func (p place) mustHaveSocket(t *testing.T) {
	t.Helper()
	if info, err := os.Lstat(p.socket()); err != nil || info.Mode().Type() != os.ModeSocket {
		t.Errorf("socket: %v, %v", info, err)
	}
}

func TestTwoDaemons(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 512)
	r := s.run(t, s.args(512)...)
	if r.Status.ExitStatus() != 1 || !strings.Contains(r.Output, "address already in use") {
		t.Errorf("same socket: status %v, said %q", r.Status, r.Output)
	}
	r = s.run(t, "-s", s.path("s2"), "-d", s.path("d"), "-b", "512")
	if r.Status.ExitStatus() != 1 || !strings.Contains(r.Output, "in use by another process") {
		t.Errorf("same directory: status %v, said %q", r.Status, r.Output)
	}
	s.connect(t).mustAppend(t, 0, 1, 512)
}

func TestPidFileThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	r := p.run(t, p.args(512, "-p", p.path("no/such/dir"))...)
	if r.Status.ExitStatus() != 1 || !strings.Contains(r.Output, "pid file") {
		t.Errorf("status %v, said %q", r.Status, r.Output)
	}
}

func TestSocketModeFollowsUmask(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", `umask 027; exec "$0" "$@"`,
		daemontest.Program("kivaloo-lbs")}, p.args(512)...)...)
	if r := daemontest.RunCommand(t, cmd); r.Status != 0 {
		t.Fatalf("status %v, said %q", r.Status, r.Output)
	}
	p.take(t)
	if info, err := os.Stat(p.socket()); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestForeground(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	cmd := exec.CommandContext(t.Context(), daemontest.Program("kivaloo-lbs"), p.args(512, "--foreground")...)
	d, said := daemontest.Foreground(t, cmd)
	must.Eventually(t, "the pid file is there", func() bool {
		text, _ := os.ReadFile(p.path("s.pid"))
		return string(text) == strconv.Itoa(d.Pid)
	})
	s := &server{d, p, p.socket()}
	s.connect(t).mustAppend(t, 0, 1, 512)
	d.Signal(t, syscall.SIGINT)
	if status := d.Wait(t); status.Signal() != syscall.SIGINT {
		t.Errorf("ended with %v", status)
	}
	if text, err := os.ReadFile(said); err != nil || len(text) > 0 {
		t.Errorf("said %q, %v", text, err)
	}
}

func TestEndAfterTheFirstConnection(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 512, "-1")
	first, second := s.connect(t), s.connect(t)
	must.Do(t, second.send(request(wire.TypeLBSParams)))
	first.mustAppend(t, 0, 1, 512)
	first.Close()
	if status := s.Wait(t); status.ExitStatus() != 0 {
		t.Errorf("ended with %v", status)
	}
	if err := second.Closed(); err != nil {
		t.Errorf("a second client: %v", err)
	}
}

func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 512)
	var next uint64
	for range 5 {
		c := s.connect(t)
		timer := time.AfterFunc(30*time.Millisecond, s.Kill)
		for n := 1; ; n = n%15 + 1 {
			got, err := c.append(next, n, pattern(next, n, 512))
			if err != nil {
				break // killed
			}
			next = got
		}
		timer.Stop()
		s = s.restart(t, 512)
		c = s.connect(t)
		_, now, _, err := c.params2()
		if err != nil || now < next {
			t.Fatalf("%d blocks were acknowledged, %d are there, %v", next, now, err)
		}
		for block := range now {
			c.mustGet(t, block, 512)
		}
		next = now
		c.Close()
	}
}

func TestStopAnswersWhatWasAsked(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 512, "-l", "300000000")
	c := s.connect(t)
	c.mustAppend(t, 0, 1, 512)
	must.Do(t, c.send(request(wire.TypeLBSGet, uint64(0))))
	// This request is answered first, so the one before it must be in progress then.
	c.mustMiss(t, nowhere)
	s.Signal(t, syscall.SIGTERM)
	if _, answer, err := c.receive(); err != nil || len(answer) != 516 {
		t.Errorf("%d bytes, %v", len(answer), err)
	}
	if err := c.Closed(); err != nil {
		t.Error(err)
	}
	if status := s.Wait(t); status.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v", status)
	}
}

// TestReadErrorIsFatal checks that a failed read or write ends the daemon without a possibly wrong
// answer.
func TestReadErrorIsFatal(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	cmd := exec.CommandContext(t.Context(), daemontest.Program("kivaloo-lbs"), p.args(512, "--foreground")...)
	d, said := daemontest.Foreground(t, cmd)
	must.Eventually(t, "the pid file is there", func() bool {
		_, err := os.Stat(p.path("s.pid"))
		return err == nil
	})
	c := (&server{d, p, p.socket()}).connect(t)
	c.mustAppend(t, 0, 4, 512)
	must.Do(t, os.Truncate(p.path("d/blks_0000000000000000"), 1000))
	must.Do(t, c.send(request(wire.TypeLBSGet, uint64(2))))
	if err := c.Closed(); err != nil {
		t.Error(err)
	}
	if status := d.Wait(t); status.ExitStatus() != 1 {
		t.Errorf("ended with %v", status)
	}
	text, err := os.ReadFile(said)
	if err != nil || !strings.HasPrefix(string(text), "kivaloo-lbs: ") || !strings.Contains(string(text), "blks_0000000000000000") {
		t.Errorf("said %q, %v", text, err)
	}
}

func TestWriteErrorIsFatal(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.put(t, "blks_0000000000000000", 20*131072)
	p.put(t, "blks_0000000000000014", 131072) // has room for more
	// Limit files to 1 MiB: dash counts blocks of 512 bytes.
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", `ulimit -f 2048; exec "$0" "$@"`,
		daemontest.Program("kivaloo-lbs")}, p.args(131072)...)...)
	if r := daemontest.RunCommand(t, cmd); r.Status != 0 {
		t.Fatalf("status %v, said %q", r.Status, r.Output)
	}
	s := p.take(t)
	c := s.connect(t)
	c.mustAppend(t, 21, 2, 131072)
	must.Do(t, c.send(appendRequest(23, 20, pattern(23, 20, 131072))))
	if err := c.Closed(); err != nil {
		t.Error(err)
	}
	if status := s.Wait(t); status.ExitStatus() != 1 {
		t.Errorf("ended with %v", status)
	}
	must.Do(t, os.Remove(p.socket()))
	if r := p.run(t, p.args(131072)...); r.Status != 0 {
		t.Fatalf("status %v, said %q", r.Status, r.Output)
	}
	c = p.take(t).connect(t)
	_, next, _, err := c.params2()
	if err != nil || next < 23 || next > 31 {
		t.Errorf("next %d, %v", next, err)
	}
	c.mustGet(t, 22, 131072)
}
