package stress

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kivaloo/internal/must"
	"kivaloo/wire"
)

func runOriginal(t *testing.T, nc net.Conn, o OriginalOptions) string {
	t.Helper()
	var out strings.Builder
	if err := RunOriginal(context.Background(), nc, o, &out); err != nil {
		t.Fatalf("%s: %v", o.Name, err)
	}
	return out.String()
}

// TestOriginals runs all seven against a server, with the original's output and with ours.
func TestOriginals(t *testing.T) {
	s := newFakeServer()
	nc := s.dial(t)
	if text := runOriginal(t, nc, OriginalOptions{Name: "bulk-insert", Pairs: groupSize, Plain: true}); !regexp.MustCompile(`^4096 \d+\n8192 \d+\n16384 \d+\n32768 \d+\n$`).MatchString(text) {
		t.Errorf("bulk-insert:\n%s", text)
	}
	if text := runOriginal(t, nc, OriginalOptions{Name: "bulk-insert", Pairs: 8192}); !regexp.MustCompile(`^after 4096 pairs: \d+ per second\n$`).MatchString(text) {
		t.Errorf("bulk-insert:\n%s", text)
	}
	for _, name := range []string{"random-read", "random-mixed", "hotspot-read", "bulk-update"} {
		o := OriginalOptions{Name: name, Pairs: groupSize, Seed: 1, Windows: 3, Window: 10 * time.Millisecond, Plain: true}
		if text := runOriginal(t, nc, o); !regexp.MustCompile(`^[1-9]\d*\n$`).MatchString(text) {
			t.Errorf("%s: %q", name, text)
		}
		o.Plain = false
		if text := runOriginal(t, nc, o); !regexp.MustCompile(`^` + name + `: \d+ in 10ms, the median of 3\n$`).MatchString(text) {
			t.Errorf("%s: %q", name, text)
		}
	}
	if text := runOriginal(t, nc, OriginalOptions{Name: "tokyo", Pairs: 20, Plain: true}); !regexp.MustCompile(`^\d\.\d\d\d\n$`).MatchString(text) {
		t.Errorf("tokyo: %q", text)
	}
	if text := runOriginal(t, nc, OriginalOptions{Name: "tokyo", Pairs: 20}); !strings.HasPrefix(text, "tokyo: 20 SETs in ") {
		t.Errorf("tokyo: %q", text)
	}
	if got := string(s.pairs["00000019"]); got != "00000019" || len(s.pairs) != groupSize+20 {
		t.Errorf("tokyo has set %q; %d pairs", got, len(s.pairs))
	}
}

func TestBulkExtract(t *testing.T) {
	s := newFakeServer()
	nc := s.dial(t)
	o := OriginalOptions{Name: "bulk-extract", Pairs: 1, Windows: 2, Window: 10 * time.Millisecond, Plain: true}
	if err := RunOriginal(context.Background(), nc, o, nil); err == nil || !strings.Contains(err.Error(), "the store has no pairs") {
		t.Errorf("an empty store: %v", err)
	}
	nc = s.dial(t)
	mustDrive(t, nc, OrderedLoad(Collect(10)), 10)
	runOriginal(t, nc, o)
	// Ten pairs come as 3, 3, 3 and 1, and then again from the beginning.
	w := &bulkExtract{}
	var got []int
	for range 6 {
		record, _, _ := w.Next(nil)
		must.Do(t, w.Check(0, s.answer(nil, record)))
		got = append(got, w.pairs)
	}
	if !slices.Equal(got, []int{3, 3, 3, 1, 3, 3}) {
		t.Errorf("pairs: %v", got)
	}
}

func TestOriginalRefuses(t *testing.T) {
	for want, o := range map[string]OriginalOptions{
		"no benchmark":              {Name: "small-insert", Pairs: 1},
		"at least 1 are needed":     {Name: "random-read"},
		"at least 65536 are needed": {Name: "hotspot-read", Pairs: groupSize - 1},
		"a pair is absent":          {Name: "random-read", Pairs: 1},
	} {
		if err := RunOriginal(context.Background(), newFakeServer().dial(t), o, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with: %s", err, want)
		}
	}
}

