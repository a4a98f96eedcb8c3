package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kivaloo/cmd/internal/dumpstream"
	"kivaloo/cmd/internal/plural"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// awkward has keys and values of the shortest and longest lengths, empty ones included.
var awkward = map[string]string{
	"": "", "empty value": "", "\x00": "\xff", "k": "v",
	strings.Repeat("\xff", 255): strings.Repeat("\x00", 255),
}

var awkwardDump = dumped("", "") + dumped("\x00", "\xff") + dumped("empty value", "") + dumped("k", "v") +
	dumped(strings.Repeat("\xff", 255), strings.Repeat("\x00", 255))

// numbered returns n pairs whose keys are five digits.
func numbered(n int, value func(i int) string) map[string]string {
	pairs := map[string]string{}
	for i := range n {
		pairs[fmt.Sprintf("%05d", i)] = value(i)
	}
	return pairs
}

func TestDump(t *testing.T) {
	s := startFake(t)
	kivalooRun("", "dump", "-a", s.addr).want(t, 0, "", "dumped 0 pairs, 0 bytes")
	s.Replace(awkward)
	kivalooRun("", "dump", "-a", s.addr).want(t, 0, awkwardDump, "dumped 5 pairs, 535 bytes")
}

func TestLoad(t *testing.T) {
	s := startFake(t, "k=old", "other=stays")
	kivalooRun("", "load", "-a", s.addr).want(t, 0, "", "loaded 0 pairs, 0 bytes")
	kivalooRun(awkwardDump, "load", "-a", s.addr).want(t, 0, "", "loaded 5 pairs, 535 bytes")
	want := maps.Clone(awkward)
	want["other"] = "stays"
	if !maps.Equal(s.Content(), want) {
		t.Errorf("got %q", s.Content())
	}
}

// TestDumpAndLoadFiles dumps and loads, through files, more pairs than can be outstanding.
func TestDumpAndLoadFiles(t *testing.T) {
	from, to := startFake(t), startFake(t)
	from.Replace(numbered(10000, func(i int) string { return strings.Repeat("v", i%256) }))
	file := filepath.Join(t.TempDir(), "store.dump")
	kivalooRun("", "dump", "-a", from.addr, "--output", file).want(t, 0, "", "dumped 10000 pairs")
	kivalooRun("", "load", "-a", to.addr, "--input", file).want(t, 0, "", "loaded 10000 pairs")
	if !maps.Equal(from.Content(), to.Content()) {
		t.Errorf("%d pairs arrived", len(to.Content()))
	}
	onlyFiles(t, filepath.Dir(file), "store.dump")
	kivalooRun("", "load", "-a", to.addr, "--input", file+".absent").want(t, 1, "", "no such file")
}

// onlyFiles checks the names in a directory.
func onlyFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must.Do(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s holds %q, want %q", dir, got, want)
	}
}

// TestLoadTruncated checks that a dump that is cut off within a pair is refused, and that the error
// names the place.
func TestLoadTruncated(t *testing.T) {
	input := dumped("k1", "v1") + dumped("k2", "v2") // 6 bytes each
	for n := range len(input) {
		s := startFake(t)
		r := kivalooRun(input[:n], "load", "-a", s.addr)
		whole := n / 6
		if n%6 == 0 {
			r.want(t, 0, "", "loaded "+plural.Of(whole, "pair"))
		} else {
			r.want(t, 1, "", fmt.Sprintf("kivaloo: the input is cut off: it ends at byte %d, within pair %d at byte %d; stored before it: %s", n, whole+1, 6*whole, plural.Of(whole, "pair")))
		}
		if len(s.Content()) != whole {
			t.Errorf("%d bytes: %d pairs stored", n, len(s.Content()))
		}
	}
}

func TestLoadUnreadable(t *testing.T) {
	s := startFake(t)
	kivalooRun("", "load", "-a", s.addr, "-i", t.TempDir()).want(t, 1, "", "reading the input at byte 0, within pair 1 at byte 0: ")
}

func TestLoadTooLongForStore(t *testing.T) {
	s := startFake(t)
	s.MaxValue = 10
	input := dumped("k1", "v1") + dumped("k2", "eleven bytes") + dumped("k3", "v3")
	kivalooRun(input, "load", "-a", s.addr).want(t, 1, "", "pair 2 at byte 6 cannot be stored: ")
	if !maps.Equal(s.Content(), map[string]string{"k1": "v1"}) {
		t.Errorf("stored %q", s.Content())
	}
}

func TestLoadConnectionLost(t *testing.T) {
	s := startFake(t)
	n := 0
	s.hangUpAt(func(r wire.KVRequest) bool { n++; return n > 5000 })
	var input strings.Builder
	for i := range 20000 {
		input.WriteString(dumped(fmt.Sprint(i), "v"))
	}
	kivalooRun(input.String(), "load", "-a", s.addr).want(t, 1, "", "loading again is safe")
}

