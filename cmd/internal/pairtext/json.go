package pairtext

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"kivaloo"
)

// Object is a pair as a JSON object. A key or value that is not UTF-8 uses its second field, in
// hex.
type Object struct {
	Key      *string `json:"key,omitempty"`
	KeyHex   *string `json:"key_hex,omitempty"`
	Value    *string `json:"value,omitempty"`
	ValueHex *string `json:"value_hex,omitempty"`
}

// KeyObject returns the object for a key alone.
func KeyObject(key []byte, inHex bool) (o Object) {
	o.Key, o.KeyHex = Field(key, inHex)
	return o
}

// PairObject returns the object of a pair.
func PairObject(p kivaloo.Pair, inHex bool) Object {
	o := KeyObject(p.Key, inHex)
	o.Value, o.ValueHex = Field(p.Value, inHex)
	return o
}

// Field returns b as a string if it is UTF-8. Otherwise, or if always is set, it returns b in hex.
func Field(b []byte, always bool) (text, inHex *string) {
	if always || !utf8.Valid(b) {
		s := hex.EncodeToString(b)
		return nil, &s
	}
	s := string(b)
	return &s, nil
}

// JSONWriter writes pairs as objects, one per line.
type JSONWriter struct {
	out     *bufio.Writer
	objects *json.Encoder
	inHex   bool
}

// NewJSONWriter returns a JSONWriter to w. With inHex it writes everything in hex.
func NewJSONWriter(w io.Writer, inHex bool) *JSONWriter {
	out := bufio.NewWriterSize(w, bufferBytes)
	objects := json.NewEncoder(out)
	objects.SetEscapeHTML(false)
	return &JSONWriter{out, objects, inHex}
}

// Put implements dumpstream.Sink.
func (w *JSONWriter) Put(p kivaloo.Pair) error { return w.objects.Encode(PairObject(p, w.inHex)) }

// Flush implements dumpstream.Sink.
func (w *JSONWriter) Flush() error { return w.out.Flush() }

// jsonReader reads the output of a JSONWriter.
type jsonReader struct {
	lines *bufio.Scanner
	line  int64
}

func newJSONReader(r io.Reader) *jsonReader {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLineBytes)
	return &jsonReader{lines: lines}
}

// Where implements dumpstream.Source.
func (r *jsonReader) Where() string { return fmt.Sprintf("line %d", r.line) }

// Next implements dumpstream.Source. It skips empty lines.
func (r *jsonReader) Next() (key, value []byte, err error) {
	for {
		r.line++
		if !r.lines.Scan() {
			break
		}
		if line := bytes.TrimSpace(r.lines.Bytes()); len(line) > 0 {
			key, value, err = parseObject(line)
			return key, value, r.at(err)
		}
	}
	switch err := r.lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, nil, r.at(fmt.Errorf("it is longer than %d bytes", maxLineBytes))
	case err != nil:
		return nil, nil, r.at(err)
	}
	return nil, nil, io.EOF
}

func (r *jsonReader) at(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("line %d: %w", r.line, err)
}

var errNotUTF8 = errors.New("it is not UTF-8: use key_hex and value_hex")

// parseObject parses a pair in one line.
func parseObject(line []byte) (key, value []byte, err error) {
	if !utf8.Valid(line) {
		return nil, nil, errNotUTF8 // otherwise the library would replace invalid bytes
	}
	in := json.NewDecoder(bytes.NewReader(line))
	fields, err := readFields(in)
	if err != nil {
		return nil, nil, explainJSON(err)
	}
	if in.InputOffset() < int64(len(line)) {
		return nil, nil, errors.New("there is more than one object in it")
	}
	if key, err = field(line, fields, "key"); err == nil {
		value, err = field(line, fields, "value")
	}
	return key, value, err
}

// readFields reads one object. The library would read it into an Object, but ignores the case of
// names, and takes the last of several fields with the same name.
func readFields(in *json.Decoder) (map[string]string, error) {
	if begin, err := in.Token(); err != nil || begin != json.Delim('{') {
		return nil, cmp.Or(err, errors.New("it is not an object"))
	}
	fields := map[string]string{}
	for in.More() {
		name, err := in.Token()
		if err != nil {
			return nil, err
		}
		text, _ := name.(string)
		_, again := fields[text]
		switch {
		case again:
			return nil, fmt.Errorf("it has %s twice", text)
		case text != "key" && text != "key_hex" && text != "value" && text != "value_hex":
			return nil, fmt.Errorf("unknown field %q", text)
		}
		value, err := in.Token()
		if err != nil {
			return nil, err
		}
		var ok bool
		if fields[text], ok = value.(string); !ok {
			return nil, fmt.Errorf("%s is not a string", text)
		}
	}
	_, err := in.Token()
	return fields, err
}

// field decodes a key or a value.
func field(line []byte, fields map[string]string, name string) ([]byte, error) {
	text, plain := fields[name]
	digits, inHex := fields[name+"_hex"]
	switch {
	case plain && inHex:
		return nil, fmt.Errorf("it has both %s and %s_hex", name, name)
	case inHex:
		b, err := hex.DecodeString(digits)
		if err != nil {
			return nil, fmt.Errorf("%s_hex is not in hex", name)
		}
		return b, nil
	case !plain:
		return nil, fmt.Errorf("it has neither %s nor %s_hex", name, name)
	}
	// The library replaces half a surrogate pair by the replacement character.
	if strings.ContainsRune(text, utf8.RuneError) && !bytes.ContainsRune(line, utf8.RuneError) && !bytes.Contains(bytes.ToLower(line), []byte(`\ufffd`)) {
		return nil, errNotUTF8
	}
	return []byte(text), nil
}

// explainJSON says what is wrong if an object is not complete.
func explainJSON(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the object in it does not end")
	}
	return err
}
