package actors

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// HistogramBuckets is how many bounds a Histogram has. The last of them is four million times the
// first but one.
const HistogramBuckets = 46

// Histogram counts values by their size, as an actor's account of what it does. The bounds are
//
//	1 2 3 4 6 8 12 16 24 32 ...
//
// so that a value is known to within a half. It is of a fixed size, never allocates and takes no
// lock; the zero value is empty. Any number of goroutines may add and read.
type Histogram struct {
	counts [HistogramBuckets + 1]atomic.Uint64 // the last: above all bounds
	sum    atomic.Uint64
}

// Add counts one value. Less than 1 counts as 1 does.
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
		bucket-- // it is in the lower half of what has this length
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

// Counts is what a Histogram has counted up to one moment.
type Counts struct {
	Buckets [HistogramBuckets + 1]uint64 // above the bound before, up to and including that of the same number
	Sum     uint64                       // of the values; of one that is being added it may be missing
}

// Read returns what has been counted.
func (h *Histogram) Read() Counts {
	c := Counts{Sum: h.sum.Load()}
	for i := range h.counts {
		c.Buckets[i] = h.counts[i].Load()
	}
	return c
}

// Total returns how many values there are.
func (c *Counts) Total() uint64 {
	n := uint64(0)
	for _, count := range c.Buckets {
		n += count
	}
	return n
}

// Merge adds what from has counted.
func (c *Counts) Merge(from *Counts) {
	c.Sum += from.Sum
	for i, n := range from.Buckets {
		c.Buckets[i] += n
	}
}

// Since returns what has been counted after earlier.
func (c *Counts) Since(earlier *Counts) Counts {
	d := Counts{Sum: c.Sum - earlier.Sum}
	for i := range d.Buckets {
		d.Buckets[i] = c.Buckets[i] - earlier.Buckets[i]
	}
	return d
}

// Quantile returns a value that the fraction q of all values does not exceed, as near as the bounds
// tell. Of none it is 0.
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

// Read returns what has been counted: buckets in microseconds, the sum in nanoseconds.
func (d *Durations) Read() Counts { return d.h.Read() }
