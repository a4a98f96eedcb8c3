package kvlds_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kivaloo/actors"
	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/eventloop"
	"kivaloo/eventloop/kvlds"
	"kivaloo/tree"
	"kivaloo/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// slowStore is a store of which appends can be held back or fail.
type slowStore struct {
	disk.Store
	hold chan struct{} // appends wait for it to be closed; nil: they do not
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
	if err != nil {
		t.Fatal(err)
	}
	store.Store = inline
	hold := store.hold
	store.hold = nil // not for the first page
	tr, err := tree.Open(store, tree.Config{MaxKey: 64, MaxValue: 104})
	if err != nil {
		t.Fatal(err)
	}
	store.hold = hold
	s := serveTree(t, tr, store)
	s.store = store
	return s
}

// serveTree puts a tree behind a real socket, and closes it and its store at the end.
func serveTree(t testing.TB, tr *tree.Tree, store disk.Store) *served {
	t.Helper()
	loop, err := eventloop.New(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	actor := tree.NewActor(tr, store)
	path := filepath.Join(t.TempDir(), "s")
	ln, err := eventloop.Listen(wire.Addr{Name: path, Network: "unix", Address: path}, 10)
	if err != nil {
		t.Fatal(err)
	}
	server := &kvlds.Server{Requests: actor.Requests(), MaxKey: tr.MaxKey(), MaxValue: tr.MaxValue()}
	loop.Serve(ln, eventloop.ServeOptions{MaxRecord: kvlds.MaxRecord, New: server.Handle})
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
		tr.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &served{t: t, path: path, loop: loop, actor: actor, server: server}
}

// client is a connection that speaks the protocol.
type client struct {
	t  testing.TB
	nc *net.UnixConn
	r  *bufio.Reader
}

func (s *served) dial() *client {
	s.t.Helper()
	nc, err := net.Dial("unix", s.path)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	return &client{s.t, nc.(*net.UnixConn), bufio.NewReaderSize(nc, 1<<16)}
}

func packets(firstID uint64, requests ...wire.KVRequest) []byte {
	var b []byte
	for i := range requests {
		b = wire.AppendPacket(b, firstID+uint64(i), wire.AppendKVRequest(nil, &requests[i]))
	}
	return b
}

func (c *client) write(b []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// answer reads one packet.
func (c *client) answer() (uint64, []byte) {
	c.t.Helper()
	id, record, err := c.tryAnswer()
	if err != nil {
		c.t.Fatal(err)
	}
	return id, record
}

func (c *client) tryAnswer() (uint64, []byte, error) {
	header, err := c.r.Peek(wire.HeaderSize)
	if err != nil {
		return 0, nil, err
	}
	_, _, want, err := wire.Cut(header, 4<<20)
	if err != nil {
		return 0, nil, err
	}
	b := make([]byte, want)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return 0, nil, err
	}
	p, _, _, err := wire.Cut(b, 4<<20)
	return p.ID, p.Record, err
}

func (c *client) expect(id uint64, record []byte) {
	c.t.Helper()
	gotID, got := c.answer()
	if gotID != id || !bytes.Equal(got, record) {
		c.t.Fatalf("answer %d: %x, want %d: %x", gotID, got, id, record)
	}
}

func (c *client) expectEnd() {
	c.t.Helper()
	if id, record, err := c.tryAnswer(); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		c.t.Fatalf("answer %d: %x, %v; want the end of the stream", id, record, err)
	}
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

// TestCaptures sends what clients of the original sent and wants what the original answered.
func TestCaptures(t *testing.T) {
	for _, name := range []string{"params", "set", "delete", "get", "add", "modify", "cas", "cad", "edge"} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, &slowStore{})
			c := s.dial()
			lines := captured(t, "testdata/kvlds-"+name+".txt")
			for i := 0; i+1 < len(lines); i += 2 {
				prepare(t, s, lines[i], lines[i+1])
				c.write(lines[i])
				p, _, _, err := wire.Cut(lines[i+1], 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				c.expect(p.ID, p.Record)
			}
		})
	}
}

// prepare puts the store into the state in which request gets answer.
func prepare(t *testing.T, s *served, request, answer []byte) {
	t.Helper()
	q, _, _, err := wire.Cut(request, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	r, err := wire.ParseKVRequest(q.Record)
	if err != nil {
		t.Fatal(err)
	}
	a, _, _, err := wire.Cut(answer, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
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
	c.write(packets(9, first))
	c.expect(9, done)
}

func captured(t *testing.T, file string) [][]byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		b, err := hex.DecodeString(line[2:])
		if err != nil {
			t.Fatal(err)
		}
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
		c.write(packets(id, step.request))
		c.expect(id, step.want)
	}
}

