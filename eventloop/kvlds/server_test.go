package kvlds_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kivaloo/actors"
	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/eventloop"
	"kivaloo/eventloop/kvlds"
	"kivaloo/internal/must"
	"kivaloo/tree"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// slowStore is a store whose appends can be held back or fail.
type slowStore struct {
	disk.Store
	hold chan struct{} // appends wait until it is closed; nil: they do not wait
	fail atomic.Bool
}

func (s *slowStore) Submit(first, last *disk.Op) {
	for op := first; op != nil; {
		next := op.Link.Next()
		op.SetNext(nil)
		if op.Kind == disk.Append {
			if s.hold != nil {
				<-s.hold
			}
			if s.fail.Load() {
				op.Err = errors.New("out of order")
				op.Done.PushOne(op)
				op = next
				continue
			}
		}
		s.Store.Submit(op, op)
		op = next
	}
}

// served is a store in memory behind a real socket.
type served struct {
	t     testing.TB
	store *slowStore
	path  string

	loop   *eventloop.Loop
	actor  *tree.Actor
	server *kvlds.Server
}

func serve(t testing.TB, store *slowStore) *served {
	t.Helper()
	inline, err := disk.OpenInline("store", disk.Options{BlockSize: 2048, FS: simfs.New("store")})
	must.Do(t, err)
	store.Store = inline
	hold := store.hold
	store.hold = nil // not for the first page
	tr, err := tree.Open(store, tree.Config{MaxKey: 64, MaxValue: 104})
	must.Do(t, err)
	store.hold = hold
	s := serveTree(t, tr, store)
	s.store = store
	return s
}

// serveTree puts a tree behind a real socket, and closes it and its store at the end.
func serveTree(t testing.TB, tr *tree.Tree, store disk.Store) *served {
	t.Helper()
	loop, err := eventloop.New(slog.New(slog.DiscardHandler))
	must.Do(t, err)
	actor := tree.NewActor(tr, store)
	path := filepath.Join(t.TempDir(), "s")
	ln, err := eventloop.Listen(wire.Addr{Name: path, Network: "unix", Address: path}, 10)
	must.Do(t, err)
	readers := tr.Readers()
	server := &kvlds.Server{Requests: actor.Requests(), Readers: readers, MaxKey: tr.MaxKey(), MaxValue: tr.MaxValue()}
	loop.Serve(ln, server.Options(nil))
	front, back := actors.NewGroup(), actors.NewGroup()
	front.Go("loop", func(context.Context) error { return loop.Run() })
	back.Go("tree", actor.Run)
	t.Cleanup(func() {
		loop.Stop(time.Second)
		for _, g := range []*actors.Group{front, back} {
			if err := g.Wait(); err != nil && !errors.Is(err, disk.ErrFailed) { // a test has failed the disk
				t.Error(err)
			}
			back.Stop()
		}
		readers.Close()
		tr.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &served{t: t, path: path, loop: loop, actor: actor, server: server}
}

func (s *served) dial() *wiretest.Peer {
	s.t.Helper()
	return wiretest.DialPeer(s.t, wire.Addr{Network: "unix", Address: s.path})
}

func packets(firstID uint64, requests ...wire.KVRequest) []byte {
	var b []byte
	for i := range requests {
		b = wire.AppendPacket(b, firstID+uint64(i), wire.AppendKVRequest(nil, &requests[i]))
	}
	return b
}

func set(key, value string) wire.KVRequest {
	return wire.KVRequest{Type: wire.TypeSet, Key: []byte(key), Value: []byte(value)}
}

func get(key string) wire.KVRequest { return wire.KVRequest{Type: wire.TypeGet, Key: []byte(key)} }

var (
	params = wire.KVRequest{Type: wire.TypeParams}
	done   = wire.AppendKVStatus(nil, 0)
	not    = wire.AppendKVStatus(nil, 1)
)

func value(s string) []byte { return wire.AppendKVValue(nil, []byte(s)) }

// TestCaptures sends what clients of the original sent and expects what the original answered.
func TestCaptures(t *testing.T) {
	for _, name := range []string{"params", "set", "delete", "get", "add", "modify", "cas", "cad", "edge"} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, &slowStore{})
			c := s.dial()
			lines := captured(t, "testdata/kvlds-"+name+".txt")
			for i := 0; i+1 < len(lines); i += 2 {
				prepare(t, s, lines[i], lines[i+1])
				c.Send(lines[i])
				p, _, _, err := wire.Cut(lines[i+1], 1<<20)
				must.Do(t, err)
				c.ExpectAnswer(p.ID, p.Record)
			}
		})
	}
}

