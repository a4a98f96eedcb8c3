package disk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/internal/must"
)

// sumsOf returns the checksum file that the blocks from first to next must get.
func sumsOf(size int, first, next uint64) []byte {
	table := crc32.MakeTable(crc32.Castagnoli)
	var sums []byte
	for n := first; n < next; n++ {
		sums = binary.BigEndian.AppendUint32(sums, crc32.Checksum(block(n, 0, size), table))
	}
	b := []byte("KVSUMS\x00\x02")
	b = binary.BigEndian.AppendUint32(b, uint32(size))
	b = binary.BigEndian.AppendUint64(b, first)
	b = binary.BigEndian.AppendUint64(b, next-first)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(sums, table))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, table))
	return append(b, sums...)
}

const (
	sums0  = "sums_0000000000000000"
	sums20 = "sums_0000000000000014"
	sums40 = "sums_0000000000000028"
)

// TestSumsLater checks that a file gets its checksums some time after it was sealed, because many
// files have been discarded by then.
func TestSumsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := simfs.New(dir)
		s, err := disk.Open(dir, disk.Options{BlockSize: 512, FS: fsys})
		must.Do(t, err)
		for range 3 {
			add(t, s, 20)
		}
		time.Sleep(time.Second)
		if slices.Contains(fsys.Names(), sums0) {
			t.Error("checksums after a second")
		}
		free(t, s, 20)
		time.Sleep(3 * time.Second)
		if slices.Contains(fsys.Names(), sums0) || !slices.Contains(fsys.Names(), sums20) {
			t.Errorf("after four seconds the files are %v", fsys.Names())
		}
		closeStore(t, s)
	})
}

func TestSumsFormat(t *testing.T) {
	fsys, s := threeFiles(t)
	closeStore(t, s)
	want := []string{"blks_0000000000000000", "blks_0000000000000014", "blks_0000000000000028", sums0, sums20, sums40}
	if got := fsys.Names(); !slices.Equal(got, want) {
		t.Fatalf("files %v, want %v", got, want)
	}
	for first, name := range map[uint64]string{0: sums0, 20: sums20, 40: sums40} {
		if got := fsys.Content(name); !bytes.Equal(got, sumsOf(512, first, min(first+20, 41))) {
			t.Errorf("%s: %x", name, got)
		}
	}
}

// TestSumsOfLongFile checks a file longer than the janitor reads at a time, with blocks of a length
// that does not divide that.
func TestSumsOfLongFile(t *testing.T) {
	const size = 100_001
	fsys := simfs.New(dir)
	s := openInline(t, fsys, size)
	defer closeStore(t, s)
	add(t, s, 25)
	add(t, s, 1)
	if !bytes.Equal(fsys.Content(sums0), sumsOf(size, 0, 25)) {
		t.Error("wrong checksums")
	}
}

// TestSumsFindRot checks that any flipped bit in any block is found, also in the last file, in the
// run that wrote it and in later ones.
func TestSumsFindRot(t *testing.T) {
	fsys, s := threeFiles(t)
	add(t, s, 2) // in the last file, after its first block
	buf := make([]byte, 512)
	for _, reopen := range []bool{false, true} {
		if reopen {
			closeStore(t, s)
			s = openInline(t, fsys, 512)
		}
		for n := uint64(0); n < 43; n++ {
			name := fmt.Sprintf("blks_%016x", n/20*20)
			offset, bit := int64(n%20*512+n*7%512), byte(1)<<(n%8)
			fsys.Rot(name, offset, bit)
			ok, err := disk.ReadBlock(s, n, buf)
			if ok || !errors.Is(err, disk.ErrCorrupt) ||
				!strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), fmt.Sprintf("block %016x", n)) {
				t.Fatalf("rotten block %d: ok %v, %v", n, ok, err)
			}
			fsys.Rot(name, offset, bit)
		}
		wantBlocks(t, s, 0, 43)
	}
	closeStore(t, s)
}

