package blackbox

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	kv "kivaloo"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
)

// watching is a running "kivaloo watch".
type watching struct {
	*daemontest.Daemon
	lines  chan string // printed lines; closed at the end of the output
	stderr string      // file with its stderr
}

// watch starts "kivaloo watch" on the server at addr.
func watch(t *testing.T, addr string, args ...string) *watching {
	t.Helper()
	cmd := exec.Command(daemontest.Program("kivaloo"), append([]string{"watch", "--addr", addr}, args...)...)
	out, in, err := os.Pipe()
	must.Do(t, err)
	cmd.Stdout = in
	w := &watching{lines: make(chan string, 1000)}
	w.Daemon, w.stderr = daemontest.Foreground(t, cmd)
	in.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			w.lines <- s.Text()
		}
		close(w.lines)
	}()
	t.Cleanup(func() { w.Kill(); <-read; out.Close() })
	return w
}

// prints expects these lines in this order.
func (w *watching) prints(t *testing.T, want ...string) {
	t.Helper()
	for _, line := range want {
		if got := <-w.lines; got != line {
			t.Fatalf("printed %q, want %q; said %q", got, line, w.said(t))
		}
	}
}

func (w *watching) said(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(w.stderr)
	must.Do(t, err)
	return string(text)
}

var goOn = regexp.MustCompile(`go on with --from (\d+)\n$`)

// ends expects an exit status, and returns the position from which to continue.
func (w *watching) ends(t *testing.T, status int) (position string) {
	t.Helper()
	got := w.Wait(t)
	found := goOn.FindStringSubmatch(w.said(t))
	if !got.Exited() || got.ExitStatus() != status || found == nil {
		t.Fatalf("status %#x, said %q; want %d, and where to go on", got, w.said(t), status)
	}
	for line := range w.lines {
		t.Errorf("also printed %q", line)
	}
	return found[1]
}

// position returns the current position of a store.
func position(t *testing.T, addr string) string {
	t.Helper()
	c, err := kv.Dial(t.Context(), addr, kv.DialOptions{})
	must.Do(t, err)
	defer c.Close()
	p, err := c.Position(t.Context())
	must.Do(t, err)
	return fmt.Sprint(p)
}

// TestWatchCommand checks that a watch prints each change in its range once, even across a crash of
// the server, and that another one continues where it ended.
func TestWatchCommand(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	s.start(t)
	set := func(args ...string) {
		t.Helper()
		kivaloo(t, "", append(args, "--addr", s.addr())...).want(t, 0, "", "")
	}
	from := position(t, s.addr())
	text := watch(t, s.addr(), "--prefix", "a", "--from", from, "--timeout", "1s")
	objects := watch(t, s.addr(), "--json", "--from", from, "a", "b")
	set("set", "a1", "one")
	set("set", "b1", "not in the range")
	set("set", "a2", "tab\t")
	set("delete", "a1")
	text.prints(t, "set\ta1\tone", "set\ta2\ttab\\t", "delete\ta1")

	s.crash(t, nil)
	must.Eventually(t, "the loss is noticed", func() bool { return strings.Contains(text.said(t), "connection lost, connecting again: ") })
	time.Sleep(2 * time.Second) // longer than the time-out
	s.start(t)
	set("set", "a3", "after the crash")
	text.prints(t, "set\ta3\tafter the crash")
	if said := text.said(t); strings.Count(said, "\n") != 2 || !strings.HasSuffix(said, "\nconnected again\n") {
		t.Errorf("said %q", said)
	}

	var last string
	for _, want := range []string{`{"key":"a1","value":"one",`, `{"key":"a2","value":"tab\t",`, `{"key":"a1","deleted":true,`, `{"key":"a3","value":"after the crash",`} {
		line := <-objects.lines
		var got struct{ Position string }
		must.Do(t, json.Unmarshal([]byte(line), &got))
		last = got.Position
		if !strings.HasPrefix(line, want) || last == "" {
			t.Errorf("printed %s, want %s and a position", line, want)
		}
	}
	objects.Signal(t, syscall.SIGTERM)
	objects.ends(t, 0)
	text.Signal(t, syscall.SIGINT)
	end := text.ends(t, 0)
	set("set", "a4", "\xff")
	for _, from := range []string{last, end} {
		w := watch(t, s.addr(), "--from", from, "--hex", "--prefix", "6134", "--limit", "1")
		w.prints(t, "set\t6134\tff")
		w.ends(t, 0)
	}
}

// TestWatchFromNow checks that without --from a watch begins with the changes made after it has
// begun. Without changes in its range it must still move on with the store.
func TestWatchFromNow(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	s.start(t)
	c := connect(t, s.addr())
	must.Do(t, c.Set("key", "before"))
	w := watch(t, s.addr())
	other := watch(t, s.addr(), "--prefix", "other", "--from", position(t, s.addr()))
	must.Eventually(t, "a change is seen", func() bool {
		must.Do(t, c.Set("key", "now"))
		return len(w.lines) > 0
	})
	w.prints(t, "set\tkey\tnow")
	must.Do(t, c.Set("other", "last"))
	other.prints(t, "set\tother\tlast")
	other.Signal(t, syscall.SIGINT)
	if at, now := other.ends(t, 0), position(t, s.addr()); at > now || len(at) != len(now) {
		t.Errorf("ended at %s, and the store is at %s", at, now)
	}
}

// TestWatchFails checks that a watch reports what it cannot do, with the position from which to
// continue if it has got that far.
func TestWatchFails(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	s.start(t)
	from := position(t, s.addr())
	must.Do(t, connect(t, s.addr()).Set("key", "value"))
	now := position(t, s.addr())
	s.stop(t) // writes everything into pages, which have no history
	s.start(t)
	kivaloo(t, "", "watch", "-a", s.addr(), "--from", from).want(t, 5, "",
		"the changes after position "+from+" are not kept any more: read the keys again, then watch without --from")

	silent := watch(t, s.addr(), "--from", now, "--timeout", "2s")
	must.Do(t, connect(t, s.addr()).Set("key", "new"))
	silent.prints(t, "set\tkey\tnew")
	thaw := freeze(t, s.process)
	silent.ends(t, 1)
	thaw()
	if said := silent.said(t); !strings.Contains(said, "no answer within 2s: the server is stopped") {
		t.Errorf("said %q", said)
	}
	kivaloo(t, "", "watch", "-a", s.addr(), "--from", "x").want(t, 1, "", "want a number from 0 to 18446744073709551615; see `kivaloo watch --help`")
	s.stop(t)
	kivaloo(t, "", "watch", "-a", s.addr()).want(t, 1, "", "is `kivaloo serve` running?")
}

// TestWatchFallsBehind checks that a watch ends when changes that it has not seen are not kept any
// more.
func TestWatchFallsBehind(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	s.start(t)
	w := watch(t, s.addr(), "--from", position(t, s.addr()))
	must.Do(t, connect(t, s.addr()).Set("key", "value"))
	w.prints(t, "set\tkey\tvalue")
	thaw := freeze(t, w.Daemon)
	for range 2 { // each stop writes everything into pages, where no history is
		must.Do(t, connect(t, s.addr()).Set("key", "missed"))
		s.stop(t)
		s.start(t)
	}
	thaw()
	status := w.Wait(t)
	const want = "are not kept any more: read the keys again, then watch without --from\n"
	if status.ExitStatus() != 5 || !strings.HasSuffix(w.said(t), want) {
		t.Errorf("status %#x, said %q; want 5 and %q", status, w.said(t), want)
	}
}
