package actors

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// HistogramBuckets is the number of bounds of a Histogram. The last bound is four million times the
// second one.
const HistogramBuckets = 46

// Histogram counts values by their size. The bounds are
//
//	1 2 3 4 6 8 12 16 24 32 ...
//
// so a value is known to within a half. A Histogram has a fixed size, never allocates and takes no
// lock. The zero value is empty. Any number of goroutines may add and read.
type Histogram struct {
	counts [HistogramBuckets + 1]atomic.Uint64 // the last: above all bounds
	sum    atomic.Uint64
}

// Add counts one value. A value below 1 counts as 1.
func (h *Histogram) Add(value uint64) {
	h.counts[bucketOf(value)].Add(1)
	h.sum.Add(value)
}

// bucketOf returns the number of the first bound that is not less than value.
func bucketOf(value uint64) int {
	if value <= 2 {
		return int(max(value, 1)) - 1
	}
	below := value - 1
	length := bits.Len64(below) // at least 2
	bucket := 2 * (length - 1)
	if below>>(length-2)&1 == 0 {
		bucket-- // it is in the lower half of the values with this length
	}
	return min(bucket+1, HistogramBuckets) // 3 and 4 are the bounds after 1 and 2
}

// Bound returns the bound with number i.
func Bound(i int) uint64 {
	if i < 2 {
		return uint64(i) + 1
	}
	return (3 + uint64(i)%2) << ((i - 2) / 2)
}

// Counts are the counts of a Histogram at one moment.
type Counts struct {
	Buckets [HistogramBuckets + 1]uint64 // values above the previous bound, up to and including the one with the same number
	Sum     uint64                       // of the values; a value being added may be missing
}

// Read returns the current counts.
func (h *Histogram) Read() Counts {
	c := Counts{Sum: h.sum.Load()}
	for i := range h.counts {
		c.Buckets[i] = h.counts[i].Load()
	}
	return c
}

// Total returns the number of values.
func (c *Counts) Total() uint64 {
	n := uint64(0)
	for _, count := range c.Buckets {
		n += count
	}
	return n
}

// Merge adds the counts of from.
func (c *Counts) Merge(from *Counts) {
	c.Sum += from.Sum
	for i, n := range from.Buckets {
		c.Buckets[i] += n
	}
}

// Since returns what was counted after earlier.
func (c *Counts) Since(earlier *Counts) Counts {
	d := Counts{Sum: c.Sum - earlier.Sum}
	for i := range d.Buckets {
		d.Buckets[i] = c.Buckets[i] - earlier.Buckets[i]
	}
	return d
}

// Quantile returns a value that the fraction q of all values does not exceed, as precisely as the
// bounds allow. Without values it returns 0.
func (c *Counts) Quantile(q float64) float64 {
	rank := q * float64(c.Total())
	if rank == 0 {
		return 0
	}
	seen, low := 0.0, 0.0
	for i, count := range c.Buckets[:HistogramBuckets] {
		high := float64(Bound(i))
		if count > 0 && seen+float64(count) >= rank {
			return low + (high-low)*(rank-seen)/float64(count)
		}
		seen, low = seen+float64(count), high
	}
	return low
}

// Durations is a Histogram of times in microseconds. Its sum is in nanoseconds.
type Durations struct{ h Histogram }

// Add counts one duration.
func (d *Durations) Add(t time.Duration) { d.AddN(t, 1) }

// AddN counts n equal durations.
func (d *Durations) AddN(t time.Duration, n uint64) {
	ns := uint64(max(t, 0))
	d.h.counts[bucketOf((ns+999)/1000)].Add(n)
	d.h.sum.Add(n * ns)
}

// Read returns the current counts: buckets in microseconds, the sum in nanoseconds.
func (d *Durations) Read() Counts { return d.h.Read() }
