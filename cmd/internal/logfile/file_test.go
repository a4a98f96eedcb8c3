package logfile

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"kivaloo/internal/must"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// moment is in summer, in a zone with summer time.
var moment = time.Date(2026, 7, 1, 1, 59, 5, 999_999_999, time.FixedZone("", 2*60*60))

const stamp = "2026-06-30 23:59:05"

func mustOpen(t *testing.T, path string) *File {
	t.Helper()
	l, err := Open(path)
	must.Do(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func want(t *testing.T, path, content string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != content {
		t.Errorf("%s: %q, %v; want %q", filepath.Base(path), got, err, content)
	}
}

func TestLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	old := syscall.Umask(0o027)
	l := mustOpen(t, path)
	syscall.Umask(old)
	must.Do(t, l.Write(moment, ""))
	must.Do(t, l.Write(moment, "|a|1"))
	want(t, path, stamp+"\n"+stamp+"|a|1\n")
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestWhatWasThereStays(t *testing.T) {
	for before, after := range map[string]string{
		"":            "",
		"\n":          "\n",
		"line\n":      "line\n",
		"half a line": "half a line\n",
		"a\nb":        "a\nb\n",
	} {
		path := filepath.Join(t.TempDir(), "log")
		must.Do(t, os.WriteFile(path, []byte(before), 0o600))
		l := mustOpen(t, path)
		want(t, path, after)
		must.Do(t, l.Write(moment, "|x"))
		want(t, path, after+stamp+"|x\n")
	}
}

func TestOnlyOrdinaryFiles(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	must.Do(t, unix.Mkfifo(pipe, 0o600))
	for _, path := range []string{dir, pipe, "/dev/null", filepath.Join(dir, "absent", "log")} {
		if l, err := Open(path); err == nil {
			l.Close()
			t.Errorf("%s was opened", path)
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("%v does not say which file", err)
		}
	}
	link := filepath.Join(dir, "link")
	must.Do(t, os.Symlink("file", link))
	must.Do(t, mustOpen(t, link).Write(moment, ""))
	want(t, filepath.Join(dir, "file"), stamp+"\n")
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	l := mustOpen(t, path)
	must.Do(t, l.Write(moment, "|1"))
	must.Do(t, l.Follow()) // nothing has happened
	must.Do(t, l.Write(moment, "|2"))

	must.Do(t, os.Rename(path, path+".0"))
	must.Do(t, l.Write(moment, "|3"))
	must.Do(t, l.Follow())
	must.Do(t, l.Write(moment, "|4"))
	want(t, path+".0", stamp+"|1\n"+stamp+"|2\n"+stamp+"|3\n")
	want(t, path, stamp+"|4\n")

	// Another file takes its place.
	must.Do(t, os.WriteFile(path+".new", []byte("other"), 0o600))
	must.Do(t, os.Rename(path+".new", path))
	must.Do(t, l.Follow())
	must.Do(t, l.Write(moment, "|5"))
	want(t, path, "other\n"+stamp+"|5\n")
}

// TestRotationFails checks that no line is lost if the new file cannot be created.
func TestRotationFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	l := mustOpen(t, path)
	must.Do(t, os.Rename(path, path+".0"))
	must.Do(t, os.Mkdir(path, 0o700))
	for range 2 {
		if err := l.Follow(); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("a directory in its place: %v", err)
		}
	}
	must.Do(t, l.Write(moment, "|1"))
	want(t, path+".0", stamp+"|1\n")
	must.Do(t, os.Remove(path))
	must.Do(t, l.Follow())
	must.Do(t, l.Write(moment, "|2"))
	want(t, path, stamp+"|2\n")
}

// TestTornLine checks that a line that was only partly written is ended before the next.
func TestTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l := mustOpen(t, path)
	must.Do(t, l.Write(moment, "|1"))

	var before unix.Rlimit
	must.Do(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &before))
	must.Do(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 30, Max: before.Max}))
	first, second := l.Write(moment, "|2"), l.Write(moment, "|3")
	must.Do(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &before))
	if first == nil || second == nil {
		t.Errorf("writing beyond the limit: %v, %v", first, second)
	}
	must.Do(t, l.Write(moment, "|4"))
	want(t, path, stamp+"|1\n"+stamp[:8]+"\n"+stamp+"|4\n")
	must.Do(t, l.Write(moment, "|5"))
	want(t, path, stamp+"|1\n"+stamp[:8]+"\n"+stamp+"|4\n"+stamp+"|5\n")
}
