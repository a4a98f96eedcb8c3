package tree

import (
	"fmt"
	"strings"
	"testing"

	"kivaloo/disk"
)

// stepAll carries out all held operations and reports them to the tree in one step, as a reader
// that returns many pages does.
func (h *harness) stepAll() {
	var first, last *disk.Op
	for len(h.held) > 0 {
		op := h.take(0)
		h.store.run(op)
		if first == nil {
			first = op
		} else {
			last.SetNext(op)
		}
		last = op
	}
	h.step(first)
}

// TestPagesArriveTogether checks that good pages and a bad one that arrive in one step answer the
// Gets that wait for them, each with its own page.
func TestPagesArriveTogether(t *testing.T) {
	for what, damage := range damages {
		t.Run(what, func(t *testing.T) {
			h, leaves := damagedStore(t)
			bad := leaves[len(leaves)/3]
			damage.do(h.store, bad.block)
			var batch []Request
			for i := range keyed + 10 { // one each: every second number has a key; the last have none
				batch = append(batch, get(fmt.Sprintf("%06d", i)))
			}
			h.step(nil, batch...)
			for len(h.held) > 0 {
				h.stepAll()
			}
			if h.tree.Busy() {
				t.Fatal("still busy with nothing to do")
			}
			for i, r := range batch {
				key := string(r.Key)
				if bad.has(key) {
					if h.client.failed[r.ID] == nil {
						t.Errorf("%s is in a damaged page, but its Get has not failed", key)
					}
					continue
				}
				value, found := h.value(r.ID)
				if want := i < keyed && i%2 == 0; found != want || found && value != "some value" {
					t.Errorf("%s: %q, %t", key, value, found)
				}
			}
			if len(h.faults) != 1 || !strings.Contains(h.faults[0].Error(), fmt.Sprintf("block %d", bad.block)) {
				t.Errorf("reported: %v", h.faults)
			}
			if h.tree.reader.cost != 0 || h.tree.pager.underWay != 0 {
				t.Errorf("cost %d, %d reads under way, and nobody waits", h.tree.reader.cost, h.tree.pager.underWay)
			}
		})
	}
}

// TestReadersFindFetchedPages checks that Readers find a page that the tree fetched for a Get,
// although only the page's parent can lead them to it.
func TestReadersFindFetchedPages(t *testing.T) {
	h, _ := damagedStore(t)
	r := h.tree.Readers()
	defer r.Close()
	for i := 0; i < keyed; i += 2 {
		key := fmt.Sprintf("%06d", i)
		h.do(get(key))
		value, found, ok := r.Get(nil, nil, []byte(key))
		if !ok || !found || string(value) != "some value" {
			t.Fatalf("%s: %q, found %t, by itself %t", key, value, found, ok)
		}
	}
}
