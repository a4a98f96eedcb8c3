package mux_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kivaloo/eventloop"
	"kivaloo/eventloop/mux"
	"kivaloo/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// patience is how long tests wait for what must happen.
	patience = 30 * time.Second

	// silence is how long nothing comes before it is taken as not coming.
	silence = 50 * time.Millisecond
)

// rig is a multiplexer between sources and a target that the test plays.
type rig struct {
	t      testing.TB
	loop   *eventloop.Loop
	mux    *mux.Mux
	target *peer
	log    *logLines
	counts *eventloop.RequestCounts
	over   chan struct{} // Run has returned
	err    error
}

// kvRules are those of a target with small limits.
var kvRules = &mux.Rules{MaxKey: 64, MaxValue: 104}

// newRig makes a multiplexer without sources.
func newRig(t testing.TB, rules *mux.Rules) *rig {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(socketDir(t), "t"))
	must(t, err)
	defer ln.Close()
	nc, err := net.Dial("unix", ln.Addr().String())
	must(t, err)
	theirs, err := ln.Accept()
	must(t, err)

	r := &rig{t: t, target: newPeer(t, theirs), log: &logLines{}, counts: mux.NewCounts(), over: make(chan struct{})}
	log := slog.New(slog.NewTextHandler(r.log, nil))
	r.loop, err = eventloop.New(log)
	must(t, err)
	r.mux, err = mux.New(r.loop, nc, mux.Options{Rules: rules, Log: log, Counts: r.counts})
	must(t, err)
	go func() {
		r.err = r.loop.Run()
		r.mux.Close()
		close(r.over)
	}()
	t.Cleanup(func() {
		r.mux.Stop(0)
		r.wait()
	})
	return r
}

// wait waits for the multiplexer to end.
func (r *rig) wait() {
	r.t.Helper()
	select {
	case <-r.over:
		must(r.t, r.err)
	case <-time.After(patience):
		r.t.Fatal("the multiplexer does not end")
	}
}

// source adds a source and returns its address. Fields of s that matter are set before.
func (r *rig) source(s mux.Source) wire.Addr {
	r.t.Helper()
	a := wire.Addr{Network: "unix", Address: filepath.Join(socketDir(r.t), "s")}
	if s.TLS != nil {
		a = wire.Addr{Network: "tcp", Address: "127.0.0.1:0"}
	}
	ln, err := eventloop.Listen(a, eventloop.ServeBacklog)
	must(r.t, err)
	if s.Name == "" {
		s.Name = "here"
	}
	if s.Gate == nil {
		s.Gate = eventloop.NewGate(0)
	}
	if s.Allow == 0 {
		s.Allow = mux.Ordinary
	}
	r.mux.Serve(ln, s)
	return ln.Addr()
}

// dial connects a client.
func dial(t testing.TB, a wire.Addr) *peer {
	t.Helper()
	nc, err := net.Dial(a.Network, a.Address)
	must(t, err)
	return newPeer(t, nc)
}

// peer is an end of a connection that the test plays.
type peer struct {
	net.Conn
	t  testing.TB
	in []byte // received, not yet cut
}

func newPeer(t testing.TB, nc net.Conn) *peer {
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return &peer{Conn: nc, t: t}
}

// send sends packets, in one write.
func (p *peer) send(packets ...[]byte) {
	p.t.Helper()
	_, err := p.Write(bytes.Join(packets, nil))
	must(p.t, err)
}

// next returns the next packet, whose record is valid until the next call.
func (p *peer) next() (wire.Packet, error) {
	for {
		packet, n, _, err := wire.Cut(p.in, math.MaxUint32)
		if err != nil || n > 0 {
			p.in = p.in[n:]
			return packet, err
		}
		if cap(p.in)-len(p.in) < 64<<10 {
			p.in = append(make([]byte, 0, 2*len(p.in)+128<<10), p.in...)
		}
		got, err := p.Read(p.in[len(p.in):cap(p.in)])
		if err != nil {
			return wire.Packet{}, err
		}
		p.in = p.in[:len(p.in)+got]
	}
}

// receive returns the next packet, which must come.
func (p *peer) receive() (id uint64, record []byte) {
	p.t.Helper()
	packet, err := p.next()
	must(p.t, err)
	return packet.ID, packet.Record
}

