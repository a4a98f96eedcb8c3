package eventloop

import (
	"errors"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// queue queues an output from the mailbox. It returns false if the connection is gone.
func (c *Conn) queue(o *Output) bool {
	if c.gone {
		o.recycle()
		return false
	}
	c.window.addInput(-o.Released)
	c.window.park(-o.Unparked)
	c.window.add(-o.Answered, -o.Reserved)
	switch {
	case c.broken || o.empty() || c.last != nil && c.last.join(o):
		o.recycle()
	default:
		o.charged = o.memory()
		c.window.add(0, o.charged)
		if c.last == nil {
			c.first = o
		} else {
			c.last.SetNext(o)
		}
		c.last = o
		if c.blocked && c.crowded() {
			c.trim(o)
		}
	}
	return true
}

// crowded reports whether memory is short enough for trim to be worth a copy.
func (c *Conn) crowded() bool { return c.window.all != nil && c.window.all.crowded() }

// trim reduces the memory of o, which has to wait, to what it needs.
func (c *Conn) trim(o *Output) {
	o.shrink()
	c.window.add(0, o.memory()-o.charged)
	o.charged = o.memory()
}

// pop drops the first output.
func (c *Conn) pop() {
	o := c.first
	c.first = o.Next()
	if c.first == nil {
		c.last = nil
	}
	c.window.add(0, -o.charged)
	o.recycle()
}

// flush writes until the queue is empty or the socket is full.
func (c *Conn) flush() {
	for c.first != nil && c.registered && !c.blocked {
		n, err := c.write()
		switch {
		case err == nil:
			c.wrote(n)
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			c.blocked = true
			for o := c.first; o != nil && c.crowded(); o = o.Next() {
				c.trim(o)
			}
			c.loop.rearm(c.fd, true)
		default:
			c.giveUp()
			c.end(os.NewSyscallError("write", err))
		}
	}
}

// unblock goes on writing when the socket has room again.
func (c *Conn) unblock() {
	c.blocked = false
	c.flush()
	if !c.blocked {
		c.loop.rearm(c.fd, false)
	}
	c.resume()
}

// write makes one system call with as many buffers as it takes. SIGPIPE is no
// concern: Go ignores it for descriptors above 2.
func (c *Conn) write() (n int, err error) {
	iov := c.loop.iov[:0]
	for o := c.first; o != nil && len(iov) < iovMax; o = o.Next() {
		iov = o.gather(iov)
	}
	r, _, errno := unix.Syscall(unix.SYS_WRITEV, uintptr(c.fd),
		uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
	clear(iov) // or it would keep the buffers from the collector
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// wrote takes n bytes off the queue.
func (c *Conn) wrote(n int) {
	if c.lingers {
		c.progress = time.Now()
	}
	m, now := c.loop.metrics, time.Duration(0)
	if m != nil {
		now = m.now()
	}
	for c.first != nil {
		if n = c.first.advance(n); n < 0 {
			return
		}
		if m != nil {
			m.Write.Add(now - c.first.sent)
			m.add(c.first.timings, now)
		}
		c.pop()
	}
}
