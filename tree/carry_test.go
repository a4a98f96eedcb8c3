package tree

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"kivaloo/disk"
	"kivaloo/tree/journal"
)

// carried returns the requests that change keys of a leaf: n of them, with values of 30 bytes.
func (v *visited) carried(n int) []Request {
	requests := make([]Request, n)
	for i := range requests {
		requests[i] = set(fmt.Sprintf("%s%04d", v.keys[0], i), fmt.Sprintf("%030d", i))
	}
	return requests
}

// TestCarriedChangesFillNoMemtable checks that changes which wait for an unreadable leaf are not
// flushed again and again, however many they are: an idle store writes nothing, a stop ends, and
// other changes are still accepted.
func TestCarriedChangesFillNoMemtable(t *testing.T) {
	for _, c := range []struct {
		what               string
		memtable, n, batch int
	}{
		{"more than a memtable", 2 << 10, 100, 20},
		{"as many blocks as a memtable", 512, 1, 1},
		{"a full index", 47 << 10, 766, 383}, // more than three quarters of 1024 slots
	} {
		t.Run(c.what, func(t *testing.T) {
			cfg := journalConfig()
			cfg.memtableBytes = c.memtable
			h, leaf := withUnreadableLeaf(t, cfg)
			finish := func(what string, most uint64) {
				t.Helper()
				before := h.tree.Stats().Written
				for end := h.now + time.Hour; h.now < end; {
					for n := 0; len(h.held) > 0; n++ {
						if n > 1000 {
							t.Fatalf("%s: the tree does not come to rest", what)
						}
						h.finish(0)
					}
					h.now += 10 * time.Second
					h.step(nil)
				}
				if n := h.tree.Stats().Written - before; n > most {
					t.Errorf("%s: %d blocks were written, want at most %d", what, n, most)
				}
			}
			for rest := leaf.carried(c.n); len(rest) > 0; rest = rest[min(c.batch, len(rest)):] {
				h.step(nil, rest[:min(c.batch, len(rest))]...)
				h.finishWithin(1000)
			}
			finish("the flush", 1000)
			finish("an idle store", 0)

			h = newHarness(t, h.store, cfg)
			finish("a restart", 1000)
			finish("an idle store after a restart", 0)
			const others = 20
			before := h.tree.Stats().Written
			for i := range others {
				h.step(nil, set("zzz", fmt.Sprint(i)))
				h.finishWithin(1000)
				if !h.client.done[h.nextID] {
					t.Fatalf("a change is not made: %v", h.client.failed[h.nextID])
				}
			}
			if n := h.tree.Stats().Written - before; n > 300 {
				t.Errorf("%d blocks were written for %d changes", n, others)
			}
			finish("the next flush", 1000)
			before = h.tree.Stats().Written
			h.tree.Stop()
			h.step(nil)
			h.finishWithin(1000)
			if more := h.tree.Stats().Written - before; h.tree.Busy() || more > 1000 || h.tree.Unflushed() == nil {
				t.Errorf("after a stop: busy %t, %d blocks written, %v", h.tree.Busy(), more, h.tree.Unflushed())
			}
			h = newHarness(t, h.store.clone(), cfg)
			for _, q := range leaf.carried(c.n) {
				if v, _ := h.get(string(q.Key)); v != string(q.Value) {
					t.Fatalf("%q holds %q, want %q", q.Key, v, q.Value)
				}
			}
		})
	}
}

// TestCarriedChangesAreBounded checks that changes fail, and take no more memory, when too many of
// them wait for an unreadable leaf. They must be made once the leaf can be read.
func TestCarriedChangesAreBounded(t *testing.T) {
	cfg := smallFlushes(journalConfig())
	h, leaf := withUnreadableLeaf(t, cfg)
	last := ""
	for i := 0; h.client.failed[h.nextID] == nil; i++ {
		if i > 3000 {
			t.Fatal("as many changes as a client likes wait for an unreadable leaf")
		}
		last = fmt.Sprintf("%s%06d", leaf.keys[0], i)
		h.step(nil, set(last, fmt.Sprintf("%040d", i)))
		h.finishWithin(1000)
	}
	if err := h.client.failed[h.nextID]; !errors.Is(err, ErrReadOnly) || !errors.Is(err, errLeafUnreadable) {
		t.Errorf("a change fails with %v", err)
	}
	written := h.tree.Stats().Written
	h.pass(time.Hour)
	if n := h.tree.Stats().Written - written; n > 0 {
		t.Errorf("%d blocks are written without a request", n)
	}
	clear(h.store.unread)
	h.pass(2 * unreadableRetry)
	h.do(set(last, "made"))
	h.pass(time.Minute)
	if v, _ := h.get(last); v != "made" || !endsInRoot(h.store) {
		t.Errorf("the leaf can be read: %q, %v; the last block is a root: %t", v, h.client.failed, endsInRoot(h.store))
	}
}

// carrying returns a harness with a change of an unreadable leaf, "old", and a flush that waits for
// that leaf. An append of another change is under way.
func carrying(t *testing.T) (h *harness, key string) {
	t.Helper()
	h, leaf := withUnreadableLeaf(t, journalConfig())
	h.do(set(leaf.keys[0], "old"))
	h.tree.whenFlushed(func(error) {})
	h.step(nil, set("zzz", "1"))
	if h.heldOf(disk.Append) < 0 || h.heldOf(disk.Read) < 0 {
		t.Fatal("no append and read are under way")
	}
	return h, leaf.keys[0]
}

