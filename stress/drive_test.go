package stress

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"kivaloo/wire"
)

func mustDrive(tb testing.TB, nc net.Conn, w Workload, want int) Result {
	tb.Helper()
	r, err := Drive(context.Background(), nc, w, Depth)
	if err != nil || r.Requests != want {
		tb.Fatalf("%d answers, want %d: %v", r.Requests, want, err)
	}
	return r
}

func TestLoadAndGet(t *testing.T) {
	s := newFakeServer()
	nc := s.dial(t)
	pairs := Collect(20000)
	mustDrive(t, nc, OrderedLoad(pairs), len(pairs))
	if len(s.pairs) != len(pairs) {
		t.Fatalf("%d pairs arrived", len(s.pairs))
	}
	for _, p := range pairs {
		if string(s.pairs[string(p.Key())]) != string(p.Value()) {
			t.Fatalf("pair %x arrived as %x", p, s.pairs[string(p.Key())])
		}
	}
	r := mustDrive(t, nc, RandomGet(pairs, 50000, 1), 50000)
	if r.Rate() <= 0 {
		t.Errorf("%+v", r)
	}
	mustDrive(t, nc, RandomGet(pairs, 3, 1), 3)       // fewer than the depth
	mustDrive(t, nc, OrderedLoad(nil), 0)             // none at all
	mustDrive(t, nc, RandomGet(pairs, 9000, 1), 9000) // the connection stays usable
}

// TestDriveReadsWhileItWrites uses a server that waits until its answers are taken before it reads
// on. Requests and answers of a whole window are much more than the sockets hold.
func TestDriveReadsWhileItWrites(t *testing.T) {
	s := newFakeServer()
	s.buffer = 4 << 10
	nc := s.dial(t)
	pairs := Collect(20000)
	mustDrive(t, nc, OrderedLoad(pairs), len(pairs))
	mustDrive(t, nc, RandomGet(pairs, 50000, 1), 50000)
}

// TestRandomGetSeed checks that the same seed chooses the same keys, and different seeds choose
// others.
func TestRandomGetSeed(t *testing.T) {
	pairs := Collect(1000)
	record := func(seed uint64) (all string) {
		w := RandomGet(pairs, 20, seed)
		for {
			r, _, more := w.Next(nil)
			if !more {
				return all
			}
			all += string(r)
		}
	}
	first := record(1)
	if again := record(1); again != first {
		t.Error("seed 1 differs from itself")
	}
	if first == record(2) {
		t.Error("seed 2 chooses what seed 1 does")
	}
}

// atDepth wraps a workload to count outstanding requests.
type atDepth struct {
	Workload
	now, most int
}

func (w *atDepth) Next(dst []byte) ([]byte, uint64, bool) {
	record, tag, more := w.Workload.Next(dst)
	if more {
		w.now++
		w.most = max(w.most, w.now)
	}
	return record, tag, more
}

func (w *atDepth) Check(tag uint64, answer []byte) error {
	w.now--
	return w.Workload.Check(tag, answer)
}

func TestDepth(t *testing.T) {
	nc := newFakeServer().dial(t)
	for _, depth := range []int{1, 7, Depth} {
		w := &atDepth{Workload: OrderedLoad(Collect(10000))}
		if _, err := Drive(context.Background(), nc, w, depth); err != nil {
			t.Fatal(err)
		}
		if w.most != depth || w.now != 0 {
			t.Errorf("depth %d: %d were outstanding at most, %d at the end", depth, w.most, w.now)
		}
	}
}

