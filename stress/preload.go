package stress

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"kivaloo"
)

// Load writes records 0 to n-1, with values of size bytes. done counts the written records; other
// goroutines may read it.
func Load(ctx context.Context, stores []kivaloo.Store, n uint64, size int, seed uint64, done *atomic.Uint64) error {
	limits, err := stores[0].Params(ctx)
	if err != nil {
		return err
	}
	if err := checkRecords(n, size, limits); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Uint64
	var workers sync.WaitGroup
	for i := range loadWorkers {
		store := stores[i%len(stores)]
		workers.Go(func() {
			var key, value []byte
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= n {
					return
				}
				key, value = appendKey(key[:0], i), appendValue(value[:0], i, seed, 0, size)
				if err := store.Set(ctx, key, value); err != nil {
					cancel(fmt.Errorf("load record %d: %w", i, err))
					return
				}
				done.Add(1)
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

// Loaded reports whether records 0 to n-1 seem to exist, because the first and the last do.
func Loaded(ctx context.Context, store kivaloo.Store, n uint64) (bool, error) {
	for _, i := range []uint64{0, n - 1} {
		if _, err := store.Get(ctx, appendKey(nil, i)); err != nil {
			if errors.Is(err, kivaloo.ErrNotFound) {
				return false, nil
			}
			return false, err
		}
	}
	return true, nil
}
