package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kivaloo/cmd/internal/logfile"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// newFile opens a log in a directory of its own.
func newFile(t *testing.T) (path string, file *logfile.File) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "log")
	file, err := logfile.Open(path)
	must.Do(t, err)
	return path, file
}

// TestReporter checks that the time in the log is the time of writing, in UTC.
func TestReporter(t *testing.T) {
	path, file := newFile(t)
	now := time.Date(2026, 11, 24, 7, 36, 5, 0, time.FixedZone("", 3600))
	var said bytes.Buffer
	r := startReporter(file, func() time.Time { return now }, slog.New(slog.NewTextHandler(&said, nil)))
	w := newWindow()
	w.add(wire.TypeSet, 7293*time.Microsecond)
	r.report(w)
	r.report(newWindow())
	r.close()
	got, err := os.ReadFile(path)
	must.Do(t, err)
	want := "2026-11-24 06:36:05|KVLDS_SET|000001|0007.293|0007.293|0007.293|0007.293\n2026-11-24 06:36:05\n"
	if string(got) != want || said.Len() > 0 {
		t.Errorf("got %q, said %s", got, said.String())
	}
}

// TestReporterComplains checks that a log that cannot be written is reported once, and again after
// it has worked meanwhile.
func TestReporterComplains(t *testing.T) {
	_, file := newFile(t)
	must.Do(t, file.Close())
	var said bytes.Buffer
	r := startReporter(file, time.Now, slog.New(slog.NewTextHandler(&said, nil)))
	for range 3 {
		r.report(newWindow())
	}
	r.close()
	r.check(&r.writeFails, nil)
	r.check(&r.writeFails, os.ErrClosed)
	if n := strings.Count(said.String(), "file already closed"); n != 2 {
		t.Errorf("said %s", said.String())
	}
}

// TestReporterIsBehind checks that windows that cannot be written in time do not pile up, and that
// nobody waits for them.
func TestReporterIsBehind(t *testing.T) {
	var said bytes.Buffer
	r := &reporter{
		windows:     make(chan *window, maxWaitingWindows), // nothing receives them
		diagnostics: slog.New(slog.NewTextHandler(&said, nil)),
	}
	for range maxWaitingWindows + 1 {
		r.report(newWindow())
	}
	if n := strings.Count(said.String(), "a line is left out"); n != 1 {
		t.Errorf("said %s", said.String())
	}
}
