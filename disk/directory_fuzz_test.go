package disk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/internal/must"
)

// allocated returns how many bytes have been allocated so far.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// contents returns all files.
func contents(fsys *simfs.FS) map[string]string {
	all := make(map[string]string)
	for _, name := range fsys.Names() {
		all[name] = string(fsys.Content(name))
	}
	return all
}

// resum corrects the checksums of a checksum file.
func resum(b []byte) {
	if len(b) < 36 {
		return
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.BigEndian.PutUint32(b[28:], crc32.Checksum(b[36:], table))
	binary.BigEndian.PutUint32(b[32:], crc32.Checksum(b[:32], table))
}

// readRight reads the first blocks of a store. Each must have its content, or be unreadable.
func readRight(t *testing.T, count uint64, read func(block uint64, buf []byte) (bool, error)) {
	buf := make([]byte, 512)
	for n := range count {
		ok, err := read(n, buf)
		if err != nil && !errors.Is(err, disk.ErrCorrupt) {
			t.Fatalf("block %d: %v", n, err)
		}
		if ok && err == nil && !bytes.Equal(buf, block(n, 0, 512)) {
			t.Fatalf("block %d is read with a content that it never had", n)
		}
	}
}

// FuzzDirectory adds any file to the directory of a store, or replaces one of its files, checksum
// files included. A checksum file may have right checksums of itself. Either the store is refused
// and not changed, or no block is read with wrong content, now and after an append.
func FuzzDirectory(f *testing.F) {
	whole := simfs.New(dir)
	s := openInline(f, whole, 512)
	for _, n := range []int{20, 20, 1} {
		add(f, s, n)
	}
	closeStore(f, s)
	for name, content := range contents(whole) {
		if len(content) < 1000 {
			f.Add(name, []byte(content), false)
			f.Add(name, []byte(content[:len(content)-4]), true)
		}
	}
	for _, size := range []uint32{0, 511, 513, 1 << 31} {
		other := sumsOf(512, 20, 40)
		binary.BigEndian.PutUint32(other[8:], size)
		f.Add(sums20, other, true)
		f.Add(sums0, other, true)
	}
	f.Add(sums20, version1(sumsOf(512, 20, 40)), false)
	f.Add(sums20+".tmp", sumsOf(512, 20, 40), false)
	f.Add("sums_0000000000000029", sumsOf(512, 41, 50), false)
	f.Add("sums_ffffffffffffffff", sumsOf(512, 1<<64-1, 1<<64-1), false)
	f.Add("blks_0000000000000029", []byte("the beginning of a block"), false)
	f.Add("blks_fffffffffffffff0", make([]byte, 512), false)
	f.Add("kivaloo.failed", []byte("a sync failed\n"), false)
	golden, err := os.ReadFile(filepath.Join("testdata", "s512-empty", "blks_0000000000000000"))
	must.Do(f, err)
	f.Add("blks_0000000000000028", golden, false)

	f.Fuzz(func(t *testing.T, name string, content []byte, right bool) {
		if name == "" || strings.ContainsAny(name, "/\x00") {
			return // not a possible file name
		}
		if right {
			content = bytes.Clone(content)
			resum(content)
		}
		fsys := simfs.New(dir)
		for name, content := range contents(whole) {
			fsys.Put(name, []byte(content))
		}
		fsys.Put(name, content)
		before, was := contents(fsys), allocated()

		for _, size := range []int{0, 512} {
			o := disk.Options{BlockSize: size, FS: fsys, Log: quiet, Recognise: func(disk.Dir) (int, error) { return 512, nil }}
			r, err := disk.OpenRemains(dir, o)
			if err != nil {
				if !strings.Contains(err.Error(), dir) {
					t.Fatalf("it does not say what it is about: %v", err)
				}
				continue
			}
			if size == 512 {
				readRight(t, 41, r.Read)
			}
			r.Close()
		}
		if !maps.Equal(contents(fsys), before) {
			t.Fatal("looking at the remains has changed them")
		}

		for range 2 {
			s, err := disk.OpenInline(dir, disk.Options{BlockSize: 512, FS: fsys, Log: quiet})
			if err != nil {
				if !strings.Contains(err.Error(), dir) || !maps.Equal(contents(fsys), before) {
					t.Fatalf("it has changed, or does not say what it is about: %v", err)
				}
				break
			}
			readRight(t, 41, func(n uint64, buf []byte) (bool, error) { return disk.ReadBlock(s, n, buf) })
			next := s.Info().Next
			if _, ok, err := disk.AppendPages(s, next, pages(next, 1, 512)); !ok || err != nil {
				t.Fatalf("append of block %d: %t, %v", next, ok, err)
			}
			closeStore(t, s)
			before = contents(fsys)
		}
		if grown := allocated() - was; grown > 8<<20+64*uint64(len(content)) {
			t.Fatalf("%d bytes were allocated for a file of %d", grown, len(content))
		}
	})
}
