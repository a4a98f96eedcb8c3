package disk_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/internal/must"
)

// threeFiles returns a store of 20 + 20 + 1 blocks. The next append extends the last file. If it
// has 20 blocks, the one after it begins a new file.
func threeFiles(t *testing.T) (*simfs.FS, *disk.Inline) {
	fsys := simfs.New(dir)
	s := openInline(t, fsys, 512)
	add(t, s, 20)
	add(t, s, 20)
	add(t, s, 1)
	equal(t, "files", blockFiles(t, fsys, dir), []uint64{0, 20, 40})
	return fsys, s
}

// tryAdd appends n blocks. The append may fail.
func tryAdd(s disk.Store, n int) error {
	next := s.Info().Next
	_, ok, err := disk.AppendPages(s, next, pages(next, n, 512))
	if err == nil && !ok {
		return errors.New("refused")
	}
	return err
}

// TestFailureIsFinal checks that a failure that may have lost data ends all appends, at once and
// permanently.
func TestFailureIsFinal(t *testing.T) {
	tests := []struct {
		op    simfs.Op
		fresh bool // in a new file
		free  bool // by the janitor
	}{
		{op: simfs.Write}, {op: simfs.Sync},
		{op: simfs.Write, fresh: true}, {op: simfs.Sync, fresh: true}, {op: simfs.Create, fresh: true}, {op: simfs.SyncDir, fresh: true},
		{op: simfs.Remove, free: true}, {op: simfs.SyncDir, free: true},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s, new file %v, free %v", test.op, test.fresh, test.free), func(t *testing.T) {
			fsys, s := threeFiles(t)
			if test.fresh {
				add(t, s, 15)
			}
			acked := s.Info().Next
			fsys.Fail(test.op, 1, syscall.EIO)
			wantFirst := uint64(0)
			if test.free {
				free(t, s, 40)
				wantFirst = 20 // dropped, and then nothing more
			} else if err := tryAdd(s, 2); !errors.Is(err, disk.ErrFailed) || !errors.Is(err, syscall.EIO) {
				t.Errorf("append: %v", err)
			}
			tr := trace(fsys)
			for range 2 {
				if err := tryAdd(s, 2); !errors.Is(err, disk.ErrFailed) || !errors.Is(err, syscall.EIO) {
					t.Errorf("later append: %v", err)
				}
			}
			free(t, s, 40) // is acknowledged, and nothing more
			tr.want(t, "after a failure")
			wantBlocks(t, s, wantFirst, acked)
			closeStore(t, s)

			fsys.SetHook(nil)
			s = openInline(t, fsys, 512)
			for n := wantFirst; n < acked; n++ {
				if ok, err := disk.ReadBlock(s, n, make([]byte, 512)); !ok || err != nil {
					t.Fatalf("after opening again, block %d: ok %v, %v", n, ok, err)
				}
			}
			if err := tryAdd(s, 1); err != nil {
				t.Errorf("append after opening again: %v", err)
			}
			closeStore(t, s)
		})
	}
}

// TestNoSpace checks that a full disk leaves the store unchanged, and that it continues when there
// is room again.
func TestNoSpace(t *testing.T) {
	full := func(fsys *simfs.FS, room int64) func(*simfs.FS) {
		used := int64(0)
		for _, name := range fsys.Names() {
			used += int64(len(fsys.Content(name)))
		}
		return func(fsys *simfs.FS) { fsys.SetCapacity(used + room) }
	}
	tests := []struct {
		name  string
		fresh bool
		make  func(fsys *simfs.FS)
	}{
		{"nothing fits", false, func(fsys *simfs.FS) { full(fsys, 0)(fsys) }},
		{"half a block fits", false, func(fsys *simfs.FS) { full(fsys, 256)(fsys) }},
		{"a block and a half fits", false, func(fsys *simfs.FS) { full(fsys, 768)(fsys) }},
		{"noticed by sync", false, func(fsys *simfs.FS) { fsys.Fail(simfs.Sync, 1, syscall.ENOSPC) }},
		{"quota", false, func(fsys *simfs.FS) { fsys.Fail(simfs.Write, 1, syscall.EDQUOT) }},
		{"new file, no name fits", true, func(fsys *simfs.FS) { fsys.Fail(simfs.Create, 1, syscall.ENOSPC) }},
		{"new file, no descriptors", true, func(fsys *simfs.FS) { fsys.Fail(simfs.Create, 1, syscall.EMFILE) }},
		{"new file, nothing fits", true, func(fsys *simfs.FS) { full(fsys, 0)(fsys) }},
		{"new file, a block and a half fits", true, func(fsys *simfs.FS) { full(fsys, 768)(fsys) }},
		{"new file, noticed by sync", true, func(fsys *simfs.FS) { fsys.Fail(simfs.Sync, 1, syscall.ENOSPC) }},
		{"no memory", false, func(fsys *simfs.FS) { fsys.Fail(simfs.Write, 1, syscall.ENOMEM) }},
		{"new file, its name does not fit", true, func(fsys *simfs.FS) { fsys.Fail(simfs.SyncDir, 1, syscall.ENOSPC) }},
		{"new file, its name is over the quota", true, func(fsys *simfs.FS) { fsys.Fail(simfs.SyncDir, 1, syscall.EDQUOT) }},
		{"new file, no descriptors for its name", true, func(fsys *simfs.FS) { fsys.Fail(simfs.SyncDir, 1, syscall.EMFILE) }},
		{"new file, its name does not fit, and taking it back neither", true, func(fsys *simfs.FS) {
			fsys.Fail(simfs.SyncDir, 1, syscall.ENOSPC)
			fsys.Fail(simfs.SyncDir, 2, syscall.ENOSPC)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fsys, s := threeFiles(t)
			if test.fresh {
				add(t, s, 15)
			}
			before := s.Info()
			names, content := fsys.Names(), string(fsys.Content("blks_0000000000000028"))
			test.make(fsys)
			if err := tryAdd(s, 2); !errors.Is(err, disk.ErrNoSpace) || errors.Is(err, disk.ErrFailed) {
				t.Fatalf("append: %v", err)
			}
			if s.Info() != before {
				t.Errorf("%+v, was %+v", s.Info(), before)
			}
			if strings.Join(fsys.Names(), " ") != strings.Join(names, " ") {
				t.Errorf("files %v, were %v", fsys.Names(), names)
			}
			if string(fsys.Content("blks_0000000000000028")) != content {
				t.Error("the last file is not what it was")
			}
			fsys.SetCapacity(-1)
			add(t, s, 2)
			wantBlocks(t, s, 0, before.Next+2)
			closeStore(t, s)
			s = openInline(t, fsys, 512)
			wantBlocks(t, s, 0, before.Next+2)
			closeStore(t, s)
		})
	}
}

