package kivaloo

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"kivaloo/internal/must"
	"kivaloo/wire"
)

// gatedConn is one end of a pipe. The test allows each of its writes.
type gatedConn struct {
	net.Conn
	writes chan []byte     // the bytes of a Write
	result chan gateResult // the result of that Write
	closed chan struct{}
	once   sync.Once
}

type gateResult struct {
	n   int // -1: all
	err error
}

func (g *gatedConn) Write(p []byte) (int, error) {
	select {
	case g.writes <- append([]byte(nil), p...):
	case <-g.closed:
		return 0, net.ErrClosed
	}
	select {
	case r := <-g.result:
		if r.n < 0 {
			r.n = len(p)
		}
		return r.n, r.err
	case <-g.closed:
		return 0, net.ErrClosed
	}
}

func (g *gatedConn) Close() error {
	g.once.Do(func() { close(g.closed) })
	return g.Conn.Close()
}

// gated returns a client whose writes the test controls, its gate, and the server's end that the
// client reads from.
func gated(t *testing.T) (*Client, *gatedConn, net.Conn) {
	near, far := net.Pipe()
	g := &gatedConn{Conn: near, writes: make(chan []byte), result: make(chan gateResult), closed: make(chan struct{})}
	c := &Client{addr: "test", options: DialOptions{Window: MaxOutstanding}}
	c.use(newSession(g, c, Params{MaxLen, MaxLen}, false))
	t.Cleanup(func() {
		c.Close()
		far.Close()
	})
	return c, g, far
}

// packets splits b into packets, and returns their IDs and the rest.
func packets(t *testing.T, b []byte) (ids []uint64, rest []byte) {
	t.Helper()
	for {
		p, n, _, err := wire.Cut(b, wire.MaxKVRequestLen)
		must.Do(t, err)
		if n == 0 {
			return ids, b
		}
		ids, b = append(ids, p.ID), b[n:]
	}
}

// waitQueued waits until n bytes are in the outgoing stream.
func (c *Client) waitQueued(t *testing.T, n uint64) {
	t.Helper()
	s := c.session.Load()
	for range 10000 {
		s.mu.Lock()
		queued := s.queued
		s.mu.Unlock()
		if queued == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("there are never %d bytes in the stream", n)
}

var setK = len(wire.AppendPacket(nil, 0, wire.AppendKVRequest(nil, &wire.KVRequest{Type: wire.TypeSet, Key: []byte("k")})))

// TestRequestsShareAWrite checks that requests issued during one write are sent together in the
// next.
func TestRequestsShareAWrite(t *testing.T) {
	c, g, far := gated(t)
	var callers sync.WaitGroup
	set := func() {
		if err := c.Set(context.Background(), []byte("k"), nil); err != nil {
			t.Error(err)
		}
	}
	callers.Go(set)
	first, _ := packets(t, <-g.writes)
	const n = 100
	for range n {
		callers.Go(set)
	}
	c.waitQueued(t, uint64((n+1)*setK))
	g.result <- gateResult{n: -1}
	second, rest := packets(t, <-g.writes)
	g.result <- gateResult{n: -1}
	if len(first) != 1 || len(second) != n || len(rest) != 0 {
		t.Errorf("writes of %d and %d requests and %d bytes, want 1, %d and 0", len(first), len(second), len(rest), n)
	}
	for _, id := range append(first, second...) {
		far.Write(wire.AppendPacket(nil, id, wire.AppendKVStatus(nil, 0)))
	}
	callers.Wait()
}

// sets issues n Sets and returns a channel of their errors.
func sets(c *Client, n int) chan error {
	errs := make(chan error, n)
	for range n {
		go func() { errs <- c.Set(context.Background(), []byte("k"), nil) }()
	}
	return errs
}

// countSent receives n errors, which must all wrap want, and counts those of requests that may have
// had an effect.
func countSent(t *testing.T, errs chan error, n int, want error) (sent int) {
	t.Helper()
	for range n {
		err := <-errs
		var op *OpError
		if !errors.As(err, &op) || !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		} else if op.Sent {
			sent++
		}
	}
	return sent
}

