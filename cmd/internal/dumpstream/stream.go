package dumpstream

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"kivaloo"
)

// A stream is the pairs, one after the other, with nothing before, between or after them:
//
//	+---+-------+---+---------+
//	| k |  key  | v |  value  |
//	+---+-------+---+---------+
//	  1   k       1   v          bytes
//
// Either may be empty. Because there is no header and no end mark, streams can be concatenated, and
// a stream cut off between two pairs looks complete.

// Writer is a Sink that writes a stream.
type Writer struct {
	w    *bufio.Writer
	pair []byte // buffer for one pair
}

// NewWriter returns a Writer to w. It writes large pieces.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: bufio.NewWriterSize(w, bufferBytes)}
}

// Put implements Sink.
func (d *Writer) Put(p kivaloo.Pair) error {
	d.pair = append(append(d.pair[:0], byte(len(p.Key))), p.Key...)
	d.pair = append(append(d.pair, byte(len(p.Value))), p.Value...)
	_, err := d.w.Write(d.pair)
	return err
}

// Flush implements Sink.
func (d *Writer) Flush() error { return d.w.Flush() }

// Reader is a Source that reads a stream.
type Reader struct {
	r      *bufio.Reader
	number int64 // of the pair of the last Next, from 1
	start  int64 // offset in the input at which that pair begins
	offset int64 // of the next byte
	key    [kivaloo.MaxLen]byte
	value  [kivaloo.MaxLen]byte
}

// NewReader returns a Reader of r. It reads large pieces.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, bufferBytes)}
}

// errIsBackup means that the input is a backup. It must be refused, because a backup can be read as
// pairs.
var errIsBackup = errors.New("the input is a backup, not a dump: `kivaloo restore FILE DIR` makes a store of it; nothing was stored")

// IsDump reports whether head can be the beginning of a dump. That takes at least two pairs, or all
// there are, in ascending key order.
func IsDump(head []byte) bool {
	d := NewReader(bytes.NewReader(head))
	var last []byte
	for n := 0; ; n++ {
		key, _, err := d.Next()
		switch {
		case err == io.EOF:
			return n > 0
		case err != nil:
			return n >= 2
		case n > 0 && bytes.Compare(last, key) >= 0:
			return false
		}
		last = append(last[:0], key...)
	}
}

// Next implements Source.
func (d *Reader) Next() (key, value []byte, err error) {
	if d.offset == 0 {
		// A shorter input is no backup.
		if head, _ := d.r.Peek(backupHeadBytes); kivaloo.IsBackup(head) {
			return nil, nil, errIsBackup
		}
	}
	d.number, d.start = d.number+1, d.offset
	if key, err = d.field(d.key[:]); err == nil {
		value, err = d.field(d.value[:])
	}
	switch {
	case err == nil:
		return key, value, nil
	case errors.Is(err, io.EOF) && d.offset == d.start:
		return nil, nil, io.EOF
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, nil, fmt.Errorf("the input is cut off: it ends at byte %d, within %s", d.offset, d.Where())
	}
	return nil, nil, fmt.Errorf("reading the input at byte %d, within %s: %w", d.offset, d.Where(), err)
}

// Where implements Source.
func (d *Reader) Where() string {
	return fmt.Sprintf("pair %d at byte %d", d.number, d.start)
}

// field reads a length byte, and that many bytes into buf.
func (d *Reader) field(buf []byte) ([]byte, error) {
	length, err := d.r.ReadByte()
	if err != nil {
		return nil, err
	}
	d.offset++
	n, err := io.ReadFull(d.r, buf[:length])
	d.offset += int64(n)
	return buf[:length], err
}
