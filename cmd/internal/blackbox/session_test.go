package blackbox

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kivaloo/cmd/internal/daemon/daemontest"
)

// TestNewUser does what a new user does, without any flag: start a server in an empty directory,
// store and read back from a second process, kill the server, start it again, and find everything.
func TestNewUser(t *testing.T) {
	t.Parallel()
	s := &serve{place: daemontest.Place(t)}
	start := func() {
		cmd := exec.Command(daemontest.Program("kivaloo"), "serve")
		cmd.Dir = s.place
		s.startCommand(t, cmd)
		if want := fmt.Sprintf("try=%q", daemontest.Program("kivaloo")+" set greeting hello"); !strings.Contains(s.said(t), want) {
			t.Errorf("said %q, want %q", s.said(t), want)
		}
	}
	kivaloo(t, s.place, "get", "greeting").want(t, 1, "",
		"cannot connect to ./kivaloo-data/kivaloo.sock: no such file or directory: is `kivaloo serve` running?")
	start()
	for _, c := range []struct {
		line   string
		status int
		out    string
	}{
		{"get greeting", 3, ""},
		{"set greeting hello", 0, ""},
		{"get greeting", 0, "hello\n"},
		{"add greeting again", 3, ""},
		{"add other one", 0, ""},
		{"modify none two", 3, ""},
		{"modify other two", 0, ""},
		{"cas other one three", 3, ""},
		{"cas other two three", 0, ""},
		{"range", 0, "greeting\thello\nother\tthree\n"},
		{"cad other two", 3, ""},
		{"cad other three", 0, ""},
		{"delete none", 0, ""},
		{"set doomed yes", 0, ""},
		{"delete doomed", 0, ""},
		{"set kept safe", 0, ""},
		{"params", 0, "max-key 255\nmax-value 255\n"},
	} {
		r := kivaloo(t, s.place, strings.Fields(c.line)...)
		if r.status.ExitStatus() != c.status || r.out != c.out || (r.stderr != "") != (c.status != 0) {
			t.Errorf("kivaloo %s: status %#x, printed %q, said %q; want status %d, %q", c.line, r.status, r.out, r.stderr, c.status, c.out)
		}
	}
	const everything = "greeting\thello\nkept\tsafe\n"
	kivaloo(t, s.place, "range").want(t, 0, everything, "")
	dumped := filepath.Join(s.place, "store.dump")
	if r := kivaloo(t, s.place, "dump", "-o", dumped); r.status != 0 {
		t.Errorf("dump: status %#x, said %q", r.status, r.stderr)
	}

	s.crash(t, nil)
	kivaloo(t, s.place, "get", "greeting").want(t, 1, "", "is `kivaloo serve` running?")
	checkStore(t, filepath.Join(s.place, "kivaloo-data"))
	start()
	kivaloo(t, s.place, "range").want(t, 0, everything, "")
	s.stop(t)
	if text, err := os.ReadFile(dumped); err != nil || string(text) != "\x08greeting\x05hello\x04kept\x04safe" {
		t.Errorf("dumped %q, %v", text, err)
	}
}
