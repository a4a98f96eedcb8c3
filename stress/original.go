package stress

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"kivaloo/wire"
)

// OriginalOptions says which of the original's benchmarks to run, and how.
type OriginalOptions struct {
	Name  string
	Pairs uint64 // size of the data set; tokyo has its own data set: the number of SETs
	Seed  uint64
	// These are for benchmarks that count in windows: the length of the warm-up and of a window,
	// and the number of windows. The original has 50 s, then 10 or 100 windows (DefaultWindows) of
	// 1 s.
	Warmup, Window time.Duration
	Windows        int
	Patience       time.Duration // how long the server may be silent; 0: a minute
	Plain          bool          // print only the original's lines
}

// original is one of the benchmarks.
type original struct {
	windows int // 0: it does not count in windows
	depth   int
	start   func(o OriginalOptions) Workload
}

// check reports a data set that the benchmark cannot use.
func (o OriginalOptions) check() error {
	least := uint64(1)
	if o.Name == "hotspot-read" {
		least = groupSize
	}
	if o.Pairs < least {
		return fmt.Errorf("%s: %d pairs: at least %d are needed", o.Name, o.Pairs, least)
	}
	return nil
}

var originals = map[string]original{
	"bulk-insert":  {0, Depth, func(o OriginalOptions) Workload { return OrderedLoad(Collect(o.Pairs)) }},
	"bulk-update":  {10, Depth, func(o OriginalOptions) Workload { return &bulkUpdate{orderedLoad{pairs: Collect(o.Pairs)}} }},
	"bulk-extract": {10, 1, func(OriginalOptions) Workload { return &bulkExtract{} }},
	"random-read":  {100, Depth, func(o OriginalOptions) Workload { return &pick{next: uniform(o)} }},
	"random-mixed": {100, Depth, func(o OriginalOptions) Workload { return &pick{next: uniform(o), mixed: true} }},
	"hotspot-read": {10, Depth, func(o OriginalOptions) Workload { return &pick{next: hotspot(o)} }},
	"tokyo":        {0, Depth, func(o OriginalOptions) Workload { return &tokyo{n: o.Pairs} }},
}

// TokyoSets is how many SETs the original's tokyo makes.
const TokyoSets = 1_000_000

// Originals returns the names of the benchmarks.
func Originals() []string { return slices.Sorted(maps.Keys(originals)) }

// DefaultWindows returns how many windows the original gives a benchmark, or 0 if it does not count
// in windows.
func DefaultWindows(name string) int { return originals[name].windows }

// RunOriginal runs one of the original's benchmarks on a connection, with Depth requests
// outstanding. It prints its measurements to out.
func RunOriginal(ctx context.Context, nc net.Conn, o OriginalOptions, out io.Writer) error {
	bench, ok := originals[o.Name]
	if !ok {
		return fmt.Errorf("no benchmark %q; there are %v", o.Name, Originals())
	}
	if err := o.check(); err != nil {
		return err
	}
	work := bench.start(o)
	watched := &watched{Workload: work, now: time.Now}
	var w *windows
	var p *points
	switch {
	case bench.windows > 0:
		w = &windows{begin: time.Now(), OriginalOptions: o}
		watched.done = w.done
	case o.Name == "bulk-insert":
		p = &points{out: out, plain: o.Plain}
		watched.done = p.done
	}
	result, err := drive(ctx, nc, watched, bench.depth, extractBytes, cmp.Or(o.Patience, stallTimeout))
	switch {
	case err != nil:
		return err
	case p != nil:
		return p.err
	case w != nil:
		return w.print(out)
	case o.Plain:
		_, err = fmt.Fprintf(out, "%.3f\n", result.Elapsed.Seconds())
	default:
		_, err = fmt.Fprintf(out, "tokyo: %d SETs in %.3f s\n", result.Requests, result.Elapsed.Seconds())
	}
	return err
}

// watched reports the progress of a workload, and can end it.
type watched struct {
	Workload
	now   func() time.Time
	done  func(now time.Time, n int) (more bool) // may be nil
	ended bool
}

func (w *watched) Next(dst []byte) ([]byte, uint64, bool) {
	if w.ended {
		return dst, 0, false
	}
	return w.Workload.Next(dst)
}

func (w *watched) Check(tag uint64, answer []byte) error {
	if err := w.Workload.Check(tag, answer); err != nil || w.done == nil || w.ended {
		return err
	}
	n := 1
	if x, ok := w.Workload.(*bulkExtract); ok {
		n = x.pairs
	}
	w.ended = !w.done(w.now(), n)
	return nil
}

// windows counts the completions in consecutive windows of time. A window begins with the first
// completion after the previous one.
type windows struct {
	OriginalOptions
	begin   time.Time // of everything
	started bool
	start   time.Time // of the current window
	n       int       // completions in it
	counts  []float64
}

func (w *windows) done(now time.Time, n int) (more bool) {
	switch {
	case now.Sub(w.begin) < w.Warmup:
		return true
	case !w.started:
		w.started, w.start = true, now
	case now.Sub(w.start) > w.Window:
		w.counts = append(w.counts, float64(w.n))
		if len(w.counts) == w.Windows {
			return false
		}
		w.start, w.n = now, 0
	}
	w.n += n
	return true
}

