package lbs_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kivaloo/eventloop"
	"kivaloo/eventloop/lbs"
	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	blockSize = 512
	readers   = 4
	patience  = 20 * time.Second
)

// server is a Server of a memStore, on a loop of its own.
type server struct {
	t      *testing.T
	store  *memStore
	addr   wire.Addr
	fatal  chan error
	closed atomic.Int64 // connections
	counts *eventloop.RequestCounts
}

func serve(t *testing.T, store *memStore) *server {
	t.Helper()
	loop, err := eventloop.New(slog.New(slog.DiscardHandler))
	must.Do(t, err)
	dir, err := os.MkdirTemp("", "lbs")
	must.Do(t, err)
	path := filepath.Join(dir, "s")
	s := &server{t: t, store: store, fatal: make(chan error, 10), counts: lbs.NewCounts()}
	s.addr = wire.Addr{Name: path, Network: "unix", Address: path}
	ln, err := eventloop.Listen(s.addr, eventloop.DropInBacklog)
	must.Do(t, err)
	srv := lbs.NewServer(loop, store, lbs.Options{
		Readers: readers,
		Fatal:   func(err error) { s.fatal <- err },
		Closed:  func() { s.closed.Add(1) },
		Counts:  s.counts,
	})
	loop.Serve(ln, eventloop.ServeOptions{MaxConns: 1, MaxRecord: lbs.MaxRecord, Judge: srv.Judge, New: srv.Handle})
	over := make(chan error)
	go func() { over <- loop.Run() }()
	t.Cleanup(func() {
		loop.Stop(0)
		if err := <-over; err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
	})
	return s
}

// client is a connection to a server.
type client struct{ *wiretest.Peer }

func (s *server) dial() client {
	s.t.Helper()
	return client{wiretest.DialPeer(s.t, s.addr)}
}

// ask sends requests, with IDs from id on, in one write.
func (c client) ask(id uint64, requests ...wire.LBSRequest) {
	c.T.Helper()
	var b []byte
	for i := range requests {
		b = wire.AppendPacket(b, id+uint64(i), wire.AppendLBSRequest(nil, &requests[i]))
	}
	c.Send(b)
}

// end checks that the server has closed the connection, in order and with nothing more sent.
func (c client) end() {
	c.T.Helper()
	if p, err := c.Next(); err != io.EOF {
		c.T.Fatalf("answer %d: %x, %v; want the end of the stream", p.ID, p.Record, err)
	}
}

func (s *server) eventually(cond func() bool) {
	s.t.Helper()
	must.Eventually(s.t, "what the test waits for", cond)
}

func block(n int) []byte { return bytes.Repeat([]byte{byte(n), byte(n >> 8)}, blockSize/2) }

// filled returns a store with n blocks.
func filled(n int) *memStore {
	m := &memStore{blockSize: blockSize}
	for i := range n {
		m.blocks = append(m.blocks, block(i))
	}
	return m
}

var params2 = wire.LBSRequest{Type: wire.TypeLBSParams2}

func get(n uint64) wire.LBSRequest { return wire.LBSRequest{Type: wire.TypeLBSGet, Block: n} }

func free(n uint64) wire.LBSRequest { return wire.LBSRequest{Type: wire.TypeLBSFree, Block: n} }

func appendOf(at uint64, blocks ...int) wire.LBSRequest {
	r := wire.LBSRequest{Type: wire.TypeLBSAppend, Block: at, Count: uint32(len(blocks))}
	for _, n := range blocks {
		r.Data = append(r.Data, block(n)...)
	}
	return r
}

func status(n uint32) []byte { return wire.AppendLBSStatus(nil, n) }

func params2At(next uint64) []byte {
	return wire.AppendLBSParams2(nil, blockSize, next, next-1)
}

// TestCaptures replays conversations of the original's programs.
func TestCaptures(t *testing.T) {
	// The state in which each was captured, and the requests before a later packet.
	tests := map[string]func(*memStore){
		"lbs-params.txt":         func(*memStore) {},
		"lbs-append.txt":         func(m *memStore) { m.first = 15 },
		"lbs-get.txt":            func(m *memStore) { m.blocks = [][]byte{make([]byte, blockSize)} },
		"lbs-free.txt":           func(*memStore) {},
		"lbs-params2.txt":        func(*memStore) {},
		"lbs-exchange-kvlds.txt": func(*memStore) {},
	}
	for file, prepare := range tests {
		t.Run(file, func(t *testing.T) {
			store := &memStore{blockSize: blockSize}
			prepare(store)
			replay(t, serve(t, store), file)
		})
	}
}

