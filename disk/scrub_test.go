package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/internal/must"
)

// checkSums returns the result of CheckSums for a store.
func checkSums(t *testing.T, dir string, o disk.Options) (disk.SumsReport, []disk.Fault) {
	t.Helper()
	o.ReadOnly, o.Log = true, quiet
	s := openLocal(t, dir, o)
	defer closeStore(t, s)
	var faults []disk.Fault
	shown := uint64(0)
	r, err := s.CheckSums(t.Context(), func(done, of uint64) { shown = of - done }, func(f disk.Fault) { faults = append(faults, f) })
	if err != nil || shown != 0 {
		t.Fatal(err, shown)
	}
	return r, faults
}

// TestCheckSums checks that CheckSums names every block that has changed or is unreadable, and
// every damaged checksum file.
func TestCheckSums(t *testing.T) {
	fsys, s := threeFiles(t)
	closeStore(t, s)
	o := disk.Options{BlockSize: 512, FS: fsys}
	if r, faults := checkSums(t, dir, o); r != (disk.SumsReport{Blocks: 41}) || len(faults) > 0 {
		t.Fatalf("%+v, %v", r, faults)
	}
	for n := uint64(0); n < 41; n++ {
		name, offset := fmt.Sprintf("blks_%016x", n/20*20), int64(n%20*512)
		for what, damage := range map[string]func() (undo func()){
			"rot": func() func() {
				fsys.Rot(name, offset+int64(n), 1)
				return func() { fsys.Rot(name, offset+int64(n), 1) }
			},
			"unreadable": func() func() {
				fsys.SetHook(func(c simfs.Call) error {
					if c.Op == simfs.Read && c.Name == name && c.Offset < offset+512 && c.Offset+c.Len > offset {
						return syscall.EIO
					}
					return nil
				})
				return func() { fsys.SetHook(nil) }
			},
		} {
			undo := damage()
			r, faults := checkSums(t, dir, o)
			undo()
			// A direct read of blocks of 512 bytes reads their neighbours too.
			i := slices.IndexFunc(faults, func(f disk.Fault) bool { return f.Block == n })
			if r.Blocks != 41 || i < 0 || len(faults) > 1 && what == "rot" || len(faults) > 15 ||
				faults[i].File != filepath.Join(dir, name) || faults[i].Offset != offset {
				t.Fatalf("%s of block %d: %+v, %v", what, n, r, faults)
			}
			if is := map[string]error{"rot": disk.ErrRot, "unreadable": syscall.EIO}[what]; !errors.Is(faults[i], is) {
				t.Errorf("%s of block %d: %v", what, n, faults[i])
			}
		}
	}
	for _, test := range []struct {
		what             string
		sums             []byte
		without, damaged uint64
		says             string
	}{
		{"damaged sum", append(sumsOf(512, 20, 40)[:115], 0), 0, 20, "damaged"},
		{"damaged header", append([]byte{1}, sumsOf(512, 20, 40)[1:]...), 0, 20, "damaged"},
		{"too short", sumsOf(512, 20, 40)[:35], 0, 20, "damaged"},
		{"too long", append(sumsOf(512, 20, 40), 0), 0, 20, "does not match"},
		{"of fewer blocks", sumsOf(512, 20, 25), 15, 0, ""},
	} {
		fsys.Put(sums20, test.sums)
		r, faults := checkSums(t, dir, o)
		said := ""
		for _, f := range faults {
			said += f.Error()
		}
		if r != (disk.SumsReport{Blocks: 41, Without: test.without, Damaged: test.damaged}) || !strings.Contains(said, test.says) || (said == "") != (test.says == "") ||
			test.says != "" && !strings.Contains(said, "block 20 ("+filepath.Join(dir, sums20)) {
			t.Errorf("%s: %+v, %v", test.what, r, faults)
		}
	}
}

// TestScrub checks that the scrubber begins a minute after the start, keeps to its rate, finds
// every damaged block in one pass, and reports each once. Repaired and discarded blocks no longer
// count.
func TestScrub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 16 * 1024 // two blocks at a time
		fsys, inline := threeFiles(t)
		closeStore(t, inline)
		var log bytes.Buffer
		s := openLocal(t, dir, disk.Options{BlockSize: 512, FS: fsys, ScrubRate: rate, Log: slog.New(slog.NewTextHandler(&log, nil))})
		for _, n := range []uint64{0, 7, 25, 40} {
			fsys.Rot(fmt.Sprintf("blks_%016x", n/20*20), int64(n%20*512+n), 1)
		}
		want := func(when string, passes, damaged uint64, lines int) {
			t.Helper()
			synctest.Wait()
			got := s.Scrubbed()
			if got.Passes != passes || got.Damaged != damaged || got.Bytes > passes*41*512+uint64(got.Progress*41*512)+1 || strings.Count(log.String(), "scrub:") != lines {
				t.Fatalf("%s: %+v, log %s", when, got, log.String())
			}
		}
		time.Sleep(59 * time.Second)
		want("before", 0, 0, 0)
		if n := s.Scrubbed().Bytes; n > 0 {
			t.Errorf("%d bytes at once", n)
		}
		time.Sleep(time.Second + 500*time.Millisecond)
		if got := s.Scrubbed(); got.Bytes < rate/2-1024 || got.Bytes > rate/2+1024 || got.Progress < 0.3 || got.Progress > 0.5 {
			t.Errorf("after half a second: %+v", got)
		}
		time.Sleep(2 * time.Second)
		want("after a pass", 1, 4, 4)
		for _, what := range []string{"first=25 last=25 file=/store/blks_0000000000000014 offset=2560", "first=40", "kivaloo check --sums /store"} {
			if !strings.Contains(log.String(), what) {
				t.Errorf("the log does not say %q: %s", what, log.String())
			}
		}
		fsys.Rot("blks_0000000000000014", 5*512+25, 1)
		time.Sleep(24 * time.Hour)
		want("after a day", 2, 3, 4)
		free(t, s, 20)
		time.Sleep(time.Second)
		want("discarded", 2, 1, 4)
		add(t, s, 3)
		time.Sleep(24 * time.Hour)
		want("after two days", 3, 1, 4)
		time.Sleep(24*time.Hour - 2500*time.Millisecond) // during a pass
		closeStore(t, s)
	})
}

// TestScanLeavesCacheAlone checks that the scan reads the disk, and does not fill the system's
// cache.
func TestScanLeavesCacheAlone(t *testing.T) {
	dir := t.TempDir()
	o := disk.Options{BlockSize: 2000, Log: quiet}
	s := openLocal(t, dir, o)
	add(t, s, 200)
	add(t, s, 1)
	closeStore(t, s)
	f, err := os.Open(filepath.Join(dir, "blks_0000000000000000"))
	must.Do(t, err)
	defer f.Close()
	cached := func() bool {
		var stat unix.Cachestat_t
		if err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{Len: 400_000}, &stat, 0); err != nil {
			t.Skip(err) // an old kernel
		}
		return stat.Cache > 0
	}
	must.Do(t, errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)))
	if cached() {
		t.Skip("this file system is memory, or does not tell what it has there")
	}
	if r, faults := checkSums(t, dir, o); r.Blocks != 201 || len(faults) > 0 {
		t.Fatalf("%+v, %v", r, faults)
	}
	if cached() {
		t.Error("the blocks are in memory now")
	}
}
