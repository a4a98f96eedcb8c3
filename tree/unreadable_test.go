package tree

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

// withUnreadableLeaf returns a harness whose store has one unreadable leaf, and that leaf.
func withUnreadableLeaf(t *testing.T, cfg Config) (*harness, visited) {
	t.Helper()
	h := newHarness(t, newMemStore(512), cfg)
	for i := 0; i < 500; i += 50 {
		h.do(sets(i, 50, "some value or other")...)
	}
	h.pass(time.Minute)
	leaf := slices.MinFunc(leavesOf(t, h.store), func(a, b visited) int { return cmp.Compare(a.block, b.block) })
	h = newHarness(t, h.store, cfg) // nothing is in memory
	h.store.unread[leaf.block] = errDisk
	return h, leaf
}

// finishWithin carries out at most n operations, and stops when the tree is not busy.
func (h *harness) finishWithin(n int) {
	for ; n > 0 && h.tree.Busy(); n-- {
		if len(h.held) > 0 {
			h.finish(0)
		} else {
			h.now = max(h.now, h.wake)
			h.step(nil)
		}
	}
}

// TestStopWithUnreadableLeaf checks that a stop ends, and writes little, when a change cannot be
// flushed because its leaf is unreadable.
func TestStopWithUnreadableLeaf(t *testing.T) {
	cfg := testConfig()
	cfg.JournalBytes = 1 << 20
	h, leaf := withUnreadableLeaf(t, cfg)
	h.do(set(leaf.lo, "changed"))
	written := h.tree.Stats().Written
	h.tree.Stop()
	h.step(nil)
	h.finishWithin(200)
	if more := h.tree.Stats().Written - written; h.tree.Busy() || more > 20 {
		t.Errorf("busy %t, %d blocks written", h.tree.Busy(), more)
	}
	if h.tree.Unflushed() == nil {
		t.Error("the stop says that everything has been flushed")
	}
}

// TestFoldWithUnreadableLeaf checks a store without a journal whose replayed changes cannot be
// flushed before the first commit. Changes must fail instead of waiting, and a stop must end.
func TestFoldWithUnreadableLeaf(t *testing.T) {
	cfg := testConfig()
	cfg.JournalBytes = 1 << 20
	h, leaf := withUnreadableLeaf(t, cfg)
	h.do(set(leaf.lo, "changed"))
	h = newHarness(t, h.store, testConfig())
	h.step(nil, set("zzz", "of another leaf"))
	h.finishWithin(200)
	if !h.client.answered[h.nextID] {
		t.Error("a change is not answered")
	}
	h.tree.Stop()
	h.step(nil)
	h.finishWithin(200)
	if h.tree.Busy() || h.tree.Unflushed() == nil {
		t.Errorf("after a stop: busy %t, %v", h.tree.Busy(), h.tree.Unflushed())
	}
}

// TestUnreadableLeafIsNamed checks that the block is named by a snapshot lost because of an
// unreadable leaf, by a lease, and by a stop that cannot flush.
func TestUnreadableLeafIsNamed(t *testing.T) {
	cfg := testConfig()
	cfg.JournalBytes = 1 << 20
	h, leaf := withUnreadableLeaf(t, cfg)
	h.do(set(leaf.lo, "changed"))
	s := h.snapshot("test")
	h.pass(flushIdleAfter)
	h.do(Request{Op: Get, Key: []byte("zzz"), At: s})
	snapshot := h.client.failed[h.nextID]
	id, _, lease := h.lease(TakeLease, 0)
	if lease == nil {
		_, lease = h.scanLease(id, "")
	}
	h.tree.Stop()
	h.step(nil)
	h.finishWithin(200)
	for what, err := range map[string]error{"snapshot": snapshot, "lease": lease, "stop": h.tree.Unflushed()} {
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("block %d:", leaf.block)) {
			t.Errorf("%s: %v; want block %d to be named", what, err, leaf.block)
		}
	}
}

// TestStuckBlocksAreLogged checks that the log names an unreadable leaf that keeps disk space from
// being freed. It may log that again only when the space has doubled.
func TestStuckBlocksAreLogged(t *testing.T) {
	var text bytes.Buffer
	cfg := testConfig()
	cfg.StorageCost, cfg.MaxSpread = 1e6, 2
	cfg.Log = slog.New(slog.NewTextHandler(&text, nil))
	h, leaf := withUnreadableLeaf(t, cfg)
	pages := h.tree.Stats().Pages
	for round := 0; h.tree.Stats().Stuck < 16*pages; round++ {
		if round > 2000 {
			t.Fatalf("only %d blocks are stuck", h.tree.Stats().Stuck)
		}
		h.do(sets(100+round%8*50, 50, fmt.Sprint("round ", round))...)
		h.pass(time.Second)
	}
	lines := strings.Count(text.String(), fmt.Sprintf("page at block\"=%d", leaf.block))
	if lines < 3 || lines > 5 {
		t.Errorf("%d lines for %d times the tree, want one for each doubling:\n%s", lines, h.tree.Stats().Stuck/pages, &text)
	}
}