// prepare puts the store into the state in which request gets answer.
func prepare(t *testing.T, s *served, request, answer []byte) {
	t.Helper()
	q, _, _, err := wire.Cut(request, 1<<20)
	must.Do(t, err)
	r, err := wire.ParseKVRequest(q.Record)
	must.Do(t, err)
	a, _, _, err := wire.Cut(answer, 1<<20)
	must.Do(t, err)
	if r.Type == wire.TypeParams {
		return
	}
	holds := a.Record[3] == 0
	first := wire.KVRequest{Type: wire.TypeDelete, Key: r.Key}
	switch present := holds == (r.Type != wire.TypeAdd); {
	case r.Type == wire.TypeGet && holds:
		first = wire.KVRequest{Type: wire.TypeSet, Key: r.Key, Value: a.Record[5:]}
	case r.Type == wire.TypeCAS && holds, r.Type == wire.TypeCAD && holds:
		first = wire.KVRequest{Type: wire.TypeSet, Key: r.Key, Value: r.Old}
	case present && r.Type != wire.TypeGet:
		first = wire.KVRequest{Type: wire.TypeSet, Key: r.Key, Value: []byte("something")}
	}
	c := s.dial()
	c.Send(packets(9, first))
	c.ExpectAnswer(9, done)
}

func captured(t *testing.T, file string) [][]byte {
	t.Helper()
	text, err := os.ReadFile(file)
	must.Do(t, err)
	var all [][]byte
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		b, err := hex.DecodeString(line[2:])
		must.Do(t, err)
		all = append(all, b)
	}
	if len(all) == 0 {
		t.Fatalf("no packets in %s", file)
	}
	return all
}

func TestEveryOperation(t *testing.T) {
	c := serve(t, &slowStore{}).dial()
	kv := func(typ uint32, key, old, val string) wire.KVRequest {
		return wire.KVRequest{Type: typ, Key: []byte(key), Old: []byte(old), Value: []byte(val)}
	}
	for i, step := range []struct {
		request wire.KVRequest
		want    []byte
	}{
		{params, wire.AppendKVParams(nil, 64, 104)},
		{get("x"), not},
		{set("x", "1"), done},
		{get("x"), value("1")},
		{kv(wire.TypeAdd, "x", "", "2"), not},
		{kv(wire.TypeAdd, "y", "", "2"), done},
		{kv(wire.TypeModify, "z", "", "3"), not},
		{kv(wire.TypeModify, "x", "", "3"), done},
		{kv(wire.TypeCAS, "x", "4", "5"), not},
		{kv(wire.TypeCAS, "x", "3", "5"), done},
		{wire.KVRequest{Type: wire.TypeRange, Max: 100}, wire.AppendKVPairs(nil, 2, nil, []byte("\x01x\x015\x01y\x012"))},
		{kv(wire.TypeCAD, "x", "4", ""), not},
		{kv(wire.TypeCAD, "x", "5", ""), done},
		{kv(wire.TypeDelete, "y", "", ""), done},
		{kv(wire.TypeDelete, "y", "", ""), done},
		{wire.KVRequest{Type: wire.TypeRange, Max: 100}, wire.AppendKVPairs(nil, 0, nil, nil)},
		{set("", ""), done},
		{get(""), value("")},
		{get(strings.Repeat("long", 60)), not},
	} {
		id := uint64(i) | 1<<63
		c.Send(packets(id, step.request))
		c.ExpectAnswer(id, step.want)
	}
}

// TestManyInOneWrite sends so many requests in one write that they need several batches.
func TestManyInOneWrite(t *testing.T) {
	c := serve(t, &slowStore{}).dial()
	var sets, gets []wire.KVRequest
	for i := range 3000 {
		k := fmt.Sprintf("key-%05d", i)
		sets, gets = append(sets, set(k, k+k)), append(gets, get(k))
	}
	c.Send(packets(0, sets...))
	for i := range sets {
		c.ExpectAnswer(uint64(i), done)
	}
	go c.Write(packets(0, gets...))
	seen := map[uint64]bool{}
	for range gets {
		id, record := c.Receive()
		k := fmt.Sprintf("key-%05d", id)
		if seen[id] || !bytes.Equal(record, value(k+k)) {
			t.Fatalf("answer %d: %q", id, record)
		}
		seen[id] = true
	}
}

func TestParamsOvertakes(t *testing.T) {
	store := &slowStore{hold: make(chan struct{})}
	c := serve(t, store).dial()
	c.Send(packets(1, set("a", "b")))
	c.Send(packets(2, params))
	c.ExpectAnswer(2, wire.AppendKVParams(nil, 64, 104))
	close(store.hold)
	c.ExpectAnswer(1, done)
}

