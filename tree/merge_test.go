package tree

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kivaloo/tree/page"
)

// keyKinds are ways to make random keys from numbers, within a maximum length.
var keyKinds = map[string]func(n, longest int) string{
	"short":  func(n, _ int) string { return fmt.Sprintf("%x", n) },
	"long":   func(n, longest int) string { return fmt.Sprintf("%0*d", longest, n) },
	"tailed": func(n, longest int) string { return fmt.Sprintf("%05d", n) + strings.Repeat("t", longest-5) },
	"mixed": func(n, longest int) string {
		return fmt.Sprintf("%05d", n) + strings.Repeat("m", n*7919%(longest-4))
	},
}

// TestBalance runs random batches, each one commit, and checks the shape of the tree after each.
func TestBalance(t *testing.T) {
	for _, blockSize := range []int{512, 513, 600, 1000, 2048, 4096, 65537, 131072} {
		rounds := 30
		if blockSize > 4096 {
			rounds = 12 // pages that take long to check
		}
		for kind, makeKey := range keyKinds {
			t.Run(fmt.Sprintf("%d/%s", blockSize, kind), func(t *testing.T) {
				t.Parallel()
				rng := rand.New(rand.NewPCG(uint64(blockSize), uint64(len(kind))))
				cfg := testConfig()
				cfg.CachePages = 1 << 16
				h := newHarness(t, newMemStore(blockSize), cfg)
				m := model{}
				space := 100 + rng.IntN(2000)
				key := func() []byte { return []byte(makeKey(rng.IntN(space), h.tree.MaxKey())) }
				for round := range rounds {
					batch := make([]Request, 1+rng.IntN(1+space/2))
					deletes := round / 4 % 3 * 40 // percent
					for i := range batch {
						batch[i] = randomRequest(rng, m, key, h.tree.MaxValue())
						if rng.IntN(100) < deletes {
							batch[i] = Request{Op: Delete, Key: batch[i].Key}
						}
						m.apply(&batch[i])
					}
					before := boundaries(t, h.store)
					since, appends := h.store.next(), len(h.store.appends)
					h.do(batch...)
					if n := len(h.store.appends); n > appends+1 {
						t.Fatalf("a batch of %d makes %d appends", len(batch), n-appends)
					}
					h.check()
					checkShape(t, h.store, since, before)
				}
				sameContent(t, h.dump(), m)
				var all []Request
				for k := range m {
					all = append(all, Request{Op: Delete, Key: []byte(k)})
				}
				h.do(all...)
				if r := h.check(); r.Pages() != 1 {
					t.Errorf("%d pages are left when all is deleted", r.Pages())
				}
			})
		}
	}
}

// boundaries returns the lower bounds of all pages of a tree, in order, by height.
func boundaries(t *testing.T, s *memStore) map[int][]string {
	t.Helper()
	all := map[int][]string{}
	walkStore(t, s, func(v visited) { all[v.height] = append(all[v.height], v.lo) })
	return all
}

// checkShape fails the test if neighbours should have been merged, or should not, by the batch that
// wrote the blocks from since on. It also fails if the tree is higher than its pages explain.
// before is the result of boundaries before the batch.
func checkShape(t *testing.T, s *memStore, since uint64, before map[int][]string) {
	t.Helper()
	limit := 2 * s.blockSize / 3
	root, leaves, separators, separatorBytes := visited{}, 0, 0, 0
	walkStore(t, s, func(v visited) {
		switch {
		case v.root:
			root = v
		case v.height > 0 && len(v.records) == 0:
			t.Fatalf("block %d has no children", v.block)
		}
		if v.height == 0 {
			leaves++
		}
		// A page across an earlier boundary comes from a merge.
		inside := slices.IndexFunc(before[v.height], func(b string) bool { return b > v.lo && (v.hi == "" || b < v.hi) })
		if inside >= 0 && v.block >= since && !v.root && v.size() > limit {
			t.Fatalf("height %d, block %d: pages have been merged to one of %d bytes, limit %d", v.height, v.block, v.size(), limit)
		}
		for i, sep := range v.keys {
			if v.height == 0 {
				break
			}
			separators++
			separatorBytes += len(sep)
			left, right := v.records[i], v.records[i+1]
			together := int(left.Size+right.Size) - 10
			if v.height > 1 {
				together += 1 + len(sep)
			}
			if together <= limit && (left.Block >= since || right.Block >= since) {
				t.Fatalf("height %d, blocks %d and %d: %d and %d bytes could be one page of %d, limit %d",
					v.height-1, left.Block, right.Block, left.Size, right.Size, together, limit)
			}
		}
	})
	if root.height == 0 {
		return
	}
	if len(root.records) < 2 {
		t.Fatalf("the root has %d children", len(root.records))
	}
	// Two neighbours take more than two thirds of a page together. So pages are a third full on
	// average, and a parent has room for that many children. One more level is allowed for the ends
	// of levels, and for neighbours that came together by a merge above them.
	average := float64(separatorBytes) / float64(separators)
	fanOut := max(1.5, float64(s.blockSize/3-page.HeadBytes)/(page.ChildBytes+1+average))
	if most := 1 + math.Ceil(math.Log(float64(leaves))/math.Log(fanOut)); float64(root.height) > most {
		t.Fatalf("height %d with %d leaves, at most %v is explained by a fan-out of %.1f", root.height, leaves, most, fanOut)
	}
}

// TestMergeCascades checks that a merge brings neighbours below it together, which are merged in
// turn.
func TestMergeCascades(t *testing.T) {
	h := newHarness(t, newMemStore(512), testConfig())
	requests := sets(0, 4000, "some value")
	for len(requests) > 0 {
		h.do(requests[:80]...)
		requests = requests[80:]
	}
	before := h.check()
	if before.Root.Height < 2 {
		t.Fatalf("height %d: there is nothing to cascade", before.Root.Height)
	}
	for i := 0; i < 4000; i += 80 {
		batch := make([]Request, 0, 80)
		for j := i; j < i+80; j++ {
			if j%40 != 0 {
				batch = append(batch, Request{Op: Delete, Key: fmt.Appendf(nil, "%06d", j)})
			}
		}
		shape, since := boundaries(t, h.store), h.store.next()
		h.do(batch...)
		h.check()
		checkShape(t, h.store, since, shape)
	}
	after := h.check()
	if after.Pairs != 100 || after.Pages() > before.Pages()/15 || after.Root.Height > 1 {
		t.Errorf("%d pairs in %d pages, height %d; before %d pages", after.Pairs, after.Pages(), after.Root.Height, before.Pages())
	}
}
