package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"kivaloo"
)

// A dump is the pairs of a store in ascending order of their keys, one after the
// other, with nothing in front, between or behind:
//
//	+---+-------+---+---------+
//	| k |  key  | v |  value  |
//	+---+-------+---+---------+
//	  1   k       1   v          bytes
//
// Either may be empty. That there is no header and no end mark means that dumps can
// be concatenated, and that one which is cut off between two pairs looks whole.

// appendDumped appends p as it stands in a dump.
func appendDumped(dst []byte, p kivaloo.Pair) []byte {
	dst = append(append(dst, byte(len(p.Key))), p.Key...)
	return append(append(dst, byte(len(p.Value))), p.Value...)
}

// pairReader reads a dump.
type pairReader struct {
	r      *bufio.Reader
	pairs  int64 // that have been read whole
	number int64 // of the pair that next was asked for last, from 1
	start  int64 // offset in the input at which that pair begins
	offset int64 // of what comes next
	key    [kivaloo.MaxLen]byte
	value  [kivaloo.MaxLen]byte
}

func newPairReader(r io.Reader) *pairReader {
	return &pairReader{r: bufio.NewReaderSize(r, streamBufferBytes)}
}

// next returns a pair, which is valid until the next call, or io.EOF if the input
// ends where a pair may end.
func (d *pairReader) next() (key, value []byte, err error) {
	d.number, d.start = d.pairs+1, d.offset
	if key, err = d.field(d.key[:]); err == nil {
		value, err = d.field(d.value[:])
	}
	switch {
	case err == nil:
		d.pairs++
		return key, value, nil
	case errors.Is(err, io.EOF) && d.offset == d.start:
		return nil, nil, io.EOF
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, nil, fmt.Errorf("the input is cut off: it ends at byte %d, within %s", d.offset, d.where())
	}
	return nil, nil, fmt.Errorf("reading the input at byte %d, within %s: %w", d.offset, d.where(), err)
}

// where names the pair that next was asked for last, for errors.
func (d *pairReader) where() string {
	return fmt.Sprintf("pair %d, which begins at byte %d", d.number, d.start)
}

// field reads a length and as many bytes into buf.
func (d *pairReader) field(buf []byte) ([]byte, error) {
	length, err := d.r.ReadByte()
	if err != nil {
		return nil, err
	}
	d.offset++
	n, err := io.ReadFull(d.r, buf[:length])
	d.offset += int64(n)
	return buf[:length], err
}