// TestManyInOneWrite has the requests of one read go through several batches.
func TestManyInOneWrite(t *testing.T) {
	c := serve(t, &slowStore{}).dial()
	var sets, gets []wire.KVRequest
	for i := range 3000 {
		k := fmt.Sprintf("key-%05d", i)
		sets, gets = append(sets, set(k, k+k)), append(gets, get(k))
	}
	c.write(packets(0, sets...))
	for i := range sets {
		c.expect(uint64(i), done)
	}
	go c.nc.Write(packets(0, gets...))
	seen := map[uint64]bool{}
	for range gets {
		id, record := c.answer()
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
	c.write(packets(1, set("a", "b")))
	c.write(packets(2, params))
	c.expect(2, wire.AppendKVParams(nil, 64, 104))
	close(store.hold)
	c.expect(1, done)
}

// TestGetBehindUnansweredSet: a read does not see what a crash could still undo.
func TestGetBehindUnansweredSet(t *testing.T) {
	// The store holds the tree's goroutine up, so the reads are pushed before.
	c := serve(t, &slowStore{}).dial()
	c.write(packets(1, get("a"), set("a", "b"), get("a")))
	answers := map[uint64][]byte{}
	for range 3 {
		id, record := c.answer()
		answers[id] = record
	}
	if !bytes.Equal(answers[1], not) || !bytes.Equal(answers[3], not) || !bytes.Equal(answers[2], done) {
		t.Fatalf("answers %x", answers)
	}
	c.write(packets(4, get("a")))
	c.expect(4, value("b"))
}

// TestBadRequestTakesQueuedChangesWithIt: whatever is wrong, changes in front of it in the same write
// are not carried out, reads are answered, the connection is closed and others are served.
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
			c.write(append(packets(1, set("a", "b"), get("c")), bad...))
			c.expect(2, not)
			c.expectEnd()
			other := s.dial()
			other.write(packets(1, get("a")))
			other.expect(1, not)
		})
	}
}

func TestHalfCloseGetsItsAnswers(t *testing.T) {
	s := serve(t, &slowStore{})
	c := s.dial()
	c.write(packets(1, set("a", "b"), get("c")))
	if err := c.nc.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answers := map[uint64]string{}
	for range 2 {
		id, record := c.answer()
		answers[id] = string(record)
	}
	if answers[1] != string(done) || answers[2] != string(not) {
		t.Fatalf("answers %v", answers)
	}
	c.expectEnd()
}

// TestFailedAppend: a change that is not durable is not acknowledged, and reads go on.
func TestFailedAppend(t *testing.T) {
	s := serve(t, &slowStore{})
	c := s.dial()
	c.write(packets(1, set("a", "b")))
	c.expect(1, done)
	s.store.fail.Store(true)
	c.write(packets(2, set("a", "c")))
	c.expectEnd()
	other := s.dial()
	other.write(packets(3, get("a")))
	other.expect(3, value("b"))
	other.write(packets(4, set("x", "y")))
	other.expectEnd()
}

// TestRangesThatAreNotRead: a client that asks for megabytes over and over and reads nothing is left alone
// before they pile up.
func TestRangesThatAreNotRead(t *testing.T) {
	s := serve(t, &slowStore{})
	c := s.dial()
	var sets []wire.KVRequest
	for i := range 4000 {
		sets = append(sets, set(fmt.Sprintf("%064d", i), strings.Repeat("v", 104)))
	}
	c.write(packets(0, sets...))
	for i := range sets {
		c.expect(uint64(i), done)
	}
	greedy := s.dial()
	const asked = 60 // each of 680 kB
	ranges := make([]wire.KVRequest, asked)
	for i := range ranges {
		ranges[i] = wire.KVRequest{Type: wire.TypeRange, Max: 1<<32 - 1}
	}
	greedy.write(packets(0, ranges...))
	// Somebody else is served meanwhile, and all the answers come once they are read.
	c.write(packets(1, get(fmt.Sprintf("%064d", 7))))
	c.expect(1, value(strings.Repeat("v", 104)))
	for i := range asked {
		id, record := greedy.answer()
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
	c.write(packets(0, sets...))
	for range sets {
		c.answer()
	}
	c.nc.SetDeadline(time.Time{})
	request := packets(0, gets...)
	answerBytes := len(wire.AppendPacket(nil, 0, value(fmt.Sprintf("%040d", 0)))) * keys
	buf := make([]byte, answerBytes)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += keys {
		go c.nc.Write(request)
		if _, err := io.ReadFull(c.r, buf); err != nil {
			b.Fatal(err)
		}
	}
}
