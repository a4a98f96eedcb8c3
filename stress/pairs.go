package stress

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"slices"
)

// The data set is pairs of 40+40 bytes, numbered from 0. Pair number p, which is member Y = p mod
// 65536 of group X = p / 65536, is
//
//	0        8                  40       48                 80
//	+--------+------------------+--------+------------------+
//	|   X    |  SHA-256(0 X Y)  |   p    |  SHA-256(0 X Y)  |
//	+--------+------------------+--------+------------------+
//	 \__________ key __________/ \________ value __________/
//
// with integers of 8 bytes, big-endian, and a zero byte in front of the hashed ones.
const (
	KeyLen    = 40
	PairLen   = 2 * KeyLen
	groupSize = 65536
)

// Pair is a key followed by its value.
type Pair [PairLen]byte

// Key returns the key, as part of p.
func (p *Pair) Key() []byte { return p[:KeyLen:KeyLen] }

// Value returns the value, as part of p.
func (p *Pair) Value() []byte { return p[KeyLen:] }

// PairAt returns pair number p. Successive pairs of a group are at random places of the key space,
// between the neighbouring groups.
func PairAt(p uint64) (pair Pair) {
	x, y := p/groupSize, p%groupSize
	var hashed [1 + 8 + 8]byte
	binary.BigEndian.PutUint64(hashed[1:], x)
	binary.BigEndian.PutUint64(hashed[9:], y)
	sum := sha256.Sum256(hashed[:])
	binary.BigEndian.PutUint64(pair[0:], x)
	copy(pair[8:], sum[:])
	binary.BigEndian.PutUint64(pair[KeyLen:], p)
	copy(pair[KeyLen+8:], sum[:])
	return pair
}

// Pairs yields pairs 0 to n-1 in ascending key order. A pair is valid until the next one is
// requested.
func Pairs(n uint64) iter.Seq[*Pair] {
	return func(yield func(*Pair) bool) {
		group := make([]Pair, 0, min(n, groupSize))
		for first := uint64(0); first < n; first += groupSize {
			group = group[:0]
			for p := first; p < min(n, first+groupSize); p++ {
				group = append(group, PairAt(p))
			}
			slices.SortFunc(group, func(a, b Pair) int { return bytes.Compare(a.Key(), b.Key()) })
			for i := range group {
				if !yield(&group[i]) {
					return
				}
			}
		}
	}
}

// Collect returns all pairs of Pairs(n).
func Collect(n uint64) []Pair {
	pairs := make([]Pair, 0, n)
	for p := range Pairs(n) {
		pairs = append(pairs, *p)
	}
	return pairs
}
