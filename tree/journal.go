package tree

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"kivaloo/disk"
)

// The journal makes a batch durable without its pages: what it made of each key, in a few blocks. A block of it is
//
//	offset size
//	0      6    "KVJRN\0"
//	6      1    version, 1
//	7      1    kind: 0 a piece of a batch, 1 a checkpoint record
//	8      4    CRC32C of the block from offset 12 on
//	12     8    sequence number of the batch
//	20     8    number that this block was written at
//	28     4    piece, from 0
//	32     4    pieces in the batch; 0 in a checkpoint record, since the sum does not tell the kinds apart
//	36     2    length of the payload in this block
//	38          payload, then zeros
//
// The pieces of a batch are in blocks that follow each other. Their payloads, one behind the other, are records: a byte that
// says what became of a key, a length byte and the key, and for a key that was set a length byte and the value. The payload
// of a checkpoint record is the number of the block from which on the journal is to be replayed on the
// tree whose root is the block after it.
//
// The original, which looks from the end backwards for a root, takes such a block for damage: so it refuses a store that was
// not closed in order, instead of losing what was acknowledged. All integers are big-endian.
const (
	journalMagic   = "KVJRN\x00"
	journalVersion = 1

	journalVersionAt = 6
	journalKindAt    = 7
	journalSumAt     = 8
	journalSummedAt  = 12 // what is before is not in the sum
	journalSeqAt     = 12
	journalBlockAt   = 20
	journalPieceAt   = 28
	journalPiecesAt  = 32
	journalLengthAt  = 36
	journalHeader    = 38

	recordSet    = 1
	recordDelete = 2

	replayFromBytes = 8 // the payload of a checkpoint record
)

// journalKind says what a block of the journal holds.
type journalKind byte

const (
	journalPiece journalKind = iota
	journalCheckpoint
)

// journalBlock is a block of the journal, taken apart. payload aliases the block.
type journalBlock struct {
	kind          journalKind
	seq           uint64
	piece, pieces uint32
	payload       []byte
}

// isJournal reports whether a block says that it is one of the journal.
func isJournal(p []byte) bool { return string(p[:len(journalMagic)]) == journalMagic }

// parseJournal takes apart a block of the journal that was read at a number.
func parseJournal(block uint64, p []byte) (journalBlock, error) {
	j, at, err := parseJournalAnywhere(p)
	if err == nil && at != block {
		err = fmt.Errorf("%w: a block of the journal that was written at %d", disk.ErrCorrupt, at)
	}
	return j, err
}

// parseJournalAnywhere also returns the number at which the block says it was written.
func parseJournalAnywhere(p []byte) (journalBlock, uint64, error) {
	bad := func(format string, args ...any) (journalBlock, uint64, error) {
		return journalBlock{}, 0, fmt.Errorf("%w: journal: "+format, append([]any{disk.ErrCorrupt}, args...)...)
	}
	if !isJournal(p) {
		return bad("it does not begin with %q", journalMagic[:5])
	}
	if sum := binary.BigEndian.Uint32(p[journalSumAt:]); sum != crc32.Checksum(p[journalSummedAt:], castagnoli) {
		return bad("checksum is wrong")
	}
	if v := p[journalVersionAt]; v != journalVersion {
		return bad("version %d; this program knows version %d", v, journalVersion)
	}
	length := int(binary.BigEndian.Uint16(p[journalLengthAt:]))
	j := journalBlock{
		kind:   journalKind(p[journalKindAt]),
		seq:    binary.BigEndian.Uint64(p[journalSeqAt:]),
		piece:  binary.BigEndian.Uint32(p[journalPieceAt:]),
		pieces: binary.BigEndian.Uint32(p[journalPiecesAt:]),
	}
	switch {
	case length > len(p)-journalHeader:
		return bad("a payload of %d bytes runs past the block", length)
	case j.kind > journalCheckpoint:
		return bad("kind %d", j.kind)
	case j.kind == journalPiece && j.piece >= j.pieces:
		return bad("piece %d of %d", j.piece, j.pieces)
	case j.kind == journalCheckpoint && (j.pieces != 0 || length != replayFromBytes):
		return bad("a checkpoint record of %d bytes, %d pieces", length, j.pieces)
	}
	j.payload = p[journalHeader : journalHeader+length]
	return j, binary.BigEndian.Uint64(p[journalBlockAt:]), nil
}

// replayFrom is what a checkpoint record says: the first block that may have to be replayed.
func (j *journalBlock) replayFrom() uint64 { return binary.BigEndian.Uint64(j.payload) }

// journalWriter puts batches into blocks. It uses the same memory for each.
type journalWriter struct {
	buf    []byte
	blocks [][]byte // of the batch at hand; buf, cut up
}

// payloadBytes is how much a block of the journal holds. The length has two bytes.
func payloadBytes(blockSize int) int { return min(blockSize-journalHeader, 1<<16-1) }

