package main

import (
	"io"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"kivaloo/stress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every store does what is measured, on a scale that takes no time.
func TestCompare(t *testing.T) {
	var out strings.Builder
	if err := compare(t.Context(), plan{pairs: 5000, rounds: 2, seed: 1}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"5000 pairs of 40+40 bytes", kivalooGet, bboltGet, pebbleIter, "target 1.7: "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report has no %q:\n%s", want, &out)
		}
	}
}

// What a store got wrong would be noticed.
func TestWrongPairsAreNoticed(t *testing.T) {
	pairs := stress.Collect(2000)
	for name, open := range openers {
		t.Run(name, func(t *testing.T) {
			s, err := open(t.TempDir() + "/store")
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			if err := s.load(pairs[:1999]); err != nil {
				t.Fatal(err)
			}
			if s.get(pairs[:1999]) != nil || s.get(pairs[1999:]) == nil {
				t.Error("the pair that is missing is not missed by get, or another is")
			}
			if s.scan(pairs[:1999]) != nil || s.scan(pairs) == nil {
				t.Error("the pair that is missing is not missed by scan, or another is")
			}
		})
	}
}
