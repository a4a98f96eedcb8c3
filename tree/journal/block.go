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
// more consecutive blocks. A flush record comes before the root of a flush step. A block is
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
// Integers are big-endian. The concatenated payloads of a commit are its records. The payload of a
// flush record is 20 bytes:
//
//	8  first block of the first commit that the following root lacks;
//	   if it lacks none, of the next append
//	8  random id of the root, to tell it from a root at the same block
//	   in another copy of the store
//	4  CRC32C of the pages of the append, with the root and without the seal, in order
//
// In version 2 a flush record had no checksum of the pages, and blocks of 512 bytes had no seal
// before it. So a block of version 2 is accepted unless it has 512 bytes.
//
// The last block of every append is the last piece of a commit or a root. So it shows where the
// append began and where the one before ended. Block numbers between appends may be missing.
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

	// HeaderBytes is the length of everything in a block before the payload.
	HeaderBytes = 54

	flushBytes  = 20 // payload of a flush record
	flushBytes2 = 16 // in version 2
)

// Kind says what a block holds.
type Kind uint8

const (
	Piece Kind = iota // part of a commit
	Flush             // record before a root
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Block is a parsed journal block.
type Block struct {
	Kind     Kind
	Seq      uint64 // of the commit, or of the first commit that the flush lacks
	Number   uint64 // where the block says it was written
	First    uint64 // block of the append
	Previous uint64 // last block of the previous append; disk.NoBlock for none
	Piece    uint32
	Pieces   uint32
	Payload  []byte // aliases the block
}

// Is reports whether a block has the magic of a journal block.
func Is(p []byte) bool { return string(p[:len(magic)]) == magic }

// Sum returns the checksum that a journal block should have. It covers everything except itself.
func Sum(p []byte) uint32 {
	return crc32.Update(crc32.Checksum(p[:sumAt], castagnoli), castagnoli, p[sumAt+4:])
}

// OneBitOff reports whether p is a journal block except for one bit. Such a block was once written
// as a whole, and changed since: an append that was cut short leaves whole sectors unwritten. Each
// flipped bit changes the checksum in a different way. Any other block looks one bit off with a
// probability of its number of bits over 2^32.
func OneBitOff(p []byte) bool {
	_, _, ok := flippedBit(p)
	return ok
}

// Mend flips the one wrong bit of p back. It reports whether p was a journal block with one wrong
// bit.
func Mend(p []byte) bool {
	at, bit, ok := flippedBit(p)
	if ok {
		p[at] ^= bit
	}
	return ok
}

// flippedBit returns the place of the one wrong bit of p.
func flippedBit(p []byte) (at int, bit byte, ok bool) {
	wrong := 0 // wrong bits in the magic
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
	case bits.OnesCount32(off) == 1: // the bit is in the checksum
		n := bits.TrailingZeros32(off)
		return sumAt + 3 - n/8, 1 << (n % 8), true
	}
	difference := uint32(crc32.Castagnoli) // effect of the last bit of the block on the checksum
	for i := range 8 * (len(p) - 4) {
		if difference == off {
			if at = len(p) - 1 - i/8; at < sumAt+4 {
				at -= 4 // the checksum does not cover itself
			}
			return at, 0x80 >> (i % 8), true
		}
		difference = difference>>1 ^ -(difference&1)&crc32.Castagnoli
	}
	return 0, 0, false
}

// Recorded returns the checksum recorded in a journal block.
func Recorded(p []byte) uint32 { return binary.BigEndian.Uint32(p[sumAt:]) }

// ErrVersion means that a whole journal block has a version that this program does not read.
var ErrVersion = fmt.Errorf("%w: journal of another version", disk.ErrCorrupt)

// ErrMisplaced means that a whole journal block is not where it was written.
var ErrMisplaced = fmt.Errorf("%w: a whole block of the journal at a wrong place", disk.ErrCorrupt)

// ParseAt parses the block read at a number. It fails with ErrMisplaced if the block was written at
// another one.
func ParseAt(number uint64, p []byte) (Block, error) {
	b, err := Parse(p)
	if err == nil && b.Number != number {
		return b, fmt.Errorf("%w: it was written at %d", ErrMisplaced, b.Number)
	}
	return b, err
}

// Parse parses a block of at least disk.MinBlockSize bytes. It trusts nothing in it.
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

// ReplayFrom returns the block in a flush record from which the journal must be replayed.
func (b *Block) ReplayFrom() uint64 { return binary.BigEndian.Uint64(b.Payload) }

// RootID returns the id in a flush record for the root that follows it.
func (b *Block) RootID() uint64 { return binary.BigEndian.Uint64(b.Payload[8:]) }

// PagesSum returns the checksum in a flush record, over the pages of its append except the seal.
// Version 2 has none.
func (b *Block) PagesSum() (sum uint32, ok bool) {
	if len(b.Payload) < flushBytes {
		return 0, false
	}
	return binary.BigEndian.Uint32(b.Payload[16:]), true
}

// put writes the header of a block, and its checksum. The payload must be in place.
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

// PutFlush writes a flush record into p. b has its sequence number, its own number, and its append.
// sum is the checksum of the pages.
func PutFlush(p []byte, b Block, replayFrom, rootID uint64, sum uint32) {
	clear(p)
	binary.BigEndian.PutUint64(p[HeaderBytes:], replayFrom)
	binary.BigEndian.PutUint64(p[HeaderBytes+8:], rootID)
	binary.BigEndian.PutUint32(p[HeaderBytes+16:], sum)
	b.Kind, b.Piece, b.Pieces = Flush, 0, 0
	b.put(p, flushBytes)
}

// Index returns where in p a journal block may begin, or -1.
func Index(p []byte) int { return bytes.Index(p, []byte(magic)) }

// Length returns the length of the block at the beginning of start, written at a number. It is the
// only length from lo to hi bytes for which the checksum is right.
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
