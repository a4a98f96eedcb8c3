package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestRange(t *testing.T) {
	s := startFake(t, "a=1", "b=tab\tline\nreturn\rback\\slash", "c=\x00\x1b[31m\u0085\u202e\u2028", "d=\xff<&é", "\xfe=x")
	t.Setenv(addrVariable, s.addr)
	for args, want := range map[string]string{
		"range a b":                  "a\t1\n",
		"range b c":                  `b` + "\t" + `tab\tline\nreturn\rback\\slash` + "\n",
		"range c d":                  `c` + "\t" + `\x00\x1b[31m\xc2\x85\xe2\x80\xae\xe2\x80\xa8` + "\n",
		"range d e":                  `d` + "\t" + `\xff<&é` + "\n",
		"range e":                    `\xfe` + "\tx\n",
		"range --keys-only":          "a\nb\nc\nd\n\\xfe\n",
		"range -k --limit 2":         "a\nb\n",
		"range -k -n 2 c":            "c\nd\n",
		"range -k b c":               "b\n",
		"range c b":                  "",
		"range b b":                  "",
		"range --hex 61 62":          "61\t31\n",
		"range --hex --keys-only fe": "fe\n",
		"range --json a b":           `{"key":"a","value":"1"}` + "\n",
		"range --json d":             `{"key":"d","value_hex":"ff3c26c3a9"}` + "\n" + `{"key_hex":"fe","value":"x"}` + "\n",
		"range --json -k d":          `{"key":"d"}` + "\n" + `{"key_hex":"fe"}` + "\n",
		"range --json --hex 61 62":   `{"key_hex":"61","value_hex":"31"}` + "\n",
	} {
		t.Run(args, func(t *testing.T) { kivalooRun("", strings.Fields(args)...).want(t, 0, want, "") })
	}
	kivalooRun("", "range", "--hex", "--prefix", "fe").want(t, 0, "fe\t78\n", "")
	kivalooRun("", "range", "--prefix", "b", "a").want(t, 0, kivalooRun("", "range", "b", "c").out, "")
	kivalooRun("", "range", "", "b").want(t, 0, "a\t1\n", "")
	kivalooRun("", "range", "e", "").want(t, 0, "\\xfe\tx\n", "")
	kivalooRun("", "range", "--hex", "6").want(t, 1, "", `START "6" is not in hex`)
}

// TestRangeJSONReadsBack checks that empty strings are present and that text is read back
// unchanged.
func TestRangeJSONReadsBack(t *testing.T) {
	text := "<a href=\"x\">&\u2028\x01\\"
	s := startFake(t, "=", "k="+text)
	r := kivalooRun("", "range", "--json", "--addr", s.addr)
	r.want(t, 0, r.out, "")
	lines := strings.Split(r.out, "\n")
	if lines[0] != `{"key":"","value":""}` {
		t.Errorf("got %s", lines[0])
	}
	var got struct{ Key, Value string }
	if err := json.Unmarshal([]byte(lines[1]), &got); err != nil || got.Value != text || strings.Contains(lines[1], `\u003c`) {
		t.Errorf("got %s, %v", lines[1], err)
	}
}

func TestRangeLong(t *testing.T) {
	s := startFake(t)
	s.Replace(numbered(5000, func(int) string { return "v" }))
	var want strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&want, "%05d\tv\n", i)
	}
	kivalooRun("", "range", "--addr", s.addr).want(t, 0, want.String(), "")
}
