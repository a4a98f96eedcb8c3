package mux_test

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kivaloo/eventloop"
	"kivaloo/eventloop/mux"
	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// patience is how long tests wait for what must happen.
	patience = 30 * time.Second

	// silence is how long to wait before nothing is expected any more.
	silence = 50 * time.Millisecond
)

// rig is a multiplexer between sources and a target played by the test.
type rig struct {
	t      testing.TB
	loop   *eventloop.Loop
	mux    *mux.Mux
	target *peer
	log    *logLines
	counts *eventloop.RequestCounts
	over   chan struct{} // closed when Run has returned
	err    error
}

// kvRules are the rules of a target with small limits.
var kvRules = &mux.Rules{MaxKey: 64, MaxValue: 104}

// newRig creates a multiplexer without sources.
func newRig(t testing.TB, rules *mux.Rules) *rig {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(socketDir(t), "t"))
	must.Do(t, err)
	defer ln.Close()
	nc, err := net.Dial("unix", ln.Addr().String())
	must.Do(t, err)
	theirs, err := ln.Accept()
	must.Do(t, err)

	r := &rig{t: t, target: newPeer(t, theirs), log: &logLines{}, counts: mux.NewCounts(), over: make(chan struct{})}
	log := slog.New(slog.NewTextHandler(r.log, nil))
	r.loop, err = eventloop.New(log)
	must.Do(t, err)
	r.mux, err = mux.New(r.loop, nc, mux.Options{Rules: rules, Log: log, Counts: r.counts})
	must.Do(t, err)
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
		must.Do(r.t, r.err)
	case <-time.After(patience):
		r.t.Fatal("the multiplexer does not end")
	}
}

// source adds a source and returns its address. The test sets other fields of s first.
func (r *rig) source(s mux.Source) wire.Addr {
	r.t.Helper()
	a := wire.Addr{Network: "unix", Address: filepath.Join(socketDir(r.t), "s")}
	if s.TLS != nil {
		a = wire.Addr{Network: "tcp", Address: "127.0.0.1:0"}
	}
	ln, err := eventloop.Listen(a, eventloop.ServeBacklog)
	must.Do(r.t, err)
	if s.Name == "" {
		s.Name = "here"
	}
	if s.Gate == nil {
		s.Gate = eventloop.NewGate(0)
	}
	if s.Allow == 0 {
		s.Allow = mux.Everything
	}
	r.mux.Serve(ln, s)
	return ln.Addr()
}

// dial connects a client.
func dial(t testing.TB, a wire.Addr) *peer {
	t.Helper()
	return &peer{wiretest.DialPeer(t, a)}
}

// peer is an end of a connection played by the test.
type peer struct{ *wiretest.Peer }

func newPeer(t testing.TB, nc net.Conn) *peer { return &peer{wiretest.NewPeer(t, nc)} }

// echo answers every request with its own record, until the connection ends.
func (p *peer) echo() {
	var out []byte
	for {
		packet, err := p.Next()
		if err != nil {
			return
		}
		out = wire.AppendPacket(out, packet.ID, packet.Record)
		if p.Buffered() && len(out) < 64<<10 {
			continue // one write for everything received
		}
		if _, err := p.Write(out); err != nil {
			return
		}
		out = out[:0]
	}
}

// echoing makes the target echo until the test ends.
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

// blind returns a record of n bytes. Only its type is looked at: that of requests of any length.
func blind(client, i, n int) []byte {
	record := bytes.Repeat([]byte{byte(client), byte(i)}, n/2+2)[:n]
	if n >= 4 {
		binary.BigEndian.PutUint32(record, wire.TypeLBSAppend)
	}
	return record
}

func packet(id uint64, record []byte) []byte { return wire.AppendPacket(nil, id, record) }

// numbered returns a GET whose key is two numbers.
func numbered(client, i int) []byte {
	key := binary.BigEndian.AppendUint32(nil, uint32(client))
	return get(string(binary.BigEndian.AppendUint32(key, uint32(i))))
}

// number returns the numbers in the record of a numbered GET.
func number(record []byte) (client, i int) {
	key := record[len(record)-8:]
	return int(binary.BigEndian.Uint32(key)), int(binary.BigEndian.Uint32(key[4:]))
}

// sendAll sends n numbered GETs in the background.
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
	p.T.Cleanup(func() {
		p.Close()
		select {
		case <-sent:
		case <-time.After(patience):
			p.T.Error("a write does not end")
		}
	})
	return sent
}

// socketDir returns a directory whose path is short enough for a socket.
func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mux")
	must.Do(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// logLines is a searchable log.
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