// expect receives a packet with that record, and returns its ID.
func (p *peer) expect(record []byte) uint64 {
	p.t.Helper()
	id, got := p.receive()
	if !bytes.Equal(got, record) {
		p.t.Fatalf("got packet %d: %.100x, want %.100x", id, got, record)
	}
	return id
}

// expectAnswer receives the answer to request id.
func (p *peer) expectAnswer(id uint64, record []byte) {
	p.t.Helper()
	if got := p.expect(record); got != id {
		p.t.Fatalf("got an answer to request %d, want one to %d", got, id)
	}
}

// expectEnd waits for the other end to close the connection, with nothing more sent.
func (p *peer) expectEnd() {
	p.t.Helper()
	packet, err := p.next()
	if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		p.t.Fatalf("got packet %d: %.100x, %v; want the end of the connection", packet.ID, packet.Record, err)
	}
}

// expectSilence checks that nothing comes for a while.
func (p *peer) expectSilence() {
	p.t.Helper()
	p.SetReadDeadline(time.Now().Add(silence))
	if packet, err := p.next(); !errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Fatalf("got packet %d: %.100x, %v; want nothing", packet.ID, packet.Record, err)
	}
	p.SetReadDeadline(time.Now().Add(patience))
}

// halfClose says that nothing more will be sent.
func (p *peer) halfClose() {
	p.t.Helper()
	must(p.t, p.Conn.(interface{ CloseWrite() error }).CloseWrite())
}

// echo answers every request with its own record, until the connection ends.
func (p *peer) echo() {
	var out []byte
	for {
		packet, err := p.next()
		if err != nil {
			return
		}
		out = wire.AppendPacket(out, packet.ID, packet.Record)
		if _, n, _, _ := wire.Cut(p.in, math.MaxUint32); n > 0 && len(out) < 64<<10 {
			continue // one write for all that has come
		}
		if _, err := p.Write(out); err != nil {
			return
		}
		out = out[:0]
	}
}

// echoing has the target echo, until the test ends.
func (r *rig) echoing() {
	var wg sync.WaitGroup
	wg.Go(r.target.echo)
	r.t.Cleanup(func() {
		r.target.Close()
		wg.Wait()
	})
}

func kv(r wire.KVRequest) []byte { return wire.AppendKVRequest(nil, &r) }

func get(key string) []byte { return kv(wire.KVRequest{Type: wire.TypeGet, Key: []byte(key)}) }

func set(key, value string) []byte {
	return kv(wire.KVRequest{Type: wire.TypeSet, Key: []byte(key), Value: []byte(value)})
}

// blind is a record of n bytes, of which nobody looks at more than the type: that of requests of any length.
func blind(client, i, n int) []byte {
	record := bytes.Repeat([]byte{byte(client), byte(i)}, n/2+2)[:n]
	if n >= 4 {
		binary.BigEndian.PutUint32(record, wire.TypeLBSAppend)
	}
	return record
}

func packet(id uint64, record []byte) []byte { return wire.AppendPacket(nil, id, record) }

// numbered is a GET of which the key is two numbers.
func numbered(client, i int) []byte {
	key := binary.BigEndian.AppendUint32(nil, uint32(client))
	return get(string(binary.BigEndian.AppendUint32(key, uint32(i))))
}

// number takes the numbers out of the record of a numbered GET.
func number(record []byte) (client, i int) {
	key := record[len(record)-8:]
	return int(binary.BigEndian.Uint32(key)), int(binary.BigEndian.Uint32(key[4:]))
}

// sendAll sends the packets of n numbered GETs in the background.
func (p *peer) sendAll(client, n int) (sent chan error) {
	var b []byte
	for i := range n {
		b = wire.AppendPacket(b, uint64(i), numbered(client, i))
	}
	sent = make(chan error, 1)
	go func() {
		_, err := p.Write(b)
		sent <- err
	}()
	p.t.Cleanup(func() {
		p.Close()
		select {
		case <-sent:
		case <-time.After(patience):
			p.t.Error("a write does not end")
		}
	})
	return sent
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// socketDir returns a directory whose name is short enough for a socket.
func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mux")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// logLines is a log that can be searched.
type logLines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logLines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.b.Bytes(), []byte(s))
}
