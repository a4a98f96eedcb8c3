package page

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// A page carries no checksum, and a power cut during an append can leave any of its sectors
// unwritten. Not all of that shows in a page: nothing records the size of a root, and zeros are
// valid values. A flipped bit of a value does not show either. So an append of pages has a seal
// before its root. The seal is a leaf that no tree refers to. It has one pair:
//
//	key    "kivaloo seal"
//	value  8  block of the seal
//	       8  first block of the append
//	       8  last block of the append before it; all bits set: there is none
//	       4  CRC32C of its other pages, including the root, in order
//
// The original only checks that such a page is no root. The original's appends have no seals and
// are judged by their content alone.

const sealValueBytes = 28

// Seal is the content of a seal.
type Seal struct {
	First, Previous uint64 // blocks, as above
	Sum             uint32
}

var (
	sealKey    = []byte("kivaloo seal")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// PutSeal writes the seal of an append into pages[at]. The root is the last of pages. first is the
// block of pages[0], and previous is the last block of the previous append.
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

// Sum adds pages to the sum for a seal. The sum begins with 0.
func Sum(sum uint32, pages ...[]byte) uint32 {
	for _, p := range pages {
		sum = crc32.Update(sum, castagnoli, p)
	}
	return sum
}

// FlippedAt returns which byte of length bytes, counted from the end, has one bit flipped. ok says
// whether one flipped bit explains that two sums of the bytes differ by off. Any other difference
// looks like that with a probability of 8 x length over 2^32.
func FlippedAt(off uint32, length int) (fromEnd int, ok bool) {
	difference := uint32(crc32.Castagnoli) // effect of the last bit on the sum
	for i := range 8 * length {
		if difference == off {
			return i / 8, true
		}
		difference = difference>>1 ^ -(difference&1)&crc32.Castagnoli
	}
	return 0, false
}

// Identity returns an id that tells a root from a root at the same block in another copy of the
// store. It uses the sum in the seal, which covers all pages of the append. It is never 0.
func Identity(seal, root []byte) uint64 {
	return uint64(Sum(0, seal))<<32 | uint64(Sum(0, root)) | 1
}

// ParseSeal parses p if it is the seal that was written to block. A seal of another block got there
// by a disk fault, and says nothing about this append.
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

// BeginsSeal reports whether p begins like a seal, whatever follows the key.
func BeginsSeal(p []byte) bool {
	l, err := ParseHead(p)
	return err == nil && !l.Root && l.Height == 0 && l.Keys == 1 && bytes.HasPrefix(p[l.Body+1:], sealKey)
}

// SealSum returns the sum in a seal, whatever else in it is wrong.
func SealSum(p []byte) uint32 {
	return binary.BigEndian.Uint32(p[HeadBytes+1+len(sealKey)+1+sealValueBytes-4:])
}