// requests returns the first requests of a workload.
func requests(t *testing.T, o OriginalOptions, n int) (all []wire.KVRequest) {
	t.Helper()
	w := originals[o.Name].start(o)
	for range n {
		record, _, more := w.Next(nil)
		if !more {
			return all
		}
		r, err := wire.ParseKVRequest(record)
		must.Do(t, err)
		all = append(all, r)
	}
	return all
}

func TestOriginalRequests(t *testing.T) {
	updates := requests(t, OriginalOptions{Name: "bulk-update", Pairs: 3}, 7)
	pairs := Collect(3)
	for i, r := range updates {
		want := pairs[i%3]
		want[PairLen-1] += byte(i / 3)
		if string(r.Key) != string(want.Key()) || string(r.Value) != string(want.Value()) {
			t.Errorf("bulk-update: request %d is SET %x %x", i, r.Key, r.Value)
		}
	}
	for i, r := range requests(t, OriginalOptions{Name: "random-mixed", Pairs: 100, Seed: 1}, 8) {
		want, value := uint32(wire.TypeGet), ""
		if i%4 >= 2 {
			want, value = wire.TypeSet, fmt.Sprintf("%016x", i)+strings.Repeat("00", 32)
		}
		if r.Type != want || fmt.Sprintf("%x", r.Value) != value {
			t.Errorf("random-mixed: request %d is %x with %x", i, r.Type, r.Value)
		}
	}
	seen := map[uint64]int{}
	for i, r := range requests(t, OriginalOptions{Name: "hotspot-read", Pairs: 3 * groupSize, Seed: 1}, 4*groupSize) {
		x, y := uint64(r.Key[7]), uint64(i%groupSize)
		if want := PairAt(x*groupSize + y); string(r.Key) != string(want.Key()) {
			t.Fatalf("hotspot-read: request %d is of %x", i, r.Key)
		}
		seen[x]++
	}
	for x, n := range seen {
		if x > 2 || n%groupSize != 0 {
			t.Errorf("hotspot-read: group %d has been read %d times", x, n)
		}
	}
}

// TestWindows checks that windows begin with a completion, and that those in the warm-up do not
// count.
func TestWindows(t *testing.T) {
	begin := time.Now()
	w := &windows{begin: begin, OriginalOptions: OriginalOptions{Warmup: 2 * time.Second, Window: time.Second, Windows: 3}}
	var ended []float64
	for _, at := range []float64{0.5, 1.9, 2.1, 2.5, 3.1, 3.2, 4.0, 9, 9.1, 9.2, 9.3, 10.1, 10.2, 10.3} {
		if !w.done(begin.Add(time.Duration(at*float64(time.Second))), 1) {
			ended = append(ended, at)
			break
		}
	}
	if !slices.Equal(w.counts, []float64{3, 2, 4}) || !slices.Equal(ended, []float64{10.1}) {
		t.Errorf("windows of %v, ended at %v", w.counts, ended)
	}
}

func TestPoints(t *testing.T) {
	var out strings.Builder
	p := &points{out: &out, plain: true}
	now := time.Now()
	for c := 1; c <= 20000; c++ {
		step := 100 * time.Microsecond // 10000 per second
		if c > 8192 {
			step = time.Millisecond // then 1000
		}
		now = now.Add(step)
		p.done(now, 1)
	}
	// From 8192 on the next power is more than 10 s away: 10000 in exactly 10 s, and one more.
	if got, want := out.String(), "4096 10000\n8192 1000\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	out.Reset()
	p = &points{out: &out, plain: true}
	for c := 1; c <= 10000; c++ {
		p.done(now, 1) // in no time
	}
	if got, want := out.String(), "4096 4096000000\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