// TestGetBehindUnansweredSet checks that a read does not see what a crash could still undo.
func TestGetBehindUnansweredSet(t *testing.T) {
	// The store holds up the tree's goroutine, so the reads are pushed before it continues.
	c := serve(t, &slowStore{}).dial()
	c.Send(packets(1, get("a"), set("a", "b"), get("a")))
	answers := map[uint64][]byte{}
	for range 3 {
		id, record := c.Receive()
		answers[id] = record
	}
	if !bytes.Equal(answers[1], not) || !bytes.Equal(answers[3], not) || !bytes.Equal(answers[2], done) {
		t.Fatalf("answers %x", answers)
	}
	c.Send(packets(4, get("a")))
	c.ExpectAnswer(4, value("b"))
}

// TestLoneGetNeedsNoTree checks that the loop answers a lone GET itself, even while the tree's
// goroutine is held up, and that the GET sees nothing that is not durable.
func TestLoneGetNeedsNoTree(t *testing.T) {
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	s := serve(t, &slowStore{hold: hold})
	defer release()
	writer, reader := s.dial(), s.dial()
	writer.Send(packets(1, set("a", "new")))
	for id := range uint64(100) {
		reader.Send(packets(id, get("a")))
		reader.ExpectAnswer(id, not)
	}
	release()
	writer.ExpectAnswer(1, done)
	reader.Send(packets(100, get("a"), get("b")))
	reader.ExpectAnswer(100, value("new"))
	reader.ExpectAnswer(101, not)
}

// TestBadRequestTakesQueuedChangesWithIt sends bad requests of all kinds. Changes before them in
// the same write must not be carried out, reads must be answered, the connection must be closed,
// and others must be served.
func TestBadRequestTakesQueuedChangesWithIt(t *testing.T) {
	good := packets(7, params)
	badSum := bytes.Clone(good)
	badSum[len(badSum)-1] ^= 1
	badHeader := bytes.Clone(good)
	badHeader[12] ^= 1
	for name, bad := range map[string][]byte{
		"unknown type":    wire.AppendPacket(nil, 7, []byte{0, 0, 1, 0x40}),
		"trailing byte":   wire.AppendPacket(nil, 7, []byte{0, 0, 1, 0, 0}),
		"short record":    wire.AppendPacket(nil, 7, []byte{0, 0, 1}),
		"long key":        packets(7, set(strings.Repeat("k", 65), "")),
		"long value":      packets(7, set("k", strings.Repeat("v", 105))),
		"record checksum": badSum,
		"header checksum": badHeader,
		"huge record":     wire.AppendHeader(nil, 7, 1<<32-1),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, &slowStore{})
			c := s.dial()
			c.Send(append(packets(1, set("a", "b"), get("c")), bad...))
			c.ExpectAnswer(2, not)
			c.ExpectEnd()
			other := s.dial()
			other.Send(packets(1, get("a")))
			other.ExpectAnswer(1, not)
		})
	}
}

func TestHalfCloseGetsItsAnswers(t *testing.T) {
	s := serve(t, &slowStore{})
	c := s.dial()
	c.Send(packets(1, set("a", "b"), get("c")))
	must.Do(t, c.CloseWrite())
	answers := map[uint64]string{}
	for range 2 {
		id, record := c.Receive()
		answers[id] = string(record)
	}
	if answers[1] != string(done) || answers[2] != string(not) {
		t.Fatalf("answers %v", answers)
	}
	c.ExpectEnd()
}

// TestFailedAppend checks that a change that is not durable is not acknowledged, and that reads go
// on.
func TestFailedAppend(t *testing.T) {
	s := serve(t, &slowStore{})
	c := s.dial()
	c.Send(packets(1, set("a", "b")))
	c.ExpectAnswer(1, done)
	s.store.fail.Store(true)
	c.Send(packets(2, set("a", "c")))
	c.ExpectEnd()
	other := s.dial()
	other.Send(packets(3, get("a")))
	other.ExpectAnswer(3, value("b"))
	other.Send(packets(4, set("x", "y")))
	other.ExpectEnd()
}

