package tree

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kivaloo/tree/page"
)

// fill returns how full the leaves of a store are on average, and how full the emptiest one is,
// from 0 to 1. It ignores the last leaf, which a load in order is still filling.
func fill(t *testing.T, s *memStore) (average, least float64) {
	t.Helper()
	leaves := leavesOf(t, s)
	leaves = leaves[:len(leaves)-1]
	used := 0
	least = 1
	for _, leaf := range leaves {
		used += leaf.size()
		least = min(least, float64(leaf.size())/float64(s.blockSize))
	}
	return float64(used) / float64(len(leaves)*s.blockSize), least
}

// load sets pairs in batches, one for each number in order, which is its key and its value.
func load(h *harness, order []int, keyBytes, valueBytes, batch int, between func()) {
	for len(order) > 0 {
		now := order[:min(batch, len(order))]
		order = order[len(now):]
		requests := make([]Request, len(now))
		for i, n := range now {
			requests[i] = set(fmt.Sprintf("%0*d", keyBytes, n), fmt.Sprintf("%0*d", valueBytes, n))
		}
		h.do(requests...)
		between()
	}
}

func ascending(n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	return order
}

// TestAscendingLoad checks that a load in key order leaves full pages, in however many batches it
// arrives and whatever else goes on.
func TestAscendingLoad(t *testing.T) {
	for _, test := range []struct {
		blockSize, key, value int
		average               float64
	}{
		{2048, 40, 40, 0.92}, // 23 pairs
		{2048, 8, 8, 0.90},
		{512, 40, 40, 0.97}, // 6 pairs; five are less than nine tenths
		{512, 8, 8, 0.898},  // 25 pairs are just below nine tenths
		{4096, 16, 100, 0.90},
	} {
		for _, batch := range []int{1, 7, 60, 2000} {
			t.Run(fmt.Sprintf("%d/%d+%d/%d", test.blockSize, test.key, test.value, batch), func(t *testing.T) {
				t.Parallel()
				cfg := testConfig()
				cfg.CachePages = 1 << 16
				h := newHarness(t, newMemStore(test.blockSize), cfg)
				n := min(4000, 400*batch)
				rng := rand.New(rand.NewPCG(1, 1))
				load(h, ascending(n), test.key, test.value, batch, func() {
					h.get(fmt.Sprintf("%0*d", test.key, rng.IntN(n)))
					h.scan(fmt.Sprintf("%0*d", test.key, rng.IntN(n)), "", 1000)
				})
				h.check()
				average, least := fill(t, h.store)
				t.Logf("leaves are %.3f full, at least %.3f", average, least)
				if want := float64(fillTarget(test.blockSize, true)) / float64(test.blockSize); least < want {
					t.Errorf("a leaf is %.3f full, want %.3f", least, want)
				}
				if average < test.average {
					t.Errorf("leaves are %.3f full, want %.3f", average, test.average)
				}
			})
		}
	}
}

// TestRandomLoad checks that random inserts leave pages about as full as in any B+tree.
func TestRandomLoad(t *testing.T) {
	for _, blockSize := range []int{512, 2048, 4096} {
		for _, batch := range []int{10, 500} {
			t.Run(fmt.Sprintf("%d/%d", blockSize, batch), func(t *testing.T) {
				t.Parallel()
				cfg := testConfig()
				cfg.CachePages = 1 << 16
				h := newHarness(t, newMemStore(blockSize), cfg)
				order := rand.New(rand.NewPCG(2, uint64(blockSize))).Perm(4000)
				load(h, order, 20, 20, batch, func() {})
				h.check()
				average, _ := fill(t, h.store)
				t.Logf("leaves are %.3f full", average)
				if average < 0.6 {
					t.Errorf("leaves are %.3f full", average)
				}
			})
		}
	}
}

// TestShortSeparators checks that separators are as short as possible while keys are only added.
func TestShortSeparators(t *testing.T) {
	for kind, makeKey := range keyKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(3, 3))
			h := newHarness(t, newMemStore(512), testConfig())
			seen := 0
			for range 40 {
				batch := make([]Request, 1+rng.IntN(80))
				for i := range batch {
					batch[i] = set(makeKey(rng.IntN(90000), h.tree.MaxKey()), "value")
				}
				h.do(batch...)
				leaves := leavesOf(t, h.store)
				for i := 1; i < len(leaves); i++ {
					seen++
					left, right := leaves[i-1].keys, leaves[i].keys
					want := shortest(left[len(left)-1], right[0])
					if leaves[i].lo != want {
						t.Fatalf("between %q and %q: separator %q, want %q", left[len(left)-1], right[0], leaves[i].lo, want)
					}
				}
			}
			if seen < 1000 {
				t.Errorf("only %d separators have been looked at", seen)
			}
		})
	}
}

// shortest returns the shortest s with left < s <= right.
func shortest(left, right string) string {
	for n := range len(right) {
		if right[:n] > left {
			return right[:n]
		}
	}
	return right
}

// TestRootNearlyFull checks that a root is split when it has outgrown a root, though not a page. A
// root has less room than other pages.
func TestRootNearlyFull(t *testing.T) {
	for _, blockSize := range []int{512, 1000, 2048} {
		for _, last := range []int{30, 60, 90} { // bytes of the last pair
			for _, reverse := range []bool{false, true} {
				for full := blockSize - 10; full <= blockSize+2; full++ {
					h := newHarness(t, newMemStore(blockSize), testConfig())
					requests := rootOf(full-last, 50)
					requests = append(requests, set("99", strings.Repeat("v", last-4)))
					if reverse {
						slices.Reverse(requests)
					}
					m := model{}
					m.applyAll(requests)
					for _, r := range requests {
						h.do(r)
					}
					sameContent(t, h.dump(), m)
					r := h.check()
					if want := full+page.RootExtra > blockSize; (r.Pages() > 1) != want {
						t.Errorf("block size %d: %d bytes of pairs make %d pages", blockSize, full-page.HeadBytes, r.Pages())
					}
				}
			}
		}
	}
}

// rootOf returns requests that make a leaf, not a root, of exactly size bytes, from pairs of about
// pair bytes.
func rootOf(size, pair int) (requests []Request) {
	left := size - page.LeafBase
	for i := 0; left > 0; i++ {
		n := pair
		if left < 2*pair {
			n = left
		}
		requests = append(requests, set(fmt.Sprintf("%02d", i), strings.Repeat("v", n-4)))
		left -= n
	}
	return requests
}

// TestParentRootNearlyFull does the same with parents. With separators of any length, roots of
// every size occur.
func TestParentRootNearlyFull(t *testing.T) {
	near := 0
	for seed := range torture(60, 3000) {
		rng := rand.New(rand.NewPCG(seed, 4))
		h := newHarness(t, newMemStore(512), testConfig())
		shared := ""
		m := model{}
		for i := range 60 {
			// The separator is as long as what two keys share.
			if i%4 == 0 {
				shared = strings.Repeat("s", rng.IntN(58))
			}
			r := set(fmt.Sprintf("%04d%s%d", i/4, shared, i%4), strings.Repeat("v", 94))
			m.apply(&r)
			h.do(r)
			if end := rootEnd(h.tree); h.tree.view.tree.height > 0 && end > 512-20 {
				near++
			}
		}
		sameContent(t, h.dump(), m)
		h.check()
	}
	if near < 20 {
		t.Errorf("only %d roots were nearly full", near)
	}
}

func rootEnd(t *Tree) int { return int(t.cache.node(t.view.tree.root).size) }
