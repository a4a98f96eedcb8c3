package kvtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"syscall"
	"time"

	"kivaloo/wire"
)

const (
	// patience bounds the life of a connection, and with it every wait for an answer.
	// It is far above what anything takes, for machines that are busy.
	patience = 60 * time.Second

	// readBytes is the most that is read at once.
	readBytes = 64 << 10
)

// Conn is a connection to a server that may be sent anything. It is used by one
// goroutine.
type Conn struct {
	net.Conn
	out    []byte // whole packets, not yet sent
	buf    []byte // what in is the end of
	in     []byte // received, not yet cut
	lastID uint64
}

// Dial connects to a server.
func Dial(ctx context.Context, addr string) (*Conn, error) {
	addrs, err := wire.ResolveAddr(addr)
	if err != nil {
		return nil, err
	}
	nc, err := wire.Dial(ctx, addrs)
	if err != nil {
		return nil, err
	}
	nc.SetDeadline(time.Now().Add(patience))
	return &Conn{Conn: nc}, nil
}

// Queue adds a request to what Flush sends, and returns its ID, which is one more than
// that of the request before it.
func (c *Conn) Queue(r *wire.KVRequest) uint64 {
	c.lastID++
	start := len(c.out)
	c.out = wire.Begin(c.out, c.lastID)
	c.out = wire.AppendKVRequest(c.out, r)
	c.out = wire.End(c.out, start)
	return c.lastID
}

// Flush sends what was queued, in one write.
func (c *Conn) Flush() error {
	_, err := c.Write(c.out)
	c.out = c.out[:0]
	return err
}

// Answer returns the next packet. Its record is valid until the next call.
func (c *Conn) Answer() (wire.Packet, error) {
	for {
		p, n, _, err := wire.Cut(c.in, math.MaxUint32)
		if err != nil {
			return p, err
		}
		if n > 0 {
			c.in = c.in[n:]
			return p, nil
		}
		c.buf = slices.Grow(append(c.buf[:0], c.in...), readBytes)
		got, err := c.Read(c.buf[len(c.buf):cap(c.buf)])
		c.buf = c.buf[:len(c.buf)+got]
		c.in = c.buf
		if err != nil {
			return wire.Packet{}, err
		}
	}
}

// Ask sends one request and returns the record of its answer. No other may be
// outstanding.
func (c *Conn) Ask(r *wire.KVRequest) ([]byte, error) {
	id := c.Queue(r)
	if err := c.Flush(); err != nil {
		return nil, err
	}
	p, err := c.Answer()
	if err == nil && p.ID != id {
		err = fmt.Errorf("answer to request %d instead of %d", p.ID, id)
	}
	return p.Record, err
}

// Get returns the value of a key, or nil if it is absent.
func (c *Conn) Get(key string) ([]byte, error) {
	record, err := c.Ask(&wire.KVRequest{Type: wire.TypeGet, Key: []byte(key)})
	if err != nil {
		return nil, err
	}
	value, _, err := wire.ParseKVValue(record)
	return value, err
}

// Set stores a pair.
func (c *Conn) Set(key, value string) error {
	record, err := c.Ask(&wire.KVRequest{Type: wire.TypeSet, Key: []byte(key), Value: []byte(value)})
	if err != nil {
		return err
	}
	_, err = wire.ParseKVStatus(wire.TypeSet, record)
	return err
}

// Closed waits for the server to close the connection. Another answer before that is an
// error.
func (c *Conn) Closed() error {
	switch p, err := c.Answer(); {
	case err == nil:
		return fmt.Errorf("answer to request %d: %x", p.ID, p.Record)
	case Lost(err):
		return nil
	default:
		return err
	}
}

// Lost reports whether err means that the other end has closed the connection, or is gone.
func Lost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