func (w *windows) print(out io.Writer) (err error) {
	if w.Plain {
		_, err = fmt.Fprintf(out, "%d\n", int64(median(w.counts)))
	} else {
		_, err = fmt.Fprintf(out, "%s: %.0f in %v, the median of %d\n", w.Name, median(w.counts), w.Window, len(w.counts))
	}
	return err
}

// points reports the rate of an ordered load each time its size has reached a power of two: from
// then until the next one, but for at most 10 s.
type points struct {
	out     io.Writer
	plain   bool
	c       int // completions
	pending bool
	at      int       // the last power of two
	since   time.Time // when it was reached
	err     error
}

const (
	pointLimit = 10 * time.Second
	pointMin   = 4096 // a rate over fewer means little
)

func (p *points) done(now time.Time, n int) (more bool) {
	p.c += n
	power := p.c&(p.c-1) == 0
	if t := now.Sub(p.since); p.pending && (power || t > pointLimit) {
		p.report(t)
		p.pending = false
	}
	if power {
		p.pending, p.at, p.since = true, p.c, now
	}
	return p.err == nil
}

func (p *points) report(t time.Duration) {
	n := p.c - p.at
	if t > pointLimit {
		t, n = pointLimit, n-1
	}
	if n < pointMin {
		return
	}
	rate := float64(n) / max(t, time.Microsecond).Seconds()
	format := "after %d pairs: %.0f per second\n"
	if p.plain {
		format = "%d %.0f\n"
	}
	_, p.err = fmt.Fprintf(p.out, format, p.at, rate)
}

// bulkUpdate sets all pairs in turn, again and again, to different values.
type bulkUpdate struct{ orderedLoad }

func (w *bulkUpdate) Next(dst []byte) ([]byte, uint64, bool) {
	if w.next == len(w.pairs) {
		w.next = 0
		for i := range w.pairs {
			w.pairs[i][PairLen-1]++
		}
	}
	return w.orderedLoad.Next(dst)
}

// bulkExtract reads all pairs in order, again and again.
type bulkExtract struct {
	from  []byte
	pairs int // in the last answer
}

// extractMax is how many bytes bulk-extract asks for at once.
const extractMax = 1 << 20

func (w *bulkExtract) Next(dst []byte) ([]byte, uint64, bool) {
	return wire.AppendKVRequest(dst, &wire.KVRequest{Type: wire.TypeRange, Max: extractMax, Key: w.from}), 0, true
}

func (w *bulkExtract) Check(_ uint64, answer []byte) error {
	n, next, _, err := wire.ParseKVPairs(answer, extractMax)
	if err != nil {
		return fmt.Errorf("RANGE from %x: %w", w.from, err)
	}
	if n == 0 && len(next) == 0 && len(w.from) == 0 {
		return fmt.Errorf("the store has no pairs: bulk-insert makes them")
	}
	w.from, w.pairs = append(w.from[:0], next...), int(n)
	return nil
}

// pick gets pairs, or alternately gets two pairs and sets two.
type pick struct {
	next  func() uint64
	mixed bool
	made  uint64 // requests so far
}

func uniform(o OriginalOptions) func() uint64 {
	random := rand.New(rand.NewPCG(o.Seed, 0))
	return func() uint64 { return random.Uint64N(o.Pairs) }
}

// hotspot chooses a group at random, goes through all of it, and chooses again.
func hotspot(o OriginalOptions) func() uint64 {
	random := rand.New(rand.NewPCG(o.Seed, 0))
	x, y := uint64(0), uint64(groupSize)
	return func() uint64 {
		if y == groupSize {
			x, y = random.Uint64N(o.Pairs/groupSize), 0
		}
		y++
		return x*groupSize + y - 1
	}
}

func (w *pick) Next(dst []byte) ([]byte, uint64, bool) {
	p := PairAt(w.next())
	r := wire.KVRequest{Type: wire.TypeGet, Key: p.Key()}
	var value [KeyLen]byte
	if w.mixed && w.made%4 >= 2 {
		binary.BigEndian.PutUint64(value[:], w.made)
		r.Type, r.Value = wire.TypeSet, value[:]
	}
	w.made++
	return wire.AppendKVRequest(dst, &r), uint64(r.Type), true
}

func (w *pick) Check(tag uint64, answer []byte) error {
	if uint32(tag) == wire.TypeSet {
		_, err := wire.ParseKVStatus(wire.TypeSet, answer)
		return err
	}
	_, found, err := wire.ParseKVValue(answer)
	if err == nil && !found {
		err = fmt.Errorf("a pair is absent: bulk-insert makes them")
	}
	return err
}

// tokyo sets n keys of eight digits to themselves, in order.
type tokyo struct{ n, next uint64 }

func (w *tokyo) Next(dst []byte) ([]byte, uint64, bool) {
	if w.next == w.n {
		return dst, 0, false
	}
	var digits [8]byte
	for i, n := len(digits)-1, w.next; i >= 0; i, n = i-1, n/10 {
		digits[i] = byte('0' + n%10)
	}
	w.next++
	return wire.AppendKVRequest(dst, &wire.KVRequest{Type: wire.TypeSet, Key: digits[:], Value: digits[:]}), 0, true
}

func (w *tokyo) Check(_ uint64, answer []byte) error {
	_, err := wire.ParseKVStatus(wire.TypeSet, answer)
	return err
}

// median returns the middle value, or the mean of the two middle values. There must be at least
// one.
func median(values []float64) float64 {
	sorted, n := slices.Sorted(slices.Values(values)), len(values)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
