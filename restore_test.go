package kivaloo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kivaloo"
	"kivaloo/internal/must"
)

// filled returns a store with keys and values of every special length, and n others.
func filled(t *testing.T, n int) (*kivaloo.DB, contents) {
	t.Helper()
	db := openDB(t, t.TempDir(), kivaloo.Options{NoSync: true})
	want := contents{"": "", "empty value": "", strings.Repeat("\xff", 255): strings.Repeat("v", 255)}
	for i := range n {
		want[fmt.Sprintf("%08d", i)] = fmt.Sprint(i)
	}
	b := new(kivaloo.Batch)
	for k, v := range want {
		b.Set([]byte(k), []byte(v))
	}
	must.Do(t, db.Apply(t.Context(), b))
	return db, want
}

// names returns the names in a directory.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must.Do(t, err)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// TestDBBackupAndRestore restores backups to directories that are missing, empty, or symbolic
// links.
func TestDBBackupAndRestore(t *testing.T) {
	db, want := filled(t, 11_000)
	var backup bytes.Buffer
	var pairs, size int64
	must.Do(t, db.Backup(t.Context(), io.Discard, kivaloo.BackupOptions{}))
	count := func(p, b int64) { pairs, size = p, b }
	must.Do(t, db.Backup(t.Context(), &backup, kivaloo.BackupOptions{Progress: count}))
	if pairs != int64(len(want)) || size != int64(backup.Len()) {
		t.Errorf("%d pairs, %d bytes; want %d, %d", pairs, size, len(want), backup.Len())
	}
	place := t.TempDir()
	empty := filepath.Join(place, "empty")
	must.Do(t, os.Mkdir(empty, 0o700))
	for _, dir := range []string{"missing", "two/levels", "empty", "slash/", "link"} {
		dir = place + "/" + dir
		if filepath.Base(dir) == "link" {
			must.Do(t, os.Mkdir(filepath.Join(place, "behind"), 0o700))
			must.Do(t, os.Symlink("behind", dir))
		}
		pairs, size = 0, 0
		must.Do(t, kivaloo.Restore(t.Context(), bytes.NewReader(backup.Bytes()), dir, kivaloo.Options{BlockSize: 4096}, kivaloo.RestoreOptions{Progress: count}))
		if pairs != int64(len(want)) || size != int64(backup.Len()) {
			t.Errorf("%s: %d pairs, %d bytes; want %d, %d", dir, pairs, size, len(want), backup.Len())
		}
		restored := openDB(t, dir, kivaloo.Options{})
		want.same(t, gather(t, restored.Range(t.Context(), nil, nil)))
		must.Do(t, restored.Verify(t.Context()))
		if s := restored.Stats(); s.BlockSize != 4096 {
			t.Errorf("%s: blocks of %d bytes", dir, s.BlockSize)
		}
	}
	for _, name := range names(t, place) {
		if strings.Contains(name, "restore-") {
			t.Errorf("%s is left", name)
		}
	}
}

// TestDBBackupIsOfOneMoment checks that a backup shows one moment, while amounts move between keys.
func TestDBBackupIsOfOneMoment(t *testing.T) {
	db := openDB(t, t.TempDir(), kivaloo.Options{NoSync: true})
	ctx := t.Context()
	const accounts = 12_000
	key := func(i int) []byte { return fmt.Appendf(nil, "%060d", i) }
	b := new(kivaloo.Batch)
	for i := range accounts {
		b.Set(key(i), []byte("1"))
	}
	must.Do(t, db.Apply(ctx, b))
	stop := make(chan bool)
	var group sync.WaitGroup
	group.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			// The last keys lose theirs first, so that a backup that is not of one moment would
			// miss some.
			from, to := accounts-1-i%(accounts/2), i%(accounts/2)
			value := []string{"0", "2"}
			if i/(accounts/2)%2 == 1 {
				value = []string{"1", "1"}
			}
			b := new(kivaloo.Batch)
			b.Set(key(from), []byte(value[0]))
			b.Set(key(to), []byte(value[1]))
			if err := db.Apply(ctx, b); err != nil {
				t.Error(err)
			}
		}
	})
	for range 3 {
		var backup bytes.Buffer
		must.Do(t, db.Backup(ctx, &backup, kivaloo.BackupOptions{}))
		sum := 0
		for _, v := range restored(t, backup.Bytes()) {
			sum += int(v[0] - '0')
		}
		if sum != accounts {
			t.Errorf("the sum is %d, want %d", sum, accounts)
		}
	}
	close(stop)
	group.Wait()
	if n := db.Stats().Snapshots; n != 0 {
		t.Errorf("%d snapshots are left", n)
	}
}

