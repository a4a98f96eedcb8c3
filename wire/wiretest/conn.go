package wiretest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"syscall"
	"time"

	"kivaloo/internal/must"
	"kivaloo/wire"
)

const (
	// The buffer of a connection grows from minBuffer to maxBuffer, because some tests have many
	// connections with little input.
	minBuffer = 4 << 10
	maxBuffer = 64 << 10

	// silence is how long to wait before nothing is expected any more.
	silence = 50 * time.Millisecond
)

// Conn is an end of a connection that carries packets, and can send anything. Only one goroutine
// may receive at a time.
type Conn struct {
	net.Conn
	in   []byte // received and not cut yet
	size int    // of the buffer that in is part of
}

// NewConn uses nc for packets. Anything that takes longer than must.Patience from now on fails.
func NewConn(nc net.Conn) *Conn {
	nc.SetDeadline(time.Now().Add(must.Patience))
	return &Conn{Conn: nc}
}

// Dial connects to the server at addr. If its backlog is full it waits.
func Dial(ctx context.Context, addr string) (*Conn, error) {
	addrs, err := wire.ResolveAddr(addr)
	if err != nil {
		return nil, err
	}
	nc, err := wire.Dial(ctx, addrs)
	if err != nil {
		return nil, err
	}
	return NewConn(nc), nil
}

// Put sends bytes in one write.
func (c *Conn) Put(b []byte) error {
	_, err := c.Write(b)
	return err
}

// Next returns the next packet. Its record stays valid. The error is io.EOF if the other end has
// closed the connection after a whole packet.
func (c *Conn) Next() (wire.Packet, error) {
	for {
		p, n, _, err := wire.Cut(c.in, math.MaxUint32)
		if err != nil || n > 0 {
			c.in = c.in[n:]
			return p, err
		}
		if err := c.fill(); err != nil {
			return wire.Packet{}, err
		}
	}
}

// fill reads once.
func (c *Conn) fill() error {
	if len(c.in) == cap(c.in) {
		c.size = max(minBuffer, min(2*c.size, maxBuffer))
		c.in = append(make([]byte, 0, 2*len(c.in)+c.size), c.in...)
	}
	got, err := c.Read(c.in[len(c.in):cap(c.in)])
	c.in = c.in[:len(c.in)+got]
	if err == io.EOF && len(c.in) > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Await returns as soon as any part of the next packet, or the end of the connection, has arrived.
func (c *Conn) Await() {
	if len(c.in) == 0 {
		c.fill()
	}
}

// Buffered reports whether Next returns without reading from the connection.
func (c *Conn) Buffered() bool {
	_, n, _, err := wire.Cut(c.in, math.MaxUint32)
	return err != nil || n > 0
}

// Closed waits for the other end to close the connection. Anything sent before that is an error.
func (c *Conn) Closed() error {
	switch p, err := c.Next(); {
	case err == nil:
		return fmt.Errorf("got packet %d: %.100x; want the end of the connection", p.ID, p.Record)
	case err == io.EOF, errors.Is(err, syscall.ECONNRESET):
		return nil
	default:
		return err
	}
}

// Silent waits for a while. A packet or the end of the connection is an error.
func (c *Conn) Silent() error {
	c.SetReadDeadline(time.Now().Add(silence))
	if p, err := c.Next(); !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("got packet %d: %.100x, %v; want nothing", p.ID, p.Record, err)
	}
	c.SetReadDeadline(time.Now().Add(must.Patience))
	return nil
}

// CloseWrite closes the sending side.
func (c *Conn) CloseWrite() error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

// Lost reports whether err means that the other end has closed the connection, or is gone.
func Lost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
