package pairtext

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kivaloo"
	"kivaloo/cmd/internal/dumpstream"
)

// anyString returns any key or value, often one with bytes that are special in some format.
func anyString() *rapid.Generator[[]byte] {
	awkward := rapid.SliceOfN(rapid.SampledFrom([]byte(",;\"'\\\r\n\t \x00\x7f\x85\xc2\xff\xed\xa0\x80=#{}[]:u0x")), 0, 12)
	return rapid.OneOf(awkward, rapid.SliceOfN(rapid.Byte(), 0, 255), rapid.Map(rapid.StringN(0, 60, 255), func(s string) []byte { return []byte(s) }))
}

// TestWrittenIsReadBack checks that pairs survive being written and read, in every form.
func TestWrittenIsReadBack(t *testing.T) {
	for name, write := range map[string]func(io.Writer) dumpstream.Sink{
		"JSON":        func(w io.Writer) dumpstream.Sink { return NewJSONWriter(w, false) },
		"JSON in hex": func(w io.Writer) dumpstream.Sink { return NewJSONWriter(w, true) },
		"CSV":         func(w io.Writer) dumpstream.Sink { return NewCSVWriter(w, false) },
		"CSV in hex":  func(w io.Writer) dumpstream.Sink { return NewCSVWriter(w, true) },
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				var written bytes.Buffer
				w := write(&written)
				pairs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) kivaloo.Pair {
					return kivaloo.Pair{Key: anyString().Draw(t, "key"), Value: anyString().Draw(t, "value")}
				}), 0, 5).Draw(t, "pairs")
				for _, p := range pairs {
					if err := w.Put(p); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Flush(); err != nil {
					t.Fatal(err)
				}
				if lines := strings.Count(written.String(), "\n"); lines != len(pairs) && lines != len(pairs)+1 {
					t.Fatalf("%d lines for %d pairs", lines, len(pairs))
				}
				for line := range strings.Lines(written.String()) {
					if strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\r\n\x00") {
						t.Fatalf("a line would be taken for two: %q", line)
					}
				}
				r, err := NewReader(bytes.NewReader(written.Bytes()))
				if err != nil {
					t.Fatalf("%v: %q", err, written.Bytes())
				}
				for _, p := range pairs {
					key, value, err := r.Next()
					if err != nil || !bytes.Equal(key, p.Key) || !bytes.Equal(value, p.Value) {
						t.Fatalf("got %q, %q, %v, want %q, %q from %q", key, value, err, p.Key, p.Value, written.Bytes())
					}
				}
				if _, _, err := r.Next(); err != io.EOF {
					t.Fatalf("behind the last: %v", err)
				}
			})
		})
	}
}

// readAll reads pairs until the end, and returns them as "key=value".
func readAll(input string) (all []string, err error) {
	r, err := NewReader(strings.NewReader(input))
	if err != nil {
		return nil, err
	}
	for {
		key, value, err := r.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, string(key)+"="+string(value))
	}
}

// TestRead reads input from people and other programs. It must be read, or refused with its line
// and a reason.
func TestRead(t *testing.T) {
	for _, tc := range []struct{ input, want, says string }{
		{"", "", ""},
		{"\n\n", "", ""},
		{`{"key":"a","value":"1"}`, "a=1", ""},
		{"\xef\xbb\xbf" + `{ "value_hex" : "31", "key" : "\u00e9" }` + "\r\n\n" + `{"key_hex":"FF","value":""}` + "\n", "é=1 \xff=", ""},
		{`{"key":"a","value":"1"}{"key":"b","value":"2"}`, "", "line 1: there is more than one object in it"},
		{`{"key":"a","value":"1"}` + "\n" + `{"key":"b"}`, "a=1", "line 2: it has neither value nor value_hex"},
		{`{"key":"a","key_hex":"61","value":""}`, "", "line 1: it has both key and key_hex"},
		{`{"key_hex":"6","value":""}`, "", "line 1: key_hex is not in hex"},
		{`{"key":1,"value":""}`, "", "line 1: key is not a string"},
		{`{"key":"a","value":"","time":1}`, "", `line 1: unknown field "time"`},
		{`{"key":"a","key":"b","value":""}`, "", "line 1: it has key twice"},
		{`{"KEY":"a","value":""}`, "", `line 1: unknown field "KEY"`},
		{`{"key":"a","value":null}`, "", "line 1: value is not a string"},
		{`{"key":{"value":"b"},"value":""}`, "", "line 1: key is not a string"},
		{`{"key":"a","value":"b"]`, "", "line 1: invalid character ']'"},
		{`{"key":"a" "value":"b"}`, "", "line 1: invalid character '\"'"},
		{`{"key":"a","value":"b"`, "", "line 1: the object in it does not end"},
		{`{"key":"a","value":"1"}` + "\n[]", "a=1", "line 2: it is not an object"},
		{` [{"key":"a","value":"1"},` + "\n", "", "the input is a JSON array: write each of its objects on a line of its own"},
		{`{"key":"a",` + "\n", "", "line 1: the object in it does not end"},
		{`{"key":"` + "\xff" + `","value":""}`, "", "line 1: it is not UTF-8"},
		{`{"key":"\ud800","value":""}`, "", "line 1: it is not UTF-8"},
		{`{"key":"\ufffd","value":"` + "\ufffd" + `"}`, "\ufffd=\ufffd", ""},
		{`{"key":"` + strings.Repeat("x", maxLineBytes), "", "line 1: it is longer than 65536 bytes"},
		{"key,value\n", "", ""},
		{"key,value\r\na,1\r\n\r\n\"b,\"\"\",\\x00\\t\\\\\r\n", "a=1 b,\"=\x00\t\\", ""},
		{"value_hex,key\n31,a\n", "a=1", ""},
		{"key,value\na\n", "", "line 2: wrong number of fields"},
		{"key,value\na,b,c\n", "", "line 2: wrong number of fields"},
		{"key,value\na,\\q\n", "", "line 2: a backslash in"},
		{"key,value\na,\\\n", "", "line 2: a backslash in"},
		{"key,value\na,\\xg0\n", "", `line 2: "\\xg0" is not \xNN`},
		{"key_hex,value\n6,\n", "", `line 2: "6" is not in hex`},
		{"key,other value\na,b\n", "", "line 1: want the names of two columns"},
		{"key,value\n\"a,b\n", "", `line 2: extraneous or missing " in quoted-field`},
		{"something else\n", "", "the input is neither JSON objects"},
		{"\x01a\x011\x01b\x012", "", "the input is a dump: store its pairs with `kivaloo load`"},
	} {
		got, err := readAll(tc.input)
		if strings.Join(got, " ") != tc.want || (err == nil) != (tc.says == "") || err != nil && !strings.HasPrefix(err.Error(), tc.says) {
			t.Errorf("%q: got %q, %v; want %q, %q", tc.input, got, err, tc.want, tc.says)
		}
	}
}
