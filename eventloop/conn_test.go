package eventloop_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kivaloo/eventloop"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// each runs f over every network, with handlers that answer at once or later.
func each(t *testing.T, now bool, f func(t *testing.T, r *running, ps *probes, ln *eventloop.Listener)) {
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			r, ps, ln := start(t), newProbes(t, now), listen(t, network)
			r.Serve(ln, ps.options())
			f(t, r, ps, ln)
		})
	}
}

func TestPipelinedPacketsInOneSegment(t *testing.T) {
	each(t, true, func(t *testing.T, r *running, ps *probes, ln *eventloop.Listener) {
		nc := dial(t, ln)
		var b []byte
		for id := range uint64(100) {
			b = append(b, packet(id, int(id))...)
		}
		write(t, nc, b)
		for id := range uint64(100) {
			readPacket(t, nc, id, int(id))
		}
	})
}

func TestOneByteAtATime(t *testing.T) {
	each(t, true, func(t *testing.T, r *running, ps *probes, ln *eventloop.Listener) {
		nc := dial(t, ln)
		for id, n := range []int{0, 1, 300, 0, 20} {
			for _, b := range packet(uint64(id), n) {
				write(t, nc, []byte{b})
			}
			readPacket(t, nc, uint64(id), n)
		}
	})
}

// TestAnyCutting sends random packets in random pieces, answers them in random numbers, and expects
// every one back, in order.
func TestAnyCutting(t *testing.T) {
	r, ps, ln := start(t), newProbes(t, false), listen(t, "unix")
	r.Serve(ln, ps.options())
	rapid.Check(t, func(rt *rapid.T) {
		sizes := rapid.SliceOfN(rapid.OneOf(
			rapid.IntRange(0, 100), rapid.IntRange(0, 3000), rapid.IntRange(60_000, 400_000),
		), 1, 30).Draw(rt, "sizes")
		var b []byte
		for id, n := range sizes {
			b = append(b, packet(uint64(id), n)...)
		}
		var pieces [][]byte
		for len(b) > 0 {
			n := min(len(b), rapid.OneOf(rapid.IntRange(1, 40), rapid.IntRange(1, 100_000)).Draw(rt, "piece"))
			pieces = append(pieces, b[:n])
			b = b[n:]
		}
		nc := dial(t, ln)
		defer nc.Close()
		p := ps.next()
		go func() {
			for _, piece := range pieces {
				if _, err := nc.Write(piece); err != nil {
					return
				}
			}
		}()
		for id, n := range sizes {
			eventually(t, func() bool { return p.got.Load() > int64(id) })
			p.answer(r, 1)
			readPacket(t, nc, uint64(id), n)
		}
	})
}

func TestHeaders(t *testing.T) {
	huge := wire.AppendHeader(nil, 1, 1<<32-1)
	damaged := packet(1, 100)[:wire.HeaderSize]
	damaged[3] ^= 1
	tests := []struct {
		name  string
		limit uint32
		input []byte
		want  error // nil: it stays open
	}{
		{"4 GiB announced, 772 bytes allowed", 772, huge, wire.ErrRecordLong},
		{"one byte too long", 99, packet(1, 100)[:wire.HeaderSize], wire.ErrRecordLong},
		{"4 GiB announced and allowed", 1<<32 - 1, huge, nil},
		{"damaged", 772, damaged, wire.ErrHeaderSum},
		{"damaged record", 772, append(packet(1, 0)[:wire.HeaderSize], 0, 0, 0, 0), wire.ErrRecordSum},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, ps, ln := start(t), newProbes(t, false), listen(t, "unix")
			opts := ps.options()
			opts.MaxRecord = test.limit
			r.Serve(ln, opts)
			before := heap()
			nc := dial(t, ln)
			p := ps.next()
			write(t, nc, test.input)
			if test.want != nil {
				if err := p.waitEnded(t); !errors.Is(err, test.want) {
					t.Fatalf("ended with %v, want %v", err, test.want)
				}
				readEnd(t, nc)
				p.waitClosed(t)
				return
			}
			write(t, nc, make([]byte, 1000))
			r.do(func() {}) // has been read, or soon is
			time.Sleep(50 * time.Millisecond)
			if grown := heap() - before; grown > 1<<20 {
				t.Fatalf("%d bytes are held for what a header announces", grown)
			}
			if p.isClosed() {
				t.Fatal("the connection was closed")
			}
		})
	}
}

// TestLongRecordCostsWhatHasArrived sends the first half of a long record and checks the memory
// held for it.
func TestLongRecordCostsWhatHasArrived(t *testing.T) {
	r, ps, ln := start(t), newProbes(t, false), listen(t, "unix")
	r.Serve(ln, ps.options())
	const announced, sent = 1 << 30, 3 << 20
	before := heap()
	nc := dial(t, ln)
	ps.next()
	write(t, nc, wire.AppendHeader(nil, 1, announced))
	write(t, nc, make([]byte, sent))
	eventually(t, func() bool { return heap()-before >= sent })
	if grown := heap() - before; grown > 2*sent+1<<20 {
		t.Fatalf("%d bytes are held for %d that arrived", grown, sent)
	}
}

