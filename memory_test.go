package kivaloo_test

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"

	"kivaloo"
	"kivaloo/internal/must"
)

// TestMemoryLife checks that a store in memory flushes, frees overwritten data, and can be backed
// up and copied to a directory. Two of them are independent.
func TestMemoryLife(t *testing.T) {
	ctx := t.Context()
	o := kivaloo.Options{BlockSize: 512, CacheBytes: 4 << 20, JournalBytes: 256 << 10}
	db, err := kivaloo.OpenMemory(o)
	must.Do(t, err)
	want := contents{}
	for round := range 20 {
		_, err := db.Load(ctx, func(yield func(kivaloo.Pair, error) bool) {
			for i := range 2000 {
				key, value := fmt.Sprintf("%04d", i), fmt.Sprintf("%d in round %d", i, round)
				want[key] = value
				if !yield(kivaloo.Pair{Key: []byte(key), Value: []byte(value)}, nil) {
					return
				}
			}
		})
		must.Do(t, err)
	}
	must.Do(t, db.Verify(ctx))
	want.same(t, gather(t, db.Range(ctx, nil, nil)))
	if s := db.Stats(); s.Flushes == 0 || s.DiskBytes > 20*s.Pages*int64(s.BlockSize) {
		t.Errorf("%+v", s)
	}

	var backup bytes.Buffer
	must.Do(t, db.Backup(ctx, &backup, kivaloo.BackupOptions{}))
	copied := filepath.Join(t.TempDir(), "copy")
	must.Do(t, db.Checkpoint(ctx, copied))
	want.same(t, gather(t, openDB(t, copied, kivaloo.Options{}).Range(ctx, nil, nil)))

	other, err := kivaloo.OpenMemory(o)
	must.Do(t, err)
	if n, err := other.Count(ctx, kivaloo.ScanOptions{}); n != 0 || err != nil {
		t.Errorf("another store has %d pairs, %v", n, err)
	}
	must.Do(t, errors.Join(other.Close(), db.Close()))
	if _, err := db.Get(ctx, []byte("0000")); !errors.Is(err, kivaloo.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestMemoryFreed checks that Close frees the memory of a store in memory.
func TestMemoryFreed(t *testing.T) {
	value := make([]byte, 200)
	inUse := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // also what was in pools
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := inUse()
	for range 5 {
		db, err := kivaloo.OpenMemory(kivaloo.Options{})
		must.Do(t, err)
		_, err = db.Load(t.Context(), func(yield func(kivaloo.Pair, error) bool) {
			for i := range 50_000 {
				if !yield(kivaloo.Pair{Key: fmt.Append(nil, i), Value: value}, nil) {
					return
				}
			}
		})
		must.Do(t, errors.Join(err, db.Close()))
	}
	const one = 50_000 * 200
	if after := inUse(); after > before+one {
		t.Errorf("%d bytes before, %d after", before, after)
	}
}

func BenchmarkOpenMemory(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		db, err := kivaloo.OpenMemory(kivaloo.Options{})
		must.Do(b, err)
		must.Do(b, db.Set(b.Context(), []byte("k"), []byte("v")))
		must.Do(b, db.Close())
	}
}