// TestCarriedAfterTornAppend checks that a carried change survives if a newer change of its key
// does not: the tree may lack the older one only once the newer one is durable.
func TestCarriedAfterTornAppend(t *testing.T) {
	h, key := carrying(t)
	h.step(nil, set(key, "new"))
	for h.heldOf(disk.Read) >= 0 {
		h.finish(h.heldOf(disk.Read)) // the leaf cannot be read
	}
	for !h.client.done[h.nextID] {
		op := h.held[h.heldOf(disk.Append)]
		torn := h.store.clone() // a power cut loses the commit, and leaves a root
		if i := slices.IndexFunc(op.Pages, isCommit); i != 0 {
			torn.add(op.Pages[:max(i, 0)]...)
			torn.unread = h.store.unread
			if v, _ := newHarness(t, torn, journalConfig()).get(key); v != "old" && v != "new" {
				t.Fatalf("after a power cut: %q", v)
			}
		}
		h.finish(h.heldOf(disk.Append))
	}
	h.settle()
	if v, _ := h.get(key); v != "new" {
		t.Errorf("%q", v)
	}
}

// isCommit reports whether a block is a piece of a commit.
func isCommit(p []byte) bool {
	b, err := journal.Parse(p)
	return err == nil && b.Pieces > 0
}

// TestCarriedOnFullDisk checks that a carried change survives if the disk is full when its copy is
// written to the journal.
func TestCarriedOnFullDisk(t *testing.T) {
	h, key := carrying(t)
	for i := h.heldOf(disk.Read); i >= 0; i = h.heldOf(disk.Read) {
		h.finish(i)
	}
	h.finish(h.heldOf(disk.Append)) // submits the copy
	h.store.fail = disk.ErrNoSpace
	h.finish(h.heldOf(disk.Append))
	h.pass(time.Minute)
	h.do(set("zzz", "2"))
	h.pass(time.Minute)
	if v, _ := h.get(key); v != "old" {
		t.Errorf("%q", v)
	}
	crashed := h.store.clone()
	crashed.unread = h.store.unread
	if v, _ := newHarness(t, crashed, journalConfig()).get(key); v != "old" {
		t.Errorf("after a crash: %q", v)
	}
}

// TestCarriedModel checks that acknowledged changes of unreadable leaves survive flushes, full
// disks, crashes and torn appends in any order, and that the tree comes to rest after each.
func TestCarriedModel(t *testing.T) {
	for seed := range torture(40, 4000) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 17))
			cfg := journalConfig()
			cfg.memtableBytes, cfg.stepBytes = []int{1 << 10, 4 << 10, 0}[rng.IntN(3)], []int{1, 1 << 10, 0}[rng.IntN(3)]
			h, leaf := withUnreadableLeaf(t, cfg)
			acked, sent := model{}, map[uint64]Request{}
			note := func() {
				for id, q := range sent {
					if h.client.done[id] {
						acked[string(q.Key)] = string(q.Value)
					}
					if h.client.answered[id] {
						delete(sent, id)
					}
				}
			}
			for round := range 300 {
				switch n := rng.IntN(20); {
				case n < 8 && len(sent) == 0: // one change of a key at a time, so that its outcome is known
					q := set(fmt.Sprintf("%s%04d", leaf.keys[0], rng.IntN(12)), fmt.Sprintf("%d%0*d", round, rng.IntN(80), 0))
					if rng.IntN(4) == 0 {
						q.Key = fmt.Appendf(nil, "zzz%d", rng.IntN(10))
					}
					h.step(nil, q)
					sent[h.nextID] = q
				case n == 8:
					h.tree.whenFlushed(func(error) {})
					h.step(nil)
				case n == 9:
					h.now += time.Duration(rng.IntN(3)) * time.Second
					h.step(nil)
				case n == 10: // a crash, and perhaps a torn append
					store := h.store.clone()
					if i := h.heldOf(disk.Append); i >= 0 {
						pages := h.held[i].Pages
						cut := slices.IndexFunc(pages, isCommit)
						if cut < 0 || rng.IntN(2) == 0 {
							cut = rng.IntN(len(pages) + 1)
						}
						store.add(pages[:cut]...)
						for id, q := range sent {
							delete(sent, id)
							if _, err := FindRoot(store, quiet); err == nil {
								torn := newHarness(t, store.clone(), cfg)
								torn.store.unread = h.store.unread
								torn.do(get(string(q.Key)))
								if v, found := torn.client.values[torn.nextID]; found {
									acked[string(q.Key)] = v // it may have taken effect
								}
							}
						}
					}
					unread := h.store.unread
					h = newHarness(t, store, cfg)
					store.unread = unread
					clear(sent)
				case len(h.held) > 0:
					if i := rng.IntN(len(h.held)); h.held[i].Kind == disk.Append && rng.IntN(6) == 0 {
						h.store.fail = disk.ErrNoSpace
						h.finish(i)
						h.store.fail = nil
					} else {
						h.finish(i)
					}
				}
				note()
			}
			var written uint64
			for n := range 5000 {
				if n == 4000 {
					written = h.tree.Stats().Written
				}
				if h.now += 100 * time.Millisecond; len(h.held) > 0 {
					h.finish(0)
				} else {
					h.step(nil)
				}
			}
			note()
			if n := h.tree.Stats().Written - written; n > 0 {
				t.Fatalf("the tree does not come to rest: %d blocks are written", n)
			}
			for key, value := range acked {
				if v, _ := h.get(key); v != value {
					t.Errorf("%q holds %q, want %q", key, v, value)
				}
			}
		})
	}
}
