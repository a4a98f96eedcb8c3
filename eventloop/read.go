package eventloop

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"kivaloo/wire"
)

// input reads and passes packets to the handler until the socket is empty, the window shuts, or the
// connection's turn is over. The window limits the requests of a turn.
func (c *Conn) input() {
	for range readsPerTurn {
		if c.ended || c.window.shut || !c.mayGrow() {
			return
		}
		if !c.turn() {
			return
		}
	}
	c.loop.rearm(c.fd, c.blocked)
}

// turn reads once and passes on the input. more is false if nothing can be read until the next
// event.
func (c *Conn) turn() (more bool) {
	if m := c.loop.metrics; m != nil {
		start := m.now()
		defer func() { m.Read.Add(m.now() - start) }()
	}
	more, err := c.readOnce()
	c.readDone(err)
	return more
}

// readDone ends one read for the handler. If the read failed, it ends all reading. The handler gets
// the error first, because it may have to treat the packets before the error differently.
func (c *Conn) readDone(err error) {
	if err != nil {
		c.endInput(err)
	}
	if c.unpushed {
		c.unpushed = false
		c.handler.Pushed()
	}
}

// endInput ends reading because of err.
func (c *Conn) endInput(err error) {
	if errors.Is(err, io.EOF) {
		err = nil
	}
	var failed *os.SyscallError
	if errors.As(err, &failed) {
		c.giveUp() // the socket is no longer usable
	}
	c.end(err)
}

// readOnce makes one read and passes on the completed packets. more is false if nothing can be read
// until the next event.
func (c *Conn) readOnce() (more bool, err error) {
	dst, own := c.loop.buf, false
	if c.window.all != nil {
		dst = dst[:c.window.all.readBytes()]
	}
	if len(c.in) >= readBufferBytes && c.lacking() >= readBufferBytes {
		// Read a long record directly, without the shared buffer.
		c.setInput(c.loop.spares.grow(c.in, 1, c.want))
		dst, own = c.in[len(c.in):min(int64(cap(c.in)), c.want)], true
	}
	n, err := unix.Read(c.fd, dst)
	switch {
	case errors.Is(err, unix.EINTR):
		return true, nil
	case errors.Is(err, unix.EAGAIN):
		c.readable = false
		return false, nil
	case err != nil:
		return false, os.NewSyscallError("read", err)
	case n == 0:
		return false, io.EOF
	}
	// A short read has emptied the socket. Later input has an event of its own. But an end of the
	// stream that was already there may have had its event before.
	c.readable = n == len(dst) || c.hungUp
	if own {
		c.in = c.in[:len(c.in)+n]
		err = c.take(nil)
	} else {
		err = c.take(dst[:n])
	}
	if len(c.in) >= shortReadBytes {
		c.grew = time.Now()
	}
	return c.readable, err
}

// take passes on the packets in c.in followed by b, which is in the shared buffer, and keeps the
// rest.
func (c *Conn) take(b []byte) error {
	var err error
	if len(c.in) > 0 {
		b, err = c.complete(b)
	}
	if err != nil || len(b) == 0 {
		return err
	}
	b, err = c.cut(b)
	if err != nil || len(b) == 0 {
		return err
	}
	c.setInput(append(c.loop.spares.get(len(b)), b...))
	c.held = c.window.shut
	return nil
}

// complete takes the missing bytes of the packet in c.in from b, first those of its header and then
// the others, and passes the packet on. It returns the rest of b.
func (c *Conn) complete(b []byte) (rest []byte, err error) {
	for {
		lacking := c.lacking()
		n := int(min(lacking, int64(len(b))))
		c.setInput(append(c.loop.spares.grow(c.in, n, c.want), b[:n]...))
		b = b[n:]
		if int64(n) < lacking {
			return nil, nil
		}
		c.alone = true
		left, err := c.cut(c.in)
		c.alone = false
		if err != nil {
			return nil, err
		}
		if len(left) == 0 {
			c.release()
			return b, nil
		}
	}
}

// lacking returns the number of missing bytes in in: of the header, or of the packet once the
// header is complete.
func (c *Conn) lacking() int64 {
	return max(c.want, wire.HeaderSize) - int64(len(c.in))
}

// cut passes on the packets at the start of b, as many as the window allows. It returns the rest of
// b, and sets want for it.
func (c *Conn) cut(b []byte) (rest []byte, err error) {
	c.want = 0
	for len(b) > 0 && !c.window.shut {
		p, n, want, err := wire.Cut(b, c.maxRecord)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			if c.want, err = c.expect(b, want); err != nil {
				return nil, err
			}
			break
		}
		c.unpushed, c.kept = true, false
		if err := c.handler.Packet(p.ID, p.Record); err != nil {
			return nil, err
		}
		if !c.kept {
			mangle(b[:n])
		}
		b = b[n:]
	}
	return b, nil
}

// expect returns the length that b must have before it is looked at again. b is the start of a
// packet of want bytes, or of unknown length if want is 0. A record must be judged before more than
// its type is kept.
func (c *Conn) expect(b []byte, want int64) (int64, error) {
	const judged = wire.HeaderSize + 4
	switch {
	case c.judge == nil || want < judged+wire.TrailerSize:
		return want, nil
	case len(b) < judged:
		return judged, nil
	}
	return want, c.judge(binary.BigEndian.Uint32(b[wire.HeaderSize:]), uint32(want-wire.Overhead))
}

// resume continues after the window has opened. It cuts the input that was held back, but leaves
// reading to an event (see Loop, invariant 6).
func (c *Conn) resume() {
	if c.ended || c.window.shut {
		return
	}
	if c.held {
		rest, err := c.cut(c.in)
		c.readDone(err)
		if err != nil {
			return
		}
		c.in = c.in[:copy(c.in, rest)]
		if len(c.in) == 0 {
			c.release()
		}
		if c.held = c.window.shut && c.in != nil; c.window.shut {
			return
		}
	}
	if c.readable && c.registered {
		c.loop.rearm(c.fd, c.blocked)
	}
}

// release returns the input buffer.
func (c *Conn) release() {
	c.loop.spares.put(c.in)
	c.setInput(nil)
	c.want, c.held = 0, false
	c.loop.long.leave(c)
}

// setInput replaces the input buffer.
func (c *Conn) setInput(b []byte) {
	before := cap(c.in)
	c.window.addInput(cap(b) - before)
	c.in = b
	if before >= hugeBytes && cap(b) != before {
		debug.FreeOSMemory() // the collector would let as much again become garbage before it runs
	}
}

// discard reads and drops the input in the socket.
func (c *Conn) discard() {
	for total := 0; total < discardBytes; {
		n, err := unix.Read(c.fd, c.loop.buf)
		if err != nil || n == 0 {
			return
		}
		total += n
	}
}