func replay(t *testing.T, s *server, file string) {
	c := s.dial()
	packets := 0
	for _, line := range lines(t, file) {
		switch {
		case strings.HasPrefix(line, "> "):
			if _, err := c.Write(fromHex(t, line[2:])); err != nil {
				t.Fatal(err)
			}
		case strings.HasPrefix(line, "< "):
			want := fromHex(t, line[2:])
			got := make([]byte, len(want))
			if _, err := io.ReadFull(c, got); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("answered\n%x, the original\n%x", got, want)
			}
			packets++
		case line == "# connection closed":
			c.Close()
			c = s.dial()
		case strings.HasPrefix(line, "# store with 2 blocks"):
			s.store.mu.Lock()
			s.store.blocks = [][]byte{block(0), block(1)}
			s.store.mu.Unlock()
		case strings.HasPrefix(line, "# existing block 0"):
			// Only the answer shows the block's content.
			s.store.mu.Lock()
			s.store.blocks = [][]byte{capturedBlock(t, file)}
			s.store.mu.Unlock()
		}
	}
	if packets == 0 {
		t.Fatal("the capture has no packets")
	}
}

// capturedBlock returns the block in the first answer of file.
func capturedBlock(t *testing.T, file string) []byte {
	for _, line := range lines(t, file) {
		if strings.HasPrefix(line, "< ") {
			p := fromHex(t, line[2:])
			return p[wire.HeaderSize+4 : len(p)-wire.TrailerSize]
		}
	}
	t.Fatal("no answer")
	return nil
}

func lines(t *testing.T, file string) []string {
	f, err := os.Open(filepath.Join("testdata", file))
	must.Do(t, err)
	defer f.Close()
	var all []string
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		all = append(all, in.Text())
	}
	must.Do(t, in.Err())
	return all
}

func fromHex(t *testing.T, s string) []byte {
	b, err := hex.DecodeString(s)
	must.Do(t, err)
	return b
}

// TestInvalidRequests checks that each invalid request closes the connection without an answer, and
// that the next connection is served.
func TestInvalidRequests(t *testing.T) {
	s := serve(t, filled(0))
	tried := int64(0)
	for _, line := range lines(t, "invalid.txt") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, "\t")
		c := s.dial()
		if _, err := c.Write(fromHex(t, fields[2])); err != nil {
			t.Fatal(err)
		}
		c.end()
		c.Close()
		if tried++; t.Failed() {
			t.Fatal(fields[3])
		}
		c = s.dial()
		c.ask(1, params2)
		c.ExpectAnswer(1, params2At(0))
		c.Close()
		s.eventually(func() bool { return s.closed.Load() == 2*tried })
	}
	if tried < 20 {
		t.Fatalf("only %d requests were tried", tried)
	}
}

// TestLongRecordsAreJudgedAtOnce checks that a record that cannot be a request is refused as soon
// as its type has arrived.
func TestLongRecordsAreJudgedAtOnce(t *testing.T) {
	s := serve(t, filled(1))
	for _, test := range []struct {
		typ, length uint32
		good        bool
	}{
		{typ: 0x12345678, length: 1_500_000_000},
		{typ: wire.TypeSet, length: 100},
		{typ: wire.TypeLBSGet, length: 1_500_000_000},
		{typ: wire.TypeLBSGet, length: 13},
		{typ: wire.TypeLBSParams2, length: 5},
		{typ: wire.TypeLBSAppend, length: wire.LBSAppendHeadLen},
		{typ: wire.TypeLBSAppend, length: wire.LBSAppendHeadLen + blockSize + 1},
		{typ: wire.TypeLBSAppend, length: wire.LBSAppendHeadLen + 3_000_000*blockSize, good: true},
	} {
		c := s.dial()
		if _, err := c.Write(binary.BigEndian.AppendUint32(wire.AppendHeader(nil, 1, test.length), test.typ)); err != nil {
			t.Fatal(err)
		}
		if test.good {
			c.ExpectSilence()
		} else {
			c.end()
		}
		c.Close()
	}
}

