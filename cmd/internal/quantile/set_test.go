package quantile

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestQuantiles adds values step by step, and checks the answers after each step.
func TestQuantiles(t *testing.T) {
	var s Set
	fractions := []float64{0, 0.25, 0.5, 0.75, 1}
	for _, step := range []struct {
		add  []uint64
		want []float64 // for fractions
	}{
		{[]uint64{2}, []float64{2, 2, 2, 2, 2}},
		{[]uint64{1}, []float64{1, 1, 1.5, 2, 2}},
		{[]uint64{1}, []float64{1, 1, 1, 1.75, 2}},
		{[]uint64{3, 4, 5}, []float64{1, 1, 2.5, 4, 5}},
		{[]uint64{5}, []float64{1, 1.25, 3, 4.75, 5}},
	} {
		for _, v := range step.add {
			s.Add(v)
		}
		for range 2 { // asking changes nothing
			for i, x := range fractions {
				if got, err := s.Quantile(x); err != nil || got != step.want[i] {
					t.Errorf("after %v, of %d: %v is %v, %v; want %v", step.add, s.Len(), x, got, err, step.want[i])
				}
			}
		}
	}
}

func TestEmpty(t *testing.T) {
	var s Set
	for _, x := range []float64{0, 0.5, 1} {
		if v, err := s.Quantile(x); !errors.Is(err, ErrEmpty) {
			t.Errorf("%v of nothing: %v, %v", x, v, err)
		}
	}
}

// hazen is the definition, applied to all values.
func hazen(values []uint64, x float64) float64 {
	slices.Sort(values)
	q := float64(len(values)) * x
	i := int(math.Floor(q+0.5)) - 1
	r := (q + 0.5) - float64(i+1)
	switch {
	case i < 0:
		return float64(values[0])
	case i >= len(values)-1:
		return float64(values[len(values)-1])
	}
	return float64(values[i]) + r*(float64(values[i+1])-float64(values[i]))
}

// TestDefinition compares with the definition, in whatever order the values come, and whether or
// not a question was asked in between.
func TestDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Set
		var values []uint64
		most := rapid.SampledFrom([]uint64{3, 100, 1 << 40}).Draw(t, "most")
		for range rapid.IntRange(1, 3).Draw(t, "rounds") {
			n := rapid.IntRange(1, freshValues+100).Draw(t, "n")
			rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
			for range n {
				v := rng.Uint64N(most)
				s.Add(v)
				values = append(values, v)
			}
			for _, x := range []float64{0, 0.01, 0.5, 0.99, 1, rapid.Float64Range(0, 1).Draw(t, "x")} {
				if got, err := s.Quantile(x); err != nil || got != hazen(values, x) {
					t.Fatalf("%v of %d: %v, %v; want %v", x, len(values), got, err, hazen(values, x))
				}
			}
		}
		check(t, &s)
	})
}

// check checks the invariants.
func check(t interface{ Fatalf(string, ...any) }, s *Set) {
	n := uint64(len(s.fresh))
	for i, r := range s.runs {
		if r.count == 0 || i > 0 && s.runs[i-1].value >= r.value || r.value>>s.shift<<s.shift != r.value {
			t.Fatalf("run %d: %+v, shift %d", i, r, s.shift)
		}
		n += r.count
	}
	if n != uint64(s.n) {
		t.Fatalf("%d values, the counts are %d", s.n, n)
	}
}

// TestManyDifferentValues checks that with too many different values, memory stays bounded and the
// answers stay close.
func TestManyDifferentValues(t *testing.T) {
	const limit, most = 1 << 10, 1e9
	s := Set{limit: limit}
	rng := rand.New(rand.NewPCG(1, 2))
	var values []uint64
	for range 200_000 {
		v := rng.Uint64N(most)
		s.Add(v)
		values = append(values, v)
		if len(s.runs) > limit || cap(s.runs)+cap(s.spare) > 8*(limit+freshValues) {
			t.Fatalf("%d runs in %d, %d", len(s.runs), cap(s.runs), cap(s.spare))
		}
	}
	for _, x := range []float64{0, 0.01, 0.5, 0.99, 1} {
		got, err := s.Quantile(x)
		if want := hazen(values, x); err != nil || got > want || want-got > most*4/limit {
			t.Errorf("%v: %v, %v; want %v or a little less", x, got, err, want)
		}
	}
	if s.shift == 0 {
		t.Error("nothing was rounded")
	}
	check(t, &s)
}

func BenchmarkAdd(b *testing.B) {
	var s Set
	rng := rand.New(rand.NewPCG(1, 2))
	for b.Loop() {
		s.Add(uint64(1000 * rng.ExpFloat64()))
	}
}
