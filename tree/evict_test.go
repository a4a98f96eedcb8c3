package tree

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestModelSmallCache is TestModel with a cache so small that most pages must be read. Reads and
// appends finish in any order, and requests arrive meanwhile.
func TestModelSmallCache(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			h := newHarness(t, newMemStore(512), testConfig())
			h.tree.cache.limit = 24 + rng.IntN(100)
			m := model{}
			key := func() []byte { return []byte(fmt.Sprintf("%05d", rng.IntN(4000))) }
			type expect struct{ done bool }
			want := map[uint64]expect{}
			for range 1500 {
				batch := make([]Request, rng.IntN(12))
				for i := range batch {
					if rng.IntN(3) == 0 {
						batch[i] = Request{Op: Get, Key: key()}
						continue
					}
					if rng.IntN(10) == 0 {
						batch[i] = Request{Op: Range, Key: key(), Max: uint32(rng.IntN(20000))}
						continue
					}
					batch[i] = randomRequest(rng, m, key, 60)
					want[h.nextID+1+uint64(i)] = expect{m.apply(&batch[i])}
				}
				h.step(nil, batch...)
				for range rng.IntN(10) {
					if len(h.held) == 0 {
						break
					}
					i := rng.IntN(len(h.held))
					op := h.held[i]
					h.held = append(h.held[:i], h.held[i+1:]...)
					h.store.run(op)
					h.step(op)
				}
			}
			h.settle()
			h.pass(2 * tickEvery)
			for id, w := range want {
				if got, ok := h.client.done[id]; !ok || got != w.done {
					t.Fatalf("request %d: answered %t: %t, want %t", id, ok, got, w.done)
				}
			}
			if len(h.client.failed) > 0 {
				t.Fatal(h.client.failed)
			}
			if h.tree.Busy() {
				t.Fatal("still busy with nothing to do")
			}
			sameContent(t, h.dump(), m)
			h.check()
			if n := h.tree.cache.inUse; n > h.tree.cache.limit+10 {
				t.Errorf("%d pages in memory, limit %d", n, h.tree.cache.limit)
			}
		})
	}
}

// TestPinnedStays checks that a page is evicted when others are needed, but not while it is pinned.
func TestPinnedStays(t *testing.T) {
	const keys = 1500
	h := newHarness(t, newMemStore(2048), testConfig())
	h.tree.cfg.CachePages = 40
	for i := 0; i < keys; i += 50 {
		h.do(sets(i, 50, strings.Repeat("v", 50))...)
	}
	readAll := func() {
		for i := 0; i < keys; i += 20 {
			h.get(fmt.Sprintf("%06d", i))
		}
	}
	h.get("000000")
	c := h.tree.cache
	block := c.blockOf(c.node(h.tree.view.tree.root), 0)
	id, ok := c.table[block]
	if !ok || c.node(id).height != 0 {
		t.Fatalf("block %d is no leaf in memory", block)
	}
	c.node(id).pins++
	readAll()
	if c.table[block] != id {
		t.Fatalf("block %d is pinned, but not in memory any more", block)
	}
	c.node(id).pins--
	readAll()
	if _, ok := c.table[block]; ok {
		t.Errorf("block %d is still in memory: this test shows nothing", block)
	}
}
