package kivaloo

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"iter"

	"kivaloo/wire"
)

// A backup is a header, chunks of pairs in ascending order of the keys, and a trailer. Integers are
// unsigned and big-endian.
//
//	 0          8         12         20    24
//	+----------+---------+----------+-----+
//	| KVBACKUP | 1       | snapshot | CRC |                        header
//	+----------+---------+----------+-----+
//	  magic      version   u64
//
//	+---+------------------------------------------+-----+
//	| L | L bytes: length, key, length, value, ... | CRC |       chunk, any number; L > 0
//	+---+------------------------------------------+-----+
//
//	+---+-------+---------+
//	| 0 | pairs | SHA-256 |                                      trailer
//	+---+-------+---------+
//	  u32 u64     32 bytes, of all that is before
//
// L and CRC are u32; a CRC is CRC-32C of the header, or of the chunk, up to it. The checksum at the
// end is another kind on purpose: a CRC over parts that each end in their own CRC depends on their
// lengths alone.
//
// The trailer makes a backup complete: whatever is cut off, it is missed. Until it is written a
// backup can be continued, after the last whole chunk, from the snapshot that the server calls so.
// It is 0 if there is none.

const (
	backupMagic   = "KVBACKUP"
	backupVersion = 1

	backupHeaderLen  = 8 + 4 + 8 + 4
	backupTrailerLen = 4 + 8 + sha256.Size
)

// ErrBadBackup means that the input is no backup, is damaged, or ends too early. It is wrapped.
var ErrBadBackup = errors.New("bad backup")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendBackupHeader(dst []byte, snapshot uint64) []byte {
	start := len(dst)
	dst = append(dst, backupMagic...)
	dst = binary.BigEndian.AppendUint32(dst, backupVersion)
	dst = binary.BigEndian.AppendUint64(dst, snapshot)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// IsBackup reports whether head begins a backup of any version, complete or not. A dump begins like
// that only if its first key has 75 bytes and begins with the rest of the name and three zeros.
func IsBackup(head []byte) bool {
	return bytes.HasPrefix(head, []byte(backupMagic+"\x00\x00\x00"))
}

// parseBackupHeader parses the header in b, which has exactly its length.
func parseBackupHeader(b []byte) (snapshot uint64, err error) {
	version := binary.BigEndian.Uint32(b[8:])
	sum := binary.BigEndian.Uint32(b[backupHeaderLen-4:])
	switch {
	case string(b[:8]) != backupMagic:
		return 0, fmt.Errorf("%w: it does not begin as a backup does", ErrBadBackup)
	case sum != crc32.Checksum(b[:backupHeaderLen-4], castagnoli):
		return 0, fmt.Errorf("%w: wrong checksum of the header", ErrBadBackup)
	case version != backupVersion:
		return 0, fmt.Errorf("%w: it has version %d, and only version %d can be read", ErrBadBackup, version, backupVersion)
	}
	return binary.BigEndian.Uint64(b[12:]), nil
}

// backupWriter writes a backup. After an error it is unusable.
type backupWriter struct {
	w     io.Writer
	sum   hash.Hash // of everything written
	pairs uint64    // number written
	bytes int64     // number written
	last  []byte    // the last key written
	chunk []byte    // buffer for one chunk
}

// newBackupWriter begins a backup.
func newBackupWriter(w io.Writer, snapshot uint64) (*backupWriter, error) {
	b := &backupWriter{w: w, sum: sha256.New()}
	return b, b.write(appendBackupHeader(nil, snapshot))
}

// newBackupWriterAt continues the backup in which p was found. It takes over p's sum.
func newBackupWriterAt(w io.Writer, p *BackupPosition) *backupWriter {
	_, last, _ := countPairs(p.chunk, nil, true) // it was read without an error
	return &backupWriter{w: w, sum: p.sum, pairs: p.pairs, bytes: p.offset, last: bytes.Clone(last)}
}

func (b *backupWriter) write(p []byte) error {
	if _, err := b.w.Write(p); err != nil {
		return fmt.Errorf("writing the backup: %w", err)
	}
	b.sum.Write(p)
	b.bytes += int64(len(p))
	return nil
}

// put writes a chunk of pairs, of at most maxBackupChunkBytes. It refuses pairs that are malformed
// or do not come after all earlier ones.
func (b *backupWriter) put(pairs []byte) error {
	if len(pairs) == 0 {
		return nil
	}
	n, last, err := countPairs(pairs, b.last, b.pairs == 0)
	if err != nil {
		return err
	}
	b.chunk = binary.BigEndian.AppendUint32(b.chunk[:0], uint32(len(pairs)))
	b.chunk = append(b.chunk, pairs...)
	b.chunk = binary.BigEndian.AppendUint32(b.chunk, crc32.Checksum(b.chunk, castagnoli))
	if err := b.write(b.chunk); err != nil {
		return err
	}
	b.pairs += uint64(n)
	b.last = append(b.last[:0], last...)
	return nil
}

// countPairs returns the number of pairs and the last key. The keys must ascend, and come after
// last unless first is set.
func countPairs(pairs, last []byte, first bool) (n int, end []byte, err error) {
	for rest := pairs; len(rest) > 0; n++ {
		key, _, tail, err := wire.CutPair(rest)
		switch {
		case err != nil:
			return 0, nil, err
		case !first && bytes.Compare(key, last) <= 0:
			return 0, nil, fmt.Errorf("key %q out of order", key)
		}
		last, first, rest = key, false, tail
	}
	return n, last, nil
}

// finish writes the trailer.
func (b *backupWriter) finish() error {
	trailer := binary.BigEndian.AppendUint64(make([]byte, 4, backupTrailerLen), b.pairs)
	b.sum.Write(trailer)
	return b.write(b.sum.Sum(trailer))
}

// backupReader reads and checks a backup. What next returns is in order and undamaged, but the
// backup is only known to be complete after io.EOF.
type backupReader struct {
	snapshot uint64
	r        *bufio.Reader
	sum      hash.Hash // of the header and all whole chunks
	pairs    uint64    // in these chunks
	bytes    int64     // of header and chunks; after io.EOF, of everything
	chunk    []byte    // the current chunk, with its length and checksum
	last     []byte    // the last key
}

// newBackupReader reads the header of a backup.
func newBackupReader(r io.Reader) (*backupReader, error) {
	b := &backupReader{r: bufio.NewReaderSize(r, readBufferBytes), sum: sha256.New()}
	head := make([]byte, backupHeaderLen)
	if err := b.read(head, "the header"); err != nil {
		return nil, err
	}
	var err error
	if b.snapshot, err = parseBackupHeader(head); err != nil {
		return nil, err
	}
	b.sum.Write(head)
	b.bytes = backupHeaderLen
	return b, nil
}

// read fills p. what names the part of the backup, for errors.
func (b *backupReader) read(p []byte, what string) error {
	_, err := io.ReadFull(b.r, p)
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it is incomplete: it ends within %s, behind byte %d: %w", ErrBadBackup, what, b.bytes, io.ErrUnexpectedEOF)
	}
	if err != nil {
		return fmt.Errorf("reading the backup: %w", err)
	}
	return nil
}

