package tree

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestModel compares random batches with a map, and checks every page after each.
func TestModel(t *testing.T) {
	for _, blockSize := range []int{512, 513, 1000, 1023, 2048, 4096, 131072} {
		rounds := 40
		if blockSize > 4096 {
			rounds = 15 // pages that take long to check
		}
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("%d/%d", blockSize, seed), func(t *testing.T) {
				t.Parallel()
				rng := rand.New(rand.NewPCG(seed, uint64(blockSize)))
				h := newHarness(t, newMemStore(blockSize), testConfig())
				m := model{}
				maxKey, maxValue := h.tree.MaxKey(), h.tree.MaxValue()
				space := 200 + rng.IntN(3000)
				key := func() []byte {
					n := rng.IntN(space)
					k := []byte(fmt.Sprintf("%0*d", 1+n%maxKey, n))
					return k[:min(len(k), maxKey)]
				}
				for range rounds {
					batch := make([]Request, 1+rng.IntN(1+rng.IntN(400)))
					want := make([]bool, len(batch))
					deleting := rng.IntN(4) == 0
					for i := range batch {
						batch[i] = randomRequest(rng, m, key, maxValue)
						if deleting && i%8 != 0 {
							batch[i] = Request{Op: Delete, Key: batch[i].Key}
						}
						want[i] = m.apply(&batch[i])
					}
					first := h.nextID + 1
					h.do(batch...)
					for i := range batch {
						if got, ok := h.client.done[first+uint64(i)]; !ok || got != want[i] {
							t.Fatalf("request %d, %+v: answered %t: %t, want %t", i, batch[i], ok, got, want[i])
						}
					}
					h.check()
					for range 50 {
						k := key()
						h.do(Request{Op: Get, Key: k})
						v, ok := m[string(k)]
						if got, found := h.client.values[h.nextID]; found != ok || got != v {
							t.Fatalf("get %q: %q, %t; want %q, %t", k, got, found, v, ok)
						}
					}
				}
				sameContent(t, h.dump(), m)
			})
		}
	}
}