func TestKeepLongRecords(t *testing.T) {
	each(t, false, func(t *testing.T, r *running, ps *probes, ln *eventloop.Listener) {
		nc := dial(t, ln)
		p := ps.next()
		sizes := []int{5 << 20, 100, 65_516, 65_517, 3 << 20, 64<<10 - 1, 1 << 20}
		go func() {
			for id, n := range sizes {
				nc.Write(packet(uint64(id), n))
			}
		}()
		p.waitGot(t, len(sizes))
		r.do(func() {
			for id, a := range p.owed {
				if a.id != uint64(id) || !bytes.Equal(a.record, record(a.id, sizes[id])) {
					t.Errorf("record %d is not what was sent", id)
				}
			}
		})
		p.answer(r, len(sizes))
		for id, n := range sizes {
			readPacket(t, nc, uint64(id), n)
		}
	})
}

// TestKeepCopiesShortRecordsOnly checks Keep. Short records are in the shared buffer, so it must
// copy them.
func TestKeepCopiesShortRecordsOnly(t *testing.T) {
	r, ln := start(t), listen(t, "unix")
	type kept struct{ n, copied int }
	seen := make(chan kept, 2)
	r.Serve(ln, eventloop.ServeOptions{MaxRecord: 1 << 30, New: func(c *eventloop.Conn) eventloop.Handler {
		return packets(func(_ uint64, record []byte) error {
			k := kept{n: len(record)}
			if mine := c.Keep(record); &mine[0] != &record[0] {
				k.copied = len(mine)
			}
			seen <- k
			return nil
		})
	}})
	nc := dial(t, ln)
	for _, want := range []kept{{n: 5 << 20}, {n: 1000, copied: 1000}} {
		write(t, nc, packet(1, want.n))
		if got := <-seen; got != want {
			t.Fatalf("%d bytes of a record of %d were copied, want %d", got.copied, got.n, want.copied)
		}
	}
}

func TestHalfCloseGetsAllAnswers(t *testing.T) {
	each(t, false, func(t *testing.T, r *running, ps *probes, ln *eventloop.Listener) {
		nc := dial(t, ln)
		p := ps.next()
		const requests, size = 3000, 500
		go func() {
			for id := range uint64(requests) {
				nc.Write(packet(id, size))
			}
			nc.Write(packet(requests, size)[:30]) // incomplete: has no effect
			halfClose(t, nc)
		}()
		p.waitGot(t, requests)
		if err := p.waitEnded(t); err != nil {
			t.Fatalf("ended with %v", err)
		}
		p.answer(r, requests-1)
		if p.isClosed() {
			t.Fatal("closed with an answer owed")
		}
		p.answer(r, 1)
		for id := range uint64(requests) {
			readPacket(t, nc, id, size)
		}
		readEnd(t, nc)
		p.waitClosed(t)
	})
}

func TestBadlyFormedRequestEndsReading(t *testing.T) {
	bad := errors.New("badly formed")
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			r, ps, ln := start(t), newProbes(t, false), listen(t, network)
			ps.judge = func(id uint64, _ []byte) error {
				if id == 3 {
					return fmt.Errorf("request 3: %w", bad)
				}
				return nil
			}
			r.Serve(ln, ps.options())
			nc := dial(t, ln)
			p := ps.next()
			var b []byte
			for id := range uint64(1000) {
				b = append(b, packet(id, 40)...)
			}
			write(t, nc, b)
			if err := p.waitEnded(t); !errors.Is(err, bad) {
				t.Fatalf("ended with %v", err)
			}
			p.waitGot(t, 3)
			write(t, nc, b) // must not reset the connection before the answers are there
			p.answer(r, 3)
			for id := range uint64(3) {
				readPacket(t, nc, id, 40)
			}
			readEnd(t, nc)
			p.waitClosed(t)
		})
	}
}

func TestPeerVanishes(t *testing.T) {
	each(t, false, func(t *testing.T, r *running, ps *probes, ln *eventloop.Listener) {
		nc := dial(t, ln)
		p := ps.next()
		for id := range uint64(10) {
			write(t, nc, packet(id, 100))
		}
		p.waitGot(t, 10)
		write(t, nc, packet(10, 100)[:50])
		if tcp, ok := nc.(*net.TCPConn); ok {
			tcp.SetLinger(0) // a reset
		}
		nc.Close()
		err := p.waitEnded(t)
		if _, tcp := nc.(*net.TCPConn); tcp && err == nil {
			t.Fatal("a reset looked like the end of the stream")
		}
		p.answer(r, 9)
		r.do(func() {})
		if p.isClosed() {
			t.Fatal("closed with an answer owed")
		}
		p.answer(r, 1)
		p.waitClosed(t)
	})
}