// next returns the pairs of the next chunk, valid until the next call, and their number. It returns
// io.EOF at the end of a complete backup without a fault.
func (b *backupReader) next() (pairs []byte, n int, err error) {
	b.chunk = append(b.chunk[:0], 0, 0, 0, 0)
	if err := b.read(b.chunk, "a chunk or the trailer"); err != nil {
		return nil, 0, err
	}
	length := binary.BigEndian.Uint32(b.chunk)
	if length == 0 {
		return nil, 0, b.end()
	}
	if length > maxBackupChunkBytes {
		return nil, 0, fmt.Errorf("%w: chunk of %d bytes at byte %d", ErrBadBackup, length, b.bytes)
	}
	if want := 4 + int(length) + 4; cap(b.chunk) < want {
		b.chunk = append(make([]byte, 0, want), b.chunk...)
	}
	b.chunk = b.chunk[:4+length+4]
	if err := b.read(b.chunk[4:], "a chunk"); err != nil {
		return nil, 0, err
	}
	body, sum := b.chunk[:4+length], b.chunk[4+length:]
	if binary.BigEndian.Uint32(sum) != crc32.Checksum(body, castagnoli) {
		return nil, 0, fmt.Errorf("%w: wrong checksum of the chunk at byte %d", ErrBadBackup, b.bytes)
	}
	pairs = body[4:]
	n, last, err := countPairs(pairs, b.last, b.pairs == 0)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: chunk at byte %d: %w", ErrBadBackup, b.bytes, err)
	}
	b.last = append(b.last[:0], last...)
	b.sum.Write(b.chunk)
	b.pairs += uint64(n)
	b.bytes += int64(len(b.chunk))
	return pairs, n, nil
}

// all returns the remaining pairs, each valid until the loop continues. An error comes last, unless
// the backup was complete and without a fault. progress is called after each chunk.
func (b *backupReader) all(progress func(pairs uint64, bytes int64)) iter.Seq2[Pair, error] {
	return func(yield func(Pair, error) bool) {
		for {
			pairs, _, err := b.next()
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(Pair{}, err)
				return
			}
			for len(pairs) > 0 {
				var p Pair
				p.Key, pairs = cutString(pairs, nil) // next has checked them
				p.Value, pairs = cutString(pairs, nil)
				if !yield(p, nil) {
					return
				}
			}
			progress(b.pairs, b.bytes)
		}
	}
}

// end reads the rest of the trailer after its first four bytes. It returns io.EOF if the trailer is
// right.
func (b *backupReader) end() error {
	rest := make([]byte, backupTrailerLen-4)
	if err := b.read(rest, "the trailer"); err != nil {
		return err
	}
	pairs, sum := rest[:8], rest[8:]
	b.sum.Write(append(b.chunk, pairs...)) // b.chunk is the length, which is 0
	switch {
	case !bytes.Equal(b.sum.Sum(nil), sum):
		return fmt.Errorf("%w: wrong checksum of the whole", ErrBadBackup)
	case binary.BigEndian.Uint64(pairs) != b.pairs:
		return fmt.Errorf("%w: it has %d pairs, but its end says %d", ErrBadBackup, b.pairs, binary.BigEndian.Uint64(pairs))
	}
	if _, err := b.r.ReadByte(); err == nil {
		return fmt.Errorf("%w: something follows the end", ErrBadBackup)
	} else if err != io.EOF {
		return fmt.Errorf("reading the backup: %w", err)
	}
	b.bytes += backupTrailerLen
	return io.EOF
}
