package eventloop

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Handler is what a connection's packets are given to. The loop calls it, so it
// must not block, and every call should be short.
type Handler interface {
	// Packet takes one packet. record is valid only during the call; Conn.Keep
	// makes it the handler's own. An error means a badly formed request: nothing
	// more is read, what is owed is still answered, then the connection is closed.
	Packet(id uint64, record []byte) error
	// Pushed ends one read: all packets that it completed have been given to
	// Packet. If one of them, or what came behind them, broke the rules, Ended has
	// been called before.
	Pushed()
	// Ended is called once, when nothing more will be read: with nil at the end of
	// the stream, at Conn.Close and at Loop.Stop, otherwise with the reason. Only the
	// Pushed of the last read can follow, and Closed.
	Ended(why error)
	// Closed is called once, after those: everything owed has been answered or
	// given up, and the socket is closed. What is sent now is dropped.
	Closed()
}

// Conn is one connection, of the loop that serves it. Its methods may only be
// called by that loop, which is: in calls of the Handler and in posts, unless they
// say otherwise.
//
// Its life, where "owed" is what the handler took on with Owe and has not sent:
//
//	reading --> ended: nothing more is read --> gone: nothing is owed
//	   |          (end of stream, bad packet,      and all is written --> closed
//	   |           Close, Stop, broken)
//	   +------> broken: the peer takes nothing more; answers are dropped
//
// Invariants:
//  1. While the window is shut, while a long record has to wait (see long), and after ended,
//     the socket is not read from.
//  2. in holds less than one packet, unless held: then the window was shut
//     before all of one read was cut, and in holds what was left of it.
//  3. readable is set if the socket may have input for which no event will come.
//  4. blocked is set while the socket is watched for room to write; first is not
//     nil then.
//  5. A gone connection owns no buffers, and waits to be closed.
type Conn struct {
	loop      *Loop
	fd        int
	peer      unix.Sockaddr // of an accepted connection
	handler   Handler
	maxRecord uint32                         // bytes
	judge     func(typ, length uint32) error // see ServeOptions
	gate      *Gate                          // to be left in the end; nil if that is not for the loop to do
	window    window

	in       []byte // input that has not been cut, in a buffer of our own, or nil
	want     int64  // bytes of the packet that in begins with, 0 while unknown
	held     bool
	alone    bool // the record under way is all that in holds, so Keep can have it
	kept     bool // Keep has got the buffer of the record under way
	unpushed bool // Packet has been called since Pushed
	readable bool
	hungUp   bool // the end of the stream is in sight: read until it comes

	first, last *Output // to be written, chained by Next
	blocked     bool

	registered, ended, broken, gone bool
	attached                        bool      // see Loop.Attach
	touched                         bool      // on loop.touched
	lingers                         bool      // on loop.linger
	progress                        time.Time // of lingers: when the peer last took something
}

// Owe counts requests that will be answered, each by what is Sent with Answered.
// bytes is an upper bound for the size of their answers, where that matters: it
// counts as unsent until taken back by Reserved.
func (c *Conn) Owe(requests, bytes int) { c.window.add(requests, bytes) }

// Room returns how many bytes the answer to one more request should take at most. It is less than
// usual when all connections together have much, but always enough to be of use.
func (c *Conn) Room() int {
	if c.window.all == nil {
		return maxUnsentBytes
	}
	return c.window.all.bytesLimit()
}

// Keep makes the record that Packet has got the handler's own. It is copied,
// unless it has a buffer to itself, as long ones do.
func (c *Conn) Keep(record []byte) []byte {
	if c.alone && len(record) >= cap(c.in)/2 {
		c.setInput(nil)
		c.kept = true
		return record
	}
	return append([]byte(nil), record...)
}

// NewOutput returns an empty Output, to be filled and Sent. Any goroutine may call
// it.
func (c *Conn) NewOutput() *Output {
	o := outputs.Get().(*Output)
	o.conn = c
	return o
}

// Send gives o away, to be written behind what was sent before. Any goroutine may
// call it; it never blocks. On a connection that is closed, o is dropped.
func (c *Conn) Send(o *Output) {
	if m := c.loop.metrics; m != nil {
		o.sent = m.now()
	}
	c.loop.mail.PushOne(o)
}

// Close ends the connection in order: nothing more is read, what was sent and what
// is owed is written, then it is closed. Any goroutine may call it.
func (c *Conn) Close() { c.loop.Post(c.stop) }

// Peer returns the address that an accepted connection comes from, "" if that is a
// unix socket.
func (c *Conn) Peer() string {
	switch sa := c.peer.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port)).String()
	}
	return ""
}

func (c *Conn) ready(events uint32) {
	if c.gone {
		return
	}
	const over = unix.EPOLLHUP | unix.EPOLLERR
	if events&(over|unix.EPOLLRDHUP) != 0 {
		c.hungUp = true
	}
	if events&(over|unix.EPOLLOUT) != 0 && c.blocked {
		c.unblock()
	}
	if events&(over|unix.EPOLLRDHUP|unix.EPOLLIN|unix.EPOLLPRI) != 0 {
		c.readable = true
		c.input()
	}
	c.finish()
}

// answered follows a drain of the mailbox that had something for c.
func (c *Conn) answered() {
	c.flush()
	c.resume()
	c.finish()
}

// end stops reading for good.
func (c *Conn) end(why error) {
	if c.ended {
		return
	}
	c.ended = true
	c.release()
	c.handler.Ended(why)
}

// giveUp drops what is to be written, now and later.
func (c *Conn) giveUp() {
	c.broken = true
	for c.first != nil {
		c.pop()
	}
}

// finish lets the connection be closed if nothing is left to be done, and
// watches over its end if that depends on the peer.
func (c *Conn) finish() {
	switch {
	case !c.ended || c.gone:
	case c.first == nil && c.window.owed == 0:
		c.gone = true
		c.loop.doom(c)
	case c.first != nil && !c.lingers:
		c.lingers, c.progress = true, time.Now()
		c.loop.linger = append(c.loop.linger, c)
		c.loop.wantTick()
	}
}

// stillLingers gives up if the peer has taken nothing for too long, and reports
// whether it has to be looked at again.
func (c *Conn) stillLingers(now time.Time) bool {
	c.lingers = c.first != nil && !c.gone && now.Sub(c.progress) < c.loop.lingerFor
	if !c.lingers && c.first != nil {
		c.giveUp()
		c.finish()
	}
	return c.lingers
}

func (c *Conn) stop() {
	if !c.gone {
		c.end(nil)
		c.finish()
	}
}

func (c *Conn) kill(why error) {
	if !c.gone {
		c.end(why)
		c.giveUp()
		c.gone = true
		c.loop.doom(c)
	}
}

func (c *Conn) close() {
	if !c.broken {
		c.discard()
	}
	if c.registered {
		c.loop.forget(c.fd)
		if c.attached {
			c.loop.attached--
		}
	}
	unix.Close(c.fd)
	c.handler.Closed()
	c.window.close()
	if c.gate != nil {
		c.gate.leave()
	}
}