// TestDriveNotices checks that one wrong answer among many ends the load with an error, whatever is
// wrong.
func TestDriveNotices(t *testing.T) {
	// replace returns a function that replaces the record of an answer.
	replace := func(record string) func([]byte) []byte {
		return func(answer []byte) []byte {
			p, _, _, err := wire.Cut(answer, inputBytes)
			if err != nil {
				panic(err)
			}
			return wire.AppendPacket(nil, p.ID, []byte(record))
		}
	}
	wrongValue := PairAt(100000)
	for name, c := range map[string]struct {
		tamper func(answer []byte) []byte
		want   string
	}{
		"absent":       {replace("\x00\x00\x00\x01"), "the key is absent"},
		"wrong value":  {replace("\x00\x00\x00\x00" + "\x28" + string(wrongValue.Value())), "the value is"},
		"wrong status": {replace("\x00\x00\x00\x07"), "status 7"},
		"no record":    {replace(""), "it ends inside the status"},
		"unknown ID":   {func([]byte) []byte { return wire.AppendPacket(nil, 1<<63, []byte("\x00\x00\x00\x00\x00")) }, "which no request is waiting for"},
		"twice":        {func(answer []byte) []byte { return append(answer, answer...) }, "which no request is waiting for"},
		"damaged":      {func(answer []byte) []byte { answer[len(answer)-1] ^= 1; return answer }, "record checksum mismatch"},
		"too much":     {func(answer []byte) []byte { return append(answer, "rest"...) }, "4 bytes came after the last answer"},
		"too long":     {func([]byte) []byte { return wire.AppendHeader(nil, 0, inputBytes) }, "record too long"},
	} {
		t.Run(name, func(t *testing.T) {
			const requests = 500
			s := newFakeServer()
			nc := s.dial(t)
			pairs := Collect(1000)
			mustDrive(t, nc, OrderedLoad(pairs), len(pairs))
			answered := 0
			s.setTamper(func(answer []byte) []byte {
				if answered++; answered == requests {
					return c.tamper(answer)
				}
				return answer
			})
			// One request at a time, so that the last answer is the one tampered with.
			_, err := Drive(context.Background(), nc, RandomGet(pairs, requests, 1), 1)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want an error with: %s", err, c.want)
			}
		})
	}
}

func TestSetRefused(t *testing.T) {
	w := OrderedLoad(Collect(1))
	if err := w.Check(0, []byte("\x00\x00\x00\x01")); !errors.Is(err, wire.ErrBadRecord) {
		t.Errorf("SET with status 1: %v", err)
	}
}

func TestServerGone(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	go func() {
		io.ReadFull(server, make([]byte, 10))
		server.Close()
	}()
	_, err := Drive(context.Background(), client, OrderedLoad(Collect(10)), 10)
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("gone while being written to: %v", err)
	}

	s := newFakeServer()
	nc := s.dial(t)
	s.setTamper(func([]byte) []byte { nc.(*net.UnixConn).CloseRead(); return nil })
	_, err = Drive(context.Background(), nc, OrderedLoad(Collect(10)), 1)
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "the server closed the connection") {
		t.Errorf("gone while being read from: %v", err)
	}
}

// TestDriveCancelled checks that a load that waits for a silent server can be cancelled.
func TestDriveCancelled(t *testing.T) {
	s := newFakeServer()
	nc := s.dial(t)
	s.setTamper(func([]byte) []byte { return nil })
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
	if _, err := Drive(ctx, nc, OrderedLoad(Collect(10000)), Depth); !errors.Is(err, why) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := Drive(ctx, nc, OrderedLoad(Collect(10)), Depth); !errors.Is(err, why) {
		t.Errorf("cancelled before: %v", err)
	}
}

// TestDriveDoesNotAllocate checks that a load allocates its buffers and nothing per request (nor
// does the fake server per GET).
func TestDriveDoesNotAllocate(t *testing.T) {
	nc := newFakeServer().dial(t)
	pairs := Collect(10000)
	mustDrive(t, nc, OrderedLoad(pairs), len(pairs))
	const requests = 200000
	w := RandomGet(pairs, requests, 1)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	mustDrive(t, nc, w, requests)
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > requests/100 {
		t.Errorf("%d allocations for %d requests", n, requests)
	}
}

// BenchmarkDrive measures a load together with a server that does next to nothing, because the
// store has just one pair.
func BenchmarkDrive(b *testing.B) {
	nc := newFakeServer().dial(b)
	pairs := Collect(1)
	mustDrive(b, nc, OrderedLoad(pairs), len(pairs))
	w := RandomGet(pairs, b.N, 1)
	b.ReportAllocs()
	b.ResetTimer()
	mustDrive(b, nc, w, b.N)
}
