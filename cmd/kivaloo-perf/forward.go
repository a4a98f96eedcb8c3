package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"kivaloo/eventloop"
)

// forwarder passes the requests of one client at a time to the target, and the answers back. It
// makes the meter count them. All of it belongs to the loop.
//
// Forwarded requests get new IDs, because a client may use an ID twice.
//
// Invariants:
//
//  1. pending has exactly the unanswered requests of the client, each counted with Owe. The loop
//     accepts the next client once the previous one has received, or given up, all its answers.
//  2. A pending request reserves memory for itself, because it may wait for the target to read it,
//     and for its answer, as far as that can be predicted. So the client is not read from while
//     these take too much memory.
//  3. Once gone is set, nothing is pending.
type forwarder struct {
	loop    *eventloop.Loop
	meter   *meter
	now     func() time.Time
	once    bool
	address string // of the target, for errors

	pending map[uint64]request // by the ID sent to the target
	lastID  uint64
	sizes   answerSizes
	batch   *batch    // of the current read from the client, or nil
	read    time.Time // when the current read from the target was made; zero if there is none
	up      outbox    // to the target
	down    outbox    // to the client

	stopping bool  // the loop is to end
	gone     error // why the target is gone
}

// request is a forwarded request.
type request struct {
	id       uint64 // of the client
	typ      uint32
	batch    *batch // the batch it was sent with
	reserved int    // bytes, released by the answer
}

// batch has the requests of one read from the client. They are sent together.
type batch struct {
	sent time.Time
}

// newForwarder returns a forwarder without a target.
func newForwarder(loop *eventloop.Loop, m *meter, o options) *forwarder {
	return &forwarder{
		loop: loop, meter: m, now: time.Now, once: o.once, address: o.target,
		pending: make(map[uint64]request), sizes: make(answerSizes),
	}
}

// attach takes over the connection to the target. It is called before the loop runs.
func (f *forwarder) attach(nc net.Conn) error {
	_, err := f.loop.Attach(nc, maxRecordBytes, func(c *eventloop.Conn) eventloop.Handler {
		f.up.conn = c
		return (*target)(f)
	})
	return err
}

// accept begins to serve a client.
func (f *forwarder) accept(c *eventloop.Conn) eventloop.Handler {
	f.down.conn = c
	return (*client)(f)
}

// stop ends the loop after the client has received its answers, or after grace.
func (f *forwarder) stop(grace time.Duration) {
	if f.gone == nil {
		f.stopping = true
	}
	f.loop.Stop(grace)
}

// failure returns why the loop has ended if that was not wanted.
func (f *forwarder) failure() error {
	if f.stopping {
		return nil
	}
	return f.gone
}

// checkWindow is called from time to time, for when nothing is answered.
func (f *forwarder) checkWindow() { f.meter.check(f.now()) }

// client is the forwarder's handler of the connection to the client.
type client forwarder

// Packet passes a request on. It does not check the record: the target does.
func (c *client) Packet(id uint64, record []byte) error {
	if c.gone != nil {
		return c.gone
	}
	if c.batch == nil {
		c.batch = new(batch)
	}
	r := request{id: id, typ: noType, batch: c.batch}
	if len(record) >= 4 {
		r.typ = binary.BigEndian.Uint32(record)
	}
	r.reserved = len(record) + c.sizes.expect(r.typ, record)
	c.down.conn.Owe(1, r.reserved)
	c.lastID++
	c.pending[c.lastID] = r
	c.up.add(c.lastID, record, c.down.conn)
	return nil
}

// Pushed sends the requests of one read.
func (c *client) Pushed() {
	if c.batch != nil {
		c.batch.sent = c.now()
		c.batch = nil
		c.up.flush()
	}
}

// Ended keeps outstanding requests pending. A client that has only closed its sending side still
// gets their answers. Those of other clients are counted.
func (c *client) Ended(error) {}

// Closed ends the program if only one client was to be served.
func (c *client) Closed() {
	if c.once {
		(*forwarder)(c).stop(0)
	}
}

// target is the forwarder's handler of the connection to the target.
type target forwarder

// Packet passes an answer back.
func (t *target) Packet(id uint64, record []byte) error {
	if t.read.IsZero() {
		t.read = t.now()
		t.meter.check(t.read)
	}
	r, ok := t.pending[id]
	if !ok {
		return fmt.Errorf("it answers request %d, which is not outstanding", id)
	}
	delete(t.pending, id)
	t.meter.add(r.typ, t.read.Sub(r.batch.sent))
	t.sizes.learn(r.typ, len(record))
	t.down.settle(1, r.reserved)
	t.down.add(r.id, record, t.up.conn)
	return nil
}

// Pushed sends the answers of one read.
func (t *target) Pushed() {
	t.read = time.Time{}
	t.down.flush()
}

// Ended makes all outstanding requests fail, and counts them. If the end was not wanted, it ends
// the program and the client's connection.
func (t *target) Ended(why error) {
	if why == nil {
		why = errors.New("it has closed the connection")
	}
	t.gone = fmt.Errorf("the target at %s is lost: %w", t.address, why)
	now := t.now()
	t.meter.check(now)
	for id, r := range t.pending {
		delete(t.pending, id)
		t.meter.add(r.typ, now.Sub(r.batch.sent))
		t.down.settle(1, r.reserved)
	}
	t.down.flush()
	if !t.stopping {
		t.loop.Stop(stopGrace)
	}
}

// Closed has nothing to do: Ended was called before.
func (t *target) Closed() {}
