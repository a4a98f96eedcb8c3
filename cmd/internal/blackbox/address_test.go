package blackbox

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
)

// TestServeHint checks that the command that serve suggests works as printed, where serve was
// started.
func TestServeHint(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"d", "a space", "./e/", "a:b", "-", "kivaloo-data"} {
		t.Run(dir, func(t *testing.T) {
			s := &serve{place: daemontest.Place(t)}
			s.startCommand(t, serveIn(s.place, "--dir="+dir))
			try, err := strconv.Unquote(regexp.MustCompile(`try=("(?:[^"\\]|\\.)*")`).FindStringSubmatch(s.said(t))[1])
			must.Do(t, err)
			cmd := exec.Command("sh", "-c", try)
			cmd.Dir = s.place
			runCommand(t, cmd).want(t, 0, "", "")
			kivaloo(t, s.place, "get", "-a", "./"+dir, "greeting").want(t, 0, "hello\n", "")
		})
	}
}

// TestDirectoryAsAddress checks that the directory of a store works like the path of its socket,
// and that a path may be relative.
func TestDirectoryAsAddress(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	s.startCommand(t, serveIn(s.place, "--dir", "d"))
	must.Do(t, connect(t, s.addr()).Set("key", "value"))
	for _, addr := range []string{"d/kivaloo.sock", "./d/kivaloo.sock", "d", "d/", "./d", s.dir()} {
		kivaloo(t, s.place, "get", "--addr", addr, "key").want(t, 0, "value\n", "")
		kivaloo(t, s.place, "backup", addr, "backup").want(t, 0, "", "backed up 1 pair,")
	}
	r := daemontest.Run(t, s.place, daemontest.Program("kivaloo-stress"), "load", "-n", "1", "-c", "1", "-t", "d")
	if r.Status != 0 {
		t.Errorf("kivaloo-stress -t d: %s", r.Output)
	}
	r = daemontest.Run(t, s.place, daemontest.Program("kivaloo-kvlds-dump"), "-t", "d")
	if r.Status != 0 {
		t.Errorf("kivaloo-kvlds-dump -t d: %s", r.Output)
	}
	kivaloo(t, s.place, "get", "-a", "nonsense", "key").want(t, 1, "", "no port; write it as /path, ./path, [address]:port or host:port")
	kivaloo(t, s.place, "get", "-a", ".", "key").want(t, 1, "", "cannot connect to kivaloo.sock (.): no such file or directory: is `kivaloo serve` running?")
}

// TestListenTwice checks that one address given twice, in whatever form, is not taken for another
// process.
func TestListenTwice(t *testing.T) {
	t.Parallel()
	for _, options := range [][]string{
		{"--listen", "./x", "--listen", "./x"},
		{"--listen", "./x", "--listen", "././x"},
		{"--listen", "d/kivaloo.sock"},
		{"--listen", "d/../d/kivaloo.sock"},
		{"--listen", "127.0.0.1:4711", "--listen", "[127.0.0.1]:4711"},
	} {
		place := daemontest.Place(t)
		before := treeHash(t, place)
		runCommand(t, serveIn(place, append(options, "--dir", "d")...)).want(t, 1, "", " is given twice: ")
		if treeHash(t, place) != before {
			t.Errorf("%q: something has been changed", options)
		}
	}
	place := daemontest.Place(t)
	same := filepath.Join(place, "x")
	r := daemontest.Run(t, place, daemontest.Program("kivaloo-mux"), "-t", "./target", "-s", "./x", "-s", same)
	if r.Status.ExitStatus() != 1 || !strings.Contains(r.Output, " is given twice: ") {
		t.Errorf("kivaloo-mux: %v, %s", r.Status, r.Output)
	}
}
