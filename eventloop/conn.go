package eventloop

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Handler takes the packets of one connection. The loop calls it, so it must not block, and every
// call should be short.
type Handler interface {
	// Packet takes one packet. record is valid only during the call, unless Conn.Keep makes it the
	// handler's own. An error means that the request is malformed. Then the loop reads nothing
	// more, sends the answers that are owed, and closes the connection.
	Packet(id uint64, record []byte) error
	// Pushed follows the last Packet of one read. If the read brought something malformed, Ended
	// comes first.
	Pushed()
	// Ended is called once, when the loop will read nothing more: with nil after the end of the
	// stream, Conn.Close or Loop.Stop, otherwise with the reason. Only the Pushed of the last read
	// and Closed can follow.
	Ended(why error)
	// Closed is the last call. All answers have been sent or given up, and the socket is closed.
	// Answers sent from now on are dropped.
	Closed()
}

// Conn is one connection of a loop. Its methods may be called only by that loop, unless they say
// otherwise. That means in calls of the Handler and in posts.
//
// Its life, where "owed" are the requests counted by Owe or Park whose answers have not been sent:
//
//	reading --> ended: nothing more is read --> gone: nothing is owed
//	   |          (end of stream, bad packet,      and all is written --> closed
//	   |           Close, Stop, broken)
//	   +------> broken: the peer takes nothing more; answers are dropped
//
// Invariants:
//
//  1. While the window is shut, while a long record has to wait (see long), and after ended, the
//     socket is not read from.
//  2. in holds less than one packet, unless held: then the window was shut before all of one read
//     was cut, and in holds the rest.
//  3. readable is set if the socket may have input that no event will report.
//  4. blocked is set while the socket is watched for room to write. first is not nil then.
//  5. A gone connection owns no buffers, and waits to be closed.
type Conn struct {
	loop      *Loop
	fd        int
	peer      unix.Sockaddr // of an accepted connection
	handler   Handler
	maxRecord uint32                         // bytes
	judge     func(typ, length uint32) error // see ServeOptions
	gate      *Gate                          // to leave in the end; nil if the loop does not have to
	window    window

	in       []byte    // input that has not been cut, in a buffer of our own, or nil
	grew     time.Time // when in last got a part of a long record
	want     int64     // bytes of the packet that in begins with, 0 while unknown
	held     bool
	alone    bool // in holds only the current record, so Keep can give it away
	kept     bool // Keep has given away the buffer of the current record
	unpushed bool // Packet has been called since Pushed
	readable bool
	hungUp   bool // the end of the stream is near: read until it comes

	first, last *Output // to be written, chained by Next
	blocked     bool

	registered, ended, broken, gone bool
	attached                        bool      // see Loop.Attach
	touched                         bool      // on loop.touched
	lingers                         bool      // on loop.linger
	progress                        time.Time // of lingers: when the peer last accepted something
}

// Owe counts requests that the handler will answer. Output.Answered undoes it. bytes is an upper
// bound of the size of the answers, where that matters. It counts as unsent until Output.Reserved
// undoes it.
func (c *Conn) Owe(requests, bytes int) { c.window.add(requests, bytes) }

// Park counts requests whose answers may take long. Output.Unparked undoes it. Like requests
// counted by Owe, they keep the connection open. But they never stop reading, so the handler must
// limit their number. It must answer them soon after Ended.
func (c *Conn) Park(requests int) { c.window.park(requests) }

// AllOwed returns how many answers are owed by all accepted connections together.
func (c *Conn) AllOwed() int {
	if c.window.all == nil {
		return c.window.owed
	}
	return c.window.all.owed
}

// Hold counts memory that the handler uses for requests. Output.Released undoes it.
func (c *Conn) Hold(bytes int) { c.window.addInput(bytes) }

// Room returns how many bytes the answer to one more request should take at most. It shrinks when
// all connections together use much memory, but stays large enough to be useful.
func (c *Conn) Room() int {
	if c.window.all == nil {
		return maxUnsentBytes
	}
	return c.window.all.bytesLimit()
}

// Keep returns the record of the current Packet as the handler's own. It copies short records; a
// long one has a buffer of its own, which the handler gets. The handler may GiveBack the record
// when it no longer needs it.
func (c *Conn) Keep(record []byte) []byte {
	if c.alone && len(record) >= min(cap(c.in)/2, largestSpareBytes) {
		c.loop.spares.lend(c.in)
		c.setInput(nil)
		c.kept = true
		return record
	}
	return append([]byte(nil), record...)
}

// GiveBack returns the buffer of a record that came from Keep, for the next long record.
func (c *Conn) GiveBack(record []byte) {
	mangle(record)
	c.loop.spares.giveBack(record)
}

// NewOutput returns an empty Output, to be filled and passed to Send. Any goroutine may call it.
func (c *Conn) NewOutput() *Output {
	o := outputs.Get().(*Output)
	o.conn = c
	return o
}

// Send queues o behind what was sent before, and takes ownership of it. Any goroutine may call it.
// It never blocks. If the connection is closed, it drops o.
func (c *Conn) Send(o *Output) {
	if m := c.loop.metrics; m != nil {
		o.sent = m.now()
	}
	c.loop.mail.PushOne(o)
}

// Close ends the connection cleanly. It stops reading, writes everything that was sent or is owed,
// and then closes the socket. Any goroutine may call it.
func (c *Conn) Close() { c.loop.Post(c.stop) }

// Peer returns the address of the client of an accepted connection, or "" for a unix socket.
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

// answered is called after a drain of the mailbox that had output for c.
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
	if m := c.loop.metrics; m != nil && why != nil && !c.attached {
		m.ended(why)
	}
	c.release()
	c.handler.Ended(why)
}

// giveUp drops all current and future output.
func (c *Conn) giveUp() {
	c.broken = true
	for c.first != nil {
		c.pop()
	}
}

// finish schedules the connection for closing if nothing is left to do. If closing depends on the
// peer, it starts the linger timeout.
func (c *Conn) finish() {
	switch {
	case !c.ended || c.gone:
	case c.first == nil && c.window.owed == 0 && c.window.parked == 0:
		c.gone = true
		c.loop.doom(c)
	case c.first != nil && !c.lingers:
		c.lingers, c.progress = true, time.Now()
		c.loop.linger = append(c.loop.linger, c)
		c.loop.wantTick()
	}
}

// stillLingers gives up if the peer has accepted nothing for too long. It reports whether to check
// the connection again.
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