// TestNoSpaceNotTakenBack checks that it is a permanent failure if the failed append cannot be
// undone either.
func TestNoSpaceNotTakenBack(t *testing.T) {
	tests := []struct {
		fresh bool
		op    simfs.Op
	}{
		{false, simfs.Truncate}, {false, simfs.Sync}, {true, simfs.Remove}, {true, simfs.SyncDir},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s, new file %v", test.op, test.fresh), func(t *testing.T) {
			fsys, s := threeFiles(t)
			if test.fresh {
				add(t, s, 15)
			}
			fsys.Fail(simfs.Write, 1, syscall.ENOSPC)
			fsys.Fail(test.op, 1, syscall.EIO)
			next := s.Info().Next
			for range 2 {
				if err := tryAdd(s, 2); !errors.Is(err, disk.ErrFailed) || !errors.Is(err, syscall.EIO) {
					t.Fatalf("append: %v", err)
				}
			}
			wantBlocks(t, s, 0, next)
			closeStore(t, s)
		})
	}
}

// TestOpenFailures checks that a failure during the start is reported with its cause, and that the
// store is refused.
func TestOpenFailures(t *testing.T) {
	for _, op := range []simfs.Op{simfs.Lock, simfs.ReadDir, simfs.Lstat, simfs.Open, simfs.Truncate, simfs.Sync, simfs.SyncDir} {
		fsys := simfs.New(dir)
		fsys.Put("blks_0000000000000000", make([]byte, 700))
		fsys.Fail(op, 1, syscall.EIO)
		s, err := disk.OpenInline(dir, disk.Options{BlockSize: 512, FS: fsys, Log: quiet})
		if !errors.Is(err, syscall.EIO) || s != nil {
			t.Errorf("%s fails: %v", op, err)
		}
		if n := fsys.Handles(); n != 0 {
			t.Errorf("%s fails: %d files left open", op, n)
		}
		// The lock has been released.
		s = openInline(t, fsys, 512)
		closeStore(t, s)
	}
}

func TestReadFailures(t *testing.T) {
	fsys, s := threeFiles(t)
	buf := make([]byte, 512)
	for _, op := range []simfs.Op{simfs.Open, simfs.Read} {
		closeStore(t, s)
		s = openInline(t, fsys, 512) // with no file open for reading
		fsys.Fail(op, 1, syscall.EIO)
		if ok, err := disk.ReadBlock(s, 25, buf); ok || !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "block 0000000000000019") {
			t.Errorf("%s fails: ok %v, %v", op, ok, err)
		}
		if ok, err := disk.ReadBlock(s, 25, buf); !ok || err != nil {
			t.Errorf("after that: ok %v, %v", ok, err)
		}
	}
	f, err := fsys.Open("blks_0000000000000014", true)
	must.Do(t, err)
	defer f.Close()
	must.Do(t, f.Truncate(512*19+100))
	if ok, err := disk.ReadBlock(s, 39, buf); ok || !errors.Is(err, disk.ErrCorrupt) || !strings.Contains(err.Error(), "too short") {
		t.Errorf("file cut short: ok %v, %v", ok, err)
	}
	closeStore(t, s)
}

// TestFreeAfterShortage checks that removing files continues after a shortage in one of its steps.
func TestFreeAfterShortage(t *testing.T) {
	for _, op := range []simfs.Op{simfs.Remove, simfs.SyncDir} {
		fsys, s := threeFiles(t)
		for _, err := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
			fsys.Fail(op, 1, err)
			free(t, s, 40)
		}
		add(t, s, 1)
		free(t, s, 40)
		equal(t, "files", blockFiles(t, fsys, dir), []uint64{40})
		wantBlocks(t, s, 40, 42)
		closeStore(t, s)
	}
}
