package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kivaloo/internal/must"
	"kivaloo/wire"
)

func TestLine(t *testing.T) {
	w := newWindow()
	if got := w.line(); got != "" {
		t.Errorf("nothing: %q", got)
	}
	w.add(wire.TypeGet, 1525*time.Microsecond+999)
	w.add(wire.TypeSet, 7293*time.Microsecond)
	want := "|KVLDS_SET|000001|0007.293|0007.293|0007.293|0007.293|KVLDS_GET|000001|0001.525|0001.525|0001.525|0001.525"
	if got := w.line(); got != want {
		t.Errorf("one of each:\n%s\n%s", got, want)
	}

	w = newWindow()
	for i := range 100 { // 1 to 100 ms
		w.add(wire.TypeLBSGet, time.Duration(100-i)*time.Millisecond)
	}
	w.add(wire.TypeDDBDelete, 12345*time.Second)
	w.add(wire.TypeDDBDelete, 0)
	w.add(wire.TypeDDBDelete, -time.Second) // from a clock that went back
	want = "|LBS_GET|000100|0050.500|0050.500|0099.500|0100.000|DDBKV_DELETE|000003|4115000.000|0000.000|12345000.000|12345000.000"
	if got := w.line(); got != want {
		t.Errorf("many:\n%s\n%s", got, want)
	}
}

func TestCountsGrow(t *testing.T) {
	w := newWindow()
	for range 1_234_567 {
		w.add(wire.TypeSet, time.Millisecond)
	}
	if want := "|KVLDS_SET|1234567|0001.000|0001.000|0001.000|0001.000"; w.line() != want {
		t.Errorf("%s, want %s", w.line(), want)
	}
}

// TestUnknownTypes checks that every type has its entry, in order, up to a limit, and that nothing
// is lost beyond it.
func TestUnknownTypes(t *testing.T) {
	w := newWindow()
	const made = maxUnknownTypes + 100
	for i := range uint32(made) {
		w.add(0x80000000+made-i, time.Millisecond)
	}
	w.add(noType, time.Millisecond)
	w.add(wire.TypeGet, time.Millisecond)
	w.add(wire.TypeS3Put, time.Millisecond)
	const took = "|0001.000|0001.000|0001.000|0001.000"
	want := "|KVLDS_GET|000001" + took + "|S3_PUT|000001" + took +
		strings.Repeat("|UNKNOWN|000001"+took, maxUnknownTypes) +
		fmt.Sprintf("|UNKNOWN|%06d", made-maxUnknownTypes+1) + took
	if got := w.line(); got != want {
		t.Errorf("got %s", got)
	}
}

func TestWindows(t *testing.T) {
	at := func(clock string) time.Time {
		d, err := time.Parse(time.TimeOnly, clock)
		must.Do(t, err)
		return time.Date(2026, 11, 24, d.Hour(), d.Minute(), d.Second(), 999_999_999, time.FixedZone("", 1800))
	}
	for _, c := range []struct {
		seconds int
		times   []string // the first one is the start
		ended   []int    // the indexes of times at which a window has ended
	}{
		{60, []string{"10:00:30", "10:00:59", "10:01:00", "10:01:59", "10:02:00"}, []int{2, 4}},
		{60, []string{"10:00:00", "10:05:30", "10:05:31"}, []int{1}}, // one line for the whole time
		{60, []string{"10:01:00", "10:00:59", "10:01:00"}, []int{1, 2}},
		{1, []string{"10:00:00", "10:00:00", "10:00:01", "10:00:02"}, []int{2, 3}},
		{7, []string{"00:30:04", "00:30:05", "00:30:11", "00:30:12"}, []int{1, 3}},  // five past is 1795478405
		{86400, []string{"00:29:58", "00:29:59", "00:30:00", "23:59:59"}, []int{2}}, // midnight is that of UTC
	} {
		var ended []int
		i := 0
		m := newMeter(c.seconds, at(c.times[0]), func(*window) { ended = append(ended, i) })
		for i = 1; i < len(c.times); i++ {
			m.check(at(c.times[i]))
		}
		if fmt.Sprint(ended) != fmt.Sprint(c.ended) {
			t.Errorf("%d s, %v: ended at %v, want %v", c.seconds, c.times, ended, c.ended)
		}
	}
}

// TestWindowsAreReset checks that a window has its own counts, and that the next one begins empty.
func TestWindowsAreReset(t *testing.T) {
	var lines []string
	start := time.Unix(1_800_000_000, 0)
	m := newMeter(60, start, func(w *window) { lines = append(lines, w.line()) })
	m.add(wire.TypeGet, time.Millisecond)
	m.check(start.Add(59 * time.Second))
	m.add(wire.TypeGet, time.Millisecond)
	m.check(start.Add(60 * time.Second))
	m.check(start.Add(120 * time.Second))
	m.add(wire.TypeSet, time.Millisecond)
	m.end()
	const took = "|0001.000|0001.000|0001.000|0001.000"
	want := []string{"|KVLDS_GET|000002" + took, "", "|KVLDS_SET|000001" + took}
	if fmt.Sprint(lines) != fmt.Sprint(want) {
		t.Errorf("got %q", lines)
	}
}

func TestAnswerSizes(t *testing.T) {
	a := make(answerSizes)
	ranging := wire.AppendKVRequest(nil, &wire.KVRequest{Type: wire.TypeRange, Max: 5000})
	most := wire.AppendKVRequest(nil, &wire.KVRequest{Type: wire.TypeRange, Max: 1 << 31})
	for _, c := range []struct {
		typ    uint32
		record []byte
		learn  int // afterwards; 0: nothing
		want   int
	}{
		{wire.TypeSet, nil, 4, 0},
		{wire.TypeGet, nil, 260, 0},
		{wire.TypeRange, ranging, 4000, 5000},
		{wire.TypeRange, most, 1 << 20, maxRangeBytes},
		{wire.TypeRange, most[:7], 0, 0},
		{wire.TypeLBSGet, nil, 2052, firstAnswerBytes},
		{wire.TypeLBSGet, nil, 4, 2052}, // a missing block
		{wire.TypeLBSGet, nil, 0, 2052},
		{0xdead, nil, 10, firstAnswerBytes},
		{0xbeef, nil, 20, 10},
		{noType, nil, 0, 20},
	} {
		if got := a.expect(c.typ, c.record); got != c.want {
			t.Errorf("%s: expects %d, want %d", wire.TypeName(c.typ), got, c.want)
		}
		if c.learn > 0 {
			a.learn(c.typ, c.learn)
		}
	}
	if len(a) != 2 {
		t.Errorf("remembers %v", a)
	}
}
