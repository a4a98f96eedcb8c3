package eventloop

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Attach lets the loop serve nc, a connection that this process made. It takes over nc, even if it
// fails. It calls handle at once, on the calling goroutine. Any goroutine may call Attach. If the
// loop has been stopped, either it returns ErrStopped, or the loop calls the handler's Ended and
// Closed.
//
// The loop always reads from such a connection, whatever is owed to it or unsent. It carries
// answers, and the number of requests limits them. If both ends waited for the other one to read,
// they would wait forever. The connection is stopped last, after all accepted ones are closed,
// because their answers may depend on it.
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

// start registers an attached connection, and sends waiting output.
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