// version1 returns a checksum file of version 1, in which no checksum could be left out.
func version1(sums []byte) []byte {
	b := slices.Clone(sums)
	b[7] = 1
	binary.BigEndian.PutUint32(b[32:], crc32.Checksum(b[:32], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// TestSumsAtOpen checks how a start treats checksum files.
func TestSumsAtOpen(t *testing.T) {
	intact := sumsOf(512, 20, 40)
	changed := func(at int) []byte {
		b := slices.Clone(intact)
		b[at] ^= 1
		return b
	}
	tests := []struct {
		name    string
		as      string
		content []byte
		gone    bool   // removed
		checks  bool   // a rotten block 25 is found
		says    string // in the log
		refused string // in the error
	}{
		{name: "intact", as: sums20, content: intact, checks: true},
		{name: "none", as: "kivaloo", checks: true},
		{name: "intact, version 1", as: sums20, content: version1(intact), checks: true},
		{name: "of the last file", as: sums40, content: sumsOf(512, 40, 41), checks: true},
		{name: "of the last file, more than it has", as: sums40, content: sumsOf(512, 40, 42), refused: "blocks 41 to 41 are missing"},
		{name: "of a file that is missing", as: "sums_0000000000000029", content: sumsOf(512, 41, 43), refused: "blocks 41 to 42 are missing"},
		{name: "of a file that is missing, another block size", as: "sums_0000000000000029", content: sumsOf(1024, 41, 43), refused: "blocks from 41 on are missing"},
		{name: "of a file that is missing, not readable", as: "sums_0000000000000029", content: nil, refused: "blocks from 41 on are missing"},
		{name: "of no file", as: "sums_0000000000000016", content: sumsOf(512, 0x16, 40), gone: true, checks: true},
		{name: "of no file, another block size", as: "sums_0000000000000016", content: sumsOf(1024, 0x16, 40), gone: true, checks: true},
		{name: "of fewer blocks", as: sums20, content: sumsOf(512, 20, 22), checks: true},
		{name: "of more blocks", as: sums20, content: sumsOf(512, 20, 41), gone: true, checks: true},
		{name: "of another file", as: sums20, content: sumsOf(512, 0, 20), gone: true, checks: true},
		{name: "too long", as: sums20, content: append(slices.Clone(intact), 0), gone: true, checks: true},
		{name: "unfinished", as: sums20 + ".tmp", content: intact, gone: true, checks: true},
		{name: "empty", as: sums20, content: nil, says: "will be replaced", checks: true},
		{name: "not ours", as: sums20, content: make([]byte, len(intact)), says: "will be replaced", checks: true},
		{name: "damaged header", as: sums20, content: changed(9), says: "will be replaced", checks: true},
		{name: "damaged checksum of the header", as: sums20, content: changed(35), says: "will be replaced", checks: true},
		{name: "damaged checksum of the checksums", as: sums20, content: changed(30), says: "will be replaced", checks: true},
		{name: "damaged checksum", as: sums20, content: changed(36), says: "will be replaced", checks: true},
		{name: "another block size", as: sums20, content: sumsOf(1024, 20, 40), refused: "not 512 but 1024"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fsys, s := threeFiles(t)
			closeStore(t, s)
			must.Do(t, fsys.Remove(sums20))
			fsys.Put(test.as, test.content)
			var log bytes.Buffer
			o := disk.Options{BlockSize: 512, FS: fsys, Log: slog.New(slog.NewTextHandler(&log, nil))}
			s, err := disk.OpenInline(dir, o)
			if test.refused != "" {
				if err == nil || !strings.Contains(err.Error(), test.refused) {
					t.Fatalf("error %v", err)
				}
				return
			}
			must.Do(t, err)
			defer closeStore(t, s)
			if there := slices.Contains(fsys.Names(), test.as); there == test.gone {
				t.Errorf("removed: %v", !there)
			}
			wantBlocks(t, s, 0, 41)
			fsys.Rot("blks_0000000000000014", 5*512, 1)
			if _, err := disk.ReadBlock(s, 25, make([]byte, 512)); errors.Is(err, disk.ErrCorrupt) != test.checks {
				t.Errorf("rotten block: %v", err)
			}
			if !strings.Contains(log.String(), test.says) || test.says == "" && log.Len() > 0 {
				t.Errorf("log: %q", log.String())
			}
			// The file found without checksums has all of them now.
			fsys.Rot("blks_0000000000000014", 5*512, 1)
			add(t, s, 30)
			if got := fsys.Content(sums20); test.checks && test.name != "intact, version 1" && !bytes.Equal(got, intact) {
				t.Errorf("in the end: %x", got)
			}
		})
	}
}

// TestDamagedSumsAreMended checks that a checksum file with any flipped bit is restored. The
// remaining checksums still prove all blocks unchanged, so Doubtful is not needed.
func TestDamagedSumsAreMended(t *testing.T) {
	for name, intact := range map[string][]byte{sums20: sumsOf(512, 20, 40), sums40: sumsOf(512, 40, 41)} {
		for bit := range 8 * len(intact) {
			fsys, s := threeFiles(t)
			closeStore(t, s)
			fsys.Rot(name, int64(bit/8), 1<<(bit%8))
			s, err := disk.OpenInline(dir, disk.Options{BlockSize: 512, FS: fsys, Log: quiet, Doubtful: distrust})
			must.Do(t, err)
			disk.ReadBlock(s, 20, make([]byte, 512)) // notices it
			closeStore(t, s)
			if got := fsys.Content(name); !bytes.Equal(got, intact) {
				t.Fatalf("bit %d of %s: %x", bit, name, got)
			}
		}
	}
}

// distrust is a Doubtful that calls every block bad.
func distrust(block uint64, _ disk.Found) (disk.Verdict, error) {
	one := disk.Stretch{First: block, Next: block + 1}
	return disk.Verdict{Stretch: one, Bad: one}, nil
}

// TestDamagedSumsAndBlock damages a block and its checksum file. The block must get no checksum,
// and the others must keep theirs.
func TestDamagedSumsAndBlock(t *testing.T) {
	for _, file := range []struct {
		first, next uint64
		name        string
	}{{20, 40, sums20}, {40, 42, sums40}} {
		fsys, s := threeFiles(t)
		add(t, s, 1)
		closeStore(t, s)
		fsys.Rot(file.name, 30, 1)
		fsys.Rot(fmt.Sprintf("blks_%016x", file.first), 512, 1)
		var log bytes.Buffer
		s, err := disk.OpenInline(dir, disk.Options{BlockSize: 512, FS: fsys, Log: slog.New(slog.NewTextHandler(&log, nil))})
		must.Do(t, err)
		disk.ReadBlock(s, file.first, make([]byte, 512)) // notices it
		closeStore(t, s)
		want := sumsOf(512, file.first, file.next)[36:]
		clear(want[4:8])
		if got := fsys.Content(file.name); !bytes.Equal(got[36:], want) {
			t.Errorf("%s: %x", file.name, got)
		}
		if want := fmt.Sprintf("blocks=1 first=%d last=%[1]d", file.first+1); !strings.Contains(log.String(), want) {
			t.Errorf("log %q, not %q", log.String(), want)
		}
	}
}

// TestSumsNotWritten checks that a store works without checksums that cannot be written.
func TestSumsNotWritten(t *testing.T) {
	for _, op := range []simfs.Op{simfs.Create, simfs.Rename} {
		fsys := simfs.New(dir)
		s := openInline(t, fsys, 512)
		add(t, s, 20)
		fsys.Fail(op, map[simfs.Op]int{simfs.Create: 2, simfs.Rename: 1}[op], syscall.EIO)
		add(t, s, 20)
		add(t, s, 1)
		closeStore(t, s)
		want := []string{"blks_0000000000000000", "blks_0000000000000014", "blks_0000000000000028", sums20, sums40}
		if got := fsys.Names(); !slices.Equal(got, want) {
			t.Errorf("%s fails: files %v, want %v", op, got, want)
		}
	}
}

// TestSumsOfFileThatWasTorn checks that a last file that is truncated, grows again and is sealed
// gets the checksums of its current content.
func TestSumsOfFileThatWasTorn(t *testing.T) {
	fsys := simfs.New(dir)
	s := openInline(t, fsys, 512)
	add(t, s, 20)
	add(t, s, 20)
	closeStore(t, s)
	// The second file is lost, as can happen with NoSync. The first one, which has checksums, is
	// the last again.
	must.Do(t, fsys.Remove("blks_0000000000000014"))
	fsys.Put("blks_0000000000000000", slices.Concat(pages(0, 19, 512)...))
	if _, err := disk.OpenInline(dir, disk.Options{BlockSize: 512, FS: fsys, Log: quiet}); !errors.Is(err, disk.ErrCorrupt) {
		t.Fatalf("with syncs nothing that has checksums can be lost: %v", err)
	}
	s, err := disk.OpenInline(dir, disk.Options{BlockSize: 512, FS: fsys, Log: quiet, NoSync: true})
	must.Do(t, err)
	if _, ok, err := disk.AppendPages(s, 19, [][]byte{block(99, 7, 512)}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	add(t, s, 1)
	closeStore(t, s)
	s = openInline(t, fsys, 512)
	defer closeStore(t, s)
	buf := make([]byte, 512)
	if ok, err := disk.ReadBlock(s, 19, buf); !ok || err != nil || !bytes.Equal(buf, block(99, 7, 512)) {
		t.Errorf("ok %v, %v", ok, err)
	}
}

// TestReadOnlyMakesNoSums checks that a store opened read-only gets no checksums, even if some are
// missing.
func TestReadOnlyMakesNoSums(t *testing.T) {
	fsys, s := threeFiles(t)
	closeStore(t, s)
	must.Do(t, fsys.Remove(sums20))
	before := fsys.Names()
	r, err := disk.OpenInline(dir, disk.Options{BlockSize: 512, FS: fsys, ReadOnly: true})
	must.Do(t, err)
	wantBlocks(t, r, 0, 41)
	closeStore(t, r)
	if after := fsys.Names(); !slices.Equal(after, before) {
		t.Errorf("files %v, were %v", after, before)
	}
}
