package kivaloo_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"kivaloo"
	"kivaloo/internal/must"
)

// moves are the ways in which the path of an open store can change. The store is at place/ours. The
// one at place/other takes its path.
var moves = []struct {
	name string
	// open opens the store at ours by some path.
	open func(t *testing.T, place string, open func(dir string))
	// turn makes that path lead to the other store. It returns where the two stores are now.
	turn func(t *testing.T, place string) (ours, other string)
}{
	{
		name: "renamed",
		open: func(t *testing.T, place string, open func(string)) { open(place + "/ours") },
		turn: func(t *testing.T, place string) (string, string) {
			must.Do(t, os.Rename(place+"/ours", place+"/moved"))
			must.Do(t, os.Rename(place+"/other", place+"/ours"))
			return place + "/moved", place + "/ours"
		},
	},
	{
		name: "link turned",
		open: func(t *testing.T, place string, open func(string)) {
			must.Do(t, os.Symlink("ours", place+"/link"))
			open(place + "/link")
		},
		turn: func(t *testing.T, place string) (string, string) {
			must.Do(t, os.Symlink("other", place+"/link.new"))
			must.Do(t, os.Rename(place+"/link.new", place+"/link"))
			return place + "/ours", place + "/other"
		},
	},
	{
		name: "working directory changed",
		open: func(t *testing.T, place string, open func(string)) {
			t.Chdir(place)
			open("ours")
		},
		turn: func(t *testing.T, place string) (string, string) {
			must.Do(t, os.Mkdir(place+"/elsewhere", 0o700))
			must.Do(t, os.Rename(place+"/other", place+"/elsewhere/ours"))
			t.Chdir(place + "/elsewhere")
			return place + "/ours", place + "/elsewhere/ours"
		},
	},
}

// content returns the files in a directory.
func content(t *testing.T, dir string) contents {
	t.Helper()
	all := contents{}
	for _, name := range names(t, dir) {
		bytes, err := os.ReadFile(filepath.Join(dir, name))
		must.Do(t, err)
		all[name] = string(bytes)
	}
	return all
}

// TestStoreStaysInItsDirectory checks that a store stays in the directory that was opened, even if
// its path leads elsewhere later.
func TestStoreStaysInItsDirectory(t *testing.T) {
	o := kivaloo.Options{BlockSize: 512, CacheBytes: smallCache, JournalBytes: 64 << 10}
	for _, move := range moves {
		t.Run(move.name, func(t *testing.T) {
			place := t.TempDir()
			n := 0
			fill := func(db *kivaloo.DB, want contents, commits int) {
				b := new(kivaloo.Batch)
				for range commits {
					for range 100 {
						k, v := fmt.Sprintf("%05d", n%3000), fmt.Sprint(n)
						want[k] = v
						b.Set([]byte(k), []byte(v))
						n++
					}
					must.Do(t, db.Apply(t.Context(), b))
				}
			}
			want, wantOther := contents{}, contents{}
			other, err := kivaloo.Open(place+"/other", o)
			must.Do(t, err)
			fill(other, wantOther, 5)
			must.Do(t, other.Close())
			before := content(t, place+"/other")

			var db *kivaloo.DB
			must.Do(t, os.Mkdir(place+"/ours", 0o700))
			move.open(t, place, func(dir string) { db, err = kivaloo.Open(dir, o) })
			must.Do(t, err)
			fill(db, want, 5)
			files := names(t, place+"/ours")
			oursIs, otherIs := move.turn(t, place)
			fill(db, want, 60)
			want.same(t, gather(t, db.Range(t.Context(), nil, nil)))
			must.Do(t, db.Close())
			if now := names(t, oursIs); now[0] == files[0] {
				t.Errorf("no file was removed: %v, now %v", files, now)
			}

			before.same(t, content(t, otherIs))
			want.same(t, gather(t, openDB(t, oursIs, o).Range(t.Context(), nil, nil)))
			wantOther.same(t, gather(t, openDB(t, otherIs, o).Range(t.Context(), nil, nil)))
		})
	}
}

// readerWith calls do once, after a part of the content was read.
type readerWith struct {
	rest []byte
	do   func()
}

func (r *readerWith) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	if r.do != nil && len(r.rest) < 100_000 {
		r.do()
		r.do = nil
	}
	n := copy(p, r.rest[:min(len(r.rest), 10_000)])
	r.rest = r.rest[n:]
	return n, nil
}

// TestRestoreStaysInItsDirectory checks that Restore makes the store in the directory in which it
// began, and touches nothing elsewhere.
func TestRestoreStaysInItsDirectory(t *testing.T) {
	db, want := filled(t, 30_000)
	var backup bytes.Buffer
	must.Do(t, db.Backup(t.Context(), &backup, kivaloo.BackupOptions{}))
	for _, fails := range []bool{false, true} {
		place := t.TempDir()
		must.Do(t, os.Mkdir(place+"/parent", 0o700))
		r := &readerWith{rest: backup.Bytes(), do: func() {
			must.Do(t, os.Rename(place+"/parent", place+"/moved"))
			must.Do(t, os.Mkdir(place+"/parent", 0o700))
		}}
		if fails {
			r.rest = r.rest[:len(r.rest)-1]
		}
		err := kivaloo.Restore(t.Context(), r, place+"/parent/dir", kivaloo.Options{}, kivaloo.RestoreOptions{})
		if left := names(t, place+"/parent"); len(left) != 0 {
			t.Errorf("the other directory has %v", left)
		}
		if fails {
			if left := names(t, place+"/moved"); err == nil || len(left) != 0 {
				t.Errorf("restored of a damaged backup: %v, left %v", err, left)
			}
			continue
		}
		must.Do(t, err)
		want.same(t, gather(t, openDB(t, place+"/moved/dir", kivaloo.Options{}).Range(t.Context(), nil, nil)))
	}
}
