package remote_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kivaloo/actors"
	"kivaloo/disk"
	"kivaloo/disk/remote"
	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	size    = 512
	timeout = 20 * time.Second
	helloID = 0x0d0a50494e470d0a // of the first request: "\r\nPING\r\n"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// peer is the other end of a connection, played by a test.
type peer struct {
	t *testing.T
	*wiretest.Conn
}

// listen returns an address, and the connections to it.
func listen(t *testing.T) (wire.Addr, <-chan *peer) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	must.Do(t, err)
	t.Cleanup(func() { ln.Close() })
	peers := make(chan *peer, 1)
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			peers <- &peer{t, wiretest.NewConn(nc)}
		}
	}()
	return wire.Addr{Name: path, Network: "unix", Address: path}, peers
}

// request returns the next request, parsed.
func (p *peer) request() (id uint64, r wire.LBSRequest) {
	p.t.Helper()
	packet, err := p.Next()
	if err != nil {
		p.t.Errorf("waiting for a request: %v", err)
		return 0, r
	}
	if r, err = wire.ParseLBSRequest(packet.Record); err != nil {
		p.t.Error(err)
	}
	return packet.ID, r
}

func (p *peer) answer(id uint64, record []byte) { p.Put(wire.AppendPacket(nil, id, record)) }

// dial connects to a peer that has next blocks.
func dial(t *testing.T, next uint64) (*remote.Store, *peer) {
	t.Helper()
	addr, peers := listen(t)
	ready := make(chan *peer)
	go func() {
		p := <-peers
		if id, r := p.request(); id != helloID || r.Type != wire.TypeLBSParams2 {
			t.Errorf("first request: ID %d, %+v", id, r)
		}
		p.answer(helloID, wire.AppendLBSParams2(nil, size, next, next-1))
		ready <- p
	}()
	s, err := remote.Dial(context.Background(), []wire.Addr{addr}, quiet)
	must.Do(t, err)
	p := <-ready
	t.Cleanup(func() { p.Close() })
	return s, p
}

func closeStore(t *testing.T, s *remote.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// collector submits operations and receives them back.
type collector struct {
	bell *actors.Waiter
	done *disk.Completions
	back []*disk.Op
}

func newCollector() *collector {
	c := &collector{bell: actors.NewWaiter()}
	c.done = disk.NewCompletions(&c.bell.Doorbell)
	return c
}

// submit submits ops as one chain.
func (c *collector) submit(s disk.Store, ops ...*disk.Op) {
	for i, op := range ops {
		op.Done = c.done
		if i > 0 {
			ops[i-1].SetNext(op)
		}
	}
	s.Submit(ops[0], ops[len(ops)-1])
}

// wait returns the first n operations that come back, and forgets them.
func (c *collector) wait(t *testing.T, n int) []*disk.Op {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		for op := c.done.Drain(); op != nil; {
			next := op.Link.Next()
			c.back = append(c.back, op)
			op = next
		}
		if len(c.back) >= n {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d operations have come back", len(c.back), n)
		}
		c.bell.Wait(100*time.Millisecond, c.done.Empty)
	}
	first := c.back[:n]
	c.back = c.back[n:]
	return first
}

func read(block uint64) *disk.Op {
	return &disk.Op{Kind: disk.Read, Block: block, Buf: make([]byte, size)}
}

func free(block uint64) *disk.Op { return &disk.Op{Kind: disk.Free, Block: block} }

// add is an append of n blocks, each filled with its number.
func add(first uint64, n int) *disk.Op {
	op := &disk.Op{Kind: disk.Append, Block: first}
	for i := range n {
		op.Pages = append(op.Pages, filled(first+uint64(i)))
	}
	return op
}

func filled(number uint64) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(number) ^ byte(i>>8)
	}
	return b
}

// wantLost checks that the store reports the loss of its connection.
func wantLost(t *testing.T, s *remote.Store) {
	t.Helper()
	select {
	case <-s.Lost():
	case <-time.After(timeout):
		t.Fatal("the loss of the connection is not announced")
	}
	if err := s.Err(); !errors.Is(err, disk.ErrClosed) {
		t.Errorf("error %v", err)
	}
}
