package pairtext

import (
	"bufio"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"kivaloo"
)

// Names of the columns. The first line has one name for the key and one for the value, in either
// order.
const (
	keyColumn      = "key" // as escaped text
	keyHexColumn   = "key_hex"
	valueColumn    = "value"
	valueHexColumn = "value_hex"
)

// CSVWriter writes pairs as rows, after a row with the names of the columns.
type CSVWriter struct {
	out   *bufio.Writer
	rows  *csv.Writer
	inHex bool
	begun bool
	row   [2]string
}

// NewCSVWriter returns a CSVWriter to w. With inHex it writes everything in hex.
func NewCSVWriter(w io.Writer, inHex bool) *CSVWriter {
	out := bufio.NewWriterSize(w, bufferBytes)
	return &CSVWriter{out: out, rows: csv.NewWriter(out), inHex: inHex}
}

func (w *CSVWriter) begin() error {
	if w.begun {
		return nil
	}
	w.begun = true
	if w.inHex {
		return w.rows.Write([]string{keyHexColumn, valueHexColumn})
	}
	return w.rows.Write([]string{keyColumn, valueColumn})
}

// Put implements dumpstream.Sink.
func (w *CSVWriter) Put(p kivaloo.Pair) error {
	if err := w.begin(); err != nil {
		return err
	}
	for i, b := range [][]byte{p.Key, p.Value} {
		if w.inHex {
			w.row[i] = hex.EncodeToString(b)
		} else {
			w.row[i] = string(AppendString(nil, b))
		}
	}
	return w.rows.Write(w.row[:])
}

// Flush implements dumpstream.Sink.
func (w *CSVWriter) Flush() error {
	err := w.begin()
	w.rows.Flush()
	return errors.Join(err, w.rows.Error(), w.out.Flush())
}

// csvReader reads the output of a CSVWriter.
type csvReader struct {
	rows       *csv.Reader
	parse      [2]func(string) ([]byte, error)
	key, value int // their columns; equal until the names have been read
	line       int
}

func newCSVReader(r io.Reader) *csvReader {
	rows := csv.NewReader(r)
	rows.FieldsPerRecord, rows.ReuseRecord = 2, true
	return &csvReader{rows: rows}
}

// Where implements dumpstream.Source.
func (r *csvReader) Where() string { return fmt.Sprintf("line %d", r.line) }

// Next implements dumpstream.Source.
func (r *csvReader) Next() (key, value []byte, err error) {
	if r.key == r.value {
		if err := r.header(); err != nil {
			return nil, nil, err
		}
	}
	row, err := r.read()
	if err != nil {
		return nil, nil, err
	}
	if key, err = r.parse[r.key](row[r.key]); err == nil {
		value, err = r.parse[r.value](row[r.value])
	}
	if err != nil {
		return nil, nil, fmt.Errorf("line %d: %w", r.line, err)
	}
	return key, value, nil
}

// read returns the next row.
func (r *csvReader) read() ([]string, error) {
	row, err := r.rows.Read()
	var wrong *csv.ParseError
	switch {
	case errors.As(err, &wrong):
		r.line = wrong.Line
		return nil, fmt.Errorf("line %d: %w", wrong.Line, wrong.Err)
	case err != nil:
		return nil, err
	}
	r.line, _ = r.rows.FieldPos(0)
	return row, nil
}

// header reads the names of the columns.
func (r *csvReader) header() error {
	row, err := r.read()
	if err != nil {
		return err
	}
	key, value := -1, -1
	for i, name := range row {
		r.parse[i] = ParseString
		switch strings.TrimSpace(name) {
		case keyColumn:
			key = i
		case keyHexColumn:
			key, r.parse[i] = i, parseHex
		case valueColumn:
			value = i
		case valueHexColumn:
			value, r.parse[i] = i, parseHex
		}
	}
	if key < 0 || value < 0 {
		return fmt.Errorf("line %d: want the names of two columns, key or key_hex and value or value_hex", r.line)
	}
	r.key, r.value = key, value
	return nil
}

func parseHex(s string) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%q is not in hex", s)
	}
	return b, nil
}
