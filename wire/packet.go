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
	Overhead    = HeaderSize + TrailerSize // a packet is its record plus this
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

// Errors in packets and records. They are wrapped with details. After any of them except
// ErrBadRecord the stream is lost.
var (
	// ErrHeaderSum means that the header is damaged, or that the peer speaks another protocol.
	ErrHeaderSum = errors.New("header checksum mismatch")
	// ErrRecordSum means that the record is damaged.
	ErrRecordSum = errors.New("record checksum mismatch")
	// ErrRecordLong means that the header announces a longer record than is legal here.
	ErrRecordLong = errors.New("record too long")
	// ErrBadRecord means that the packet is intact, but its record is not one of the protocol.
	ErrBadRecord = errors.New("badly formed record")
)

// Packet is one message in either direction. A response has the ID of its request. The server
// attaches no meaning to it.
type Packet struct {
	ID     uint64
	Record []byte
}

// Cut parses a whole packet at the start of b. The record of p aliases b.
//
// n is the length of the packet, or 0 if more input is needed. In the latter case want is the
// length of the whole packet, or 0 if not even the header is complete. The header is checked as
// soon as it is complete, and so is the record's length against limit: ErrHeaderSum, ErrRecordLong.
// ErrRecordSum comes last.
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

// Begin starts a packet. The caller appends the record to the result. End, with the length that dst
// had before Begin, finishes the packet.
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

// AppendHeader appends the header of a packet whose record, of length bytes, is sent from other
// buffers. RecordSum makes the trailer.
func AppendHeader(dst []byte, id uint64, length uint32) []byte {
	start := len(dst)
	dst = Begin(dst, id)
	putLength(dst[start:], length)
	return dst
}

// putLength completes a header that has its ID, and returns the header's checksum.
func putLength(header []byte, length uint32) uint32 {
	binary.BigEndian.PutUint32(header[offLength:], length)
	sum := Checksum(header[:offSum])
	binary.LittleEndian.PutUint32(header[offSum:], sum)
	return sum
}

// RecordSum computes the trailer of a packet whose record is in several buffers.
type RecordSum struct {
	header uint32 // checksum of the header
	state  uint32 // the library's register after everything added
}

// NewRecordSum starts the trailer for a header from AppendHeader.
func NewRecordSum(header []byte) RecordSum {
	return RecordSum{header: binary.LittleEndian.Uint32(header[offSum:HeaderSize]), state: startSum}
}

// Add continues the record with p.
func (s *RecordSum) Add(p []byte) { s.state = crc32.Update(s.state, castagnoli, p) }

// AppendTrailer appends the trailer for everything added.
func (s *RecordSum) AppendTrailer(dst []byte) []byte {
	return binary.LittleEndian.AppendUint32(dst, ^s.state^s.header)
}
