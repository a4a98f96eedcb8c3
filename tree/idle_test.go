package tree

import (
	"fmt"
	"testing"
	"time"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/internal/must"
)

// TestIdleStoreIsQuiet checks that a store without requests changes nothing in its directory once
// its last clean-up is done.
func TestIdleStoreIsQuiet(t *testing.T) {
	const settling, quietFor = 10 * time.Minute, time.Hour
	for _, tc := range []struct {
		pairs   int
		journal int64
		cost    float64
	}{
		{1, DefaultJournalBytes, 10_000}, // as in the public package and serve
		{1, DefaultJournalBytes, 1e12},
		{300, DefaultJournalBytes, 10_000},
		{300, DefaultJournalBytes, 1e12},
		{2000, DefaultJournalBytes, 1e12},
		{1, 0, 10_000},
		{1, 0, 1e12},
		{300, 0, 1e12},
		{2000, 0, 1e12},
	} {
		t.Run(fmt.Sprintf("%d pairs, journal %d, cost %g", tc.pairs, tc.journal, tc.cost), func(t *testing.T) {
			t.Parallel()
			fsys := simfs.New(storeDir)
			for range 2 { // a new store, then a restarted one
				store, err := disk.OpenInline(storeDir, disk.Options{BlockSize: 512, FS: fsys, Log: quiet})
				must.Do(t, err)
				cfg := testConfig()
				cfg.JournalBytes, cfg.StorageCost, cfg.MaxSpread = tc.journal, tc.cost, DefaultMaxSpread
				tree, err := Open(store, cfg)
				must.Do(t, err)
				d := driver{t: t, tree: tree, store: store}
				for round := range 10 {
					for first := 0; first < tc.pairs; first += 100 {
						d.do(sets(first, min(100, tc.pairs-first), fmt.Sprint("value ", round))...)
						d.now += 10 * time.Millisecond
					}
				}
				wait := func(long time.Duration) {
					for end := d.now + long; d.now < end; d.now += time.Second {
						d.do()
					}
				}
				wait(settling)
				before := d.dump()
				changes := 0
				fsys.SetHook(func(c simfs.Call) error {
					switch c.Op {
					case simfs.Create, simfs.Write, simfs.Truncate, simfs.Sync, simfs.SyncDir, simfs.Rename, simfs.Remove:
						changes++
					}
					return nil
				})
				wait(quietFor)
				fsys.SetHook(nil)
				if changes > 0 {
					t.Errorf("%d calls that change something in %v without a request", changes, quietFor)
				}
				sameContent(t, d.dump(), before)
				tree.Close()
				must.Do(t, store.Close())
			}
		})
	}
}
