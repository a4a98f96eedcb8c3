package page

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// A page carries no checksum, and a power cut during an append can leave any of its sectors
// unwritten. Not all of that shows in a page: nothing records the size of a root, and zeros are
// good values. A flipped bit of a value does not show either. So an append of pages has a seal
// before its root: a leaf that no tree refers to, with one pair,
//
//	key    "kivaloo seal"
//	value  8  block of the seal
//	       8  first block of the append
//	       8  last block of the append before it; all bits set: there is none
//	       4  CRC32C of its other pages up to and with the root, in order
//
// The original looks at such a page only to see that it is no root. Its own appends have no seals
// and are judged by their content alone.

const sealValueBytes = 28

// Seal is what a seal says of its append.
type Seal struct {
	First, Previous uint64 // blocks, as above
	Sum             uint32
}

var (
	sealKey    = []byte("kivaloo seal")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// PutSeal writes the seal of an append into pages[at]. The root is the last of pages; first is the
// block of pages[0], and previous the last one of the append before.
func PutSeal(pages [][]byte, at int, first, previous uint64) {
	var value [sealValueBytes]byte
	binary.BigEndian.PutUint64(value[:], first+uint64(at))
	binary.BigEndian.PutUint64(value[8:], first)
	binary.BigEndian.PutUint64(value[16:], previous)
	sum := Sum(0, pages[:at]...)
	binary.BigEndian.PutUint32(value[24:], Sum(sum, pages[at+1:]...))
	p := pages[at]
	end := PutString(p, PutHead(p, 1, 0, 0, false), sealKey)
	clear(p[PutString(p, end, value[:]):])
}

// Sum adds pages to the sum that a seal has of them; it begins with 0.
func Sum(sum uint32, pages ...[]byte) uint32 {
	for _, p := range pages {
		sum = crc32.Update(sum, castagnoli, p)
	}
	return sum
}

// FlippedAt returns which byte, counted from the end, of length bytes has one bit flipped, if that
// is all that makes two sums of them differ by off. A sum that differs for other reasons looks like
// that with a probability of 8 x length over 2^32.
func FlippedAt(off uint32, length int) (fromEnd int, ok bool) {
	difference := uint32(crc32.Castagnoli) // that the last bit makes
	for i := range 8 * length {
		if difference == off {
			return i / 8, true
		}
		difference = difference>>1 ^ -(difference&1)&crc32.Castagnoli
	}
	return 0, false
}

// Identity returns a number that tells a root from the one that another copy of the store may have
// at the same block, by the sum that its seal has of all pages of the append. It is never 0.
func Identity(seal, root []byte) uint64 {
	return uint64(Sum(0, seal))<<32 | uint64(Sum(0, root)) | 1
}

// ParseSeal returns what p says, if it is the seal that was written to block. A seal of another
// block got there by a fault of the disk, and says nothing about the append at hand.
func ParseSeal(block uint64, p []byte) (s Seal, ok bool) {
	l, err := Parse(p)
	if err != nil || l.Root || l.Height > 0 || l.Keys != 1 || string(String(p, l.Body)) != string(sealKey) {
		return s, false
	}
	value := String(p, l.Second)
	if len(value) != sealValueBytes || binary.BigEndian.Uint64(value) != block {
		return s, false
	}
	return Seal{binary.BigEndian.Uint64(value[8:]), binary.BigEndian.Uint64(value[16:]), SealSum(p)}, true
}

// BeginsSeal reports whether p begins like a seal, whatever comes behind the key.
func BeginsSeal(p []byte) bool {
	l, err := ParseHead(p)
	return err == nil && !l.Root && l.Height == 0 && l.Keys == 1 && bytes.HasPrefix(p[l.Body+1:], sealKey)
}

// SealSum returns the sum in a seal, whatever else is wrong with it.
func SealSum(p []byte) uint32 {
	return binary.BigEndian.Uint32(p[HeadBytes+1+len(sealKey)+1+sealValueBytes-4:])
}
