package kivaloo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"kivaloo"
	"kivaloo/internal/must"
)

// presentKey returns the key with number n. These keys are present throughout the tests here.
func presentKey(n int) []byte { return fmt.Appendf(nil, "%055d", n) }

// presentValue returns a value that names its key.
func presentValue(n, version int) []byte { return fmt.Appendf(nil, "%d=%09d", n, version) }

// fillPresent stores the present keys 0 to n-1.
func fillPresent(t *testing.T, db *kivaloo.DB, n int) {
	t.Helper()
	b := new(kivaloo.Batch)
	for i := range n {
		b.Set(presentKey(i), presentValue(i, 0))
		if b.Len() == 10_000 || i == n-1 {
			must.Do(t, db.Apply(t.Context(), b))
			b.Reset()
		}
	}
}

// checkPresent returns an error unless pairs has the present keys from first to n-1, in order, each
// with a value of its own. Keys with a suffix come and go. They must be in order too.
func checkPresent(pairs iter.Seq2[kivaloo.Pair, error], first, n int) error {
	next, last := first, []byte(nil)
	for p, err := range pairs {
		if err != nil {
			return fmt.Errorf("before key %d: %w", next, err)
		}
		if bytes.Compare(p.Key, last) <= 0 {
			return fmt.Errorf("%q comes after %q", p.Key, last)
		}
		last = append(last[:0], p.Key...)
		if bytes.HasSuffix(p.Key, []byte("+")) {
			continue
		}
		if !bytes.Equal(p.Key, presentKey(next)) {
			return fmt.Errorf("%q comes where key %d is due", p.Key, next)
		}
		if !bytes.HasPrefix(p.Value, fmt.Appendf(nil, "%d=", next)) {
			return fmt.Errorf("key %d has the value %q", next, p.Value)
		}
		next++
	}
	if next != n {
		return fmt.Errorf("the range ends before key %d of %d", next, n)
	}
	return nil
}

// during calls work repeatedly from the given number of goroutines until f returns. round counts
// the calls of one goroutine.
func during(t *testing.T, goroutines int, work func(ctx context.Context, round int) error, f func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range goroutines {
		group.Go(func() {
			for round := 0; ctx.Err() == nil; round++ {
				if err := work(ctx, round); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
					return
				}
			}
		})
	}
	f()
	cancel()
	group.Wait()
}

// rounds returns how often a test looks: more often in the long form.
func rounds(few int) int {
	if os.Getenv("KIVALOO_TORTURE") != "" {
		return 20 * few
	}
	return few
}

// TestRangesAreCompleteAmongWriters checks ranges of a DB and of a snapshot while values are
// overwritten and pairs come and go. They must have every pair that is present throughout.
func TestRangesAreCompleteAmongWriters(t *testing.T) {
	const keys = 5000
	db := openDB(t, t.TempDir(), kivaloo.Options{NoSync: true})
	fillPresent(t, db, keys)
	write := func(ctx context.Context, round int) error {
		n := rand.IntN(keys)
		extra := append(presentKey(n), '+')
		switch round % 16 {
		case 0:
			return db.Set(ctx, extra, nil)
		case 1:
			return db.Delete(ctx, extra)
		}
		return db.Set(ctx, presentKey(n), presentValue(n, round))
	}
	during(t, 8, write, func() {
		for range rounds(300) {
			first := rand.IntN(2) * rand.IntN(keys)
			must.Do(t, checkPresent(db.Range(t.Context(), presentKey(first), nil), first, keys))
		}
		for range rounds(5) {
			s, err := db.Snapshot(t.Context())
			must.Do(t, err)
			if err := checkPresent(s.Range(t.Context(), nil, nil), 0, keys); err != nil {
				t.Error(err)
			}
			must.Do(t, s.Close())
		}
	})
}

// TestRangesAreCompleteBeyondTheCache checks that ranges and backups have every pair if the store
// is larger than the cache, so that pages are evicted and read again meanwhile.
func TestRangesAreCompleteBeyondTheCache(t *testing.T) {
	const keys, part = 20_000, 50
	db := openDB(t, t.TempDir(), kivaloo.Options{BlockSize: 512, CacheBytes: smallCache, NoSync: true})
	fillPresent(t, db, keys)
	// The readers stay close to each other, so that a page that one of them misses may just be
	// coming for another.
	var place atomic.Int64
	read := func(ctx context.Context, _ int) error {
		first := int(place.Add(1)/4) * part % keys
		return checkPresent(db.Range(ctx, presentKey(first), presentKey(first+part)), first, first+part)
	}
	during(t, 8, read, func() {
		for range rounds(8) {
			if err := checkPresent(db.Range(t.Context(), nil, nil), 0, keys); err != nil {
				t.Error(err)
			}
			var backup bytes.Buffer
			pairs := int64(0)
			must.Do(t, db.Backup(t.Context(), &backup, kivaloo.BackupOptions{Progress: func(p, _ int64) { pairs = p }}))
			if pairs != keys {
				t.Errorf("a backup has %d pairs of %d", pairs, keys)
			}
		}
	})
}