// writeBatch returns the blocks for outcomes, of which the first gets number first; none if there is nothing to
// record. They are valid until the next call.
func (jw *journalWriter) writeBatch(blockSize int, seq, first uint64, outcomes []outcome, overwrites []overwrite) [][]byte {
	e := journalEncoder{buf: jw.buf[:0], blockSize: blockSize, room: payloadBytes(blockSize)}
	for i := range outcomes {
		e.record(&outcomes[i])
	}
	for i := range overwrites {
		e.record(&overwrites[i].outcome)
	}
	e.pad()
	jw.buf = e.buf
	jw.cut(blockSize)
	for i, p := range jw.blocks {
		finishJournal(p, journalPiece, seq, first+uint64(i), i, len(jw.blocks), e.lengthOf(i, len(jw.blocks)))
	}
	return jw.blocks
}

// writeCheckpoint returns the record that goes before a root at number block+1.
func writeCheckpoint(p []byte, seq, block, replayFrom uint64) {
	clear(p)
	binary.BigEndian.PutUint64(p[journalHeader:], replayFrom)
	finishJournal(p, journalCheckpoint, seq, block, 0, 0, replayFromBytes)
}

func (jw *journalWriter) cut(blockSize int) {
	jw.blocks = jw.blocks[:0]
	for at := 0; at < len(jw.buf); at += blockSize {
		jw.blocks = append(jw.blocks, jw.buf[at:at+blockSize])
	}
}

// finishJournal fills in the header of a block.
func finishJournal(p []byte, kind journalKind, seq, block uint64, piece, pieces, length int) {
	copy(p, journalMagic)
	p[journalVersionAt], p[journalKindAt] = journalVersion, byte(kind)
	binary.BigEndian.PutUint64(p[journalSeqAt:], seq)
	binary.BigEndian.PutUint64(p[journalBlockAt:], block)
	binary.BigEndian.PutUint32(p[journalPieceAt:], uint32(piece))
	binary.BigEndian.PutUint32(p[journalPiecesAt:], uint32(pieces))
	binary.BigEndian.PutUint16(p[journalLengthAt:], uint16(length))
	binary.BigEndian.PutUint32(p[journalSumAt:], crc32.Checksum(p[journalSummedAt:], castagnoli))
}

// journalEncoder lays payload out in blocks, leaving room for the headers.
type journalEncoder struct {
	buf       []byte
	blockSize int
	room      int // of a whole block
	left      int // of the block at hand
}

// record adds what became of one key.
func (e *journalEncoder) record(o *outcome) {
	switch o.action {
	case put:
		e.add([]byte{recordSet, byte(len(o.key))})
		e.add(o.key)
		e.add([]byte{byte(len(o.value))})
		e.add(o.value)
	case remove:
		e.add([]byte{recordDelete, byte(len(o.key))})
		e.add(o.key)
	}
}

// logged reports whether the journal has to say something of o.
func (o outcome) logged() bool { return o.action == put || o.action == remove }

func (e *journalEncoder) add(s []byte) {
	for len(s) > 0 {
		if e.left == 0 {
			e.pad()
			e.buf = append(e.buf, make([]byte, journalHeader)...)
			e.left = e.room
		}
		n := min(len(s), e.left)
		e.buf = append(e.buf, s[:n]...)
		s = s[n:]
		e.left -= n
	}
}

// pad fills the block at hand with zeros.
func (e *journalEncoder) pad() {
	if part := len(e.buf) % e.blockSize; part > 0 {
		e.buf = append(e.buf, make([]byte, e.blockSize-part)...)
	}
}

// lengthOf is the length of the payload in block i of n.
func (e *journalEncoder) lengthOf(i, n int) int {
	if i == n-1 {
		return e.room - e.left
	}
	return e.room
}

var errShortRecord = fmt.Errorf("%w: journal: a record runs past the end of its batch", disk.ErrCorrupt)

// cutRecord takes the first record off a payload: a key that was set to value, or is to be deleted.
func cutRecord(b []byte) (key, value []byte, deleted bool, rest []byte, err error) {
	if len(b) < 2 || len(b) < 2+int(b[1]) {
		return nil, nil, false, nil, errShortRecord
	}
	op := b[0]
	key, b = b[2:2+int(b[1])], b[2+int(b[1]):]
	switch op {
	case recordDelete:
		return key, nil, true, b, nil
	case recordSet:
		if len(b) < 1 || len(b) < 1+int(b[0]) {
			return nil, nil, false, nil, errShortRecord
		}
		return key, b[1 : 1+int(b[0])], false, b[1+int(b[0]):], nil
	}
	return nil, nil, false, nil, fmt.Errorf("%w: journal: a record of kind %d", disk.ErrCorrupt, op)
}
