package tree

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"kivaloo/disk"
)

// damages are the ways in which a block can be unusable.
var damages = map[string]struct {
	do  func(s *memStore, block uint64)
	err error
}{
	"bad byte":       {func(s *memStore, b uint64) { s.page(b)[len(s.page(b))-1] ^= 1 }, disk.ErrCorrupt},
	"zeros":          {func(s *memStore, b uint64) { clear(s.page(b)) }, disk.ErrCorrupt},
	"another page":   {func(s *memStore, b uint64) { copy(s.page(b), s.page(b+1)) }, disk.ErrCorrupt},
	"does not exist": {func(s *memStore, b uint64) { s.unread[b] = nil }, disk.ErrCorrupt},
	"cannot be read": {func(s *memStore, b uint64) { s.unread[b] = errDisk }, errDisk},
}

// keyed bounds the keys of damagedStore: the even numbers below it.
const keyed = 1200

// damagedStore returns a harness on a store with only the root in memory, and the leaves of that
// store. The leaves are about half full, so a leaf that loses a few more pairs is merged.
func damagedStore(t *testing.T) (*harness, []visited) {
	t.Helper()
	store := newMemStore(512)
	h := newHarness(t, store, testConfig())
	for i := 0; i < keyed; i += 60 {
		h.do(sets(i, 60, "some value")...)
	}
	for i := 1; i < keyed; i += 2 {
		h.do(Request{Op: Delete, Key: fmt.Appendf(nil, "%06d", i)})
	}
	if h.tree.view.tree.height < 2 {
		t.Fatalf("height %d: there is no parent to damage", h.tree.view.tree.height)
	}
	return newHarness(t, store, testConfig()), leavesOf(t, store)
}

// has reports whether a key belongs to a page.
func (v *visited) has(key string) bool { return key >= v.lo && (v.hi == "" || key < v.hi) }

// TestDamagedPage checks that every request that needs an unreadable page fails, and no other
// request.
func TestDamagedPage(t *testing.T) {
	for what, damage := range damages {
		for _, parent := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/parent %t", what, parent), func(t *testing.T) {
				h, leaves := damagedStore(t)
				bad := leaves[len(leaves)/3]
				if parent {
					walkStore(t, h.store, func(v visited) {
						if v.height == 1 && v.has(leaves[len(leaves)/3].keys[0]) {
							bad = v
						}
					})
				}
				before := h.store.clone()
				damage.do(h.store, bad.block)
				var batch []Request
				for i := 0; i < keyed; i += 2 {
					key := fmt.Sprintf("%06d", i)
					batch = append(batch, get(key), set(key, "changed"))
				}
				batch = append(batch, Request{Op: Range, Key: []byte(bad.keys[0]), Max: 20 * keyed})
				h.do(batch...)
				h.wantFailures(t, batch, &bad, damage.err)
				if len(h.faults) != 1 || !strings.Contains(h.faults[0].Error(), fmt.Sprintf("block %d", bad.block)) {
					t.Errorf("reported: %v", h.faults)
				}
				// The same fault again is not reported again.
				again := []Request{get(bad.keys[0]), set(bad.keys[0], "again"), get("000000")}
				h.do(again...)
				h.wantFailures(t, again, &bad, damage.err)
				if len(h.faults) != 1 {
					t.Errorf("reported again: %v", h.faults)
				}

				// The damage has not spread: when the page is back, all is well.
				delete(h.store.unread, bad.block)
				copy(h.store.page(bad.block), before.page(bad.block))
				want := model{}
				for i := 0; i < keyed; i += 2 {
					key := fmt.Sprintf("%06d", i)
					if want[key] = "changed"; bad.has(key) {
						want[key] = "some value"
					}
				}
				sameContent(t, h.dump(), want)
				h.check()
			})
		}
	}
}

