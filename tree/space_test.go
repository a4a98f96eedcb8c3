package tree

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"kivaloo/disk"
)

// TestReserve checks that changes go on for ever on a disk of two and a half times the tree. On a
// smaller disk they must be refused before an append finds it full, because the flush and the
// cleaner need the rest.
func TestReserve(t *testing.T) {
	for name, journal := range map[string]int64{"journal": DefaultJournalBytes, "pages": 0} {
		for halves, want := range map[uint64]int{3: 0, 5: 200} {
			t.Run(fmt.Sprintf("%s, %d halves", name, halves), func(t *testing.T) {
				h, rng := storeOfPairs(t, journal)
				h.store.disk = h.tree.view.tree.nodes * halves / 2
				h.pass(2 * time.Second) // it learns this with the next Free
				if accepted := h.change(rng, 200); accepted < want || len(h.faults) > 0 {
					t.Errorf("%d of 200 changes were accepted: %v", accepted, h.faults)
				}
				h.check()
			})
		}
	}
}

// TestSnapshotOnSmallDisk checks that changes are refused before the disk is full, when a snapshot
// holds blocks that cannot be freed. Reads and the flush must go on. After the snapshot is
// released, or a restart, changes must be accepted again.
func TestSnapshotOnSmallDisk(t *testing.T) {
	for name, journal := range map[string]int64{"journal": DefaultJournalBytes, "pages": 0} {
		t.Run(name, func(t *testing.T) {
			h, rng := storeOfPairs(t, journal)
			h.store.disk = h.tree.view.tree.nodes * 5 / 2
			h.pass(2 * time.Second)
			snap := h.snapshot("test")
			if h.change(rng, 200) == 200 {
				t.Fatal("the snapshot does not fill the disk: this test shows nothing")
			}
			if err := h.client.failed[h.nextID]; !errors.Is(err, ErrReadOnly) || !errors.Is(err, disk.ErrNoSpace) {
				t.Errorf("a change fails with %v", err)
			}
			if s := h.tree.Stats(); !errors.Is(s.Refusal, disk.ErrNoSpace) || s.Room == 0 || s.Room > h.store.disk {
				t.Errorf("room for %d blocks, refused because of %v", s.Room, s.Refusal)
			}
			h.pass(5 * time.Second) // everything is flushed into the remaining space
			if h.tree.Stats().Memtables > 0 || len(h.faults) > 0 {
				t.Errorf("%d memtables are not flushed: %v", h.tree.Stats().Memtables, h.faults)
			}
			if _, found := h.get(pairKey(1)); !found {
				t.Error("a pair cannot be read")
			}
			h.tree.Release(snap)
			h.pass(2 * time.Second)
			if accepted := h.change(rng, 50); accepted < 50 {
				t.Errorf("without the snapshot %d of 50 changes are accepted: %v", accepted, h.client.failed[h.nextID])
			}
			cfg := h.tree.cfg
			h = newHarness(t, h.store, cfg)
			if accepted := h.change(rng, 50); accepted < 50 {
				t.Errorf("after a restart %d of 50 changes are accepted", accepted)
			}
			h.check()
		})
	}
}

// TestReserveGone fills the disk from outside, with a full memtable in the journal. No change may
// be acknowledged meanwhile. As soon as there is room, changes must be accepted again.
func TestReserveGone(t *testing.T) {
	h, rng := storeOfPairs(t, DefaultJournalBytes)
	h.change(rng, 20)
	h.store.disk = uint64(len(h.store.blocks))
	h.pass(3 * time.Second)
	if accepted := h.change(rng, 5); accepted > 0 {
		t.Errorf("%d changes were accepted on a full disk", accepted)
	}
	if _, found := h.get(pairKey(1)); !found {
		t.Error("a pair cannot be read")
	}
	h.store.disk *= 3
	h.pass(3 * time.Second)
	if accepted := h.change(rng, 50); accepted < 50 {
		t.Errorf("with room %d of 50 changes are accepted", accepted)
	}
	h.check()
}

const (
	reservePairs = 4000
	reserveBatch = 50
)

func pairKey(i int) string { return fmt.Sprintf("%040d", i) }

// storeOfPairs returns a store of reservePairs pairs.
func storeOfPairs(t *testing.T, journal int64) (*harness, *rand.Rand) {
	cfg := testConfig()
	cfg.StorageCost, cfg.MaxSpread, cfg.JournalBytes, cfg.CachePages = 1, DefaultMaxSpread, journal, 1<<13
	cfg.memtableBytes = 32 << 10
	h := newHarness(t, newMemStore(1024), cfg)
	for i := 0; i < reservePairs; i += reserveBatch {
		requests := make([]Request, reserveBatch)
		for j := range requests {
			requests[j] = set(pairKey(i+j), pairKey(0))
		}
		h.do(requests...)
	}
	h.pass(10 * time.Second)
	return h, rand.New(rand.NewPCG(1, 2))
}

// change makes n groups of random changes, and returns how many of them were accepted. It stops at
// the first refusal.
func (h *harness) change(rng *rand.Rand, n int) (accepted int) {
	for ; accepted < n; accepted++ {
		requests := make([]Request, reserveBatch)
		for j := range requests {
			requests[j] = set(pairKey(rng.IntN(reservePairs)), pairKey(accepted))
		}
		h.now += 10 * time.Millisecond
		h.do(requests...)
		for i := 0; !h.client.answered[h.nextID] && i < 10; i++ { // it waits for room
			h.pass(time.Second)
		}
		if !h.client.done[h.nextID] {
			return accepted
		}
	}
	return accepted
}

// TestCommitAfterFailedCleaning checks that without a journal a commit does not wait because there
// was no space for moving old leaves. It may find room, and takes as little as it can.
func TestCommitAfterFailedCleaning(t *testing.T) {
	cfg := testConfig()
	cfg.StorageCost = 1e6
	h := newHarness(t, newMemStore(512), cfg)
	for i := 0; i < 2000; i += 50 {
		h.do(sets(i, 50, "some value or other")...)
	}
	h.store.fail = disk.ErrNoSpace // of the next append, which is a step of cleaning
	for i := 0; h.store.fail != nil && i < 60; i++ {
		h.pass(time.Second)
	}
	if h.store.fail != nil {
		t.Fatal("nothing was cleaned: this test shows nothing")
	}
	h.do(set("000001", "a value"))
	if !h.client.done[h.nextID] {
		t.Error("the change waits")
	}
	if pages := h.store.appends[len(h.store.appends)-1]; pages > 10 {
		t.Errorf("the commit of one change has %d pages: it moves old leaves", pages)
	}
	h.check()
}
