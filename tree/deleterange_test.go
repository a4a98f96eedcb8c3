package tree

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"kivaloo/disk"
)

// deleteRange asks for one DeleteRange.
func (h *harness) deleteRange(start, end string, limit int) (a scanAnswer, err error) {
	h.do(Request{Op: DeleteRange, Key: []byte(start), End: []byte(end), Limit: uint32(limit)})
	return h.client.scans[h.nextID], h.client.failed[h.nextID]
}

// TestDeleteRangeModel deletes random ranges of random content, in pages and in memtables, and
// compares what is left with a map. Each request is one commit, and deletes a bounded number of
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
				a, err := h.deleteRange(start, end, rng.IntN(2)*rng.IntN(300)) // the recorder looks at the answer
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

// TestDeleteRangeIsBounded: one request deletes no more than a limit, and requests that follow each
// other delete all of it.
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

// TestDeleteRangeFails: after a failed append nothing is deleted, and after a page that cannot be
// read the error names it.
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
