package disk_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/internal/must"
)

// TestFilesOfSingleAppends checks where files begin if 201 blocks are appended one by one, as in
// the original.
func TestFilesOfSingleAppends(t *testing.T) {
	fsys := simfs.New(dir)
	s := openInline(t, fsys, 512)
	defer closeStore(t, s)
	for range 201 {
		add(t, s, 1)
	}
	equal(t, "files", blockFiles(t, fsys, dir), []uint64{
		0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, // 15 of 1 block
		15, 17, 19, 21, 23, 25, 27, 29, // 8 of 2
		31, 34, 37, 40, 43, // 5 of 3
		46, 50, 54, 58, // 4 of 4
		62, 67, 72, // 3 of 5
		77, 83, 89, // 3 of 6
		95, 102, 109, 117, 125, 134, 143, 153, 164, 175, 187, 200,
	})
	wantBlocks(t, s, 0, 201)
}

// TestFilesOfOriginalStores appends batches of the sizes that made the files of two of the
// original's stores.
func TestFilesOfOriginalStores(t *testing.T) {
	for _, batches := range [][]int{{1, 9, 9, 9}, {1, 68, 155, 225, 289, 339, 395}} {
		fsys := simfs.New(dir)
		s := openInline(t, fsys, 512)
		var want []uint64
		for _, n := range batches {
			want = append(want, s.Info().Next)
			add(t, s, n)
		}
		equal(t, "files", blockFiles(t, fsys, dir), want)
		closeStore(t, s)
	}
}

func TestAppendRefusals(t *testing.T) {
	s := openInline(t, simfs.New(dir), 512)
	defer closeStore(t, s)
	add(t, s, 3)
	for _, first := range []uint64{0, 2, 4, 1<<64 - 3} {
		if _, ok, err := disk.AppendPages(s, first, pages(first, 1, 512)); ok || err != nil {
			t.Errorf("append at %d: ok %v, %v", first, ok, err)
		}
	}
	for name, pages := range map[string][][]byte{
		"none":  nil,
		"short": {make([]byte, 511)},
		"long":  {make([]byte, 512), make([]byte, 513)},
	} {
		if _, ok, err := disk.AppendPages(s, 3, pages); ok || err == nil {
			t.Errorf("%s: ok %v, %v", name, ok, err)
		}
	}
	if ok, err := disk.ReadBlock(s, 0, make([]byte, 511)); ok || err == nil {
		t.Errorf("short buffer: ok %v, %v", ok, err)
	}
	wantBlocks(t, s, 0, 3)
	add(t, s, 1)
}