// TestLongAppendComesAlone checks that nothing more is read while a long APPEND is in memory.
func TestLongAppendComesAlone(t *testing.T) {
	store := filled(0)
	s := serve(t, store)
	store.hold()
	c := s.dial()
	const blocks = 16 << 20 / blockSize
	numbers := make([]int, blocks)
	c.ask(1, appendOf(0, numbers...), get(0))
	s.eventually(func() bool { return store.submitted() == 1 })
	c.ExpectSilence()
	if n := store.submitted(); n != 1 {
		t.Errorf("the store has got %d requests", n)
	}
	store.release(false)
	c.ExpectAnswer(1, wire.AppendLBSAppended(nil, blocks))
	c.ExpectAnswer(2, wire.AppendLBSBlock(nil, block(0)))
}

func TestReads(t *testing.T) {
	store := filled(300)
	store.first = 100
	s := serve(t, store)
	c := s.dial()
	const n = 20_000
	rnd := rand.New(rand.NewPCG(1, 2))
	asked := make([]uint64, n)
	for i := range asked {
		asked[i] = rnd.Uint64N(500)
		if i%1000 == 0 {
			asked[i] = 1<<64 - 1
		}
	}
	go func() {
		for i, b := range asked {
			r := get(b)
			if _, err := c.Write(wire.AppendPacket(nil, uint64(i), wire.AppendLBSRequest(nil, &r))); err != nil {
				return
			}
		}
	}()
	seen := make([]bool, n)
	for range n {
		id, record := c.Receive()
		if seen[id] {
			t.Fatalf("request %d was answered twice", id)
		}
		seen[id] = true
		want := status(1)
		if b := asked[id]; b >= 100 && b < 400 {
			want = wire.AppendLBSBlock(nil, block(int(b-100)))
		}
		if !bytes.Equal(record, want) {
			t.Fatalf("block %d: %x, want %x", asked[id], record, want)
		}
	}
	store.mu.Lock()
	defer store.mu.Unlock()
	if store.most > readers {
		t.Fatalf("the store was given %d reads at once, want at most %d", store.most, readers)
	}
}

func TestHalfCloseDropsReadsThatHaveNotStarted(t *testing.T) {
	store := filled(20)
	store.hold()
	s := serve(t, store)
	c := s.dial()
	for i := range uint64(3 * readers) {
		c.ask(i, get(i))
	}
	s.eventually(func() bool { return store.submitted() == readers })
	must.Do(t, c.CloseWrite())
	time.Sleep(20 * time.Millisecond)
	store.release(true)
	for range readers {
		if id, _ := c.Receive(); id >= readers {
			t.Fatalf("request %d was answered, had not been started", id)
		}
	}
	c.end()
	if n := store.submitted(); n != 0 {
		t.Fatalf("%d reads were started after the end", n)
	}
	s.eventually(func() bool { return s.closed.Load() == 1 })
}

func TestBadlyFormedRequestDropsReadsThatHaveNotStarted(t *testing.T) {
	store := filled(20)
	store.hold()
	s := serve(t, store)
	c := s.dial()
	var requests []wire.LBSRequest
	for i := range uint64(3 * readers) {
		requests = append(requests, get(i))
	}
	bad := appendOf(20, 1)
	bad.Data = bad.Data[1:]
	c.ask(0, append(requests, bad, get(1))...)
	s.eventually(func() bool { return store.submitted() == readers })
	store.release(true)
	for range readers {
		c.Receive()
	}
	c.end()
	if n := store.submitted(); n != 0 {
		t.Fatalf("%d reads were started after the end", n)
	}
}

func TestAppends(t *testing.T) {
	store := filled(0)
	store.hold()
	s := serve(t, store)
	c := s.dial()
	c.ask(1, appendOf(0, 0, 1, 2), appendOf(3, 3), appendOf(0, 9))
	c.ExpectAnswer(2, status(1)) // another one is running: refused at once
	c.ExpectAnswer(3, status(1))
	c.ExpectSilence()
	store.release(false)
	c.ExpectAnswer(1, wire.AppendLBSAppended(nil, 3))

	c.ask(4, appendOf(2, 9))
	c.ExpectAnswer(4, status(1))
	c.ask(5, appendOf(1<<64-1, 9))
	c.ExpectAnswer(5, status(1))
	long := make([]int, 10_000)
	for i := range long {
		long[i] = i + 3
	}
	c.ask(6, appendOf(3, long...))
	c.ExpectAnswer(6, wire.AppendLBSAppended(nil, 10_003))
	c.ask(7, params2)
	c.ExpectAnswer(7, params2At(10_003))
	store.mu.Lock()
	defer store.mu.Unlock()
	for i := range uint64(10_003) {
		if !bytes.Equal(store.blocks[i], block(int(i))) {
			t.Fatalf("block %d is not what was appended", i)
		}
	}
}

