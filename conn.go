package kivaloo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"time"

	"kivaloo/wire"
)

// slot is the place of one outstanding request. Request numbers that are equal
// modulo the number of slots share a slot, so the slots are both the window and
// the table of what is outstanding.
type slot struct {
	id   uint64 // of the request in it or, if not busy, of the next one
	busy bool   // an answer to id is owed
	call *call  // nil if it is not waited for any more
}

func newClient(addr string, conn net.Conn, o options) *Client {
	c := &Client{
		addr:   addr,
		conn:   conn,
		limits: Params{MaxKey: MaxLen, MaxValue: MaxLen},
		free:   make(chan int, o.window),
		failed: make(chan struct{}),
		slots:  make([]slot, o.window),
	}
	c.work.L = &c.mu
	for n := range c.slots {
		c.slots[n].id = uint64(n)
		c.free <- n
	}
	c.ended.Add(2)
	go c.write()
	go c.read()
	return c
}

// issue puts r into the outgoing stream and gives cl to a slot. It waits for one if
// all are busy. After an error, which says that nothing was sent, cl is still the
// caller's.
func (c *Client) issue(ctx context.Context, r *wire.KVRequest, cl *call) error {
	if err := ctx.Err(); err != nil {
		return c.opError(r.Type, false, err)
	}
	if err := c.check(r); err != nil {
		return c.opError(r.Type, false, err)
	}
	var n int
	select {
	case n = <-c.free:
	default:
		select {
		case n = <-c.free:
		case <-ctx.Done():
			return c.opError(r.Type, false, ctx.Err())
		case <-c.failed:
			return c.opError(r.Type, false, c.err) // constant once failed is closed
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.opError(r.Type, false, c.err) // the slot is needed no more
	}
	s := &c.slots[n]
	start := len(c.out)
	c.out = wire.Begin(c.out, s.id)
	c.out = wire.AppendKVRequest(c.out, r)
	c.out = wire.End(c.out, start)
	c.queued += uint64(len(c.out) - start)
	cl.slot, cl.end = n, c.queued
	s.busy, s.call = true, cl
	if start == 0 {
		c.work.Signal()
	}
	return nil
}

// write is the writer: whatever has gathered while one write was under way goes out
// in the next.
func (c *Client) write() {
	defer c.ended.Done()
	var buf []byte
	for {
		c.mu.Lock()
		for len(c.out) == 0 && c.err == nil {
			c.work.Wait()
			// The first of many goroutines that were answered together is asking again.
			// Letting the others ask too, before writing, nearly doubles what they get done.
			c.mu.Unlock()
			runtime.Gosched()
			c.mu.Lock()
		}
		if c.err != nil {
			c.mu.Unlock()
			return
		}
		buf, c.out = c.out, buf[:0]
		c.handed = c.queued
		c.mu.Unlock()

		n, err := c.conn.Write(buf)
		if err != nil {
			c.mu.Lock()
			c.handed -= uint64(len(buf) - n)
			c.writeErr = err
			c.mu.Unlock()
			// Answers may still be there to be read; the reader reports the failure.
			c.conn.SetReadDeadline(time.Now().Add(drainTime))
			return
		}
	}
}

// read is the reader: it answers calls until the stream ends.
func (c *Client) read() {
	defer c.ended.Done()
	err := c.receiveAll()
	c.mu.Lock()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = c.writeErr // which set the deadline
	}
	c.mu.Unlock()
	c.fail(fmt.Errorf("connection lost: %w", err))
}

// receiveAll reads packets and passes them on. It returns why it could not go on.
func (c *Client) receiveAll() error {
	buf := make([]byte, 0, readBufferBytes)
	for {
		n, err := c.conn.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		rest := buf
		for {
			p, n, _, err := wire.Cut(rest, maxAnswerBytes)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			if err := c.deliver(p); err != nil {
				return err
			}
			rest = rest[n:]
		}
		if errors.Is(err, io.EOF) && len(rest) > 0 {
			return fmt.Errorf("the server closed it in the middle of an answer: %w", io.ErrUnexpectedEOF)
		}
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("the server closed it: %w", err)
		}
		if err != nil {
			return err
		}
		buf = buf[:copy(buf, rest)]
		if len(buf) == cap(buf) {
			// One packet fills it. Cut bounds the packet, so it ends at twice that.
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
	}
}

// deliver gives an answer to the call it is for. An error means that the stream
// makes no sense.
func (c *Client) deliver(p wire.Packet) error {
	c.mu.Lock()
	n := int(p.ID % uint64(len(c.slots)))
	s := &c.slots[n]
	if !s.busy || s.id != p.ID {
		err := c.err // the reason, if all slots have just been emptied by fail
		c.mu.Unlock()
		if err == nil {
			err = fmt.Errorf("answer to request %d, which is not outstanding", p.ID)
		}
		return err
	}
	cl := s.call
	s.busy, s.call = false, nil
	s.id += uint64(len(c.slots))
	c.free <- n // has room: invariant 1
	c.mu.Unlock()

	if cl == nil {
		return nil // abandoned
	}
	if err := cl.receive(p.Record); err != nil {
		cl.err = c.opError(cl.typ, true, err)
	}
	cl.complete()
	return nil
}

// abandon takes cl out of its slot, which stays busy until the answer has come. It
// returns false if cl was no longer there: then cl is about to be completed.
func (c *Client) abandon(cl *call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.slots[cl.slot]
	if s.call != cl {
		return false
	}
	s.call = nil
	return true
}

// fail ends the connection: all that is outstanding, and all that comes later, fails
// with err. Only the first time counts.
func (c *Client) fail(err error) {
	var lost []*call
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	close(c.failed)
	for n := range c.slots {
		s := &c.slots[n]
		if cl := s.call; cl != nil {
			// A packet that is not complete never has an effect.
			cl.err = c.opError(cl.typ, cl.end <= c.handed, err)
			lost = append(lost, cl)
		}
		s.busy, s.call = false, nil
	}
	c.out = nil
	c.work.Signal()
	c.mu.Unlock()

	c.conn.Close()
	for _, cl := range lost {
		cl.complete()
	}
}

func (c *Client) opError(typ uint32, sent bool, err error) error {
	return &OpError{Op: opName(typ), Addr: c.addr, Sent: sent, Err: err}
}