// TestPeerVanishesWithAnswersQueued checks that the queue is dropped when the write fails.
func TestPeerVanishesWithAnswersQueued(t *testing.T) {
	each(t, true, func(t *testing.T, r *running, ps *probes, ln *eventloop.Listener) {
		nc := dial(t, ln)
		p := ps.next()
		sent := sendAll(nc, 20_000, 1000)
		steady(p.got.Load)
		nc.Close()
		<-sent
		p.waitEnded(t)
		p.waitClosed(t)
	})
}

// TestClosingPeerThatReadsNothing checks that such a peer is given up after a while.
func TestClosingPeerThatReadsNothing(t *testing.T) {
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			r := startWith(t, slog.New(slog.DiscardHandler), func(l *eventloop.Loop) { l.SetClocks(20*time.Millisecond, 200*time.Millisecond) })
			ps, ln := newProbes(t, false), listen(t, network)
			r.Serve(ln, ps.options())
			nc := dial(t, ln)
			p := ps.next()
			write(t, nc, packet(1, 8<<20))
			p.waitGot(t, 1)
			halfClose(t, nc)
			p.waitEnded(t)
			began := time.Now()
			p.answer(r, 1)
			p.waitClosed(t)
			if took := time.Since(began); took < 150*time.Millisecond {
				t.Fatalf("given up after %v", took)
			}
		})
	}
}

func TestConnClose(t *testing.T) {
	each(t, false, func(t *testing.T, r *running, ps *probes, ln *eventloop.Listener) {
		nc := dial(t, ln)
		p := ps.next()
		write(t, nc, packet(1, 100))
		p.waitGot(t, 1)
		p.c.Close()
		p.c.Close()
		if err := p.waitEnded(t); err != nil {
			t.Fatalf("ended with %v", err)
		}
		write(t, nc, packet(2, 100))
		p.answer(r, 1)
		readPacket(t, nc, 1, 100)
		readEnd(t, nc)
		p.waitClosed(t)
		if p.got.Load() != 1 {
			t.Fatal("something was read after Close")
		}
		p.c.Close()
	})
}

// TestOutputOfManyParts sends more buffers than one system call accepts, to a peer that reads odd
// pieces.
func TestOutputOfManyParts(t *testing.T) {
	r, ps, ln := start(t), newProbes(t, false), listen(t, "unix")
	r.Serve(ln, ps.options())
	nc := dial(t, ln)
	p := ps.next()
	var want []byte
	for i := range 50 {
		o := p.c.NewOutput()
		o.Buf = append(o.Buf, record(uint64(i), 777)...)
		want = append(want, o.Buf...)
		for j := range 100 * (i % 5) {
			page := record(uint64(j), (j*37)%512) // some are empty
			if i == 49 && j == 7 {
				page = record(7, 4<<20) // takes many writes
			}
			o.Pages = append(o.Pages, page)
			want = append(want, page...)
		}
		if i%2 == 0 {
			o.Tail = record(uint64(i), 5)
			want = append(want, o.Tail...)
		}
		p.c.Send(o)
	}
	var got []byte
	b := make([]byte, 1013)
	for len(got) < len(want) {
		n, err := nc.Read(b)
		must.Do(t, err)
		got = append(got, b[:n]...)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("what arrived is not what was sent")
	}
}

// TestFlood checks that connections with constant input leave the others their turn.
func TestFlood(t *testing.T) {
	tests := []struct {
		name   string
		handle func(*eventloop.Conn) eventloop.Handler
	}{
		{"answered", newProbes(t, true).handle},
		{"slow to take, no answers", func(*eventloop.Conn) eventloop.Handler { return slow{} }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, ps, ln, floods := start(t), newProbes(t, true), listen(t, "unix"), listen(t, "tcp")
			r.Serve(ln, ps.options())
			r.Serve(floods, eventloop.ServeOptions{MaxRecord: 100, New: test.handle})
			var flooders sync.WaitGroup
			defer flooders.Wait()
			b := bytes.Repeat(packet(1, 50), 1000)
			for range 2 {
				nc := dial(t, floods)
				defer nc.Close()
				flooders.Go(func() { io.Copy(io.Discard, nc) })
				flooders.Go(func() {
					for err := error(nil); err == nil; {
						_, err = nc.Write(b)
					}
				})
			}
			other := dial(t, ln)
			var worst time.Duration
			for id := range uint64(20) {
				began := time.Now()
				write(t, other, packet(id, 100))
				readPacket(t, other, id, 100)
				worst = max(worst, time.Since(began))
			}
			if worst > 2*time.Second {
				t.Fatalf("the slowest of the round trips beside a flood took %v", worst)
			}
		})
	}
}

// slow is a handler that needs longer for a read than its peer for the next write.
type slow struct{}

func (slow) Packet(uint64, []byte) error { return nil }
func (slow) Pushed()                     { time.Sleep(time.Millisecond) }
func (slow) Ended(error)                 {}
func (slow) Closed()                     {}
