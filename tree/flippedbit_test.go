package tree

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"kivaloo/disk"
	"kivaloo/internal/must"
	"kivaloo/tree/journal"
	"kivaloo/tree/page"
)

// TestFlippedBit flips single bits of what was written since the last root, and in the append of
// that root. Everything in the stores was acknowledged. So everything must be there, or an error
// must name the block. It tries blocks of each kind: the first, the middle and the last. In each it
// tries the first bit, some of the header, one in the middle and the last.
func TestFlippedBit(t *testing.T) {
	for _, size := range []int{512, 600} { // pages of one sector, and of more
		for name, journal := range map[string]int64{"journal": 16 << 10, "pages": 0} {
			t.Run(fmt.Sprint(size, " ", name), func(t *testing.T) {
				t.Parallel()
				tried := map[string]int{}
				killedStores(t, size, journal, func(s *memStore, first uint64, m model) {
					shape := shapeOf(s, first)
					if tried[shape]++; tried[shape]%60 == 1 {
						flipBits(t, s.clone(), shape, m)
					}
				})
				for _, want := range wantShapes[name] {
					if !slices.ContainsFunc(slices.Collect(maps.Keys(tried)), func(shape string) bool { return strings.HasSuffix(shape, want) }) {
						t.Errorf("no append of%s among %v", want, tried)
					}
				}
			})
		}
	}
}

// wantShapes lists the kinds of blocks that appends must consist of, as a whole.
var wantShapes = map[string][]string{
	"journal": {" journal", " journals", " record root", " record partial root", " partial root journal", " partial root journals"},
	"pages":   {" root"},
}

// killedStores calls visit with the store after each of many appends, the first block of the
// append, and everything acknowledged.
func killedStores(t *testing.T, size int, journal int64, visit func(s *memStore, first uint64, m model)) {
	cfg := testConfig()
	cfg.JournalBytes, cfg.StorageCost, cfg.stepBytes = journal, 0, 4<<10
	h := newHarness(t, newMemStore(size), cfg)
	h.client.model = model{}
	for round := range 80 {
		more := 0
		switch round % 8 {
		case 7: // a flush begins, and more changes arrive during it
			h.tree.whenFlushed(func(error) {})
			more = 8
		case 3: // nothing arrives, so the root ends up with every change
			h.now += 2 * flushIdleAfter
			h.step(nil)
		}
		h.step(nil, sets(61*round%3000, 1+round%7*30, fmt.Sprint("value ", round))...)
		for len(h.held) > 0 {
			i := max(0, h.heldOf(disk.Read)) // so that a step is ready while an append is under way
			kind, first := h.held[i].Kind, h.held[i].Block
			h.finish(i)
			if kind == disk.Append {
				visit(h.store, first, h.client.model)
			}
			if more > 0 {
				more--
				h.step(nil, sets(17*more, 1+more%3*20, fmt.Sprint("during ", round))...)
			}
		}
	}
}

// kindOf returns the kind of a block.
func kindOf(p []byte) string {
	if journal.Is(p) {
		if b, _ := journal.Parse(p); b.Kind == journal.Flush {
			return "record"
		}
		return "journal"
	}
	if page.BeginsSeal(p) {
		return "seal"
	}
	switch l, _ := page.ParseHead(p); {
	case l.Root && l.Partial:
		return "partial root"
	case l.Root:
		return "root"
	}
	return "page"
}

// shapeOf returns the kinds of blocks in the append at the end of s.
func shapeOf(s *memStore, first uint64) (shape string) {
	last := ""
	for block := first; block < s.next(); block++ {
		if kind := kindOf(s.page(block)); kind != last {
			shape, last = shape+" "+kind, kind
		} else if !strings.HasSuffix(shape, "s") {
			shape += "s"
		}
	}
	return shape
}

// flipBits flips bits in the tail of s. s holds m.
func flipBits(t *testing.T, s *memStore, shape string, m model) {
	root, err := FindRoot(s, quiet)
	must.Do(t, err)
	from := root.Block
	for from > 0 && kindOf(s.page(from-1)) != "root" && kindOf(s.page(from-1)) != "partial root" && kindOf(s.page(from-1)) != "journal" {
		from--
	}
	kinds := map[string][]uint64{}
	for block := from; block < s.next(); block++ {
		kinds[kindOf(s.page(block))] = append(kinds[kindOf(s.page(block))], block)
	}
	for kind, blocks := range kinds {
		for _, block := range slices.Compact([]uint64{blocks[0], blocks[len(blocks)/2], blocks[len(blocks)-1]}) {
			p := s.page(block)
			for _, at := range []int{0, 5, 7, 8, 12, 28, 43, 47, 53, 60, s.blockSize / 2, s.blockSize - 1} {
				p[at] ^= 0x10
				what := fmt.Sprintf("append of%s: bit of byte %d of block %d of %d, %s", shape, at, block, s.next(), kind)
				if err := lostBy(s, block, m); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				p[at] ^= 0x10
			}
		}
	}
}

// lostBy returns an error if part of m is missing in s and no error names the block.
func lostBy(s *memStore, block uint64, m model) error {
	cfg := testConfig()
	cfg.ReadOnly = true
	tr, err := Open(s, cfg)
	if err != nil {
		if !strings.Contains(err.Error(), fmt.Sprintf("block %d", block)) {
			return fmt.Errorf("the error does not name the block: %w", err)
		}
		return nil
	}
	defer tr.Close()
	d := &driver{tree: tr, store: s}
	got := model{}
	for start := ""; ; {
		answers := d.do(Request{Op: Range, Key: []byte(start), Max: MaxRangePairBytes})
		a, ok := answers.pairs[d.nextID]
		if err := answers.failed[d.nextID]; !ok && strings.Contains(err.Error(), fmt.Sprintf("block %d", block)) {
			return nil
		} else if !ok {
			return fmt.Errorf("the error does not name the block: %w", err)
		}
		for i, k := range a.keys {
			got[k] = a.values[i]
		}
		if start = a.next; start == "" {
			break
		}
	}
	if maps.Equal(got, m) {
		return nil
	}
	if root, err := FindRoot(s, quiet); err != nil || len(root.Skipped) == 0 {
		return fmt.Errorf("%d pairs of %d, and nothing is said", len(got), len(m))
	}
	return fmt.Errorf("%d pairs of %d: taken for a torn end", len(got), len(m))
}
