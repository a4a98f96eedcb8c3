package tree

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestFlushTakesWholeMemtables checks that a memtable is frozen only when it is full, under random
// updates of a large tree. The current flush holds blocks that the next root will not need, but
// that is no reason to freeze sooner.
func TestFlushTakesWholeMemtables(t *testing.T) {
	cfg := testConfig()
	cfg.CachePages, cfg.JournalBytes, cfg.MaxSpread, cfg.StorageCost = 1<<14, 64<<20, DefaultMaxSpread, 1e4
	const keys = 40_000
	cfg.memtableBytes = 1 << 20 // about two fifths of the tree
	h := newHarness(t, newMemStore(512), cfg)
	for i := 0; i < keys; i += 500 {
		h.do(sets(i, 500, "a value of some 30 characters.")...)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	update := func(n int) {
		for range n / 100 {
			var batch []Request
			for range 100 {
				batch = append(batch, set(fmt.Sprintf("%06d", rng.IntN(keys)), "another value, as long as that"))
			}
			h.do(batch...)
		}
	}
	update(100_000) // reach the steady state
	before := h.tree.counts.flushes
	const updates = 200_000
	update(updates)
	perTable := cfg.memtableBytes / 44 // bytes of an entry
	if n, want := int(h.tree.counts.flushes-before), updates/perTable; n > want+2 {
		t.Errorf("%d flushes of %d changes, want about %d", n, updates, want)
	}
}
