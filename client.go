package kivaloo

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"

	"kivaloo/wire"
)

// Client is one connection to a store. All methods may be called from any number
// of goroutines at once. Byte slices that are passed in may be reused once the
// method has returned; those returned belong to the caller.
//
// Every method that takes a context waits until the answer arrives or the context
// ends. In the latter case the request, if it was sent, still takes its course.
//
// Invariants, with mu held:
//  1. The number of a slot that is busy is not in free, and its call has not been
//     completed.
//  2. out holds the last queued-handed bytes of the outgoing stream.
//  3. Once err is set it stays as it is, no slot is busy, out stays empty, and
//     failed is closed.
type Client struct {
	addr   string // as given to Dial
	conn   net.Conn
	limits Params // of the server; set before Dial returns, constant from then on

	free   chan int      // numbers of the slots that are not busy; full when idle
	failed chan struct{} // closed when err is set

	mu       sync.Mutex
	work     sync.Cond // the writer waits for: out is not empty, or err is set
	slots    []slot
	out      []byte // whole packets that the writer has yet to take
	queued   uint64 // bytes that were ever put into out
	handed   uint64 // bytes of these that the kernel took, or is being given
	writeErr error  // why the writer has ended while the reader goes on
	err      error  // why the connection has ended

	ended sync.WaitGroup // reader and writer
}

// Params are the limits of a store.
type Params struct {
	MaxKey   int // longest key that can be stored, in bytes
	MaxValue int // longest value, in bytes
}

// Dial connects to the server at addr: the path of a unix socket, which must begin
// with "/", "./" or "../", or host:port, or [ip]:port. It asks for the server's limits
// before it returns, which shows that the other end understands the protocol and
// lets the Client refuse what the server would hang up on.
//
// ctx bounds only the connecting. The daemon kivaloo-kvlds serves one connection
// at a time unless told otherwise: until it turns to this one, Dial waits.
func Dial(ctx context.Context, addr string, opts ...Option) (*Client, error) {
	o := options{window: MaxOutstanding}
	for _, opt := range opts {
		opt(&o)
	}
	conn, err := connect(ctx, addr)
	if err != nil {
		return nil, &OpError{Op: "dial", Addr: addr, Err: err}
	}
	c := newClient(addr, conn, o)
	c.limits, err = c.Params(ctx)
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func connect(ctx context.Context, addr string) (net.Conn, error) {
	if strings.HasPrefix(addr, "./") || strings.HasPrefix(addr, "../") {
		// Not made absolute, because a socket's path may not be long.
		if len(addr) > wire.MaxUnixPathLen {
			return nil, fmt.Errorf("the path has %d bytes, a unix socket's at most %d", len(addr), wire.MaxUnixPathLen)
		}
		return wire.Dial(ctx, []wire.Addr{{Name: addr, Network: "unix", Address: addr}})
	}
	addrs, err := wire.ResolveAddr(addr)
	if err != nil {
		return nil, err
	}
	return wire.Dial(ctx, addrs)
}

// Get returns the value of key, or ErrNotFound.
func (c *Client) Get(ctx context.Context, key []byte) ([]byte, error) {
	a, err := c.do(ctx, wire.KVRequest{Type: wire.TypeGet, Key: key})
	if err != nil {
		return nil, err
	}
	if !a.ok {
		return nil, ErrNotFound
	}
	return a.value, nil
}

// Set stores value under key, whether or not there was a value before.
func (c *Client) Set(ctx context.Context, key, value []byte) error {
	_, err := c.do(ctx, wire.KVRequest{Type: wire.TypeSet, Key: key, Value: value})
	return err
}

// Delete removes key; that it was not there is no error.
func (c *Client) Delete(ctx context.Context, key []byte) error {
	_, err := c.do(ctx, wire.KVRequest{Type: wire.TypeDelete, Key: key})
	return err
}

// Add stores value under key if the key is absent, and reports whether it was.
func (c *Client) Add(ctx context.Context, key, value []byte) (bool, error) {
	a, err := c.do(ctx, wire.KVRequest{Type: wire.TypeAdd, Key: key, Value: value})
	return a.ok, err
}

// Modify stores value under key if the key is present, and reports whether it was.
func (c *Client) Modify(ctx context.Context, key, value []byte) (bool, error) {
	a, err := c.do(ctx, wire.KVRequest{Type: wire.TypeModify, Key: key, Value: value})
	return a.ok, err
}

// CompareAndSwap stores value under key if the key is present with the value old,
// and reports whether it was.
func (c *Client) CompareAndSwap(ctx context.Context, key, old, value []byte) (bool, error) {
	a, err := c.do(ctx, wire.KVRequest{Type: wire.TypeCAS, Key: key, Old: old, Value: value})
	return a.ok, err
}

// CompareAndDelete removes key if it is present with the value old, and reports
// whether it was.
func (c *Client) CompareAndDelete(ctx context.Context, key, old []byte) (bool, error) {
	a, err := c.do(ctx, wire.KVRequest{Type: wire.TypeCAD, Key: key, Old: old})
	return a.ok, err
}

// Params asks the server for the limits of the store.
func (c *Client) Params(ctx context.Context) (Params, error) {
	a, err := c.do(ctx, wire.KVRequest{Type: wire.TypeParams})
	return a.params, err
}

// Close ends the connection. Operations that are under way fail with ErrClosed, as
// do all later ones. It returns when all that the Client had started has ended, so
// it must not be called from the function given to Pipeline.Get.
func (c *Client) Close() error {
	c.fail(ErrClosed)
	c.ended.Wait()
	return nil
}

// check returns an error wrapping ErrTooLong if the server would not take r. It
// would not answer but close the connection, under all other users of the Client.
func (c *Client) check(r *wire.KVRequest) error {
	limits := Params{MaxKey: MaxLen, MaxValue: MaxLen}
	switch r.Type {
	case wire.TypeSet, wire.TypeAdd, wire.TypeModify, wire.TypeCAS:
		limits = c.limits
	}
	for _, field := range [...]struct {
		name string
		len  int
		max  int
	}{
		{"key", len(r.Key), limits.MaxKey},
		{"value", len(r.Value), limits.MaxValue},
		{"old value", len(r.Old), MaxLen},
		{"end key", len(r.End), MaxLen},
	} {
		if field.len > field.max {
			return fmt.Errorf("%s of %d bytes is %w: at most %d are possible", field.name, field.len, ErrTooLong, field.max)
		}
	}
	return nil
}
