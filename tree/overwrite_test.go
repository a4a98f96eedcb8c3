package tree

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"kivaloo/disk"
)

// TestOverwrite: a value of the same length takes the place of another in the page, but not before it is durable.
func TestOverwrite(t *testing.T) {
	h := newHarness(t, newMemStore(2048), journalConfig())
	h.do(sets(0, 100, "old")...)
	root, pages := h.tree.committed.root, h.tree.cache.inUse
	h.step(nil, set("000050", "new"))
	h.finishAll(disk.Read)
	h.step(nil, get("000050"))
	if value, _ := h.value(h.nextID); value != "old" {
		t.Errorf("before it is durable it holds %q", value)
	}
	h.settle()
	if value, _ := h.get("000050"); value != "new" {
		t.Errorf("it holds %q", value)
	}
	if h.tree.committed.root != root || h.tree.cache.inUse != pages {
		t.Error("pages were copied")
	}
	h.do(set("000050", "longer"))
	if h.tree.committed.root == root {
		t.Error("a longer value was written over a shorter one")
	}
}

// TestOverwriteIsSeenByNext: what is judged while a batch is under way is judged by what that is going to write, also where the
// leaf has to be built anew.
func TestOverwriteIsSeenByNext(t *testing.T) {
	h := newHarness(t, newMemStore(2048), journalConfig())
	h.do(sets(0, 100, "1")...)
	h.step(nil, set("000050", "2"), set("000051", "2"))
	batch := make([]Request, batchWindow) // so many that they do not wait for the batch before
	for i := range batch {
		batch[i] = set("000010", "2")
	}
	batch[0] = Request{Op: CAS, Key: []byte("000050"), Old: []byte("2"), Value: []byte("3")}
	batch[1] = Request{Op: CAS, Key: []byte("000050"), Old: []byte("1"), Value: []byte("no")}
	batch[2] = set("0000505", "between")
	h.step(nil, batch...)
	first := h.nextID - uint64(len(batch)) + 1
	if h.tree.writes.building == nil || !h.tree.writes.building.built {
		t.Fatal("the second batch has not been built yet")
	}
	h.settle()
	if !h.client.done[first] || h.client.done[first+1] {
		t.Errorf("CAS from 2: %t, from 1: %t", h.client.done[first], h.client.done[first+1])
	}
	for key, want := range map[string]string{"000050": "3", "000051": "2", "0000505": "between", "000010": "2", "000052": "1"} {
		if value, _ := h.get(key); value != want {
			t.Errorf("%s holds %q, want %q", key, value, want)
		}
	}
}

// TestOverwriteSparesOthers: a snapshot keeps its values, and a checkpoint saves those of its moment.
func TestOverwriteSparesOthers(t *testing.T) {
	store := newMemStore(2048)
	h := newHarness(t, store, journalConfig())
	h.do(sets(0, 100, "old")...)
	s := h.snapshot("test")
	h.do(set("000050", "new"))
	h.do(Request{Op: Get, Key: []byte("000050"), At: s})
	if value, _ := h.value(h.nextID); value != "old" {
		t.Errorf("the snapshot holds %q", value)
	}
	h.tree.Release(s)

	h.step(nil, set("000051", "new")) // under way
	h.tree.TakeSnapshot("test", func(got *Snapshot) { s = got })
	h.settle()
	h.do(set("000051", "not"))
	h.do(Request{Op: Get, Key: []byte("000051"), At: s})
	if value, _ := h.value(h.nextID); value != "new" {
		t.Errorf("a snapshot that waited for a batch holds %q", value)
	}
	h.tree.Release(s)

	for h.pass(2 * checkpointIdle); !h.tree.isSaved(&h.tree.committed); {
		t.Fatal("nothing was saved")
	}
	h.do(set("000052", "new")) // copies: the leaf is clean
	r := newHarness(t, store.clone(), journalConfig())
	for key, want := range map[string]string{"000050": "new", "000051": "not", "000052": "new", "000053": "old"} {
		if value, _ := r.get(key); value != want {
			t.Errorf("after a restart %s holds %q, want %q", key, value, want)
		}
	}
}

// TestReadersSeeBatchesWhole: two values that are always written together are always read together, while they are
// written over again and again.
func TestReadersSeeBatchesWhole(t *testing.T) {
	h := newHarness(t, newMemStore(2048), journalConfig())
	readers := h.tree.Readers()
	value := func(n int) string { return fmt.Sprintf("%0200d", n) }
	both := func(n int) []Request { return []Request{set("a", value(n)), set("b", value(n))} }
	h.do(both(0)...)
	var stop atomic.Bool
	var wg sync.WaitGroup
	var seen atomic.Int64
	for range 2 {
		wg.Go(func() {
			var p Piece
			for !stop.Load() {
				if !readers.Range(nil, &p, nil, nil, 4096) {
					continue // it was written all the time
				}
				var values []string
				for _, v := range p.All() {
					values = append(values, string(v))
				}
				if len(values) != 2 || values[0] != values[1] {
					t.Errorf("read together: %q", values)
					return
				}
				seen.Add(1)
			}
		})
	}
	const batches = 20000
	copied := 0 // the first after each checkpoint
	for n := range batches {
		before := h.tree.committed.root
		if h.do(both(n)...); h.tree.committed.root != before {
			copied++
		}
	}
	stop.Store(true)
	wg.Wait()
	readers.Close()
	if seen.Load() == 0 || copied > batches/100 {
		t.Errorf("%d reads; %d of %d batches copied pages", seen.Load(), copied, batches)
	}
}

// TestOverwriteLocatedTwice: a batch that has to wait for a page finds what the one before is going to write over also when it
// looks for the second time.
func TestOverwriteLocatedTwice(t *testing.T) {
	s := newMemStore(512)
	h := newHarness(t, s, journalConfig())
	h.do(sets(0, 2000, "1")...)
	h.pass(2 * checkpointIdle) // all is saved
	h = newHarness(t, s, journalConfig())
	h.do(set("000050", "0")) // its leaf is fresh now, and others are not in memory
	h.do(set("000050", "1"))
	const far = "001900"
	h.step(nil, set("000050", "2"))
	if h.heldOf(disk.Append) < 0 {
		t.Fatal("no append is under way")
	}
	batch := make([]Request, batchWindow) // so many that they do not wait for the batch before
	for i := range batch {
		batch[i] = set("000010", "2")
	}
	batch[0], batch[1] = set(far, "2"), set("000050", "1")
	h.step(nil, batch...)
	if h.heldOf(disk.Read) < 0 {
		t.Fatal("the second batch does not wait for a page")
	}
	h.finishAll(disk.Read)
	h.settle()
	for key, want := range map[string]string{"000050": "1", far: "2"} {
		if value, _ := h.get(key); value != want {
			t.Errorf("%s holds %q, want %q", key, value, want)
		}
	}
}
