package tree

import (
	"cmp"
	"slices"
	"testing"
	"time"
)

// TestCleaningDamage checks that an unreadable leaf stays where it is. An idle store must not
// rewrite other leaves because of it, and must continue when the leaf is readable again.
func TestCleaningDamage(t *testing.T) {
	cfg := testConfig()
	cfg.StorageCost, cfg.MaxSpread = 1e6, 1.5
	h := newHarness(t, newMemStore(512), cfg)
	for i := 0; i < 2000; i += 50 {
		h.do(sets(i, 50, "some value or other")...)
	}
	leaves := leavesOf(t, h.store)
	leaf := slices.MinFunc(leaves, func(a, b visited) int { return cmp.Compare(a.block, b.block) })
	h = newHarness(t, h.store, cfg) // nothing is in memory
	h.store.unread[leaf.block] = errDisk
	h.pass(time.Minute)
	written := h.tree.Stats().Written
	h.pass(time.Hour)
	if more := h.tree.Stats().Written - written; more > 0 {
		t.Errorf("an idle store has written %d blocks in an hour", more)
	}
	if h.store.first > leaf.block {
		t.Fatal("the leaf has been freed")
	}
	if stuck := h.tree.Stats().Stuck; stuck == 0 {
		t.Error("nothing is said to be stuck")
	}
	clear(h.store.unread)
	h.do(set("000000", "a change lets cleaning begin"))
	h.pass(10 * time.Minute)
	if h.store.first <= leaf.block {
		t.Errorf("the leaf at block %d has not been moved: the store begins at %d", leaf.block, h.store.first)
	}
	h.check()
}

// TestCleaningKeepsContent checks the content of leaves that the cleaner moves, alone or with the
// changes of a flush.
func TestCleaningKeepsContent(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		cfg.StorageCost = 1e7
		h := newHarness(t, newMemStore(512), cfg)
		m := model{}
		change := func(requests ...Request) {
			m.applyAll(requests)
			h.do(requests...)
			h.pass(100 * time.Millisecond)
		}
		for i := 0; i < 1000; i += 50 {
			change(sets(i, 50, "old")...)
		}
		h.pass(time.Minute)
		end := h.rootBlock()
		for round := range 20 { // changes a tenth of the leaves; most of them are old
			var requests []Request
			for i := round; i < 1000; i += 100 {
				requests = append(requests, sets(i, 2, "new")...)
			}
			change(requests...)
			h.pass(time.Second)
		}
		for range 100 {
			h.pass(10 * time.Second)
			change(set("000000", "a change lets cleaning go on"))
		}
		if h.oldest() < end {
			t.Errorf("the oldest leaf is at block %d: not all before %d have been moved", h.oldest(), end)
		}
		sameContent(t, h.dump(), m)
		h.check()
	})
}
