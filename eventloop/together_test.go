package eventloop_test

import (
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"kivaloo/eventloop"
	"kivaloo/wire"
)

// TestAllTogetherAreOwedLittle checks that few requests of all connections together are with the
// handlers, however much the connections request, and that a new request arrives at once. Nothing
// may be lost.
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
					return // the test notices below that it is missing
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

// TestAllTogetherLeaveLittleUnsent checks that the memory for unread answers is limited for all
// connections together, in buffers of any size, and that another connection is served meanwhile.
func TestAllTogetherLeaveLittleUnsent(t *testing.T) {
	const many, size = 300, 50 // without the limit they would have 1 MiB each
	r, ln := start(t), listen(t, "unix")
	r.Serve(ln, eventloop.ServeOptions{MaxRecord: 100, New: func(c *eventloop.Conn) eventloop.Handler {
		return packets(func(id uint64, record []byte) error {
			n := 0
			if id > 0 { // the requested length
				n = min(int(id), c.Room())
			}
			c.Owe(1, n)
			o := c.NewOutput()
			o.Buf = wire.AppendPacket(slices.Grow(o.Buf, max(n, 20_000)), id, append(record, make([]byte, n)...))
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

// TestLimitMemory checks that requests count as memory. At the common limit each connection has one
// request until its answer has been sent, and in the end all are answered.
func TestLimitMemory(t *testing.T) {
	const many, requests, size, limit, held = 50, 10, 8, 1 << 20, 64 << 10
	r := startWith(t, slog.New(slog.DiscardHandler), func(l *eventloop.Loop) { l.LimitMemory(limit) })
	ln := listen(t, "unix")
	var got atomic.Int64
	var waiting []func() // of the loop: each answers one
	r.Serve(ln, eventloop.ServeOptions{MaxRecord: 100, New: func(c *eventloop.Conn) eventloop.Handler {
		return packets(func(id uint64, record []byte) error {
			got.Add(1)
			c.Owe(1, 0)
			c.Hold(held)
			o := c.NewOutput()
			o.Buf = wire.AppendPacket(o.Buf, id, record)
			o.Answered, o.Released = 1, held
			waiting = append(waiting, func() { c.Send(o) })
			return nil
		})
	}})
	conns := make([]net.Conn, many)
	for i := range conns {
		conns[i] = dial(t, ln)
		var b []byte
		for id := range uint64(requests) {
			b = append(b, packet(id, size)...)
		}
		write(t, conns[i], b)
	}
	if n := steady(got.Load); n < many || n > limit/held+many {
		t.Fatalf("%d requests reached the handlers, want one of each connection beyond the first %d", n, limit/held)
	}
	answered := 0 // requests that come while the last ones are answered must be answered too
	eventually(t, func() bool {
		r.do(func() {
			for _, answer := range waiting {
				answer()
			}
			answered += len(waiting)
			waiting = nil
		})
		return answered == many*requests
	})
	for _, nc := range conns {
		for id := range uint64(requests) {
			readPacket(t, nc, id, size)
		}
	}
}

// TestLongRecordsTakeTurns checks that parts of long records together take little memory, and that
// all records arrive in the end. A connection that stalls is given up.
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
		go func() { // as much as is read
			_, err := conns[i].Write(long[:len(long)-1])
			sent <- err
		}()
	}
	eventually(t, func() bool { return failed.Load() > 0 }) // no connection gets further, and the waiting ones want to
	if grown := heap() - before; grown > eventloop.MaxBytesTogether*3/2 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	for range many {
		<-sent // was read, or the connection given up
	}
	for _, nc := range conns {
		_, _ = nc.Write(long[len(long)-1:])
	}
	eventually(t, func() bool { return whole.Load()+failed.Load() == many })
	if whole.Load() == 0 {
		t.Error("no record has come")
	}
}

// TestLongRecordsShareABuffer checks that long records that are given back use one buffer, one
// after the other.
func TestLongRecordsShareABuffer(t *testing.T) {
	const many, size = 30, 500_000
	r, ln := start(t), listen(t, "unix")
	r.Serve(ln, eventloop.ServeOptions{MaxRecord: 1 << 20, New: func(c *eventloop.Conn) eventloop.Handler {
		return packets(func(id uint64, long []byte) error {
			kept := c.Keep(long)
			c.Owe(1, 0)
			o := c.NewOutput()
			o.Buf, o.Answered = wire.AppendPacket(o.Buf, id, record(id, 8)), 1
			c.Send(o)
			c.GiveBack(kept)
			return nil
		})
	}})
	nc, long := dial(t, ln), packet(1, size)
	var before, after runtime.MemStats
	for i := range many {
		if i == 1 { // there is a buffer now
			runtime.ReadMemStats(&before)
		}
		write(t, nc, long)
		readPacket(t, nc, 1, 8)
	}
	runtime.ReadMemStats(&after)
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > many*size/4 {
		t.Errorf("%d records of %d bytes took %d bytes of new memory", many, size, allocated)
	}
}

// longs counts arriving records and given-up connections.
type longs struct{ whole, failed *atomic.Int64 }

func (l *longs) Packet(uint64, []byte) error { l.whole.Add(1); return nil }
func (l *longs) Pushed()                     {}
func (l *longs) Closed()                     {}

func (l *longs) Ended(why error) {
	if why != nil {
		l.failed.Add(1)
	}
}

// TestJudge checks that a record is judged when its type has arrived, before the rest.
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

// TestPartsOfRecordsAreBounded checks that parts of records that are longer than a usual request,
// but no longer than one read, have a common limit too.
func TestPartsOfRecordsAreBounded(t *testing.T) {
	const many, size, part, limit = 300, 60 << 10, 40 << 10, 1 << 20
	r := startWith(t, slog.New(slog.DiscardHandler), func(l *eventloop.Loop) { l.LimitMemory(limit) })
	ln := listen(t, "unix")
	r.Serve(ln, eventloop.ServeOptions{MaxRecord: size, New: func(c *eventloop.Conn) eventloop.Handler {
		return packets(func(id uint64, record []byte) error {
			c.Owe(1, 0)
			o := c.NewOutput()
			o.Buf = wire.AppendPacket(o.Buf, id, record[:1])
			o.Answered = 1
			c.Send(o)
			return nil
		})
	}})
	before := heap()
	whole := packet(1, size)
	conns := make([]net.Conn, many)
	for i := range conns {
		conns[i] = dial(t, ln)
		go conns[i].Write(whole[:part]) // it may not all be read yet
	}
	const most = 3*limit + many*4*eventloop.LeastBytes
	if grown := steady(heap) - before; grown > most {
		t.Errorf("the heap has grown by %d bytes, want at most %d", grown, most)
	}
	other := dial(t, ln)
	write(t, other, packet(2, 500)) // a usual request is read at once
	if _, err := other.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

// TestParked checks that any number of parked requests does not stop reading, and that they do not
// count as owed. They keep a connection open whose peer has closed its sending side, until they are
// answered.
func TestParked(t *testing.T) {
	const many = 2 * eventloop.MaxOwedTogether
	r, ln := start(t), listen(t, "unix")
	var conn *eventloop.Conn
	parked, owed := 0, 0
	r.Serve(ln, eventloop.ServeOptions{MaxRecord: 100, New: func(c *eventloop.Conn) eventloop.Handler {
		conn = c
		return packets(func(id uint64, record []byte) error {
			if id < many {
				c.Park(1)
				parked++
				return nil
			}
			owed = c.AllOwed()
			c.Owe(1, 0)
			o := c.NewOutput()
			o.Buf, o.Answered = wire.AppendPacket(o.Buf, id, record), 1
			c.Send(o)
			return nil
		})
	}})
	nc := dial(t, ln)
	sendAll(nc, many+1, 8)
	readPacket(t, nc, many, 8)
	r.do(func() {
		if parked != many || owed != 0 {
			t.Errorf("%d requests were parked, %d counted as owed", parked, owed)
		}
	})
	if err := nc.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := nc.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	nc.SetReadDeadline(time.Now().Add(patience))
	r.do(func() {
		o := conn.NewOutput()
		o.Buf, o.Unparked = wire.AppendPacket(o.Buf, 0, packet(0, 8)[wire.HeaderSize:][:8]), many
		conn.Send(o)
	})
	readPacket(t, nc, 0, 8)
	if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the last answer: %v", err)
	}
}

// TestStalledRecordsEndTogether checks that connections that hold all memory for long records, and
// send nothing more, are ended together, not one after the other. An honest connection must get its
// turn.
func TestStalledRecordsEndTogether(t *testing.T) {
	const many, size, limit, patient = 60, 100 << 10, 1 << 20, 500 * time.Millisecond
	r := startWith(t, slog.New(slog.DiscardHandler), func(l *eventloop.Loop) {
		l.LimitMemory(limit)
		l.SetClocks(20*time.Millisecond, patient)
	})
	ln := listen(t, "unix")
	var whole, failed atomic.Int64
	r.Serve(ln, eventloop.ServeOptions{MaxRecord: size, New: func(*eventloop.Conn) eventloop.Handler { return &longs{&whole, &failed} }})
	long := packet(1, size)
	for range many {
		nc := dial(t, ln)
		go nc.Write(long[:len(long)-1]) // it ends with the connection
	}
	time.Sleep(patient / 2) // they are there before
	begin := time.Now()
	go dial(t, ln).Write(long)
	eventually(t, func() bool { return whole.Load() == 1 })
	if took := time.Since(begin); took > many*patient/2 {
		t.Errorf("the honest one had its turn after %v", took)
	}
}
