package disk_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/internal/must"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const dir = "/store"

// block returns the content that the tests give to a block. salt distinguishes blocks with the same
// number in different lives of a store.
func block(number uint64, salt uint32, size int) []byte {
	var seed [12]byte
	binary.BigEndian.PutUint64(seed[:], number)
	binary.BigEndian.PutUint32(seed[8:], salt)
	sum := sha256.Sum256(seed[:])
	return bytes.Repeat(sum[:], size/len(sum)+1)[:size]
}

func pages(first uint64, n, size int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = block(first+uint64(i), 0, size)
	}
	return all
}

// quiet is for stores with expected warnings.
var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func openInline(t testing.TB, fsys *simfs.FS, size int) *disk.Inline {
	t.Helper()
	s, err := disk.OpenInline(dir, disk.Options{BlockSize: size, FS: fsys, Log: quiet})
	must.Do(t, err)
	return s
}

func closeStore(t testing.TB, s disk.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// add appends n blocks with their content according to block.
func add(t testing.TB, s disk.Store, n int) {
	t.Helper()
	info := s.Info()
	next, ok, err := disk.AppendPages(s, info.Next, pages(info.Next, n, info.BlockSize))
	if err != nil || !ok || next != info.Next+uint64(n) {
		t.Fatalf("append of %d blocks at %d: next %d, ok %v, %v", n, info.Next, next, ok, err)
	}
}

// free discards blocks before keep. It waits for the answer, not for the removal.
func free(t testing.TB, s disk.Store, keep uint64) {
	t.Helper()
	if op := do(s, &disk.Op{Kind: disk.Free, Block: keep})[0]; op.Err != nil || !op.OK {
		t.Fatalf("free before %d: ok %v, %v", keep, op.OK, op.Err)
	}
}

// wantBlocks checks that exactly the blocks from first up to next can be read.
func wantBlocks(t testing.TB, s disk.Store, first, next uint64) {
	t.Helper()
	info := s.Info()
	buf := make([]byte, info.BlockSize)
	for n := first; n < next; n++ {
		if ok, err := disk.ReadBlock(s, n, buf); err != nil || !ok {
			t.Fatalf("read block %d: ok %v, %v", n, ok, err)
		}
		if !bytes.Equal(buf, block(n, 0, info.BlockSize)) {
			t.Fatalf("block %d has the wrong content", n)
		}
	}
	for _, n := range []uint64{first - 1, next, next + 1, 1<<64 - 1} {
		if ok, err := disk.ReadBlock(s, n, buf); err != nil || ok {
			t.Fatalf("read block %d, which should not be there: ok %v, %v", n, ok, err)
		}
	}
}

// do submits operations all at once and returns them in the order in which they come back.
func do(s disk.Store, ops ...*disk.Op) []*disk.Op {
	c := newCollector()
	c.submit(s, ops...)
	return c.wait(len(ops))
}

// names lists a directory.
func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must.Do(t, err)
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// fingerprint returns everything that a change of a directory would change.
func fingerprint(t testing.TB, dir string) string {
	t.Helper()
	return digest(t, dir, true)
}

// content is fingerprint without the times, so rewriting the same content does not change it.
func content(t testing.TB, dir string) string {
	t.Helper()
	return digest(t, dir, false)
}

func digest(t testing.TB, dir string, times bool) string {
	t.Helper()
	h := sha256.New()
	for _, name := range names(t, dir) {
		info, err := os.Lstat(filepath.Join(dir, name))
		must.Do(t, err)
		io.WriteString(h, name+info.Mode().String())
		if times {
			io.WriteString(h, info.ModTime().String())
		}
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(filepath.Join(dir, name))
			must.Do(t, err)
			h.Write(content)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// blockFiles returns the first block of each block file.
func blockFiles(t testing.TB, fsys disk.FS, dir string) []uint64 {
	t.Helper()
	infos, err := disk.ScanDir(fsys, dir)
	must.Do(t, err)
	var firsts []uint64
	for _, f := range infos {
		firsts = append(firsts, f.First)
	}
	return firsts
}

func equal(t testing.TB, what string, got, want []uint64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}
