package eventloop_test

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"kivaloo/eventloop"
	"kivaloo/wire"
)

// Whatever many connections ask for, few requests of all of them together are with the handlers, and
// one that comes now is there at once. Nothing is lost.
func TestAllTogetherAreOwedLittle(t *testing.T) {
	const many, requests, size = 200, 500, 8
	r, ln, ps := start(t), listen(t, "unix"), newProbes(t, false)
	r.Serve(ln, ps.options())
	conns, probes := make([]net.Conn, many), make([]*probe, many)
	for i := range conns {
		conns[i] = dial(t, ln)
		probes[i] = ps.next()
		sendAll(conns[i], requests, size)
	}
	got := func() (n int64) {
		for _, p := range probes {
			n += p.got.Load()
		}
		return n
	}
	const most = eventloop.MaxOwedTogether + many*eventloop.LeastOwed
	if n := steady(got); n > most {
		t.Fatalf("%d requests reached the handlers, at most %d may", n, most)
	}
	write(t, dial(t, ln), packet(1, size))
	ps.next().waitGot(t, 1)

	for _, nc := range conns {
		go func() {
			for id := uint64(0); id < requests; id++ {
				if err := tryPacket(nc, id, size); err != nil {
					return // the test misses it below
				}
			}
		}()
	}
	for answered := 0; answered < many*requests; {
		for _, p := range probes {
			n := 0
			r.do(func() { n = len(p.owed) })
			p.answer(r, n)
			answered += n
		}
	}
}

// Memory for answers that nobody takes is bounded for all connections together, in buffers of any size; and
// another is served meanwhile.
func TestAllTogetherLeaveLittleUnsent(t *testing.T) {
	const many, size = 1000, 50
	r, ln := start(t), listen(t, "unix")
	r.Serve(ln, eventloop.ServeOptions{MaxRecord: 100, New: func(c *eventloop.Conn) eventloop.Handler {
		return packets(func(id uint64, record []byte) error {
			n := 0
			if id > 0 { // how much is wanted
				n = min(int(id), c.Room())
			}
			c.Owe(1, n)
			o := c.NewOutput()
			o.Buf = wire.AppendPacket(slices.Grow(o.Buf, max(n, 100_000)), id, append(record, make([]byte, n)...))
			o.Answered, o.Reserved = 1, n
			c.Send(o)
			return nil
		})
	}})
	before := heap()
	for range many {
		nc := dial(t, ln)
		var b []byte
		for range 100 {
			b = append(b, packet(1<<20, size)...)
		}
		write(t, nc, b)
	}
	other := dial(t, ln)
	for range 100 {
		write(t, other, packet(0, size))
		readPacket(t, other, 0, size)
	}
	const most = eventloop.MaxBytesTogether + many*4*eventloop.LeastBytes
	if grown := steady(heap) - before; grown > most {
		t.Errorf("the heap has grown by %d bytes, want at most %d", grown, most)
	}
}

// Parts of long records take little memory together, and all of them come in the end: one that does
// not go on is given up.
func TestLongRecordsTakeTurns(t *testing.T) {
	const many, size = 40, 6 << 20
	r := startWith(t, slog.New(slog.DiscardHandler), func(l *eventloop.Loop) { l.SetClocks(10*time.Millisecond, 30*time.Millisecond) })
	ln := listen(t, "unix")
	var whole, failed atomic.Int64
	r.Serve(ln, eventloop.ServeOptions{MaxRecord: 1 << 30, New: func(c *eventloop.Conn) eventloop.Handler {
		return &longs{&whole, &failed}
	}})
	before := heap()
	long := packet(7, size)
	before += int64(len(long))
	conns := make([]net.Conn, many)
	sent := make(chan error, many)
	for i := range conns {
		conns[i] = dial(t, ln)
		go func() { // as much as is taken
			_, err := conns[i].Write(long[:len(long)-1])
			sent <- err
		}()
	}
	eventually(t, func() bool { return failed.Load() > 0 }) // nobody goes on, and those who wait want to
	if grown := heap() - before; grown > eventloop.MaxBytesTogether*3/2 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	for range many {
		<-sent // has been taken, or the connection given up
	}
	for _, nc := range conns {
		_, _ = nc.Write(long[len(long)-1:])
	}
	eventually(t, func() bool { return whole.Load()+failed.Load() == many })
	if whole.Load() == 0 {
		t.Error("no record has come")
	}
}

// longs counts the records that come, and the connections that are given up.
type longs struct{ whole, failed *atomic.Int64 }

func (l *longs) Packet(uint64, []byte) error { l.whole.Add(1); return nil }
func (l *longs) Pushed()                     {}
func (l *longs) Closed()                     {}

func (l *longs) Ended(why error) {
	if why != nil {
		l.failed.Add(1)
	}
}

// A record is judged when its type is there, before anything else of it has come.
func TestJudge(t *testing.T) {
	errJudged := errors.New("judged")
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			r, ln, ps := start(t), listen(t, network), newProbes(t, true)
			opts := ps.options()
			opts.Judge = func(typ, length uint32) error {
				if typ == 0xbad && length == 1<<20 {
					return errJudged
				}
				return nil
			}
			r.Serve(ln, opts)
			head := binary.BigEndian.AppendUint32(wire.AppendHeader(nil, 1, 1<<20), 0xbad)
			for _, cut := range []int{0, 5, 16, 19} {
				nc := dial(t, ln)
				p := ps.next()
				write(t, nc, append(packet(5, 10), head[:cut]...))
				readPacket(t, nc, 5, 10)
				write(t, nc, head[cut:])
				if err := p.waitEnded(t); err != errJudged {
					t.Errorf("cut at %d: ended with %v", cut, err)
				}
			}
			nc := dial(t, ln)
			write(t, nc, packet(1, 200_000)) // another type
			readPacket(t, nc, 1, 200_000)
		})
	}
}