// TestRestoreFails checks that a failed restore leaves everything as it was.
func TestRestoreFails(t *testing.T) {
	db, _ := filled(t, 11_000)
	var whole bytes.Buffer
	must.Do(t, db.Backup(t.Context(), &whole, kivaloo.BackupOptions{}))
	cut, bad := whole.Bytes()[:whole.Len()-1], bytes.Clone(whole.Bytes())
	bad[len(bad)-100]++
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		name   string
		ctx    context.Context
		backup []byte
		o      kivaloo.Options
		is     error
	}{
		{"cut off", t.Context(), cut, kivaloo.Options{NoSync: true}, io.ErrUnexpectedEOF},
		{"damaged", t.Context(), bad, kivaloo.Options{NoSync: true}, kivaloo.ErrBadBackup},
		{"nothing", t.Context(), nil, kivaloo.Options{}, kivaloo.ErrBadBackup},
		{"no backup", t.Context(), bytes.Repeat([]byte("text"), 100), kivaloo.Options{}, kivaloo.ErrBadBackup},
		{"long pairs", t.Context(), whole.Bytes(), kivaloo.Options{MaxKey: 100, NoSync: true}, kivaloo.ErrTooLong},
		{"cancelled", cancelled, whole.Bytes(), kivaloo.Options{}, context.Canceled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			place := t.TempDir()
			must.Do(t, os.Mkdir(place+"/empty", 0o700))
			for _, dir := range []string{"missing", "empty"} {
				err := kivaloo.Restore(tc.ctx, bytes.NewReader(tc.backup), filepath.Join(place, dir), tc.o, kivaloo.RestoreOptions{})
				var op *kivaloo.OpError
				if !errors.As(err, &op) || op.Op != "restore" || tc.is != nil && !errors.Is(err, tc.is) {
					t.Errorf("%v, want %v", err, tc.is)
				}
			}
			if left := names(t, place); len(left) != 1 || len(names(t, place+"/empty")) != 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// TestRestoreWhereSomethingIs checks that a directory that is not empty is not touched.
func TestRestoreWhereSomethingIs(t *testing.T) {
	db, _ := filled(t, 10)
	var backup bytes.Buffer
	must.Do(t, db.Backup(t.Context(), &backup, kivaloo.BackupOptions{}))
	place := t.TempDir()
	store, file := filepath.Join(place, "store"), filepath.Join(place, "file")
	must.Do(t, openDB(t, store, kivaloo.Options{}).Close())
	must.Do(t, os.WriteFile(file, nil, 0o600))
	before := names(t, store)
	if err := kivaloo.Restore(t.Context(), bytes.NewReader(backup.Bytes()), store, kivaloo.Options{}, kivaloo.RestoreOptions{}); !errors.Is(err, kivaloo.ErrNotEmpty) {
		t.Errorf("a store: %v", err)
	}
	if err := kivaloo.Restore(t.Context(), bytes.NewReader(backup.Bytes()), file, kivaloo.Options{}, kivaloo.RestoreOptions{}); err == nil {
		t.Error("a file: no error")
	}
	t.Chdir(t.TempDir()) // empty, as required
	if err := kivaloo.Restore(t.Context(), bytes.NewReader(backup.Bytes()), "", kivaloo.Options{}, kivaloo.RestoreOptions{}); err == nil {
		t.Error("no name: no error")
	}
	if err := db.Checkpoint(t.Context(), ""); err == nil {
		t.Error("a checkpoint, no name: no error")
	}
	if after := names(t, store); strings.Join(before, " ") != strings.Join(after, " ") || len(names(t, place)) != 2 {
		t.Errorf("%q became %q, beside %q", before, after, names(t, place))
	}
}

// TestNoStoreNoDirectories checks that a failed restore also removes the parent directories that it
// made.
func TestNoStoreNoDirectories(t *testing.T) {
	db, _ := filled(t, 10)
	var backup bytes.Buffer
	must.Do(t, db.Backup(t.Context(), &backup, kivaloo.BackupOptions{}))
	place := t.TempDir()
	dir := filepath.Join(place, "a", "b", "c")
	for _, o := range []kivaloo.Options{{BlockSize: 511}, {CacheBytes: 1}, {MaxKey: 256}} {
		if err := kivaloo.Restore(t.Context(), bytes.NewReader(backup.Bytes()), dir, o, kivaloo.RestoreOptions{}); err == nil {
			t.Errorf("restored with %+v", o)
		}
		if db, err := kivaloo.Open(dir, o); err == nil {
			db.Close()
			t.Errorf("opened with %+v", o)
		}
	}
	for n := 0; n < backup.Len(); n += 61 {
		if err := kivaloo.Restore(t.Context(), bytes.NewReader(backup.Bytes()[:n]), dir, kivaloo.Options{}, kivaloo.RestoreOptions{}); !errors.Is(err, kivaloo.ErrBadBackup) {
			t.Errorf("restored %d bytes: %v", n, err)
		}
	}
	if left := names(t, place); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestRestoreReadsAgain checks that Restore reads the store back from disk before giving it its
// name, and makes none if something of the backup is missing.
func TestRestoreReadsAgain(t *testing.T) {
	db, want := filled(t, 11_000)
	var backup bytes.Buffer
	must.Do(t, db.Backup(t.Context(), &backup, kivaloo.BackupOptions{}))
	place := t.TempDir()
	damage := func(pairs, _ int64) {
		if pairs < int64(len(want)) {
			return
		}
		files, err := filepath.Glob(place + "/store.restore-*/blks_*")
		must.Do(t, err)
		if len(files) == 0 {
			t.Fatalf("no files of blocks in %s", place)
		}
		for _, name := range files {
			f, err := os.OpenFile(name, os.O_WRONLY, 0)
			must.Do(t, err)
			info, err := f.Stat()
			must.Do(t, err)
			_, err = f.WriteAt(make([]byte, info.Size()/2), 0)
			must.Do(t, errors.Join(err, f.Close()))
		}
	}
	o := kivaloo.Options{JournalBytes: -1, NoSync: true} // so that the data is in pages
	err := kivaloo.Restore(t.Context(), &backup, place+"/store", o, kivaloo.RestoreOptions{Progress: damage})
	if !errors.As(err, new(*kivaloo.CorruptionError)) {
		t.Errorf("%v", err)
	}
	if left := names(t, place); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}
