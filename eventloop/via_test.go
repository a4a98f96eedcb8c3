package eventloop_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kivaloo/eventloop"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// TestGateWithinAGate checks that connections of two sources share a gate, while each source has
// one of its own.
func TestGateWithinAGate(t *testing.T) {
	const all, few, clients = 3, 1, 8
	r, ps := start(t), newProbes(t, true)
	gate := eventloop.NewGate(all)
	var most [2]int64
	lns := []*eventloop.Listener{listen(t, "unix"), listen(t, "tcp")}
	var total atomic.Int64
	var mostTotal int64
	for i, g := range []*eventloop.Gate{gate, eventloop.NewGateWithin(gate, few)} {
		opts := ps.options()
		opts.Gate = g
		var open atomic.Int64
		opts.New = func(c *eventloop.Conn) eventloop.Handler { // all on one loop
			most[i] = max(most[i], open.Add(1))
			mostTotal = max(mostTotal, total.Add(1))
			return both{counted{ps.handle(c).(*probe), &open}, &total}
		}
		r.Serve(lns[i], opts)
	}
	var wg sync.WaitGroup
	for i := range clients * len(lns) {
		nc := dial(t, lns[i%len(lns)])
		write(t, nc, packet(1, 10))
		wg.Go(func() {
			if err := tryPacket(nc, 1, 10); err != nil {
				t.Error(err)
			}
			time.Sleep(5 * time.Millisecond)
			nc.Close()
		})
	}
	wg.Wait()
	r.do(func() {
		if most[1] != few || mostTotal != all {
			t.Errorf("%d connections of the small gate and %d of both were open at once, want %d and %d",
				most[1], mostTotal, few, all)
		}
	})
}

// both counts a connection twice.
type both struct {
	counted
	total *atomic.Int64
}

func (b both) Closed() {
	b.total.Add(-1)
	b.counted.Closed()
}

// TestVia checks that the socket returned by Via is served instead of the accepted one, and keeps
// its place at the gate.
func TestVia(t *testing.T) {
	r, ps, ln := start(t), newProbes(t, true), listen(t, "tcp")
	opts := ps.options()
	opts.Gate = eventloop.NewGate(1)
	var leaves []func()
	var refuse error
	opts.Via = func(fd int, peer string, leave func()) (int, error) {
		unix.Close(fd)
		if refuse != nil {
			err := refuse
			refuse = nil
			return 0, err
		}
		if _, err := net.ResolveTCPAddr("tcp", peer); err != nil {
			t.Error(err)
		}
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return 0, err
		}
		leaves = append(leaves, func() {
			unix.Close(pair[0])
			leave()
		})
		_, err = unix.Write(pair[0], packet(1, 10))
		return pair[1], err
	}
	r.do(func() { refuse = unix.ECONNABORTED }) // a passing error, so that the listener continues
	r.Serve(ln, opts)
	refused := dial(t, ln)
	if _, err := refused.Read(make([]byte, 1)); err == nil {
		t.Fatal("a connection that Via has refused is served")
	}

	first, second := dial(t, ln), dial(t, ln)
	p := ps.next()
	p.waitGot(t, 1)
	r.do(func() { p.c.Close() })
	p.waitClosed(t)
	time.Sleep(20 * time.Millisecond)
	if len(ps.made) != 0 {
		t.Fatal("another connection is served before leave was called")
	}
	r.do(func() { leaves[0]() })
	ps.next().waitGot(t, 1)
	r.do(func() { leaves[1]() })
	for _, nc := range []net.Conn{first, second} {
		if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Fatalf("read from the accepted socket: %v", err)
		}
	}
}

func TestPeer(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", ""} {
		r, ps := start(t), newProbes(t, true)
		a := wire.Addr{Network: "tcp", Address: address}
		if address == "" {
			a = wire.Addr{Network: "unix", Address: socketDir(t) + "/s"}
		}
		ln, err := eventloop.Listen(a, 1)
		if err != nil {
			t.Logf("no %s here: %v", address, err)
			continue
		}
		r.Serve(ln, ps.options())
		nc := dial(t, ln)
		want := nc.LocalAddr().String()
		if address == "" {
			want = ""
		}
		if got := ps.next().c.Peer(); got != want {
			t.Errorf("peer %q, want %q", got, want)
		}
	}
}

// relay is a handler that answers with what another connection says.
type relay struct {
	probe
	to *eventloop.Conn
}

func (h *relay) Packet(id uint64, record []byte) error {
	h.c.Owe(1, 0)
	o := h.to.NewOutput()
	o.Buf = wire.AppendPacket(o.Buf, id, record)
	h.to.Send(o)
	return nil
}

// back is the other connection's handler.
type back struct {
	receiver
	h     *relay
	ended atomic.Bool
}

func (b *back) Packet(id uint64, record []byte) error {
	o := b.h.c.NewOutput()
	o.Buf = wire.AppendPacket(o.Buf, id, record)
	o.Answered = 1
	b.h.c.Send(o)
	return nil
}

func (b *back) Ended(error) { b.ended.Store(true) }

// TestAttachedConnectionsAreStoppedLast checks that Stop leaves an attached connection open until
// everything that depends on it is answered.
func TestAttachedConnectionsAreStoppedLast(t *testing.T) {
	upstream := listenPlain(t)
	r, ln := start(t), listen(t, "unix")
	nc, err := wire.Dial(context.Background(), []wire.Addr{upstream.addr})
	must.Do(t, err)
	b := &back{receiver: receiver{closed: make(chan struct{})}}
	to, err := r.Attach(nc, 100, func(*eventloop.Conn) eventloop.Handler { return b })
	must.Do(t, err)
	server := upstream.accept()
	r.Serve(ln, eventloop.ServeOptions{MaxRecord: 100, New: func(c *eventloop.Conn) eventloop.Handler {
		b.h = &relay{probe: probe{c: c, ended: make(chan error, 1), closed: make(chan struct{})}, to: to}
		return b.h
	}})
	client := dial(t, ln)
	write(t, client, packet(1, 50))
	readPacket(t, server, 1, 50)
	r.Stop(patience)
	time.Sleep(20 * time.Millisecond)
	if b.ended.Load() {
		t.Fatal("the attached connection was stopped first")
	}
	write(t, server, packet(1, 50))
	readPacket(t, client, 1, 50)
	readEnd(t, client)
	readEnd(t, server)
	r.wait()
}

// plain is a listener of the library.
type plain struct {
	t    testing.TB
	ln   net.Listener
	addr wire.Addr
}

func listenPlain(t testing.TB) *plain {
	t.Helper()
	a := wire.Addr{Network: "unix", Address: socketDir(t) + "/p"}
	ln, err := net.Listen(a.Network, a.Address)
	must.Do(t, err)
	t.Cleanup(func() {
		if err := ln.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return &plain{t, ln, a}
}

func (p *plain) accept() net.Conn {
	p.t.Helper()
	nc, err := p.ln.Accept()
	must.Do(p.t, err)
	p.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return nc
}
