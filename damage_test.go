package kivaloo_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	kv "kivaloo"
	"kivaloo/disk"
	"kivaloo/internal/must"
	"kivaloo/tree"
)

const damageBlock = 2048

// damageValue returns the value stored under key i. Its bytes occur nowhere else on disk.
func damageValue(i int) string { return fmt.Sprintf("value of %05d, and no other", i) }

// damageStore makes a store and stops it cleanly. Its last file has several appends.
func damageStore(t *testing.T, pairs int) string {
	t.Helper()
	dir := t.TempDir()
	for from := range pairs {
		if from%100 > 0 {
			continue
		}
		db, err := kv.Open(dir, kv.Options{BlockSize: damageBlock})
		must.Do(t, err)
		b := new(kv.Batch)
		for i := from; i < min(from+100, pairs); i++ {
			b.Set(fmt.Appendf(nil, "%05d", i), []byte(damageValue(i)))
		}
		must.Do(t, db.Apply(t.Context(), b))
		must.Do(t, db.Close())
	}
	return dir
}

// blockFilesOf returns the paths of the block files and of their checksum files.
func blockFilesOf(t *testing.T, dir string) (blocks, sums []string) {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(dir, "blks_*"))
	must.Do(t, err)
	sums, err = filepath.Glob(filepath.Join(dir, "sums_*"))
	must.Do(t, err)
	return blocks, sums
}

// flip changes one byte of a file.
func flip(t *testing.T, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	must.Do(t, err)
	b[at] ^= 1
	must.Do(t, os.WriteFile(path, b, 0o600))
}

// TestChangedValueIsNotServed changes a byte of a value, in block after block, after a clean stop.
// The changed value must never be served.
func TestChangedValueIsNotServed(t *testing.T) {
	dir := damageStore(t, 600)
	blocks, sums := blockFilesOf(t, dir)
	last := strings.TrimPrefix(filepath.Base(blocks[len(blocks)-1]), "blks_")
	if len(sums) == 0 || filepath.Base(sums[len(sums)-1]) != "sums_"+last {
		t.Fatalf("after a stop the last file, %s, has no checksums: %v", last, sums)
	}
	refused, served := 0, 0
	for _, path := range blocks {
		content, err := os.ReadFile(path)
		must.Do(t, err)
		for at := bytes.Index(content, []byte("value of")); at >= 0 && at < len(content); at += damageBlock {
			flip(t, path, at)
			db, err := kv.Open(dir, kv.Options{ReadOnly: true})
			if err != nil {
				refused++
			} else {
				for i := range 600 {
					v, err := db.Get(t.Context(), fmt.Appendf(nil, "%05d", i))
					switch {
					case err == nil && string(v) != damageValue(i):
						t.Fatalf("%s is changed at %d: key %05d has value %q", path, at, i, v)
					case err != nil && !strings.Contains(err.Error(), "block"):
						t.Errorf("the error names no block: %v", err)
					}
				}
				served++
				must.Do(t, db.Close())
			}
			flip(t, path, at)
		}
	}
	if served == 0 {
		t.Error("no place was tried") // no place was tried, or the store was refused each time
	}
	t.Logf("opened %d times, refused %d times", served, refused)
}

