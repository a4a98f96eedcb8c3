package page

import (
	"bytes"
	"testing"
)

// TestSeal: the seal of an append says where it begins and what its pages are, and one flipped bit in
// them is found.
func TestSeal(t *testing.T) {
	const size, first = 700, 50
	leaf, _ := goodLeaf()
	root, _ := goodRoot()
	pages := [][]byte{leaf.encode(size), leaf.encode(size), make([]byte, size), root.encode(size)}
	PutSeal(pages, 2, first)
	from, sum, ok := ParseSeal(pages[2])
	if !ok || from != first || sum != SealSum(pages[2]) || sum != Sum(Sum(0, pages[:2]...), pages[3]) {
		t.Fatalf("first block %d, sum %x, %t", from, sum, ok)
	}
	summed := bytes.Join([][]byte{pages[0], pages[1], pages[3]}, nil)
	for bit := 0; bit < 8*len(summed); bit += 13 {
		summed[bit/8] ^= 1 << (bit % 8)
		if at, ok := FlippedAt(Sum(0, summed)^sum, len(summed)); !ok || at != len(summed)-1-bit/8 {
			t.Errorf("bit of byte %d: found %d from the end, %t", bit/8, at, ok)
		}
		summed[bit/8] ^= 1 << (bit % 8)
	}
	clear(summed[512:1024])
	if at, ok := FlippedAt(Sum(0, summed)^sum, len(summed)); ok {
		t.Errorf("a sector of zeros is taken for a flipped bit, %d bytes before the end", at)
	}
	for name, p := range map[string][]byte{"leaf": pages[0], "root": pages[3], "zeros": make([]byte, size)} {
		if _, _, ok := ParseSeal(p); ok {
			t.Errorf("%s: taken for a seal", name)
		}
	}
}