// TestAppendManyBuffers appends more buffers than the system accepts at once, on the real file
// system.
func TestAppendManyBuffers(t *testing.T) {
	dir := t.TempDir()
	o := disk.Options{BlockSize: 512}
	s, err := disk.Open(dir, o)
	must.Do(t, err)
	add(t, s, 1)
	add(t, s, 2*1024+3)
	closeStore(t, s)
	if s, err = disk.Open(dir, o); err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	wantBlocks(t, s, 0, 2*1024+4)
	info, err := os.Stat(filepath.Join(dir, "blks_0000000000000001"))
	if err != nil || info.Mode().Perm()&^0o600 != 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// tracer records the calls on a file system, and marks set by the test.
type tracer struct{ lines []string }

func trace(fsys *simfs.FS) *tracer {
	tr := &tracer{}
	fsys.SetHook(func(c simfs.Call) error {
		if c.Op != simfs.Write || c.Done == 0 {
			tr.lines = append(tr.lines, strings.TrimSpace(fmt.Sprintf("%s %s", c.Op, short(c.Name))))
		}
		return nil
	})
	return tr
}

// short drops the leading zeros of a number in a name.
func short(name string) string {
	prefix, number, ok := strings.Cut(name, "_")
	if !ok {
		return name
	}
	return prefix + "_" + strings.TrimLeft(number[:15], "0") + number[15:]
}

func (tr *tracer) want(t *testing.T, what string, want ...string) {
	t.Helper()
	if !slices.Equal(tr.lines, want) {
		t.Errorf("%s: got\n\t%s\nwant\n\t%s", what, strings.Join(tr.lines, "\n\t"), strings.Join(want, "\n\t"))
	}
	tr.lines = nil
}

func TestCallOrder(t *testing.T) {
	for _, noSync := range []bool{false, true} {
		t.Run(fmt.Sprintf("NoSync %v", noSync), func(t *testing.T) {
			fsys := simfs.New(dir)
			s, err := disk.OpenInline(dir, disk.Options{BlockSize: 512, FS: fsys, NoSync: noSync})
			must.Do(t, err)
			defer closeStore(t, s)
			tr := trace(fsys)
			// synced removes the syncs from the expected lines if there are none.
			synced := func(lines ...string) []string {
				return slices.DeleteFunc(lines, func(line string) bool {
					return noSync && strings.HasPrefix(line, "sync")
				})
			}
			// append leaves a mark in the trace where the answer comes.
			appendTraced := func(n int) {
				op := &disk.Op{Kind: disk.Append, Block: s.Info().Next, Pages: pages(s.Info().Next, n, 512)}
				op.Done = disk.NewCompletions(markingBell(tr, "answer"))
				s.Submit(op, op)
			}

			appendTraced(20)
			tr.want(t, "new file", synced("create blks_0", "write blks_0", "sync blks_0", "syncdir", "answer")...)

			appendTraced(1) // 20 > 20/16, so this seals the first file
			tr.want(t, "next file", synced("create blks_14", "write blks_14", "sync blks_14", "syncdir", "answer",
				"create sums_0.tmp", "write sums_0.tmp", "sync sums_0.tmp", "rename sums_0.tmp", "syncdir")...)

			appendTraced(1)
			tr.want(t, "same file", synced("write blks_14", "sync blks_14", "answer")...)

			op := &disk.Op{Kind: disk.Free, Block: 20, Done: disk.NewCompletions(markingBell(tr, "answer"))}
			s.Submit(op, op)
			removed := []string{"answer", "remove blks_0", "remove sums_0"}
			if noSync {
				// Removals by a previous process must be made durable here too: a gap would be
				// worse than a loss.
				removed = slices.Insert(removed, 1, "syncdir")
			}
			tr.want(t, "free", removed...)

			appendTraced(1)
			appendTraced(1)
			tr.lines = nil
			op = &disk.Op{Kind: disk.Free, Block: 1 << 63, Done: disk.NewCompletions(markingBell(tr, "answer"))}
			s.Submit(op, op)
			removed = []string{"answer", "remove blks_14", "remove sums_14", "syncdir", "remove blks_16", "remove sums_16"}
			if noSync {
				removed = slices.Insert(removed, 1, "syncdir")
			}
			tr.want(t, "free", removed...)

			op = &disk.Op{Kind: disk.Free, Block: 1 << 63, Done: disk.NewCompletions(markingBell(tr, "answer"))}
			s.Submit(op, op)
			tr.want(t, "free with one file left", "answer")
		})
	}
}

func TestOpenCallOrder(t *testing.T) {
	fsys := simfs.New(dir)
	fsys.Put("blks_0000000000000000", make([]byte, 512))
	fsys.Put("blks_0000000000000001", make([]byte, 600))
	for _, noSync := range []bool{false, true} {
		fsys := fsys.Kill()
		tr := trace(fsys)
		s, err := disk.OpenInline(dir, disk.Options{BlockSize: 512, FS: fsys, NoSync: noSync, Log: quiet})
		must.Do(t, err)
		want := []string{"lock", "readdir", "lstat blks_0", "lstat blks_1", "open blks_1", "truncate blks_1", "sync blks_1",
			"read blks_1", "write blks_1", "sync blks_1", // see renew
			"syncdir"}
		if noSync {
			want = want[:6]
		}
		tr.want(t, fmt.Sprintf("NoSync %v", noSync), want...)
		closeStore(t, s)
	}
}

// TestOnSync checks that each sync that an append waits for is reported, and none if appends do not
// wait.
func TestOnSync(t *testing.T) {
	for _, noSync := range []bool{false, true} {
		told := 0
		s, err := disk.OpenInline(dir, disk.Options{
			BlockSize: 512, FS: simfs.New(dir), Log: quiet, NoSync: noSync, OnSync: func(took time.Duration) {
				if told++; took < 0 {
					t.Errorf("a sync took %v", took)
				}
			},
		})
		must.Do(t, err)
		for range 3 {
			add(t, s, 2)
		}
		closeStore(t, s)
		if want := map[bool]int{false: 3, true: 0}[noSync]; told != want {
			t.Errorf("NoSync %t: told of %d syncs, want %d", noSync, told, want)
		}
	}
}
