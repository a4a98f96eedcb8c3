package kivaloo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	kv "kivaloo"
	"kivaloo/internal/must"
)

// TestLargestBatchInSmallCache applies the largest batch of random keys to a store much larger than
// its cache. The batch is applied, or refused as too long before anything has begun. Other reads do
// not fail because of it.
func TestLargestBatchInSmallCache(t *testing.T) {
	const pairs, cacheBytes = 200_000, 1024 * kv.DefaultBlockSize
	db := openDB(t, t.TempDir(), kv.Options{CacheBytes: cacheBytes, NoSync: true})
	key := func(i int) []byte { return fmt.Appendf(nil, "%08d", i) }
	value := make([]byte, 200)
	b := new(kv.Batch)
	for i := range pairs {
		if b.Set(key(i), value); b.Len() == 2000 {
			must.Do(t, db.Apply(t.Context(), b))
			b.Reset()
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				from := rand.IntN(pairs)
				if _, err := db.Get(t.Context(), key(from)); err != nil {
					t.Errorf("Get beside the batch: %v", err)
					return
				}
				for _, err := range db.Range(t.Context(), key(from), key(from+100)) {
					if err != nil {
						t.Errorf("Range beside the batch: %v", err)
						return
					}
				}
			}
		})
	}
	for range kv.MaxBatch {
		b.Set(key(rand.IntN(pairs)), []byte("new"))
	}
	err := db.Apply(t.Context(), b)
	cancel()
	readers.Wait()
	t.Log(err, db.Stats())
	var op *kv.OpError
	refused := errors.Is(err, kv.ErrTooLong) && errors.As(err, &op) && !op.Sent
	if err != nil && !refused {
		t.Errorf("a batch of %d changes: %v", kv.MaxBatch, err)
	}
	must.Do(t, db.Verify(t.Context()))
}

// TestBatchTooLargeForCache checks that a batch that fails because the cache is too small has no
// effect.
func TestBatchTooLargeForCache(t *testing.T) {
	const pairs = 20_000
	db := openDB(t, t.TempDir(), kv.Options{CacheBytes: 1024 * kv.DefaultBlockSize, NoSync: true})
	key := func(i int) []byte { return fmt.Appendf(nil, "%0*d", kv.MaxLen, i) }
	b := new(kv.Batch)
	for i := range pairs {
		if b.Set(key(i), make([]byte, kv.MaxLen)); b.Len() == 500 {
			must.Do(t, db.Apply(t.Context(), b))
			b.Reset()
		}
	}
	for i := range pairs {
		b.Set(key(i), bytes.Repeat([]byte("n"), kv.MaxLen))
	}
	err := db.Apply(t.Context(), b)
	var op *kv.OpError
	if errors.As(err, &op) && op.Sent {
		t.Errorf("it says that it may have been made: %v", err)
	}
	for _, i := range []int{0, 1, pairs / 2, pairs - 1} {
		value, getErr := db.Get(t.Context(), key(i))
		must.Do(t, getErr)
		if made := value[0] == 'n'; made != (err == nil) {
			t.Errorf("key %d has been changed: %t; %v", i, made, err)
		}
	}
}
