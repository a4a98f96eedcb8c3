package eventloop_test

import (
	"net"
	"runtime"
	"sync/atomic"
	"testing"

	"kivaloo/eventloop"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

func TestOwedAnswersStopReading(t *testing.T) {
	const requests, size = 10_000, 3000 // more than the kernel takes
	each(t, false, func(t *testing.T, r *running, ps *probes, ln *eventloop.Listener) {
		nc := dial(t, ln)
		p := ps.next()
		sent := sendAll(nc, requests, size)
		p.waitGot(t, eventloop.MaxOwed)
		if got := steady(p.got.Load); got != eventloop.MaxOwed {
			t.Fatalf("%d requests reached the handler, want %d", got, eventloop.MaxOwed)
		}
		select {
		case err := <-sent:
			t.Fatalf("all was taken from the peer (%v), want its socket to fill up", err)
		default:
		}
		read := make(chan error, 1)
		go func() { // so that unsent answers do not matter
			var err error
			for id := uint64(0); id < requests && err == nil; id++ {
				err = tryPacket(nc, id, size)
			}
			read <- err
		}()

		// One short of half, nothing more is read. At half, it is.
		p.answer(r, eventloop.MaxOwed/2-1)
		if got := steady(p.got.Load); got != eventloop.MaxOwed {
			t.Fatalf("%d requests reached the handler before half was answered", got)
		}
		p.answer(r, 1)
		p.waitGot(t, eventloop.MaxOwed*3/2)

		for answered := eventloop.MaxOwed / 2; answered < requests; {
			var n int
			r.do(func() { n = len(p.owed) })
			p.answer(r, n)
			answered += n
		}
		must.Do(t, <-read)
		must.Do(t, <-sent)
	})
}

// sendAll sends packets in the background, and then reports how that went.
func sendAll(nc net.Conn, requests, size int) <-chan error {
	sent := make(chan error, 1)
	go func() {
		for id := range uint64(requests) {
			if _, err := nc.Write(packet(id, size)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	return sent
}

func TestUnsentAnswersStopReading(t *testing.T) {
	const requests, size = 30_000, 1000 // 30 MB
	each(t, true, func(t *testing.T, r *running, ps *probes, ln *eventloop.Listener) {
		before := heap()
		nc := dial(t, ln)
		p := ps.next()
		sent := sendAll(nc, requests, size)
		eventually(t, func() bool { return p.got.Load() >= 100 })
		got := steady(p.got.Load)
		// What is not in our queue is in the kernel: at most a few MB.
		if got > requests*3/4 {
			t.Fatalf("%d requests reached the handler", got)
		}
		if grown := heap() - before; grown > 4*eventloop.MaxUnsentBytes {
			t.Fatalf("the heap has grown by %d bytes for a peer that reads nothing", grown)
		}

		other := dial(t, ln)
		for id := range uint64(100) {
			write(t, other, packet(id, 100))
			readPacket(t, other, id, 100)
		}

		for id := range uint64(requests) {
			readPacket(t, nc, id, size)
		}
		must.Do(t, <-sent)
	})
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestShortAnswersShareBuffers checks that unread answers in buffers far too large for them do not
// keep all of these buffers.
func TestShortAnswersShareBuffers(t *testing.T) {
	r, ln := start(t), listen(t, "unix")
	const requests, capacity = 5000, eventloop.MaxUnsentBytes / 16
	var got atomic.Int64
	r.Serve(ln, eventloop.ServeOptions{MaxRecord: 100, New: func(c *eventloop.Conn) eventloop.Handler {
		return packets(func(id uint64, record []byte) error {
			got.Add(1)
			c.Owe(1, 0)
			o := c.NewOutput()
			o.Buf = wire.AppendPacket(make([]byte, 0, capacity), id, record)
			o.Answered = 1
			c.Send(o)
			return nil
		})
	}})
	nc := dial(t, ln)
	sent := sendAll(nc, requests, 100)
	eventually(t, func() bool { return got.Load() == requests })
	for id := range uint64(requests) {
		readPacket(t, nc, id, 100)
	}
	must.Do(t, <-sent)
}

// packets is a handler that ignores everything but packets.
type packets func(id uint64, record []byte) error

func (f packets) Packet(id uint64, record []byte) error { return f(id, record) }
func (packets) Pushed()                                 {}
func (packets) Ended(error)                             {}
func (packets) Closed()                                 {}

func TestPromisedBytesStopReading(t *testing.T) {
	r, ln := start(t), listen(t, "unix")
	ps := newProbes(t, false)
	var c *eventloop.Conn
	opts := ps.options()
	opts.New = func(conn *eventloop.Conn) eventloop.Handler {
		c = conn
		return ps.handle(conn)
	}
	ps.judge = func(uint64, []byte) error {
		c.Owe(0, eventloop.MaxUnsentBytes/4)
		return nil
	}
	r.Serve(ln, opts)
	nc := dial(t, ln)
	p := ps.next()
	for id := range uint64(20) {
		write(t, nc, packet(id, 8))
	}
	p.waitGot(t, 4)
	if got := steady(p.got.Load); got != 4 {
		t.Fatalf("%d requests reached the handler", got)
	}
	takeBack := func(n int) {
		o := c.NewOutput()
		o.Reserved = n
		c.Send(o)
	}
	takeBack(eventloop.MaxUnsentBytes / 4)
	if got := steady(p.got.Load); got != 4 {
		t.Fatalf("%d requests reached the handler with 3/4 still promised", got)
	}
	takeBack(eventloop.MaxUnsentBytes / 4)
	p.waitGot(t, 6)
}
