package kvlds_test

import (
	"bufio"
	"fmt"
	"math"
	"runtime/trace"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kivaloo/eventloop"
	"kivaloo/internal/must"
	"kivaloo/tree"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// BenchmarkMeasuring shows the cost of measuring a server.
func BenchmarkMeasuring(b *testing.B) {
	alternate(b, func(b *testing.B, m *measured, on bool, do func()) float64 {
		m.measure(b, on)
		return processorTime(b, do)
	})
}

// BenchmarkRecording shows the cost of a flight recording of a server that is measured anyway.
func BenchmarkRecording(b *testing.B) {
	alternate(b, func(b *testing.B, m *measured, on bool, do func()) float64 {
		m.measure(b, true)
		if on {
			recorder := trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: 10 * time.Second, MaxBytes: 16 << 20})
			must.Do(b, recorder.Start())
			defer recorder.Stop()
		}
		return processorTime(b, do)
	})
}

// alternate makes one server do the same work alternately without something and with it, in slices
// so short that other load on the machine affects both. It counts the processor time of the server
// and of a client that does little but system calls. Each round gives an overhead. It reports their
// median and its uncertainty. with does the work with or without, and returns the time.
func alternate(b *testing.B, with func(b *testing.B, m *measured, on bool, do func()) float64) {
	for _, load := range []struct {
		name     string
		request  wire.KVRequest
		inFlight int
		turns    int // in a slice
	}{
		{"get/1-in-flight", wire.KVRequest{Type: wire.TypeGet}, 1, 200},
		{"get/1000-in-flight", wire.KVRequest{Type: wire.TypeGet}, 1000, 8},
		{"set/1-in-flight", wire.KVRequest{Type: wire.TypeSet}, 1, 100},
		{"set/1000-in-flight", wire.KVRequest{Type: wire.TypeSet}, 1000, 2},
	} {
		b.Run(load.name, func(b *testing.B) {
			m := newMeasured(b)
			value := 0
			var without, overheads []float64
			for b.Loop() {
				took := make(map[bool]float64)
				for _, on := range []bool{false, true, true, false} { // so that a steady trend affects both
					value++ // so that every SET is a change
					took[on] += with(b, m, on, func() { m.run(b, load.request, load.inFlight, load.turns, value) })
				}
				without = append(without, took[false]/2/float64(load.inFlight*load.turns))
				overheads = append(overheads, 100*(took[true]/took[false]-1))
			}
			typical, _ := median(without)
			overhead, off := median(overheads)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(typical, "ns/request")
			b.ReportMetric(overhead, "overhead-%")
			b.ReportMetric(off, "±%")
		})
	}
}

// median returns the median of values, and half the width of its 95 % confidence interval. That is
// between the values 0.98 times the root of their number before and after it, in order.
func median(values []float64) (middle, off float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	reach := int(math.Ceil(0.98 * math.Sqrt(float64(n))))
	low, high := max(n/2-reach, 0), min(n/2+reach, n-1)
	return sorted[n/2], (sorted[high] - sorted[low]) / 2
}

// measured is a server with 10,000 pairs, and its measuring equipment.
type measured struct {
	*served
	c    *wiretest.Peer
	in   *bufio.Reader // of c
	loop eventloop.Metrics
	tree tree.Metrics
}

const benchPairs = 10_000

func newMeasured(b *testing.B) *measured {
	m := &measured{served: serve(b, &slowStore{})}
	m.c = m.dial()
	m.in = bufio.NewReaderSize(m.c, 1<<16)
	m.run(b, wire.KVRequest{Type: wire.TypeSet}, 1000, benchPairs/1000, 0)
	return m
}

// measure starts or ends measuring.
func (m *measured) measure(b *testing.B, on bool) {
	loopMetrics, treeMetrics, now := &m.loop, &m.tree, m.actor.Now
	if !on {
		loopMetrics, treeMetrics, now = nil, nil, nil
	}
	done := make(chan struct{}, 2)
	m.actor.Requests().PushOne(&tree.Batch{Client: &mute{done: done}, Call: func(t *tree.Tree) { t.Measure(treeMetrics) }})
	m.served.loop.Post(func() {
		m.served.loop.Measure(loopMetrics)
		m.server.Now = now
		done <- struct{}{}
	})
	<-done
	<-done
}

// mute is the client of a batch without requests.
type mute struct {
	tree.Client
	done chan<- struct{}
}

func (m *mute) Release(*tree.Batch) { m.done <- struct{}{} }

// processorTime returns the processor time of this process while it does something, in nanoseconds.
func processorTime(b *testing.B, do func()) float64 {
	now := func() int64 {
		var t unix.Timespec
		must.Do(b, unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t))
		return t.Nano()
	}
	before := now()
	do()
	return float64(now() - before)
}

// run makes inFlight requests at once, turns times, all over the store.
func (m *measured) run(b *testing.B, r wire.KVRequest, inFlight, turns, value int) {
	if r.Type == wire.TypeSet {
		r.Value = []byte(strings.Repeat("v", 36) + fmt.Sprintf("%04d", value%10_000))
	}
	must.Do(b, m.c.SetDeadline(time.Now().Add(time.Minute)))
	var out, record, key []byte
	for turn := range turns {
		out = out[:0]
		for i := range inFlight {
			n := uint32(turn*inFlight+i) * 2654435761 % benchPairs
			key = fmt.Appendf(key[:0], "%040d", n)
			r.Key = key
			record = wire.AppendKVRequest(record[:0], &r)
			out = wire.AppendPacket(out, uint64(i), record)
		}
		m.c.Send(out)
		for range inFlight {
			must.Do(b, m.skip())
		}
	}
}

// skip takes one answer and ignores it.
func (m *measured) skip() error {
	header, err := m.in.Peek(wire.HeaderSize)
	if err != nil {
		return err
	}
	_, _, want, err := wire.Cut(header, 4<<20)
	if err == nil {
		_, err = m.in.Discard(int(want))
	}
	return err
}
