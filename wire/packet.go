package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// Sizes of the parts of a packet, in bytes.
const (
	HeaderSize  = 16
	TrailerSize = 4
	Overhead    = HeaderSize + TrailerSize // a packet is its record and this
)

// Layout of a packet. Integers are big-endian, checksums little-endian.
//
//	0         8        12       16                 16+L      20+L
//	+---------+--------+--------+-------------------+---------+
//	|   ID    |   L    |   H    |  record, L bytes  | trailer |
//	+---------+--------+--------+-------------------+---------+
//	 \______________/                                  Checksum(record) XOR H
//	     H = Checksum of these 12 bytes
const (
	offLength = 8
	offSum    = 12
)

// What can be wrong with a packet or its record. They come wrapped with detail.
// After any but ErrBadRecord the stream cannot be followed any further.
var (
	// ErrHeaderSum: the header is damaged, or the peer speaks another protocol.
	ErrHeaderSum = errors.New("header checksum mismatch")
	// ErrRecordSum: the record is damaged.
	ErrRecordSum = errors.New("record checksum mismatch")
	// ErrRecordLong: the header announces a longer record than can be legal here.
	ErrRecordLong = errors.New("record too long")
	// ErrBadRecord: the packet is sound, but its record is none of the protocol's.
	ErrBadRecord = errors.New("badly formed record")
)

// Packet is one message in either direction. A response has the ID of the
// request it answers; the server attaches no meaning to it.
type Packet struct {
	ID     uint64
	Record []byte
}

// Cut looks for one whole packet at the start of b. The record of p aliases b.
//
// n is the length of the packet, 0 when more input is needed. Then want is how
// many bytes the whole packet takes, 0 while not even its header is there. The
// header is checked as soon as it is there, and a record longer than limit bytes
// is refused then: ErrHeaderSum, ErrRecordLong, and ErrRecordSum in the end.
func Cut(b []byte, limit uint32) (p Packet, n int, want int64, err error) {
	if len(b) < HeaderSize {
		return Packet{}, 0, 0, nil
	}
	headerSum := binary.LittleEndian.Uint32(b[offSum:])
	if sum := Checksum(b[:offSum]); sum != headerSum {
		return Packet{}, 0, 0, fmt.Errorf("%w: %08x, should be %08x", ErrHeaderSum, headerSum, sum)
	}
	length := binary.BigEndian.Uint32(b[offLength:])
	if length > limit {
		return Packet{}, 0, 0, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrRecordLong, length, limit)
	}
	want = int64(length) + Overhead
	if int64(len(b)) < want {
		return Packet{}, 0, want, nil
	}
	end := HeaderSize + int(length)
	record := b[HeaderSize:end:end]
	trailer := binary.LittleEndian.Uint32(b[end:])
	if sum := Checksum(record) ^ headerSum; sum != trailer {
		return Packet{}, 0, 0, fmt.Errorf("%w: %08x, should be %08x", ErrRecordSum, trailer, sum)
	}
	return Packet{ID: binary.BigEndian.Uint64(b), Record: record}, int(want), want, nil
}

// AppendPacket appends a whole packet to dst. The record must be shorter than 4 GiB.
func AppendPacket(dst []byte, id uint64, record []byte) []byte {
	start := len(dst)
	dst = Begin(dst, id)
	dst = append(dst, record...)
	return End(dst, start)
}

// Begin starts a packet whose record is appended to dst by the caller. End, with
// the length that dst had before Begin, finishes it.
func Begin(dst []byte, id uint64) []byte {
	dst = binary.BigEndian.AppendUint64(dst, id)
	return binary.BigEndian.AppendUint64(dst, 0) // length and checksum, filled in by End
}

// End finishes the packet that Begin started at dst[start].
func End(dst []byte, start int) []byte {
	header, record := dst[start:start+HeaderSize], dst[start+HeaderSize:]
	if uint64(len(record)) > math.MaxUint32 {
		panic(fmt.Sprintf("wire: record of %d bytes", len(record)))
	}
	headerSum := putLength(header, uint32(len(record)))
	return binary.LittleEndian.AppendUint32(dst, Checksum(record)^headerSum)
}

// AppendHeader appends the header of a packet whose record, of length bytes, is
// sent from other buffers. RecordSum makes the trailer that must follow it.
func AppendHeader(dst []byte, id uint64, length uint32) []byte {
	start := len(dst)
	dst = Begin(dst, id)
	putLength(dst[start:], length)
	return dst
}

// putLength completes a header that has its ID, and returns its checksum.
func putLength(header []byte, length uint32) uint32 {
	binary.BigEndian.PutUint32(header[offLength:], length)
	sum := Checksum(header[:offSum])
	binary.LittleEndian.PutUint32(header[offSum:], sum)
	return sum
}

// RecordSum makes the trailer of a packet whose record lies in several buffers.
type RecordSum struct {
	header uint32 // checksum of the header
	state  uint32 // the library's register after what has been added
}

// NewRecordSum starts the trailer that goes with header, which is what
// AppendHeader appended.
func NewRecordSum(header []byte) RecordSum {
	return RecordSum{header: binary.LittleEndian.Uint32(header[offSum:HeaderSize]), state: startSum}
}

// Add continues the record with p.
func (s *RecordSum) Add(p []byte) { s.state = crc32.Update(s.state, castagnoli, p) }

// AppendTrailer appends the trailer for what has been added.
func (s *RecordSum) AppendTrailer(dst []byte) []byte {
	return binary.LittleEndian.AppendUint32(dst, ^s.state^s.header)
}
