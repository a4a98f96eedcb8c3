package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kivaloo/disk"
	"kivaloo/internal/must"
)

// put makes a file of the given number of blocks and further bytes.
func put(t *testing.T, dir, name string, blocks, more int) {
	t.Helper()
	must.Do(t, os.WriteFile(filepath.Join(dir, name), make([]byte, 512*blocks+more), 0o600))
}

func TestOpenDirectory(t *testing.T) {
	type file struct {
		first        uint64
		blocks, more int
	}
	tests := []struct {
		name      string
		files     []file
		next      uint64
		refused   string // part of the error
		truncated bool
	}{
		{name: "empty directory"},
		{name: "one file", files: []file{{0, 3, 0}}, next: 3},
		{name: "chain", files: []file{{0, 1, 0}, {1, 9, 0}, {10, 2, 0}}, next: 12},
		{name: "does not begin at 0", files: []file{{7, 2, 0}, {9, 1, 0}}, next: 10},
		{name: "torn tail", files: []file{{0, 1, 0}, {1, 2, 100}}, next: 3, truncated: true},
		{name: "torn tail of less than a block", files: []file{{0, 1, 0}, {1, 0, 511}}, next: 1, truncated: true},
		{name: "empty last file", files: []file{{0, 1, 0}, {1, 0, 0}}, next: 1},
		{name: "empty only file", files: []file{{40, 0, 0}}, next: 40},
		{name: "gap", files: []file{{0, 2, 0}, {3, 1, 0}}, refused: "blks_0000000000000003 does not continue blks_0000000000000000"},
		{name: "overlap", files: []file{{0, 2, 0}, {1, 1, 0}}, refused: "blks_0000000000000001 does not continue"},
		{name: "odd size inside", files: []file{{0, 2, 100}, {2, 1, 0}}, refused: "blks_0000000000000000 has 1124 bytes"},
		{name: "gap and torn tail", files: []file{{0, 2, 0}, {3, 1, 9}}, refused: "does not continue"},
		{name: "past the last number", files: []file{{1<<64 - 2, 4, 0}}, refused: "past the largest number"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range test.files {
				put(t, dir, fmt.Sprintf("blks_%016x", f.first), f.blocks, f.more)
			}
			before, contentBefore := fingerprint(t, dir), content(t, dir)
			var log bytes.Buffer
			s, err := disk.Open(dir, disk.Options{BlockSize: 512, Log: slog.New(slog.NewTextHandler(&log, nil))})
			if test.refused != "" {
				if err == nil || !errors.Is(err, disk.ErrCorrupt) || !strings.Contains(err.Error(), test.refused) {
					t.Fatalf("error %v, want one about %q", err, test.refused)
				}
				if fingerprint(t, dir) != before {
					t.Fatal("refused, but changed something")
				}
				return
			}
			must.Do(t, err)
			defer closeStore(t, s)
			want := disk.Info{BlockSize: 512, Next: test.next, Last: test.next - 1}
			info := s.Info()
			if info.Room == 0 {
				t.Error("the room on the disk is not known")
			}
			if info.Room = 0; info != want {
				t.Errorf("%+v, want %+v", info, want)
			}
			if changed := content(t, dir) != contentBefore; changed != test.truncated {
				t.Errorf("changed: %v", changed)
			}
			if test.truncated {
				last := test.files[len(test.files)-1]
				line := fmt.Sprintf("blks_%016x bytes=%d kept=%d", last.first, 512*last.blocks+last.more, 512*last.blocks)
				if !strings.Contains(log.String(), line) {
					t.Errorf("log %q does not say %q", log.String(), line)
				}
			}
			// Later blocks go where the scan says.
			next, ok, err := disk.AppendPages(s, test.next, pages(test.next, 1, 512))
			if err != nil || !ok || next != test.next+1 {
				t.Errorf("append: next %d, ok %v, %v", next, ok, err)
			}
		})
	}
}

func TestOpenIgnoresForeignNames(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "blks_0000000000000005", 2, 0)
	foreign := []string{
		"blks_", "blks_5", "blks_00000000000000005", "blks_000000000000000g", "Blks_0000000000000007",
		"blks_000000000000000A", "xblks_0000000000000007", "blks_0000000000000007.tmp", "sums_7", "sums_000000000000000A",
	}
	for _, name := range foreign {
		put(t, dir, name, 1, 1)
	}
	for _, name := range []string{"blks_0000000000000100", "sums_0000000000000100"} {
		must.Do(t, os.Mkdir(filepath.Join(dir, name), 0o700))
	}
	must.Do(t, os.Symlink("blks_0000000000000005", filepath.Join(dir, "blks_0000000000000200")))
	before := content(t, dir)
	s, err := disk.Open(dir, disk.Options{BlockSize: 512})
	must.Do(t, err)
	defer closeStore(t, s)
	if info := s.Info(); info.Next != 7 || info.Last != 6 {
		t.Errorf("%+v", info)
	}
	if content(t, dir) != before {
		t.Error("something has been changed")
	}
	equal(t, "files", blockFiles(t, nil, dir), []uint64{5})
}