// wantFailures fails the test unless exactly those of the last requests have failed that need bad.
func (h *harness) wantFailures(t *testing.T, requests []Request, bad *visited, err error) {
	t.Helper()
	failed := 0
	for i := range requests {
		q := &requests[i]
		got := h.client.failed[q.ID]
		if !h.client.answered[q.ID] {
			t.Fatalf("%+v has no answer", q)
		}
		switch needs := q.Op == Range || bad.has(string(q.Key)); {
		case needs && got == nil:
			t.Errorf("op %d on %q succeeds, although it needs block %d", q.Op, q.Key, bad.block)
		case needs && !errors.Is(got, err):
			t.Errorf("op %d on %q: %v, want %v", q.Op, q.Key, got, err)
		case !needs && got != nil:
			t.Errorf("op %d on %q: %v", q.Op, q.Key, got)
		}
		if got != nil {
			failed++
		}
	}
	if failed == 0 {
		t.Error("nothing has failed")
	}
}

// TestUnreadableNeighbour checks that a leaf stays as it is if the leaf to merge it with cannot be
// read.
func TestUnreadableNeighbour(t *testing.T) {
	for what, damage := range damages {
		t.Run(what, func(t *testing.T) {
			h, leaves := damagedStore(t)
			bad := leaves[4]
			before := h.store.clone()
			damage.do(h.store, bad.block)
			want := model{}
			for _, leaf := range leaves {
				for i, key := range leaf.keys {
					want[key] = leaf.values[i]
				}
			}
			var batch []Request
			for _, key := range slices.Concat(leaves[3].keys[1:], leaves[5].keys[1:]) {
				batch = append(batch, Request{Op: Delete, Key: []byte(key)})
			}
			want.applyAll(batch)
			h.do(batch...)
			if len(h.client.failed) > 0 {
				t.Fatal(h.client.failed)
			}
			if len(h.faults) != 1 {
				t.Errorf("reported: %v", h.faults)
			}
			delete(h.store.unread, bad.block)
			copy(h.store.page(bad.block), before.page(bad.block))
			sameContent(t, h.dump(), want)
			if r := h.check(); r.Leaves < uint64(len(leaves)-2) {
				t.Errorf("%d leaves of %d are left: something was merged over what cannot be read", r.Leaves, len(leaves))
			}
			// It is merged the next time it is changed.
			leavesBefore := len(leavesOf(t, h.store))
			one := Request{Op: Delete, Key: []byte(leaves[3].keys[0])}
			want.apply(&one)
			h.do(one)
			sameContent(t, h.dump(), want)
			if n := len(leavesOf(t, h.store)); n >= leavesBefore {
				t.Errorf("%d leaves, as before", n)
			}
		})
	}
}

// TestLateNeighbour delays the pages that a merge needs. They arrive in any order, one of them not
// at all.
func TestLateNeighbour(t *testing.T) {
	h, leaves := damagedStore(t)
	h.store.unread[leaves[6].block] = errDisk
	var batch []Request
	want := model{}
	for i, leaf := range leaves {
		for j, key := range leaf.keys {
			want[key] = leaf.values[j]
			if i%2 == 1 && j > 0 {
				batch = append(batch, Request{Op: Delete, Key: []byte(key)})
			}
		}
	}
	want.applyAll(batch)
	h.step(nil, batch...)
	for len(h.held) > 0 {
		h.finish(len(h.held) - 1)
	}
	if len(h.client.failed) > 0 {
		t.Fatal(h.client.failed)
	}
	delete(h.store.unread, leaves[6].block)
	sameContent(t, h.dump(), want)
	h.check()
}

