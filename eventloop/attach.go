package eventloop

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Attach lets the loop serve nc, a connection that this process made. It takes nc
// over, also when it fails, and calls handle at once, on the calling goroutine,
// which may be any. If the loop has been stopped the error is ErrStopped, or the
// handler's Ended and Closed are called by the loop.
//
// Such a connection is always read from, whatever it is owed and has unsent. What
// it reads are answers to what was asked, so whoever asks bounds them; and of
// two ends that both wait until the other one reads, none ever would. And it is
// stopped last, when all accepted connections have been closed: what they are owed may
// depend on it.
func (l *Loop) Attach(nc net.Conn, maxRecord uint32, handle func(*Conn) Handler) (*Conn, error) {
	fd, err := takeOver(nc)
	if err != nil {
		return nil, fmt.Errorf("take over the connection to %s: %w", nc.RemoteAddr(), err)
	}
	c := &Conn{loop: l, fd: fd, maxRecord: maxRecord, attached: true}
	c.handler = handle(c)
	if !l.Post(c.start) {
		unix.Close(fd)
		return nil, ErrStopped
	}
	return c, nil
}

// takeOver returns a descriptor of nc's socket and closes nc.
func takeOver(nc net.Conn) (fd int, err error) {
	defer nc.Close()
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return 0, errors.New("not a socket")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	dupErr := raw.Control(func(s uintptr) {
		fd, err = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0)
	})
	if dupErr != nil {
		return 0, dupErr
	}
	return fd, os.NewSyscallError("dup", err)
}

// start registers an attached connection, and sends what is waiting.
func (c *Conn) start() {
	err := ErrStopped
	if !c.loop.stopping {
		err = c.loop.register(c.fd, c)
	}
	if err != nil {
		c.kill(err)
		return
	}
	c.registered = true
	c.loop.attached++
	c.answered()
}