// TestRangesThatAreNotRead checks that the server stops reading from a client that asks for
// megabytes over and over and reads nothing.
func TestRangesThatAreNotRead(t *testing.T) {
	s := serve(t, &slowStore{})
	c := s.dial()
	var sets []wire.KVRequest
	for i := range 4000 {
		sets = append(sets, set(fmt.Sprintf("%064d", i), strings.Repeat("v", 104)))
	}
	c.Send(packets(0, sets...))
	for i := range sets {
		c.ExpectAnswer(uint64(i), done)
	}
	greedy := s.dial()
	const asked = 60 // each of 680 kB
	ranges := make([]wire.KVRequest, asked)
	for i := range ranges {
		ranges[i] = wire.KVRequest{Type: wire.TypeRange, Max: 1<<32 - 1}
	}
	greedy.Send(packets(0, ranges...))
	// Another client is served meanwhile, and all the answers come once they are read.
	c.Send(packets(1, get(fmt.Sprintf("%064d", 7))))
	c.ExpectAnswer(1, value(strings.Repeat("v", 104)))
	for i := range asked {
		id, record := greedy.Receive()
		n, next, _, err := wire.ParseKVPairs(record, 1<<32-1)
		if id != uint64(i) || err != nil || n != 4000 || len(next) != 0 {
			t.Fatalf("answer %d, want %d: %d pairs, next %q, %v", id, i, n, next, err)
		}
	}
}

// BenchmarkGet keeps 4096 GETs in flight on one connection. Nothing is allocated per GET.
func BenchmarkGet(b *testing.B) {
	c := serve(b, &slowStore{}).dial()
	const keys = 4096
	var sets, gets []wire.KVRequest
	for i := range keys {
		k := fmt.Sprintf("%040d", i)
		sets, gets = append(sets, set(k, k)), append(gets, get(k))
	}
	c.Send(packets(0, sets...))
	for range sets {
		c.Receive()
	}
	c.SetDeadline(time.Time{})
	request := packets(0, gets...)
	answerBytes := len(wire.AppendPacket(nil, 0, value(fmt.Sprintf("%040d", 0)))) * keys
	buf := make([]byte, answerBytes)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += keys {
		go c.Write(request)
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
	}
}

// TestRequestsAreTimed checks that the time of each request is counted with its operation, and that
// broken connections are counted with the reason.
func TestRequestsAreTimed(t *testing.T) {
	s := serve(t, &slowStore{})
	m := &eventloop.Metrics{}
	on := make(chan struct{})
	s.loop.Post(func() { s.loop.Measure(m); close(on) })
	<-on
	c := s.dial()
	began := time.Now()
	c.Send(packets(1, set("a", "1"), set("b", "2")))
	c.ExpectAnswer(1, done)
	c.ExpectAnswer(2, done)
	for id := range uint64(3) {
		c.Send(packets(id, get("a"))) // answered on the loop
		c.ExpectAnswer(id, value("1"))
	}
	bad := s.dial()
	bad.Send([]byte("GET / HTTP/1.1\r\nHost: kivaloo\r\n\r\n"))
	if err := bad.Closed(); err != nil {
		t.Error(err)
	}
	broken := map[string]uint64{}
	must.Eventually(t, "the broken connection is counted", func() bool {
		m.Broken(func(reason string, n uint64) { broken[reason] = n })
		return broken["header_checksum"] == 1
	})
	const waits = 500 * time.Millisecond
	snapshot := takeSnapshot(c)
	for _, r := range []wire.KVRequest{
		gettingAt(snapshot, "a"), scanningAt(snapshot, 0, 1000, "", ""), scanning(0, 1000, 0, "", ""), releasing(snapshot),
		applying(setting("c", "3")), applying(wire.Condition{Kind: wire.IfAbsent, Key: []byte("c")}, setting("c", "4")),
		{Type: wire.TypeDeleteRange, Key: []byte("c")}, watching(0, 0, 1000, "", ""), watching(0, waits, 1000, "", ""),
	} {
		ask(c, r)
	}
	took := time.Since(began)
	want := map[string]uint64{"set": 2, "get": 3, "snapshot": 1, "get_at": 1, "scan": 2, "release": 1, "apply": 2, "delete_range": 1, "watch": 2}
	for op := range kvlds.Ops {
		name := kvlds.OpName(op)
		want := want[name]
		var got actors.Counts
		// The client may get its answer before the loop has counted it.
		must.Eventually(t, name+" is counted", func() bool { got = m.Requests[op].Read(); return got.Total() >= want })
		if got.Total() != want || want > 0 && (got.Sum == 0 || got.Sum > want*uint64(took)) {
			t.Errorf("%s: %d in %d ns, want %d in at most %v", name, got.Total(), got.Sum, want, took)
		}
		if name == "watch" && got.Sum > uint64(waits) {
			t.Errorf("a WATCH that waits %v counts with that: %d ns", waits, got.Sum)
		}
	}
}
