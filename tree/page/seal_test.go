package page

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// TestSeal checks that the seal of an append says where the append begins and what its pages are,
// and that one flipped bit in them is found.
func TestSeal(t *testing.T) {
	const size, first, previous = 700, 50, 48
	leaf, _ := goodLeaf()
	root, _ := goodRoot()
	pages := [][]byte{leaf.encode(size), leaf.encode(size), make([]byte, size), root.encode(size)}
	PutSeal(pages, 2, first, previous)
	seal, ok := ParseSeal(first+2, pages[2])
	sum := Sum(Sum(0, pages[:2]...), pages[3])
	if want := (Seal{first, previous, sum}); !ok || seal != want || sum != SealSum(pages[2]) {
		t.Fatalf("%+v, %t; want %+v", seal, ok, want)
	}
	if _, ok := ParseSeal(first+3, pages[2]); ok {
		t.Error("the seal of another block is taken")
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
		if _, ok := ParseSeal(first, p); ok {
			t.Errorf("%s: taken for a seal", name)
		}
	}
}

// FuzzParseSeal checks that only seals are taken for seals. A seal made by PutSeal must be found
// again with the sum of the other pages, and that sum must show which bit of them has flipped.
func FuzzParseSeal(f *testing.F) {
	const size, at = 700, 1 << 40 // the block of the seal in the seed corpus
	leaf, _ := goodLeaf()
	root, _ := goodRoot()
	seal := make([]byte, size)
	PutSeal([][]byte{seal, root.encode(size)}, 0, at, ^uint64(0))
	for _, p := range [][]byte{leaf.encode(size), root.encode(size), seal, seal[:HeadBytes+1+len(sealKey)]} {
		f.Add(p, uint64(at), uint64(7), uint16(77))
		f.Add(p, uint64(at+1), uint64(7), uint16(4000))
	}
	f.Fuzz(func(t *testing.T, data []byte, block, previous uint64, bit uint16) {
		p := make([]byte, size)
		copy(p, data)
		if s, ok := ParseSeal(block, p); ok {
			value := binary.BigEndian.AppendUint64(nil, block)
			value = binary.BigEndian.AppendUint64(value, s.First)
			value = binary.BigEndian.AppendUint64(value, s.Previous)
			value = binary.BigEndian.AppendUint32(value, s.Sum)
			q := make([]byte, size)
			PutString(q, PutString(q, PutHead(q, 1, 0, int(p[prefixAt]), false), sealKey), value)
			if !bytes.Equal(p, q) || !BeginsSeal(p) || SealSum(p) != s.Sum {
				t.Fatalf("%x is taken for the seal %x", p, q)
			}
		}
		pages := [][]byte{p, bytes.Clone(p), bytes.Clone(seal)}
		PutSeal(pages, 1, block, previous)
		want := Seal{block, previous, Sum(0, p, seal)}
		if s, ok := ParseSeal(block+1, pages[1]); !ok || s != want {
			t.Fatalf("a seal of %+v comes back as %+v, %t", want, s, ok)
		}
		flipped := int(bit) % (8 * size)
		p[flipped/8] ^= 1 << (flipped % 8)
		if fromEnd, ok := FlippedAt(Sum(0, p, seal)^want.Sum, 2*size); !ok || fromEnd != 2*size-1-flipped/8 {
			t.Fatalf("bit %d: found %d from the end, %t", flipped, fromEnd, ok)
		}
	})
}