// TestDumpToFileFails checks that a failed dump leaves no new file, and an existing one unchanged.
func TestDumpToFileFails(t *testing.T) {
	s := startFake(t)
	s.Replace(numbered(3000, func(int) string { return "v" }))
	var whole atomic.Bool
	s.hangUpAt(func(r wire.KVRequest) bool {
		return r.Type == wire.TypeRange && len(r.Key) > 0 && !whole.Load() // all but the first
	})
	dir := t.TempDir()
	file := filepath.Join(dir, "store.dump")
	kivalooRun("", "dump", "-a", s.addr, "-o", file).want(t, 1, "", "store.dump is as it was: the dump is incomplete, after 1000 pairs: ")
	onlyFiles(t, dir)

	must.Do(t, os.WriteFile(file, []byte("yesterday's"), 0o600))
	kivalooRun("", "dump", "-a", s.addr, "-o", file).want(t, 1, "", "is as it was")
	onlyFiles(t, dir, "store.dump")
	if got, err := os.ReadFile(file); err != nil || string(got) != "yesterday's" {
		t.Errorf("got %q, %v", got, err)
	}
	whole.Store(true)
	kivalooRun("", "dump", "-a", s.addr, "-o", file).want(t, 0, "", "dumped 3000 pairs")
	if got, err := os.ReadFile(file); err != nil || len(got) != 3000*8 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// tidied returns the signals after which a command tidies up.
func tidied() []syscall.Signal {
	if hangupsIgnored() { // under nohup
		return []syscall.Signal{syscall.SIGINT, syscall.SIGTERM}
	}
	return []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}
}

func TestDumpInterrupted(t *testing.T) {
	for _, sig := range tidied() {
		s := startFake(t, "k=v")
		release := make(chan struct{})
		s.hangUpAt(func(r wire.KVRequest) bool {
			if r.Type == wire.TypeRange {
				syscall.Kill(os.Getpid(), sig)
				<-release
			}
			return false
		})
		dir := t.TempDir()
		kivalooRun("", "dump", "-a", s.addr, "-o", filepath.Join(dir, "store.dump")).want(t, 1, "", "kivaloo: interrupted; ")
		close(release)
		onlyFiles(t, dir)
	}
}

func TestDumpToWhatIsNoFile(t *testing.T) {
	s := startFake(t, "k=v")
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	must.Do(t, os.Symlink("elsewhere", link))
	kivalooRun("", "dump", "-a", s.addr, "-o", link).want(t, 1, "", "not an ordinary file")
	kivalooRun("", "dump", "-a", s.addr, "-o", dir).want(t, 1, "", "not an ordinary file")
	kivalooRun("", "dump", "-a", s.addr, "-o", "/dev/null").want(t, 1, "", "kivaloo dump > /dev/null")
	kivalooRun("", "dump", "-a", s.addr, "-o", "").want(t, 1, "", `"" is not the name of a file`)
	kivalooRun("", "dump", "-a", s.addr, "-o", filepath.Join(dir, "absent", "x")).want(t, 1, "", "no such file")
	onlyFiles(t, dir, "link")
}

// openTerminal returns both ends of a pseudo-terminal.
func openTerminal(t *testing.T) (screen, terminal *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skip("no pseudo-terminals here: ", err)
	}
	screen = os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { screen.Close() })
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100})
	}
	if err == nil {
		terminal, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		t.Skip("no pseudo-terminals here: ", err)
	}
	t.Cleanup(func() { terminal.Close() })
	return screen, terminal
}

func TestTerminals(t *testing.T) {
	_, terminal := openTerminal(t)
	s := startFake(t, "k=v")
	t.Setenv(addrVariable, s.addr)
	var stderr strings.Builder
	if status := run([]string{"dump"}, strings.NewReader(""), terminal, &stderr); status != 1 || !strings.Contains(stderr.String(), "not for a terminal") {
		t.Errorf("dump to a terminal: %d, %q", status, stderr.String())
	}
	stderr.Reset()
	if status := run([]string{"load"}, terminal, io.Discard, &stderr); status != 1 || !strings.Contains(stderr.String(), "not come from a terminal") {
		t.Errorf("load from a terminal: %d, %q", status, stderr.String())
	}

	if m := newMeter(&stderr, "load", 1); m != nil {
		t.Error("there is a meter without a terminal")
	}
}

func TestMeter(t *testing.T) {
	// shown returns the text on the screen for the given progress.
	shown := func(total, pairs, bytes int64) string {
		screen, terminal := openTerminal(t)
		m := newMeter(terminal, "load", total)
		if m == nil {
			t.Fatal("no meter on a terminal")
		}
		m.update(dumpstream.Count{Pairs: pairs, Bytes: bytes})
		var seen strings.Builder
		buf := make([]byte, 4096)
		screen.SetReadDeadline(time.Now().Add(20 * time.Second))
		for !strings.Contains(seen.String(), "/s") {
			n, err := screen.Read(buf)
			if err != nil {
				t.Errorf("after %q: %v", seen.String(), err)
				break
			}
			seen.Write(buf[:n])
		}
		m.stop()
		return seen.String()
	}
	if got := shown(4<<20, progressPairs, 1<<20); !strings.Contains(got, "1.0 MiB / 4.0 MiB") {
		t.Errorf("with a total: %q", got)
	}
	if got := shown(0, progressPairs, 1<<20); !strings.Contains(got, "1024 pairs") {
		t.Errorf("without: %q", got)
	}
}
