package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/internal/must"
)

const failedNote = "kivaloo.failed"

// TestRestartAfterFailedSync makes a sync fail and lets the next process take over. Then the system
// drops its cache, or the power is cut. Everything that the process has relied on must be there.
func TestRestartAfterFailedSync(t *testing.T) {
	losses := map[string]func(*simfs.FS) *simfs.FS{
		"cache dropped": func(fsys *simfs.FS) *simfs.FS { fsys.DropCache(); return fsys },
		"power cut":     func(fsys *simfs.FS) *simfs.FS { return fsys.Crash(rand.New(rand.NewPCG(1, 0))) },
	}
	for what, lose := range losses {
		for _, killed := range []bool{false, true} {
			for _, fresh := range []bool{false, true} { // the append made a new file
				for _, stopped := range []bool{false, true} { // there are checksums of a part of the file
					name := fmt.Sprintf("%s, killed %v, new file %v, stopped before %v", what, killed, fresh, stopped)
					t.Run(name, func(t *testing.T) { testFailedSync(t, lose, killed, fresh, stopped) })
				}
			}
		}
	}
}

func testFailedSync(t *testing.T, lose func(*simfs.FS) *simfs.FS, killed, fresh, stopped bool) {
	fsys, s := threeFiles(t)
	if fresh {
		add(t, s, 15)
	}
	if stopped {
		closeStore(t, s)
		s = openInline(t, fsys, 512)
	}
	fsys.Fail(simfs.Sync, 1, syscall.EIO)
	if err := tryAdd(s, 2); !errors.Is(err, disk.ErrFailed) {
		t.Fatal(err)
	}
	if killed {
		fsys = fsys.Kill()
	} else {
		closeStore(t, s)
	}

	var log bytes.Buffer
	s, err := disk.OpenInline(dir, disk.Options{BlockSize: 512, FS: fsys, Log: slog.New(slog.NewTextHandler(&log, nil))})
	must.Do(t, err)
	if !strings.Contains(log.String(), "a write or a sync failed") || !strings.Contains(log.String(), "input/output error") {
		t.Errorf("the log does not say that the run before has failed: %q", log.String())
	}
	if slices.Contains(fsys.Names(), failedNote) {
		t.Error("the note is still there")
	}
	wantBlocks(t, s, 0, s.Info().Next) // the store relies on all of them
	add(t, s, 1)
	next := s.Info().Next
	after := lose(fsys)
	if after == fsys {
		wantBlocks(t, s, 0, next)
		closeStore(t, s)
	}
	log.Reset()
	s = openInline(t, after, 512)
	wantBlocks(t, s, 0, next)
	closeStore(t, s)
	if log.Len() > 0 {
		t.Errorf("log %q", log.String())
	}
}

// TestNothingToRenew checks that after a clean stop the next start writes nothing.
func TestNothingToRenew(t *testing.T) {
	fsys, s := threeFiles(t)
	closeStore(t, s)
	tr := trace(fsys)
	s = openInline(t, fsys, 512)
	for _, line := range tr.lines {
		if strings.HasPrefix(line, "write") {
			t.Errorf("%s at a start after a stop in order", line)
		}
	}
	fsys.SetHook(nil)
	// After the next kill, only blocks added since are written.
	add(t, s, 2)
	after := fsys.Kill()
	var written []int64
	after.SetHook(func(c simfs.Call) error {
		if c.Op == simfs.Write && c.Done == 0 {
			written = append(written, c.Offset, c.Len)
		}
		return nil
	})
	s = openInline(t, after, 512)
	if !slices.Equal(written, []int64{512, 1024}) {
		t.Errorf("offsets and lengths of writes: %v, want 512, 1024", written)
	}
	closeStore(t, s)
}

// TestRenewPassesOverUnreadable checks that an unreadable block neither prevents opening the store
// nor rewriting the other blocks.
func TestRenewPassesOverUnreadable(t *testing.T) {
	fsys, s := threeFiles(t)
	add(t, s, 15)
	fsys = fsys.Kill()
	bad := true
	fsys.SetHook(func(c simfs.Call) error {
		if bad && c.Op == simfs.Read && c.Offset <= 3*512 && 3*512 < c.Offset+c.Len {
			return syscall.EIO
		}
		return nil
	})
	s = openInline(t, fsys, 512)
	if _, err := disk.ReadBlock(s, 43, make([]byte, 512)); !errors.Is(err, syscall.EIO) {
		t.Errorf("bad block: %v", err)
	}
	bad = false
	wantBlocks(t, s, 0, 56)
	closeStore(t, s)
}

// TestRenewWithoutRoom checks that a store opens even if there is no room for rewriting, as on file
// systems that never overwrite in place.
func TestRenewWithoutRoom(t *testing.T) {
	fsys, _ := threeFiles(t)
	fsys = fsys.Kill()
	fsys.Fail(simfs.Write, 1, syscall.ENOSPC)
	s := openInline(t, fsys, 512)
	wantBlocks(t, s, 0, 41)
	add(t, s, 1)
	closeStore(t, s)
	s = openInline(t, fsys, 512)
	wantBlocks(t, s, 0, 42)
	closeStore(t, s)
}
