package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"

	"kivaloo/disk"
)

// A commit is a piece of the journal: the changes that one append made durable. It takes one or
// more blocks that follow each other. Before the root of a flush step comes one flush record. A
// block is
//
//	offset size
//	0      6    "KVJRN\0"
//	6      1    version, 3
//	7      1    kind: 0 piece of a commit, 1 flush record
//	8      4    CRC32C of everything else in the block
//	12     8    sequence number: of the commit, or of the first commit that a flush lacks
//	20     8    number of this block
//	28     8    first block of this append
//	36     8    last block of the append before it; 2^64-1 if there is none
//	44     4    piece, from 0
//	48     4    pieces in the commit; 0 in a flush record
//	52     2    length of the payload
//	54          payload, then zeros
//
// Integers are big-endian. The payloads of a commit, one behind the other, are its records. The
// payload of a flush record is 20 bytes:
//
//	8  first block of the first commit that the root behind it lacks; of the next append if it lacks none
//	8  random number that tells the root from the one that another copy of the store may have at
//	   the same block
//	4  CRC32C of the pages of the append, with the root and without the seal, in order
//
// In version 2 a flush record had no checksum of the pages, and blocks of 512 bytes had no seal
// before it. So a block of version 2 is read unless it has 512 bytes.
//
// The last block of every append is the last piece of a commit or a root, so whoever reads it knows
// where the append began and where the one before ended. Numbers between appends may be missing.
const (
	magic   = "KVJRN\x00"
	version = 3

	versionAt  = 6
	kindAt     = 7
	sumAt      = 8
	seqAt      = 12
	blockAt    = 20
	firstAt    = 28
	previousAt = 36
	pieceAt    = 44
	piecesAt   = 48
	lengthAt   = 52

	// HeaderBytes is how much of a block is not payload.
	HeaderBytes = 54

	flushBytes  = 20 // payload of a flush record
	flushBytes2 = 16 // in version 2
)

// Kind says what a block holds.
type Kind uint8