// TestUnsentRequests checks that a request that was not sent completely is reported as having had
// no effect.
func TestUnsentRequests(t *testing.T) {
	t.Run("still in the buffer", func(t *testing.T) {
		c, g, far := gated(t)
		errs := sets(c, 1)
		<-g.writes
		for range 4 {
			go func() { errs <- c.Set(context.Background(), []byte("k"), nil) }()
		}
		c.waitQueued(t, uint64(5*setK))
		far.Close()
		if sent := countSent(t, errs, 5, io.EOF); sent != 1 {
			t.Errorf("%d were sent, want the 1 that was being written", sent)
		}
	})
	t.Run("partly written", func(t *testing.T) {
		c, g, _ := gated(t)
		errs := sets(c, 1)
		<-g.writes
		for range 4 {
			go func() { errs <- c.Set(context.Background(), []byte("k"), nil) }()
		}
		c.waitQueued(t, uint64(5*setK))
		g.result <- gateResult{n: -1}
		<-g.writes
		g.result <- gateResult{n: 3*setK - 1, err: syscall.EPIPE}
		// The stream does not end, so the reader must give up by itself.
		if sent := countSent(t, errs, 5, syscall.EPIPE); sent != 3 {
			t.Errorf("%d were sent, want 1 and 2 more", sent)
		}
	})
}

// TestAnswersAfterFailedWrite checks that answers that arrived before a failed write are not lost.
func TestAnswersAfterFailedWrite(t *testing.T) {
	c, g, far := gated(t)
	answered := sets(c, 1)
	ids, _ := packets(t, <-g.writes)
	g.result <- gateResult{n: -1}
	lost := sets(c, 1)
	<-g.writes
	g.result <- gateResult{err: syscall.EPIPE}
	far.Write(wire.AppendPacket(nil, ids[0], wire.AppendKVStatus(nil, 0)))
	if err := <-answered; err != nil {
		t.Error(err)
	}
	far.Close()
	if sent := countSent(t, lost, 1, io.EOF); sent != 0 {
		t.Error("counted as sent")
	}
}

// TestAbandonedSlotIsHeld checks that cancelling a call frees its memory, but keeps its slot until
// the answer comes.
func TestAbandonedSlotIsHeld(t *testing.T) {
	c, g, far := gated(t)
	ctx, cancel := context.WithCancel(context.Background())
	errs := make(chan error, 1)
	go func() { errs <- c.Set(ctx, []byte("k"), nil) }()
	ids, _ := packets(t, <-g.writes)
	g.result <- gateResult{n: -1}
	cancel()
	if sent := countSent(t, errs, 1, context.Canceled); sent != 1 {
		t.Error("counted as not sent")
	}
	if free := len(c.session.Load().free); free != MaxOutstanding-1 {
		t.Errorf("%d slots are free before the answer", free)
	}
	far.SetWriteDeadline(time.Now().Add(10 * time.Second))
	far.Write(wire.AppendPacket(nil, ids[0], wire.AppendKVStatus(nil, 0)))
	for range 10000 {
		if len(c.session.Load().free) == MaxOutstanding {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if free := len(c.session.Load().free); free != MaxOutstanding {
		t.Errorf("%d slots are free after the answer", free)
	}
}

// TestDeadlineIsOurs checks that the reader does not mistake another error for its own deadline.
func TestDeadlineIsOurs(t *testing.T) {
	c, g, _ := gated(t)
	errs := sets(c, 1)
	<-g.writes
	start := time.Now()
	g.result <- gateResult{err: syscall.EPIPE}
	err := <-errs
	if errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) < drainTime/2 {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}

// TestBackoff checks that pauses double up to the maximum, vary by half, and start anew after a
// session that lasted.
func TestBackoff(t *testing.T) {
	var b backoff
	pass := func() {
		most := redialMin
		for range 20 {
			if got := b.next(); got < most/2 || got > most {
				t.Errorf("a pause of %v, want from %v to %v", got, most/2, most)
			}
			most = min(2*most, redialMax)
		}
	}
	pass()
	b.lasted(redialMax - 1)
	if got := b.next(); got < redialMax/2 {
		t.Errorf("a pause of %v after a short session", got)
	}
	b.lasted(redialMax)
	pass()
}
