package stress

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kivaloo/internal/must"
)

// startSelf starts the test program as `serve`, misbehaving as fault says.
func startSelf(t *testing.T, fault string) *Process {
	t.Helper()
	self, err := os.Executable()
	must.Do(t, err)
	dir := filepath.Join(t.TempDir(), "d")
	p, err := Start("the server", filepath.Join(dir, "kivaloo.sock"), self, []string{"serve", "--dir", dir}, []string{faultVar + "=" + fault})
	must.Do(t, err)
	t.Cleanup(func() { p.Stop() })
	return p
}

func alive(p *Process) bool { return syscall.Kill(p.cmd.Process.Pid, 0) == nil }

func TestProcess(t *testing.T) {
	p := startSelf(t, "")
	nc, err := p.Connect(context.Background())
	must.Do(t, err)
	pairs := Collect(100)
	mustDrive(t, nc, OrderedLoad(pairs), len(pairs))
	nc.Close()
	if !alive(p) {
		t.Error("not alive")
	}
	for range 2 {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}
	if alive(p) {
		t.Error("alive after Stop")
	}
}

func TestProcessDiesEarly(t *testing.T) {
	p := startSelf(t, "serve dies")
	_, err := p.Connect(context.Background())
	if err == nil || !strings.Contains(err.Error(), "the server: it ended early: exit status 3; it said:\ndisk on fire") {
		t.Errorf("%v", err)
	}
	if err := p.Stop(); err != nil {
		t.Errorf("stopping what has ended: %v", err)
	}
}

func TestProcessNeverReady(t *testing.T) {
	p := startSelf(t, "")
	p.Socket += "-elsewhere"
	why := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(context.Background(), 50*time.Millisecond, why)
	defer cancel()
	if _, err := p.Connect(ctx); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
}

func TestProcessIsKilled(t *testing.T) {
	p := startSelf(t, "serve is stubborn")
	nc, err := p.Connect(context.Background())
	must.Do(t, err)
	nc.Close()
	p.grace = 20 * time.Millisecond
	if err := p.Stop(); err == nil || !strings.Contains(err.Error(), "had to be killed") {
		t.Errorf("%v", err)
	}
	if alive(p) {
		t.Error("alive after Stop")
	}
}

func TestNoSuchProgram(t *testing.T) {
	if _, err := Start("nothing", "/s", "/no/such/program", nil, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestOutput checks that the kept output of a server is bounded, whether or not it prints lines.
func TestOutput(t *testing.T) {
	o := &output{}
	for range 100 {
		o.Write([]byte(strings.Repeat("x", 1000)))
	}
	o.Write([]byte("\n" + strings.Repeat("short\n", 10000) + "the end\n"))
	o.Write([]byte("at last"))
	if last := o.last(); len(last) > tailBytes || !strings.HasSuffix(last, "short\nthe end\nat last") {
		t.Errorf("%d bytes kept: %q", len(last), last)
	}
	if cap(o.tail) > 8*tailBytes {
		t.Errorf("a buffer of %d bytes", cap(o.tail))
	}
}