const (
	Piece Kind = iota // of a commit
	Flush             // record before a root
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Block is a block of the journal, taken apart.
type Block struct {
	Kind     Kind
	Seq      uint64 // of the commit, or of the first that the flush lacks
	Number   uint64 // where the block says it was written
	First    uint64 // block of the append
	Previous uint64 // last block of the append before; disk.NoBlock for none
	Piece    uint32
	Pieces   uint32
	Payload  []byte // aliases the block
}

// Is reports whether a block says that it is one of the journal.
func Is(p []byte) bool { return string(p[:len(magic)]) == magic }

// Sum returns the checksum that a block of the journal should have, over everything but itself.
func Sum(p []byte) uint32 {
	return crc32.Update(crc32.Checksum(p[:sumAt], castagnoli), castagnoli, p[sumAt+4:])
}

// OneBitOff reports whether p is a block of the journal but for one bit. So it was written as a
// whole once, and has changed since: an append that was cut short leaves whole sectors unwritten.
// Each bit that is flipped makes another difference to the checksum; a block that is not one bit
// off looks as if it were with a probability of its bits over 2^32.
func OneBitOff(p []byte) bool {
	_, _, ok := flippedBit(p)
	return ok
}

// Mend flips the bit back by which p is off. It reports whether p is a block of the journal now,
// and was none.
func Mend(p []byte) bool {
	at, bit, ok := flippedBit(p)
	if ok {
		p[at] ^= bit
	}
	return ok
}

// flippedBit returns where the one bit is by which p is off.
func flippedBit(p []byte) (at int, bit byte, ok bool) {
	wrong := 0 // bits of the magic
	for i := range len(magic) {
		wrong += bits.OnesCount8(p[i] ^ magic[i])
	}
	if wrong > 1 {
		return 0, 0, false
	}
	off := Sum(p) ^ Recorded(p)
	switch {
	case off == 0:
		return 0, 0, false
	case bits.OnesCount32(off) == 1: // in the checksum
		n := bits.TrailingZeros32(off)
		return sumAt + 3 - n/8, 1 << (n % 8), true
	}
	difference := uint32(crc32.Castagnoli) // that the last bit of the block makes
	for i := range 8 * (len(p) - 4) {
		if difference == off {
			if at = len(p) - 1 - i/8; at < sumAt+4 {
				at -= 4 // the checksum is not in its own sum
			}
			return at, 0x80 >> (i % 8), true
		}
		difference = difference>>1 ^ -(difference&1)&crc32.Castagnoli
	}
	return 0, 0, false
}

// Recorded returns the checksum that a block of the journal has.
func Recorded(p []byte) uint32 { return binary.BigEndian.Uint32(p[sumAt:]) }

// ErrVersion: a whole block of the journal has a version that this program does not read.
var ErrVersion = fmt.Errorf("%w: journal of another version", disk.ErrCorrupt)

// ErrMisplaced: a whole block of the journal is not where it was written.
var ErrMisplaced = fmt.Errorf("%w: a whole block of the journal at a wrong place", disk.ErrCorrupt)

// ParseAt takes apart a block that was read at a number. It fails with ErrMisplaced if the block
// was written at another.
func ParseAt(number uint64, p []byte) (Block, error) {
	b, err := Parse(p)
	if err == nil && b.Number != number {
		return b, fmt.Errorf("%w: it was written at %d", ErrMisplaced, b.Number)
	}
	return b, err
}

// Parse takes apart a block of at least disk.MinBlockSize bytes. It trusts nothing in it.
func Parse(p []byte) (Block, error) {
	bad := func(format string, args ...any) (Block, error) {
		return Block{}, fmt.Errorf("%w: journal: "+format, append([]any{disk.ErrCorrupt}, args...)...)
	}
	whole := Is(p) && Recorded(p) == Sum(p)
	switch {
	case !whole && OneBitOff(p):
		return Block{}, fmt.Errorf("%w: a block of the journal has one bit flipped", disk.ErrRot)
	case !Is(p):
		return bad("the block does not begin with %q", magic[:5])
	case !whole:
		return bad("wrong checksum")
	case p[versionAt] != version && (p[versionAt] != version-1 || len(p) == disk.MinBlockSize):
		return Block{}, fmt.Errorf("%w: version %d in blocks of %d bytes, but this program writes version %d: open the store with the program that wrote it, and copy it with a backup",
			ErrVersion, p[versionAt], len(p), version)
	}
	b := Block{
		Kind:     Kind(p[kindAt]),
		Seq:      binary.BigEndian.Uint64(p[seqAt:]),
		Number:   binary.BigEndian.Uint64(p[blockAt:]),
		First:    binary.BigEndian.Uint64(p[firstAt:]),
		Previous: binary.BigEndian.Uint64(p[previousAt:]),
		Piece:    binary.BigEndian.Uint32(p[pieceAt:]),
		Pieces:   binary.BigEndian.Uint32(p[piecesAt:]),
	}
	length, flush := int(binary.BigEndian.Uint16(p[lengthAt:])), flushBytes
	if p[versionAt] != version {
		flush = flushBytes2
	}
	switch {
	case length > len(p)-HeaderBytes:
		return bad("a payload of %d bytes runs past the block", length)
	case b.Kind > Flush:
		return bad("kind %d", b.Kind)
	case b.Kind == Piece && b.Piece >= b.Pieces:
		return bad("piece %d of %d", b.Piece, b.Pieces)
	case b.Kind == Flush && (b.Pieces != 0 || length != flush):
		return bad("a flush record of %d bytes, %d pieces", length, b.Pieces)
	case b.First > b.Number || b.Kind == Piece && uint64(b.Piece) > b.Number-b.First:
		return bad("block %d, piece %d, of an append at block %d", b.Number, b.Piece, b.First)
	case b.Previous != disk.NoBlock && b.Previous >= b.First:
		return bad("an append at block %d that follows block %d", b.First, b.Previous)
	}
	b.Payload = p[HeaderBytes : HeaderBytes+length]
	return b, nil
}

// ReplayFrom is what a flush record says: the block from which on the journal is to be replayed.
func (b *Block) ReplayFrom() uint64 { return binary.BigEndian.Uint64(b.Payload) }

// RootID is the number that a flush record gives the root behind it.
func (b *Block) RootID() uint64 { return binary.BigEndian.Uint64(b.Payload[8:]) }

// PagesSum is the checksum that a flush record has of the pages of its append, but for the seal.
// One of version 2 has none.
func (b *Block) PagesSum() (sum uint32, ok bool) {
	if len(b.Payload) < flushBytes {
		return 0, false
	}
	return binary.BigEndian.Uint32(b.Payload[16:]), true
}

// put writes the header of a block whose payload is in place, and its checksum.
func (b *Block) put(p []byte, length int) {
	copy(p, magic)
	p[versionAt], p[kindAt] = version, byte(b.Kind)
	binary.BigEndian.PutUint64(p[seqAt:], b.Seq)
	binary.BigEndian.PutUint64(p[blockAt:], b.Number)
	binary.BigEndian.PutUint64(p[firstAt:], b.First)
	binary.BigEndian.PutUint64(p[previousAt:], b.Previous)
	binary.BigEndian.PutUint32(p[pieceAt:], b.Piece)
	binary.BigEndian.PutUint32(p[piecesAt:], b.Pieces)
	binary.BigEndian.PutUint16(p[lengthAt:], uint16(length))
	binary.BigEndian.PutUint32(p[sumAt:], Sum(p))
}

// PutFlush writes a flush record into p. b says its sequence number, its own number, and its
// append. sum is that of the pages.
func PutFlush(p []byte, b Block, replayFrom, rootID uint64, sum uint32) {
	clear(p)
	binary.BigEndian.PutUint64(p[HeaderBytes:], replayFrom)
	binary.BigEndian.PutUint64(p[HeaderBytes+8:], rootID)
	binary.BigEndian.PutUint32(p[HeaderBytes+16:], sum)
	b.Kind, b.Piece, b.Pieces = Flush, 0, 0
	b.put(p, flushBytes)
}

// Index returns where in p a block of the journal may begin, or -1.
func Index(p []byte) int { return bytes.Index(p, []byte(magic)) }

// Length returns the length of the block that start begins with, which was written at a number: the
// only one from lo to hi bytes at which its checksum is right.
func Length(start []byte, number uint64, lo, hi int) (length int, ok bool) {
	sum := Sum(start[:lo])
	for size := lo; ; size++ {
		if sum == Recorded(start) {
			if _, err := ParseAt(number, start[:size]); err == nil {
				if length != 0 {
					return 0, false
				}
				length = size
			}
		}
		if size == hi || size == len(start) {
			return length, length != 0
		}
		sum = crc32.Update(sum, castagnoli, start[size:size+1])
	}
}