func TestOpenErrors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	plain := filepath.Join(t.TempDir(), "plain")
	must.Do(t, os.WriteFile(plain, nil, 0o600))
	for _, path := range []string{missing, plain} {
		if _, err := disk.Open(path, disk.Options{BlockSize: 512}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v", path, err)
		}
	}
	if _, err := disk.Open(missing, disk.Options{BlockSize: 512}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
	for _, o := range []disk.Options{
		{BlockSize: 0}, {BlockSize: 511}, {BlockSize: 131073},
		{BlockSize: 512, Readers: -1}, {BlockSize: 512, Readers: 1001},
		{BlockSize: 512, ReadDelay: -1}, {BlockSize: 512, ReadDelay: 1e9},
	} {
		if _, err := disk.Open(t.TempDir(), o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

// TestOpenOriginalStores opens the stores in testdata. The original's tools have written them, and
// some were damaged. The results must equal the original's.
func TestOpenOriginalStores(t *testing.T) {
	tests := []struct {
		name    string
		next    uint64
		refused bool
		changed map[string]int64 // new lengths
	}{
		{name: "s512-empty", next: 1},
		{name: "s512-torn-base", next: 28},
		{name: "s512-torn-root", next: 27, changed: map[string]int64{"blks_0000000000000013": 4096}},
		{name: "s512-torn-multi", next: 23, changed: map[string]int64{"blks_0000000000000013": 2048}},
		{name: "s512-torn-middle", refused: true},
		{name: "s512-partial-next", next: 28, changed: map[string]int64{"blks_0000000000000013": 4608}},
		{name: "s512-empty-newfile", next: 28},
		{name: "s512-zero-tail", next: 29},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			must.Do(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", test.name))))
			before, err := disk.ScanDir(nil, dir)
			must.Do(t, err)
			s, err := disk.Open(dir, disk.Options{BlockSize: 512, Log: quiet})
			if test.refused {
				if !errors.Is(err, disk.ErrCorrupt) {
					t.Fatalf("error %v", err)
				}
			} else if err != nil {
				t.Fatal(err)
			} else {
				defer closeStore(t, s)
				if info := s.Info(); info.Next != test.next || info.Last != test.next-1 {
					t.Errorf("%+v", info)
				}
			}
			after, err := disk.ScanDir(nil, dir)
			must.Do(t, err)
			for i, f := range after {
				want := before[i].Size
				if size, ok := test.changed[f.Name]; ok {
					want = size
				}
				if f.Size != want {
					t.Errorf("%s has %d bytes, want %d", f.Name, f.Size, want)
				}
			}
			if test.name == "s512-empty-newfile" {
				add(t, s, 1)
				equal(t, "files", blockFiles(t, nil, dir), []uint64{0, 1, 10, 19, 28})
			}
		})
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	open := func(readOnly bool) (*disk.Local, error) {
		return disk.Open(dir, disk.Options{BlockSize: 512, ReadOnly: readOnly})
	}
	writer, err := open(false)
	must.Do(t, err)
	for _, readOnly := range []bool{false, true} {
		if _, err := open(readOnly); !errors.Is(err, disk.ErrLocked) || !strings.Contains(err.Error(), dir) {
			t.Errorf("second opening, read-only %v: %v", readOnly, err)
		}
	}
	closeStore(t, writer)

	one, err := open(true)
	must.Do(t, err)
	two, err := open(true)
	must.Do(t, err)
	if _, err := open(false); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("writer among readers: %v", err)
	}
	closeStore(t, one)
	closeStore(t, two)
	if len(names(t, dir)) != 0 {
		t.Errorf("locking has left %v", names(t, dir))
	}
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	s, err := disk.Open(dir, disk.Options{BlockSize: 512})
	must.Do(t, err)
	for range 5 {
		add(t, s, 2)
	}
	closeStore(t, s)
	files, _ := disk.ScanDir(nil, dir)
	last := filepath.Join(dir, files[len(files)-1].Name)
	if err := os.Truncate(last, files[len(files)-1].Size+100); err != nil { // a torn tail
		t.Fatal(err)
	}
	put(t, dir, "sums_0000000000000001", 1, 0)     // damaged, of no file
	put(t, dir, "sums_0000000000000001.tmp", 1, 0) // left over
	before := fingerprint(t, dir)

	s, err = disk.Open(dir, disk.Options{BlockSize: 512, ReadOnly: true, Log: quiet})
	must.Do(t, err)
	wantBlocks(t, s, 0, 10)
	ops := do(s,
		&disk.Op{Kind: disk.Append, Block: 10, Pages: pages(10, 1, 512)},
		&disk.Op{Kind: disk.Free, Block: 8})
	for _, op := range ops {
		if op.Err == nil || !strings.Contains(op.Err.Error(), "opened for reading only") {
			t.Errorf("operation %d: %v", op.Kind, op.Err)
		}
	}
	closeStore(t, s)
	if fingerprint(t, dir) != before {
		t.Error("something has been changed")
	}
}
