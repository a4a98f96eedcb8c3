package actors

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBounds(t *testing.T) {
	want := []uint64{1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48}
	for i, bound := range want {
		if got := Bound(i); got != bound {
			t.Errorf("bound %d is %d, want %d", i, got, bound)
		}
	}
}

// TestBucketOf checks that every value is in the first bucket whose bound it does not exceed.
func TestBucketOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.OneOf(rapid.Uint64(), rapid.Uint64Max(1<<24), rapid.Uint64Max(64)).Draw(t, "value")
		i := bucketOf(value)
		if i < HistogramBuckets && value > Bound(i) {
			t.Errorf("%d is in bucket %d, up to %d", value, i, Bound(i))
		}
		if i > 0 && value <= Bound(i-1) {
			t.Errorf("%d is in bucket %d, but %d would do", value, i, Bound(i-1))
		}
	})
}

func TestQuantile(t *testing.T) {
	var h Histogram
	empty := h.Read()
	if got := empty.Quantile(.5); got != 0 {
		t.Errorf("the median of nothing is %v", got)
	}
	for value := range uint64(1000) {
		h.Add(value + 1)
	}
	before := h.Read()
	if before.Total() != 1000 || before.Sum != 500500 {
		t.Errorf("%d values, sum %d", before.Total(), before.Sum)
	}
	for q, want := range map[float64]float64{0: 0, .5: 500, .99: 990, 1: 1000} {
		if got := before.Quantile(q); math.Abs(got-want) > want*.05 {
			t.Errorf("quantile %v of 1 to 1000 is %v", q, got)
		}
	}
	h.Add(1 << 60)
	after := h.Read()
	if since := after.Since(&before); since.Total() != 1 || since.Sum != 1<<60 || since.Quantile(.5) != float64(Bound(HistogramBuckets-1)) {
		t.Errorf("one large value: %+v", since)
	}
	sum := before
	sum.Merge(&after)
	if sum.Total() != 2001 || sum.Sum != before.Sum+after.Sum || sum.Buckets[3] != 2*before.Buckets[3] {
		t.Errorf("1 to 1000 twice: %+v", sum)
	}
}

func TestDurations(t *testing.T) {
	var d Durations
	for _, took := range []time.Duration{-1, 0, 1, time.Microsecond, time.Microsecond + 1, time.Second} {
		d.Add(took)
	}
	c := d.Read()
	if c.Buckets[0] != 4 || c.Buckets[1] != 1 || c.Total() != 6 {
		t.Errorf("counted %v", c.Buckets)
	}
	if want := uint64(time.Second + 2*time.Microsecond + 2); c.Sum != want {
		t.Errorf("the sum is %d ns, want %d", c.Sum, want)
	}
	if got := c.Quantile(1); got < 1e6 || got > 1.5e6 {
		t.Errorf("the longest is %v us", got)
	}
}

// TestHistogramAllocatesNothing checks that counting on a hot path allocates nothing.
func TestHistogramAllocatesNothing(t *testing.T) {
	var d Durations
	if n := testing.AllocsPerRun(100, func() { d.Add(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDurationsAdd(b *testing.B) {
	var d Durations
	for i := range b.N {
		d.Add(time.Duration(i))
	}
}
