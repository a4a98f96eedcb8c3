package tree

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"kivaloo/disk"
)

// deleteRange carries out one DeleteRange.
func (h *harness) deleteRange(start, end string, limit int) (a scanAnswer, err error) {
	h.do(Request{Op: DeleteRange, Key: []byte(start), End: []byte(end), Limit: uint32(limit)})
	return h.client.scans[h.nextID], h.client.failed[h.nextID]
}

// TestDeleteRangeModel deletes random ranges from random content, in pages and in memtables, and
// compares the rest with a map. Each request must be one commit, and delete a bounded number of
// keys.
func TestDeleteRangeModel(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		for seed := range torture(4, 100) {
			rng := rand.New(rand.NewPCG(seed, 12))
			h := newHarness(t, newMemStore(512), cfg)
			h.client.model = model{}
			h.tree.cache.limit = 100
			for range 40 {
				h.do(sets(rng.IntN(3000), 200, fmt.Sprint("value ", rng.IntN(1000)))...)
				if rng.IntN(4) == 0 {
					h.pass(2 * flushIdleAfter)
				}
				start, end := fmt.Sprintf("%06d", rng.IntN(3500)), fmt.Sprintf("%06d", rng.IntN(3500))
				if rng.IntN(10) == 0 {
					end = ""
				}
				before := h.tree.Stats().Commits
				a, err := h.deleteRange(start, end, rng.IntN(2)*rng.IntN(300)) // the recorder checks the answer
				if err != nil {
					t.Fatal(err)
				}
				if n := h.tree.Stats().Commits - before; n > 1 || n == 0 && a.n > 0 {
					t.Fatalf("%d commits", n)
				}
			}
			sameContent(t, h.dump(), h.client.model)
			h.pass(2 * flushIdleAfter)
			h.check()
		}
	})
}

// TestDeleteRangeInOrder has DeleteRanges and other changes under way together. Each must see the
// changes before it and none of the later ones, and count what it has deleted.
func TestDeleteRangeInOrder(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		for seed := range torture(10, 100) {
			rng := rand.New(rand.NewPCG(seed, 13))
			h := newHarness(t, newMemStore(512), cfg)
			h.client.model = model{} // the recorder checks each answer
			h.tree.cache.limit = 100
			key := func() []byte { return fmt.Appendf(nil, "%06d", rng.IntN(1000)) }
			for range 40 {
				var requests []Request
				for range 1 + rng.IntN(50) {
					q := Request{Op: DeleteRange, Key: key(), End: key()}
					switch rng.IntN(4) {
					case 0:
						q = Request{Op: Set, Key: key(), Value: key()}
					case 1:
						q = Request{Op: Add, Key: key(), Value: key()}
					case 2:
						q = Request{Op: Delete, Key: key()}
					}
					requests = append(requests, q)
				}
				first := h.nextID + 1
				h.step(nil, requests...)
				for len(h.held) > 0 {
					h.finish(rng.IntN(len(h.held)))
					if rng.IntN(4) == 0 {
						h.step(nil, Request{Op: Set, Key: key()}, Request{Op: DeleteRange, Key: key(), End: key()}, Request{Op: Set, Key: key()})
					}
				}
				for id := first; id <= h.nextID; id++ {
					_, scanned := h.client.scans[id]
					if _, done := h.client.done[id]; !done && !scanned {
						t.Fatalf("request %d is not answered: %v", id, h.client.failed[id])
					}
				}
			}
			sameContent(t, h.dump(), h.client.model)
			h.check()
		}
	})
}

// TestDeleteRangeIsBounded checks that one request deletes no more than its limit, and that a
// sequence of requests deletes everything.
func TestDeleteRangeIsBounded(t *testing.T) {
	cfg := journalConfig()
	cfg.JournalBytes = 64 << 20
	h := newHarness(t, newMemStore(4096), cfg)
	h.client.model = model{}
	h.do(sets(0, 3*maxRangeDeletes, "v")...)
	start, n := "", 0
	for more := true; more; n++ {
		a, err := h.deleteRange(start, "", 0)
		if err != nil || a.n > maxRangeDeletes {
			t.Fatalf("%d are deleted: %v", a.n, err)
		}
		start, more = a.next, a.more
	}
	if n < 3 || n > 4 || len(h.client.model) > 0 {
		t.Errorf("%d requests, %d keys are left", n, len(h.client.model))
	}
}

// TestDeleteRangeFails checks that nothing is deleted after a failed append, and that the error for
// an unreadable page names it.
func TestDeleteRangeFails(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		h, leaf := withUnreadableLeaf(t, cfg)
		_, err := h.deleteRange(leaf.lo, "", 0)
		var block *BlockError
		if !errors.As(err, &block) || block.Block != leaf.block {
			t.Errorf("%v, want block %d", err, leaf.block)
		}
		clear(h.store.unread)
		want := h.dump()
		h.store.fail = disk.ErrNoSpace
		if _, err := h.deleteRange("", "", 0); !errors.Is(err, disk.ErrNoSpace) {
			t.Errorf("on a full disk: %v", err)
		}
		h.store.fail = nil
		sameContent(t, h.dump(), want)
		h.pass(2 * noSpaceRetry)
		h.client.abandoned = true
		h.do(Request{Op: DeleteRange})
		if !h.client.dropped[h.nextID] {
			t.Error("the DeleteRange of an abandoned client is not dropped")
		}
	})
}
