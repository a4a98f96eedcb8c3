package kvtest

import (
	"context"
	"fmt"
	"net"

	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// Conn is a connection to a key-value server that can send anything. It is not safe for concurrent
// use.
type Conn struct {
	*wiretest.Conn
	LastID uint64 // of the queued requests
	out    []byte // whole packets, not yet sent
}

// NewConn uses nc and does not change its deadline.
func NewConn(nc net.Conn) *Conn { return &Conn{Conn: &wiretest.Conn{Conn: nc}} }

// Dial connects to a server.
func Dial(ctx context.Context, addr string) (*Conn, error) {
	c, err := wiretest.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: c}, nil
}

// Queue adds a request to what Flush will send, and returns its ID: one more than the ID of the
// previous request.
func (c *Conn) Queue(r *wire.KVRequest) uint64 {
	c.LastID++
	start := len(c.out)
	c.out = wire.Begin(c.out, c.LastID)
	c.out = wire.AppendKVRequest(c.out, r)
	c.out = wire.End(c.out, start)
	return c.LastID
}

// Flush sends the queued requests in one write.
func (c *Conn) Flush() error {
	err := c.Put(c.out)
	c.out = c.out[:0]
	return err
}

// Packets returns the packets of requests instead of sending them. Nothing may be queued.
func (c *Conn) Packets(requests ...wire.KVRequest) []byte {
	for i := range requests {
		c.Queue(&requests[i])
	}
	packets := c.out
	c.out = nil
	return packets
}

// Ask sends one request and returns the record of its answer. No other request may be outstanding.
func (c *Conn) Ask(r *wire.KVRequest) ([]byte, error) {
	id := c.Queue(r)
	if err := c.Flush(); err != nil {
		return nil, err
	}
	p, err := c.Next()
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
