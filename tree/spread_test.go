package tree

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestMaxSpread overwrites a store at random, so fast that the clock hardly moves: the rate that
// storage costs justify would not clean anything.
func TestMaxSpread(t *testing.T) {
	spread := func(maxSpread float64, journal int64) (most float64) {
		cfg := Config{CachePages: 1 << 14, MaxKey: -1, MaxValue: -1, StorageCost: 1, MaxSpread: maxSpread, JournalBytes: journal}
		h := newHarness(t, newMemStore(2048), cfg)
		const pairs, batch = 10000, 250
		put := func(i, version int) Request {
			return Request{Op: Set, Key: fmt.Appendf(nil, "%040d", i), Value: fmt.Appendf(nil, "%040d", version)}
		}
		requests := make([]Request, batch)
		for i := 0; i < pairs; i += batch {
			for j := range requests {
				requests[j] = put(i+j, 0)
			}
			h.do(requests...)
		}
		rng := rand.New(rand.NewPCG(1, 2))
		for version := range 100 {
			h.now += 10 * time.Millisecond
			for j := range requests {
				requests[j] = put(rng.IntN(pairs), version)
			}
			h.do(requests...)
			most = max(most, float64(len(h.store.blocks))/float64(h.tree.view.tree.nodes))
		}
		h.check()
		return most
	}
	without, with := spread(0, 0), max(spread(1.8, 0), spread(1.8, DefaultJournalBytes))
	t.Logf("blocks kept, over pages of the tree: %.2f without the limit, %.2f with it", without, with)
	if without < 3 {
		t.Errorf("without the limit the store grows to %.2f times the tree: this test shows nothing", without)
	}
	// One batch here is as large as the tree, so the spread is exceeded by what one batch writes.
	if with > 3 {
		t.Errorf("the store grows to %.2f times the tree", with)
	}
}
