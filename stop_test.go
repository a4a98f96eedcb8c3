package kivaloo_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	kv "kivaloo"
	"kivaloo/disk"
	"kivaloo/internal/must"
	"kivaloo/tree"
)

// wantFlushed checks that the last block of the store in dir is a root that includes all changes,
// as after a clean stop.
func wantFlushed(t testing.TB, dir string) {
	t.Helper()
	s, err := disk.Open(dir, disk.Options{BlockSize: kv.DefaultBlockSize, ReadOnly: true, Log: slog.New(slog.DiscardHandler)})
	must.Do(t, err)
	defer s.Close()
	root, err := tree.FindRoot(s, slog.New(slog.DiscardHandler))
	must.Do(t, err)
	j, err := tree.CheckJournal(t.Context(), s, root)
	must.Do(t, err)
	if last := s.Info().Last; root.Block != last || j.Commits > 0 {
		t.Fatalf("the root is block %d of %d; %d commits are to be replayed", root.Block, last, j.Commits)
	}
}

// TestCloseFlushes checks that Close right after Apply always leaves the root as the last block.
// The longest batch gives Close the best chance to come before the step that answered it has ended.
func TestCloseFlushes(t *testing.T) {
	rounds := 2
	if os.Getenv("KIVALOO_TORTURE") != "" {
		rounds = 100
	}
	dir := t.TempDir()
	for round := range rounds {
		db, err := kv.Open(dir, kv.Options{NoSync: true})
		must.Do(t, err)
		b := new(kv.Batch)
		for i := range kv.MaxBatch {
			b.Set(fmt.Append(nil, i), fmt.Append(nil, round))
		}
		must.Do(t, db.Apply(t.Context(), b))
		must.Do(t, db.Close())
		wantFlushed(t, dir)
	}
}

// TestCloseDuringFlush checks the same for a Close during a flush, with changes made after the
// flush began.
func TestCloseDuringFlush(t *testing.T) {
	dir, value := t.TempDir(), make([]byte, 200)
	for range 15 {
		db, err := kv.Open(dir, kv.Options{NoSync: true, JournalBytes: 1 << 20})
		must.Do(t, err)
		b := new(kv.Batch)
		for i := range 20_000 { // enough that a flush begins and takes several appends
			b.Set(fmt.Append(nil, i), value)
		}
		must.Do(t, db.Apply(t.Context(), b))
		must.Do(t, db.Set(t.Context(), []byte("0"), nil))
		must.Do(t, db.Close())
		wantFlushed(t, dir)
	}
}

// TestRestoreFlushes checks that a restored store needs no replay.
func TestRestoreFlushes(t *testing.T) {
	db := openDB(t, t.TempDir(), kv.Options{NoSync: true})
	b := new(kv.Batch)
	for i := range 100 {
		b.Set(fmt.Append(nil, i), []byte("value"))
	}
	must.Do(t, db.Apply(t.Context(), b))
	var backup bytes.Buffer
	must.Do(t, db.Backup(t.Context(), &backup, kv.BackupOptions{}))
	for round := range 10 {
		dir := filepath.Join(t.TempDir(), fmt.Sprint(round))
		must.Do(t, kv.Restore(t.Context(), bytes.NewReader(backup.Bytes()), dir, kv.Options{NoSync: true}, kv.RestoreOptions{}))
		wantFlushed(t, dir)
	}
}
