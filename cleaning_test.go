package kivaloo_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	kv "kivaloo"
	"kivaloo/internal/must"
)

// TestCleaningOfAWholeStore checks that cleaning reports nothing wrong in an undamaged store, also
// during a checkpoint.
func TestCleaningOfAWholeStore(t *testing.T) {
	const pairs, batch, writers = 50_000, 100, 8
	value := bytes.Repeat([]byte("v"), 60)
	for range 3 {
		log := &lockedBuffer{}
		db := openDB(t, t.TempDir(), kv.Options{NoSync: true, Log: slog.New(slog.NewTextHandler(log, nil))})
		next := make(chan int)
		var group sync.WaitGroup
		for range writers {
			group.Go(func() {
				for from := range next {
					b := new(kv.Batch)
					for i := from; i < from+batch; i++ {
						b.Set(fmt.Appendf(nil, "a longer key, number %06d", i), value)
					}
					if err := db.Apply(t.Context(), b); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for from := 0; from < pairs; from += batch {
			next <- from
		}
		close(next)
		group.Wait()
		must.Do(t, db.Close())
		if said := log.String(); said != "" {
			t.Fatalf("said %q", said)
		}
	}
}
