package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"kivaloo"
	"kivaloo/internal/must"
)

// makeStore makes a store with 2048-byte blocks and the given number of commits, and flushes it.
func makeStore(t *testing.T, commits int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	db, err := kivaloo.Open(dir, kivaloo.Options{})
	must.Do(t, err)
	for i := range commits {
		must.Do(t, db.Set(t.Context(), fmt.Appendf(nil, "key %d", i), []byte("value")))
	}
	must.Do(t, db.Close())
	return dir
}

// dirContent returns the files in a directory.
func dirContent(t *testing.T, dir string) (all string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must.Do(t, err)
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must.Do(t, err)
		all += fmt.Sprintf("%s %x\n", e.Name(), content)
	}
	return all
}

// changeFile changes a file.
func changeFile(t *testing.T, name string, change func([]byte) []byte) {
	t.Helper()
	content, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, change(content), 0o600)
	}
	must.Do(t, err)
}

// TestWrongBlockSize checks that a wrong block size is refused and changes nothing.
func TestWrongBlockSize(t *testing.T) {
	for _, commits := range []int{0, 1, 30} {
		dir := makeStore(t, commits)
		before := dirContent(t, dir)
		for _, size := range []int{512, 1000, 1024, 4096, 8192, 131072} {
			for _, command := range [][]string{{"check"}, {"check", "--fold"}, {"serve", "--dir"}} {
				args := append(command, dir, "--block-size", fmt.Sprint(size))
				kivalooRun("", args...).want(t, exitError, "", fmt.Sprintf("has blocks of 2048 bytes, not %d", size))
			}
			if db, err := kivaloo.Open(dir, kivaloo.Options{BlockSize: size}); err == nil {
				t.Errorf("opened with blocks of %d bytes", size)
				db.Close()
			}
			if dirContent(t, dir) != before {
				t.Fatalf("%d commits: changed by block size %d", commits, size)
			}
		}
		if r := kivalooRun("", "check", "--fold", dir, "--block-size", "2048"); r.status != 0 {
			t.Errorf("the right block size: %+v", r)
		}
	}
}

// TestNothingChangesWithoutRoot checks that a store without a root is not touched, whether it has a
// torn end, wrong checksums, or partial files.
func TestNothingChangesWithoutRoot(t *testing.T) {
	const only = "blks_0000000000000000"
	for name, damage := range map[string]func(content []byte) []byte{
		"page and fragment": func([]byte) []byte { return bytes.Repeat([]byte{7}, 2048+700) },
		"fragment":          func([]byte) []byte { return bytes.Repeat([]byte{7}, 700) },
		"a page of the tree with one byte too little": func(content []byte) []byte { content[9] ^= 1; return content[:2047] },
	} {
		dir := makeStore(t, 0)
		changeFile(t, filepath.Join(dir, only), damage)
		for _, left := range []string{"sums_0000000000000000.tmp", "sums_0000000000000fff"} {
			must.Do(t, os.WriteFile(filepath.Join(dir, left), []byte("left"), 0o600))
		}
		before := dirContent(t, dir)
		for _, size := range []int{512, 2048, 8192} {
			if r := kivalooRun("", "check", "--fold", dir, "--block-size", fmt.Sprint(size)); r.status != exitError {
				t.Errorf("%s, block size %d: %+v", name, size, r)
			}
			if db, err := kivaloo.Open(dir, kivaloo.Options{BlockSize: size}); err == nil {
				t.Errorf("%s: opened with blocks of %d bytes", name, size)
				db.Close()
			}
			if dirContent(t, dir) != before {
				t.Fatalf("%s: changed by block size %d", name, size)
			}
		}
	}
}

// TestTornEndIsCut checks that a torn end is still cut off, even if it is the first write.
func TestTornEndIsCut(t *testing.T) {
	for _, commits := range []int{0, 30} {
		dir := makeStore(t, commits)
		sums, err := filepath.Glob(filepath.Join(dir, "sums_*")) // a crash leaves none of the last file
		must.Do(t, err)
		for _, path := range sums {
			must.Do(t, os.Remove(path))
		}
		files, err := filepath.Glob(filepath.Join(dir, "blks_*"))
		must.Do(t, err)
		changeFile(t, files[len(files)-1], func(content []byte) []byte {
			if commits == 0 {
				return content[:300]
			}
			return append(content, content[:700]...)
		})
		db, err := kivaloo.Open(dir, kivaloo.Options{BlockSize: 2048})
		if err != nil {
			t.Fatalf("%d commits: %v", commits, err)
		}
		for i := range commits {
			if _, err := db.Get(t.Context(), fmt.Appendf(nil, "key %d", i)); err != nil {
				t.Error(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}