// TestIllegalDuringAppend makes requests during an APPEND that the original never recovers from.
func TestIllegalDuringAppend(t *testing.T) {
	wrongSize := appendOf(1, 1)
	wrongSize.Data = wrongSize.Data[:256]
	for name, illegal := range map[string]wire.LBSRequest{
		"PARAMS":              {Type: wire.TypeLBSParams},
		"PARAMS2":             params2,
		"APPEND of half size": wrongSize,
	} {
		t.Run(name, func(t *testing.T) {
			store := filled(0)
			store.hold()
			s := serve(t, store)
			c := s.dial()
			c.ask(1, appendOf(0, 0), illegal, get(0))
			c.ExpectSilence()
			next := s.dial()
			next.ask(1, params2)
			next.ExpectSilence()
			store.release(false)
			c.ExpectAnswer(1, wire.AppendLBSAppended(nil, 1))
			c.end()
			next.ExpectAnswer(1, params2At(1))
		})
	}
}

// TestDisconnectDuringAppend checks that the next connection sees the effect of the append.
func TestDisconnectDuringAppend(t *testing.T) {
	store := filled(0)
	store.hold()
	s := serve(t, store)
	c := s.dial()
	c.ask(1, appendOf(0, 0, 1))
	s.eventually(func() bool { return store.submitted() == 1 })
	c.Close()
	next := s.dial()
	next.ask(1, params2)
	next.ExpectSilence()
	store.release(false)
	next.ExpectAnswer(1, params2At(2))
}

// TestAppendCutOff checks that an incomplete APPEND has no effect.
func TestAppendCutOff(t *testing.T) {
	s := serve(t, filled(0))
	c := s.dial()
	r := appendOf(0, 0, 1)
	p := wire.AppendPacket(nil, 1, wire.AppendLBSRequest(nil, &r))
	if _, err := c.Write(p[:len(p)-1]); err != nil {
		t.Fatal(err)
	}
	c.Close()
	next := s.dial()
	next.ask(1, params2)
	next.ExpectAnswer(1, params2At(0))
}

func TestFreeIsAnsweredBeforeItIsDone(t *testing.T) {
	store := filled(10)
	store.hold()
	s := serve(t, store)
	c := s.dial()
	c.ask(1, free(5))
	c.ExpectAnswer(1, status(0))
	s.eventually(func() bool { return store.submitted() == 1 })
	c.ask(2, free(6), free(7)) // acknowledged, and ignored
	c.ExpectAnswer(2, status(0))
	c.ExpectAnswer(3, status(0))
	c.Close() // does not wait for it either
	s.eventually(func() bool { return s.closed.Load() == 1 })
	store.release(false)
	c = s.dial()
	c.ask(4, free(1<<64-1))
	c.ExpectAnswer(4, status(0))
	s.eventually(func() bool {
		store.mu.Lock()
		defer store.mu.Unlock()
		return len(store.freed) == 2 && store.freed[0] == 5 && store.freed[1] == 1<<64-1
	})
}

func TestFailureIsReportedNotAnswered(t *testing.T) {
	broken := errors.New("disk on fire")
	for name, request := range map[string]wire.LBSRequest{
		"GET": get(0), "APPEND": appendOf(1, 1), "FREE": free(1),
	} {
		t.Run(name, func(t *testing.T) {
			store := filled(1)
			store.err = broken
			s := serve(t, store)
			c := s.dial()
			c.ask(1, request)
			if name == "FREE" {
				c.ExpectAnswer(1, status(0))
			}
			select {
			case err := <-s.fatal:
				if !errors.Is(err, broken) {
					t.Fatalf("reported %v", err)
				}
			case <-time.After(patience):
				t.Fatal("nothing was reported")
			}
			c.ask(2, request)
			if name == "FREE" {
				c.ExpectAnswer(2, status(0))
			}
			c.ExpectSilence()
			if len(s.fatal) != 0 {
				t.Fatal("a second failure was reported")
			}
		})
	}
}