// TestAppendFails checks that what was not made durable is not acknowledged, nor anything that
// depends on it. The tree must go on serving its earlier content.
func TestAppendFails(t *testing.T) {
	for what, test := range map[string]struct {
		fail   func(s *memStore)
		err    error // error of the requests
		sticky bool
	}{
		"no space": {func(s *memStore) { s.fail = fmt.Errorf("write: %w", disk.ErrNoSpace) }, disk.ErrNoSpace, false},
		"broken":   {func(s *memStore) { s.fail = errDisk }, errDisk, true},
		"failed":   {func(s *memStore) { s.fail = disk.ErrFailed }, disk.ErrFailed, true},
		"refused":  {func(s *memStore) { s.add(make([]byte, 512)) }, ErrReadOnly, true},
	} {
		for _, ahead := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/ahead %t", what, ahead), func(t *testing.T) {
				inBothModes(t, func(t *testing.T, cfg Config) {
					h := newHarness(t, newMemStore(512), cfg)
					acknowledged := model{}
					first := sets(0, 200, "durable")
					acknowledged.applyAll(first)
					h.do(first...)

					test.fail(h.store)
					requests := sets(100, 200, "lost")
					h.step(nil, requests...)
					if ahead {
						h.step(nil, set("000150", "lost too"))
					}
					start := h.nextID
					h.settle()
					for id := uint64(len(first) + 1); id <= start; id++ {
						if err := h.client.failed[id]; err == nil {
							t.Fatalf("request %d: %v, done %t", id, err, h.client.done[id])
						}
					}
					if err := h.client.failed[start]; ahead && !errors.Is(err, ErrReadOnly) {
						t.Errorf("decided behind what has failed: %v", err)
					}
					if len(h.faults) != 1 || !errors.Is(h.faults[0], test.err) || !errors.Is(h.faults[0], ErrReadOnly) {
						t.Errorf("reported: %v", h.faults)
					}
					h.wantReadOnly(t, test.err, acknowledged)
					h.now += noSpaceRetry - time.Millisecond
					h.wantReadOnly(t, test.err, acknowledged)

					h.now += time.Millisecond
					if test.sticky {
						h.wantReadOnly(t, test.err, acknowledged)
						return
					}
					// One commit is tried. If it fails too, the wait begins again.
					h.store.fail = disk.ErrNoSpace
					h.do(set("000000", "still no space"))
					h.wantReadOnly(t, test.err, acknowledged)
					h.now += noSpaceRetry
					requests = sets(0, 200, "after")
					acknowledged.applyAll(requests)
					h.do(requests...)
					h.wantDone(slices.Repeat([]bool{true}, len(requests))...)
					sameContent(t, h.dump(), acknowledged)
					h.check()
				})
			})
		}
	}
}

// wantReadOnly fails the test unless changes are refused with err, reads see content, and a restart
// would see it too.
func (h *harness) wantReadOnly(t *testing.T, err error, content model) {
	t.Helper()
	reports := len(h.faults)
	h.do(set("000001", "refused"), get("000001"), Request{Op: Delete, Key: []byte("absent")})
	for _, id := range []uint64{h.nextID - 2, h.nextID} {
		if got := h.client.failed[id]; !errors.Is(got, err) || !errors.Is(got, ErrReadOnly) {
			t.Errorf("change while read-only: %v", got)
		}
	}
	if v, found := h.value(h.nextID - 1); v != content["000001"] || !found {
		t.Errorf("read while read-only: %q, %t", v, found)
	}
	if len(h.faults) != reports {
		t.Errorf("each refusal is reported: %v", h.faults)
	}
	sameContent(t, h.dump(), content)
	h.check()
	again := newHarness(t, h.store.clone(), testConfig())
	sameContent(t, again.dump(), content)
	if h.tree.Busy() {
		t.Error("busy")
	}
}

// TestFreeFails checks that a failed Free is reported and tried again.
func TestFreeFails(t *testing.T) {
	h := newHarness(t, newMemStore(512), testConfig())
	h.step(nil) // starts the clock
	h.now += tickEvery
	h.step(nil)
	op := h.take(h.heldOf(disk.Free))
	op.Err = errDisk
	h.step(op)
	if len(h.faults) != 1 || !errors.Is(h.faults[0], errDisk) {
		t.Errorf("reported: %v", h.faults)
	}
	h.pass(2 * tickEvery)
	if len(h.store.frees) == 0 {
		t.Error("not tried again")
	}
}

// TestWaitersOfOnePage has a Get and a commit wait for the same page. When it arrives the Get moves
// on to another page. That must take nothing from the commit. Here the other page is unreadable,
// and the commit needs one more page.
func TestWaitersOfOnePage(t *testing.T) {
	h, leaves := damagedStore(t)
	bad, good := leaves[len(leaves)/2], leaves[len(leaves)/2+1]
	h.store.unread[bad.block] = errDisk
	s := h.snapshot("test")
	h.step(nil, set(good.keys[0], "changed"))
	h.step(nil, Request{Op: Get, Key: []byte(bad.keys[0]), At: s})
	h.settle()
	h.tree.Release(s)
	for id := h.tree.cache.leaves.next - 1; id > 0; id-- {
		if nd := h.tree.cache.leaves.at(id); nd.pins != 0 {
			t.Errorf("frame %d, block %d, has %d pins", id, nd.block, int32(nd.pins))
		}
	}
}
