package stress

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestScanEnd(t *testing.T) {
	const total = 1000
	inside := 0
	for n := range uint64(total) {
		start, end := string(appendKey(nil, n)), string(appendEnd(nil, lastOfScan(n, 50, total)))
		if end <= start {
			t.Fatalf("range from %s to %s", start, end)
		}
		for i := range uint64(total) {
			if key := string(appendKey(nil, i)); start <= key && key < end {
				inside++
			}
		}
	}
	if mean := float64(inside) / total; mean < 46 || mean > 52 {
		t.Errorf("a range for 50 records has %.1f on the average", mean)
	}
}

func TestPlaceOf(t *testing.T) {
	for _, place := range []uint64{0, 1, mix64(5), math.MaxUint64} {
		if got, ok := placeOf(appendKeyAt(nil, place)); got != place || !ok {
			t.Errorf("place %x: %x %t", place, got, ok)
		}
	}
	for _, key := range []string{"", "user", "user00000000000000g0", "used0000000000000000", "user00000000000000000"} {
		if place, ok := placeOf([]byte(key)); ok {
			t.Errorf("%q has place %x", key, place)
		}
	}
}

func TestIndex(t *testing.T) {
	for _, n := range []uint64{1, 31, 32, 1000} {
		x := newIndex(n)
		x.add(n)
		for _, r := range [][2]uint64{{0, math.MaxUint64}, {mix64(0), mix64(0)}, {mix64(0) + 1, math.MaxUint64}, {1 << 62, 1 << 63}} {
			var want []uint64
			for i := range n + 1 {
				if place := mix64(i); place >= r[0] && place <= r[1] {
					want = append(want, place)
				}
			}
			slices.Sort(want)
			var got []uint64
			for _, w := range x.appendWithin(nil, r[0], r[1]) {
				got = append(got, w.place)
				if mix64(w.n) != w.place {
					t.Errorf("record %d is at %x", w.n, w.place)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%d records, from %x to %x: %x, want %x", n+1, r[0], r[1], got, want)
			}
		}
	}
}

// TestRangeCheck checks answers to a range over ten records. One of them is deleted, one written,
// and one is being inserted.
func TestRangeCheck(t *testing.T) {
	const run, other, loaded, size = 1, 2, 10, 50
	const deleted, written, inserting, inserted, deleting = 3, 4, 10, 11, 5
	l := newLedger(run, loaded)
	for n, version := range map[uint64]uint32{deleted: 1, written: 2, inserted: 1} {
		l.entry(n).issued.Store(version)
		l.entry(n).acked.Store(version)
	}
	l.entry(deleted).removed.Store(1)
	l.index.add(inserting)
	l.index.add(inserted)
	type pair struct{ n, run, version uint64 }
	good := func() (pairs []pair) {
		for n := range uint64(inserted + 1) {
			switch n {
			case deleted, inserting:
			case written:
				pairs = append(pairs, pair{n, run, 2})
			case inserted:
				pairs = append(pairs, pair{n, run, 1})
			default:
				pairs = append(pairs, pair{n, other, 77})
			}
		}
		return pairs
	}
	without := func(n uint64) []pair { return slices.DeleteFunc(good(), func(p pair) bool { return p.n == n }) }
	with := func(p pair) []pair { return append(without(p.n), p) }
	for name, c := range map[string]struct {
		answer []pair
		during func() // while the range is under way
		want   string // part of the finding; "": there must be none
	}{
		"right":                           {answer: good()},
		"with what is being inserted":     {answer: with(pair{inserting, run, 1}), during: func() { l.entry(inserting).issued.Store(1) }},
		"without what is being deleted":   {answer: without(deleting), during: func() { l.entry(deleting).issued.Store(1); l.entry(deleting).removed.Store(1) }},
		"with what nobody knows":          {answer: with(pair{500, other, 1})},
		"without a loaded record":         {answer: without(0), want: "record 0 is absent"},
		"without a written one":           {answer: without(written), want: "record 4 is absent, want version 2"},
		"without an inserted one":         {answer: without(inserted), want: "record 11 is absent, want version 1"},
		"with an old version":             {answer: with(pair{written, run, 1}), want: "has version 1, want 2 to 2"},
		"with what was before the run":    {answer: with(pair{written, other, 1}), want: "has a value of another run"},
		"with a version of the future":    {answer: with(pair{6, run, 1}), want: "has version 1, want 0 to 0"},
		"with a record of the future":     {answer: with(pair{maxRecords, run, 1}), want: "was never written"},
		"with nothing":                    {want: "is absent"},
		"with a deleted one, as it was":   {answer: with(pair{deleted, other, 77}), want: "has a value of another run"},
		"with a record that is not there": {answer: with(pair{900, run, 1}), want: "has version 1, want 0 to 0"},
	} {
		var findings []string
		judge := func(err error) {
			if err != nil {
				findings = append(findings, err.Error())
				if !errors.Is(err, ErrVerify) {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		check := rangeCheck{ledger: l, judge: judge, scratch: make([]byte, 0, 100)}
		check.begin(0, math.MaxUint64)
		if c.during != nil {
			c.during()
		}
		slices.SortFunc(c.answer, func(a, b pair) int { return slices.Compare(appendKey(nil, a.n), appendKey(nil, b.n)) })
		for _, p := range c.answer {
			check.pair(appendKey(nil, p.n), appendValue(nil, p.n, p.run, uint32(p.version), size))
		}
		check.end()
		switch {
		case c.want == "" && len(findings) > 0:
			t.Errorf("%s: %q", name, findings)
		case c.want != "" && (len(findings) == 0 || !strings.Contains(strings.Join(findings, "\n"), c.want)):
			t.Errorf("%s: %q, want %q", name, findings, c.want)
		}
		for _, n := range []uint64{inserting, deleting} {
			l.entry(n).issued.Store(0)
			l.entry(n).removed.Store(0)
		}
	}
}

// TestRangeCheckOfKeys checks keys that cannot be in an answer, and values that cannot belong to
// their keys.
func TestRangeCheckOfKeys(t *testing.T) {
	value := func(n uint64) []byte { return appendValue(nil, n, 2, 1, 50) }
	const first, last = 1 << 60, 1 << 61
	for name, feed := range map[string]func(c *rangeCheck){
		"out of order or outside": func(c *rangeCheck) { c.pair(appendKeyAt(nil, first-1), value(1)) },
		"out of order":            func(c *rangeCheck) { c.pair(appendKeyAt(nil, last+1), value(1)) },
		`key "other"`:             func(c *rangeCheck) { c.pair([]byte("other"), value(1)) },
		"has the value of":        func(c *rangeCheck) { c.pair(appendKeyAt(nil, first), value(1)) },
		"is not a value":          func(c *rangeCheck) { c.pair(appendKeyAt(nil, first), nil) },
		"order or outside": func(c *rangeCheck) {
			c.reached, c.place = true, first
			c.pair(appendKeyAt(nil, first), value(1))
		},
	} {
		var found []string
		c := rangeCheck{ledger: newLedger(1, 1), scratch: make([]byte, 0, 100), judge: func(err error) {
			if err != nil {
				found = append(found, err.Error())
			}
		}}
		c.begin(first, last)
		feed(&c)
		c.end()
		if len(found) != 1 || !strings.Contains(found[0], name) {
			t.Errorf("%s: found %q", name, found)
		}
	}
}
