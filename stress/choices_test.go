package stress

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kivaloo/internal/must"
	"kivaloo/wire"
)

// served returns a connection to a fake server that holds pairs.
func served(t *testing.T, pairs []Pair) (net.Conn, *fakeServer) {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	must.Do(t, err)
	s := newFakeServer()
	done := make(chan struct{})
	go func() { defer close(done); s.serve(ln) }()
	nc, err := net.Dial("unix", ln.Addr().String())
	must.Do(t, err)
	t.Cleanup(func() { nc.Close(); ln.Close(); <-done })
	mustDrive(t, nc, OrderedLoad(pairs), len(pairs))
	return nc, s
}

func TestMixedAndUpdates(t *testing.T) {
	pairs := Collect(2000)
	nc, s := served(t, pairs)
	for sets := range 5 {
		mustDrive(t, nc, RandomMixed(pairs, 4000, 1, sets), 4000)
	}
	mustDrive(t, nc, OrderedUpdate(pairs, 7), len(pairs))
	if v := s.pairs[string(pairs[5].Key())]; v[0] != 7 || pairs[5].Value()[0] == 7 {
		t.Errorf("the value is %x, of the pair %x", v, pairs[5])
	}
	// For the mix, values with another first byte are wrong.
	if _, err := Drive(context.Background(), nc, RandomMixed(pairs, 4000, 1, 2), 64); err == nil || !strings.Contains(err.Error(), "and another byte") {
		t.Errorf("%v", err)
	}
}

func TestRandomRange(t *testing.T) {
	pairs := Collect(200)
	nc, s := served(t, pairs)
	for _, sets := range []bool{false, true} {
		w := RandomRange(pairs, 3, sets, 1)
		if _, err := Drive(context.Background(), nc, &first{w, 400}, 64); err != nil {
			t.Fatal(err)
		}
		if n := w.Found(); n < 1000 || n > 1200 {
			t.Errorf("400 requests, SETs %v, have found %d pairs", sets, n)
		}
	}
	delete(s.pairs, string(pairs[100].Key()))
	w := RandomRange(pairs, 3, false, 1)
	if _, err := Drive(context.Background(), nc, &first{w, 400}, 64); err == nil || !strings.Contains(err.Error(), "has the key") {
		t.Errorf("%v, with a pair missing", err)
	}
}

// first limits a workload to n requests.
type first struct {
	Workload
	n int
}

func (f *first) Next(dst []byte) ([]byte, uint64, bool) {
	if f.n == 0 {
		return dst, 0, false
	}
	f.n--
	return f.Workload.Next(dst)
}

func TestHotspotGet(t *testing.T) {
	pairs := Collect(2 * groupSize)
	nc, _ := served(t, pairs)
	mustDrive(t, nc, HotspotGet(2*groupSize, groupSize+10, 1), groupSize+10)
	w := HotspotGet(2*groupSize, 100, 1).(*randomGet)
	if w.chosen[0] != PairAt(0) && w.chosen[0] != PairAt(groupSize) {
		t.Error("it does not begin with the first of a group")
	}
	for i := range w.chosen {
		if string(w.chosen[i][:8]) != string(w.chosen[0][:8]) {
			t.Errorf("choice %d is of another group", i)
		}
	}
}

// pointless is an endless workload.
type pointless struct{}

func (pointless) Next(dst []byte) ([]byte, uint64, bool) { return dst, 0, true }
func (pointless) Check(uint64, []byte) error             { return nil }

func TestWithin(t *testing.T) {
	w := Within(pointless{}, 20*time.Millisecond)
	began, n := time.Now(), 0
	for more := true; more; n++ {
		_, _, more = w.Next(nil)
	}
	if took := time.Since(began); took < 20*time.Millisecond || n < clockEvery {
		t.Errorf("it ended after %v and %d requests", took, n)
	}
	if _, _, more := w.Next(nil); more {
		t.Error("it goes on after its end")
	}
}

func TestPaced(t *testing.T) {
	pairs := Collect(1000)
	nc, s := served(t, pairs)
	all, _, err := Paced(context.Background(), nc, RandomMixed(pairs, 2000, 1, 2), 10000, 200*time.Millisecond)
	if err != nil || len(all) != 2000 {
		t.Fatalf("%d answers, %v", len(all), err)
	}
	if last := all[len(all)-1].Due; last != 1999*100*time.Microsecond {
		t.Errorf("the last was due after %v", last)
	}

	// All requests that were due during a stall notice it.
	stalled := false
	s.setTamper(func(answer []byte) []byte {
		if !stalled {
			stalled = true
			time.Sleep(100 * time.Millisecond)
		}
		return answer
	})
	all, _, err = Paced(context.Background(), nc, RandomMixed(pairs, 2000, 1, 0), 10000, 200*time.Millisecond)
	must.Do(t, err)
	late := 0
	for _, a := range all {
		if a.Took > 50*time.Millisecond {
			late++
		}
	}
	if late < 400 {
		t.Errorf("%d of %d requests took more than half of the stall", late, len(all))
	}
}

func TestPacedFails(t *testing.T) {
	pairs := Collect(1000)
	nc, s := served(t, pairs)
	if _, _, err := Paced(context.Background(), nc, pointless{}, 0, time.Second); err == nil {
		t.Error("a rate of 0")
	}
	if _, _, err := Paced(context.Background(), nc, RandomMixed(pairs, 10, 1, 2), 10000, time.Second); err == nil || !strings.Contains(err.Error(), "has ended after 10") {
		t.Errorf("%v", err)
	}
	s.setTamper(func(answer []byte) []byte { answer[wire.HeaderSize]++; return answer })
	if _, _, err := Paced(context.Background(), nc, RandomMixed(pairs, 2000, 1, 2), 10000, 200*time.Millisecond); err == nil {
		t.Error("wrong answers are taken")
	}
}
