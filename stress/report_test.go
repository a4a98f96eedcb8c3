package stress

import (
	"bytes"
	"errors"
	"testing"
)

func TestReport(t *testing.T) {
	r := report{
		title: "10 pairs",
		rows: []row{
			{"kivaloo ordered load", []float64{614400.4}},
			{"kivaloo random GET", []float64{1e6, 3e6, 2e6}},
		},
		ratios: []ratio{
			{"random GET / Redis GET", 1.25, 1.0},
			{"ordered load / Redis SET", 1.49, 1.5},
			{"exact", 1.5, 1.5},
		},
		notes: []string{"That is all."},
	}
	const want = `10 pairs

requests per second          median   each time
kivaloo ordered load         614400      614400
kivaloo random GET          2000000     1000000   3000000   2000000

random GET / Redis GET         1.25   target 1.0: reached
ordered load / Redis SET       1.49   target 1.5: MISSED
exact                          1.50   target 1.5: reached

That is all.
`
	var out bytes.Buffer
	if err := r.print(&out); err != nil || out.String() != want {
		t.Errorf("%v\n%s", err, out.String())
	}
	if err := r.print(broken{}); err == nil {
		t.Error("printed to what cannot be written to")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1}, 5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.values, got, c.want)
		}
	}
}
