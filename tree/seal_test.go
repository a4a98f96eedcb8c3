package tree

import (
	"fmt"
	"strings"
	"testing"
)

// TestSealFindsLostSectors: a root whose values are gone from some sector on looks like a good one; only the seal
// shows it.
func TestSealFindsLostSectors(t *testing.T) {
	for _, blockSize := range []int{700, 1024, 2048, 4096} {
		s := newMemStore(blockSize)
		h := newHarness(t, s, testConfig())
		var want []model
		for round := range 2 {
			m := model{}
			for i := range blockSize / 50 {
				m[fmt.Sprintf("%02d", i)] = strings.Repeat(fmt.Sprint(round), 40)
				h.do(set(fmt.Sprintf("%02d", i), m[fmt.Sprintf("%02d", i)]))
			}
			want = append(want, m)
		}
		if h.tree.view.tree.height != 0 {
			t.Fatalf("height %d: a single page is to be tried", h.tree.view.tree.height)
		}
		last := h.rootBlock()
		lost := 0
		for from := 512; from < blockSize; from += 512 {
			torn := s.clone()
			clear(torn.page(last)[from:min(from+512, blockSize)])
			if string(torn.page(last)) == string(s.page(last)) {
				continue // only padding
			}
			lost++
			root, err := FindRoot(torn, quiet)
			if err != nil || root.Block >= last {
				t.Errorf("%d bytes, sector at %d lost: root %d, %v; want one before %d", blockSize, from, root.Block, err, last)
			}
		}
		if lost == 0 {
			t.Errorf("%d bytes: no sector has been lost", blockSize)
		}
		torn := s.clone()
		clear(torn.page(last - 1)) // the seal itself
		if root, err := FindRoot(torn, quiet); err != nil || root.Block >= last {
			t.Errorf("%d bytes, seal lost: root %d, %v; want one before %d", blockSize, root.Block, err, last)
		}
		if root, err := FindRoot(s, quiet); err != nil || root.Block != last {
			t.Errorf("%d bytes, nothing lost: root %d, %v; want %d", blockSize, root.Block, err, last)
		}
		sameContent(t, newHarness(t, s.clone(), testConfig()).dump(), want[1])
	}
}

// TestNoSealInOneSector: what a disk writes as a whole needs none, and the original writes none.
func TestNoSealInOneSector(t *testing.T) {
	h := newHarness(t, newMemStore(512), testConfig())
	h.do(set("a", "b"))
	if h.store.next() != 2 {
		t.Errorf("%d blocks after the first page and one commit", h.store.next())
	}
}
