package quantile

import (
	"cmp"
	"errors"
	"math"
	"slices"
)

// ErrEmpty means that there are no values.
var ErrEmpty = errors.New("no data")

// Set is a multiset of whole numbers. It is exact up to maxRuns different values. With more, all
// are rounded down to multiples of 2, 4, 8 and so on, until the number of runs has halved. The
// error of a quantile then stays below maximum/2^18. The zero Set is empty and ready for use. It is
// not safe for concurrent use.
//
// Invariants:
//  1. runs ascends strictly and no count is 0.
//  2. Every value in runs is a multiple of 2^shift.
//  3. n is the sum of the counts, plus the length of fresh.
type Set struct {
	runs  []run
	fresh []uint64 // values not yet in runs
	spare []run    // the runs before the last merge, to be overwritten
	n     int
	shift uint
	limit int // of runs; 0 means maxRuns
}

// run is one value with its count.
type run struct {
	value, count uint64
}

// Add adds one value.
func (s *Set) Add(value uint64) {
	if len(s.fresh) == freshValues {
		s.merge()
	}
	s.fresh = append(s.fresh, value)
	s.n++
}

// Len returns how many values have been added.
func (s *Set) Len() int { return s.n }

// Quantile returns the value below which the fraction x, from 0 to 1, of the values lies, by
// Hazen's method: value i of N, counted from 0, stands for the fraction (i+1/2)/N, with linear
// interpolation between values. 0 is the smallest value, 1 the largest. The only error is ErrEmpty.
func (s *Set) Quantile(x float64) (float64, error) {
	if s.n == 0 {
		return 0, ErrEmpty
	}
	s.merge()
	place := float64(s.n)*x + 0.5
	below := math.Floor(place)
	i := int(min(max(below-1, -1), float64(s.n-1)))
	switch {
	case i < 0:
		return float64(s.runs[0].value), nil
	case i >= s.n-1:
		return float64(s.runs[len(s.runs)-1].value), nil
	}
	v, next := s.at(i)
	return v + (place-below)*(next-v), nil
}

// at returns the i-th smallest value and the next one.
func (s *Set) at(i int) (v, next float64) {
	seen := uint64(0)
	for k, r := range s.runs {
		seen += r.count
		switch {
		case uint64(i)+1 < seen:
			return float64(r.value), float64(r.value)
		case uint64(i) < seen:
			return float64(r.value), float64(s.runs[k+1].value)
		}
	}
	panic("quantile: the counts do not add up")
}

// merge moves fresh values into the runs.
func (s *Set) merge() {
	if len(s.fresh) == 0 {
		return
	}
	slices.Sort(s.fresh)
	old, merged := s.runs, s.spare[:0]
	for _, v := range s.fresh {
		v = v >> s.shift << s.shift
		for len(old) > 0 && old[0].value <= v {
			merged = push(merged, old[0])
			old = old[1:]
		}
		merged = push(merged, run{v, 1})
	}
	merged = append(merged, old...)
	s.fresh, s.runs, s.spare = s.fresh[:0], merged, s.runs
	if limit := cmp.Or(s.limit, maxRuns); len(s.runs) > limit {
		s.coarsen(limit / 2)
	}
}

// coarsen rounds the values in the runs down until there are at most most runs.
func (s *Set) coarsen(most int) {
	for len(s.runs) > most {
		s.shift++
		rounded := s.runs[:0]
		for _, r := range s.runs {
			rounded = push(rounded, run{r.value >> s.shift << s.shift, r.count})
		}
		s.runs = rounded
	}
}

// push appends r to runs. Its value must not be below the last one's.
func push(runs []run, r run) []run {
	if last := len(runs) - 1; last >= 0 && runs[last].value == r.value {
		runs[last].count += r.count
		return runs
	}
	return append(runs, r)
}