// TestSumsOfFoundFiles checks that block files left without checksums by a killed process get them,
// except for an append that does not match its seal.
func TestSumsOfFoundFiles(t *testing.T) {
	for _, damaged := range []bool{false, true} {
		dir := damageStore(t, 600)
		blocks, sums := blockFilesOf(t, dir)
		for _, path := range sums {
			must.Do(t, os.Remove(path))
		}
		path := blocks[len(blocks)-1]
		content, err := os.ReadFile(path)
		must.Do(t, err)
		// Damage the append before the last one: the start looks for no root in front of that seal.
		at := bytes.LastIndex(content, []byte("kivaloo seal")) - damageBlock
		at = bytes.LastIndex(content[:at], []byte("value of"))
		if at < 0 {
			t.Fatal("no append of pages in the last file")
		}
		if damaged {
			flip(t, path, at)
		}
		var log bytes.Buffer
		s, err := disk.OpenInline(dir, disk.Options{BlockSize: damageBlock, Doubtful: tree.Doubtful, Log: slog.New(slog.NewTextHandler(&log, nil))})
		must.Do(t, err)
		_, err = disk.ReadBlock(s, s.Info().Last, make([]byte, damageBlock))
		must.Do(t, err)
		must.Do(t, s.Close())
		if said := strings.Contains(log.String(), "do not match the checksum"); said != damaged {
			t.Errorf("damaged %v: log %q", damaged, log.String())
		}
		_, again := blockFilesOf(t, dir)
		if len(again) != len(blocks) {
			t.Errorf("damaged %v: checksums of %d of %d files", damaged, len(again), len(blocks))
		}
		// Everything outside that append is checked from now on.
		unchecked := 0
		for _, path := range blocks {
			info, err := os.Stat(path)
			must.Do(t, err)
			for block := range int(info.Size() / damageBlock) {
				flip(t, path, block*damageBlock+damageBlock-1)
			}
		}
		r, err := disk.OpenInline(dir, disk.Options{BlockSize: damageBlock, ReadOnly: true})
		must.Do(t, err)
		for n := range r.Info().Next {
			ok, err := disk.ReadBlock(r, n, make([]byte, damageBlock))
			if err == nil && ok {
				unchecked++
			}
		}
		must.Do(t, r.Close())
		if (unchecked > 0) != damaged {
			t.Errorf("damaged %v: %d blocks go unchecked", damaged, unchecked)
		}
	}
}

// TestSumsOfFilesWithoutSeals checks that files without checksums and seals, such as those of the
// original, get checksums too. A block that is no page gets none, and the log names it.
func TestSumsOfFilesWithoutSeals(t *testing.T) {
	for _, test := range []struct {
		what   string
		damage func(p []byte)
		said   bool
	}{
		{what: "intact", damage: func([]byte) {}},
		{what: "no page", damage: func(p []byte) { p[0] ^= 1 }, said: true},
		{what: "zeros", damage: func(p []byte) { clear(p) }, said: true},
		{what: "a key runs past the end", damage: func(p []byte) { p[6] = 0xff }, said: true},
		{what: "bytes behind the content", damage: func(p []byte) { p[len(p)-1] = 1 }, said: true},
	} {
		files, _ := unsummedStore(t)
		block := files.firsts[1] + 7
		test.damage(files.page(block))
		files.write(t)
		var log bytes.Buffer
		s, err := disk.OpenInline(files.dir, disk.Options{BlockSize: files.blockSize, Doubtful: tree.Doubtful, Log: slog.New(slog.NewTextHandler(&log, nil))})
		must.Do(t, err)
		_, err = disk.ReadBlock(s, s.Info().Last, make([]byte, files.blockSize))
		must.Do(t, err)
		must.Do(t, s.Close())
		if named := fmt.Sprintf("first=%d last=%[1]d", block); strings.Contains(log.String(), named) != test.said || (log.Len() > 0) != test.said {
			t.Errorf("%s: block %d, log %q", test.what, block, log.String())
		}
		blocks, sums := blockFilesOf(t, files.dir)
		if len(sums) != len(blocks) {
			t.Fatalf("%s: checksums of %d of %d files", test.what, len(sums), len(blocks))
		}
		without := 0
		for i := range sums {
			text, err := os.ReadFile(sums[i])
			must.Do(t, err)
			for at := 36; at < len(text); at += 4 {
				if bytes.Equal(text[at:at+4], make([]byte, 4)) {
					without++
				}
			}
		}
		if want := map[bool]int{true: 1}[test.said]; without != want {
			t.Errorf("%s: %d blocks without checksums", test.what, without)
		}
	}
}
