package kivaloo

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"kivaloo/wire"
)

// Client is a connection to a server, one at a time. All methods may be called from any number
// of goroutines at once. Byte slices that are passed in may be reused once the
// method has returned; those returned belong to the caller.
//
// Every method that takes a context waits until the answer arrives or the context
// ends. In the latter case the request, if it was sent, still takes its course, and
// the connection lives on.
//
// Errors are ErrNotFound, or an *OpError.
type Client struct {
	addr    string // as given to Dial
	options DialOptions

	session atomic.Pointer[session] // the current one or, if there is none, the last

	// For Reconnect; see keep.
	refused atomic.Pointer[error] // why the last attempt to replace the session failed
	open    context.Context       // cancelled by Close
	end     context.CancelFunc    // cancels open
	keeper  sync.WaitGroup

	counts clientCounts
	events sync.Mutex // held while OnEvent is called

	starting sync.Mutex // held by start, and by Close until open is cancelled
}

// Params are the limits of a store.
type Params struct {
	MaxKey   int // longest key that can be stored, in bytes
	MaxValue int // longest value, in bytes
}

// Dial connects to the server at addr: the path of a unix socket or of the directory that
// it is in, which has a slash in it, or host:port, or [ip]:port. It asks for the server's limits
// before it returns, which shows that the other end understands the protocol and
// lets the Client refuse what the server would hang up on. The error wraps ErrNotKivaloo
// if something else answers. It is an *OptionError if o has an invalid value.
//
// ctx bounds only the connecting. The daemon kivaloo-kvlds serves one connection
// at a time unless told otherwise: until it turns to this one, Dial waits.
func Dial(ctx context.Context, addr string, o DialOptions) (*Client, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	o.Window = cmp.Or(o.Window, MaxOutstanding)
	c := &Client{addr: addr, options: o}
	if o.Timeout > 0 {
		within, cancel := context.WithTimeout(ctx, o.Timeout)
		defer cancel()
		ctx = within
	}
	s, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	c.happened(ConnConnected, nil)
	c.use(s)
	return c, nil
}

// use makes c use s, and keep replace it later.
func (c *Client) use(s *session) {
	c.session.Store(s)
	c.open, c.end = context.WithCancel(context.Background())
	if c.options.Reconnect {
		c.keeper.Go(c.keep)
	}
}

// Set stores value under key, whether or not there was a value before.
func (c *Client) Set(ctx context.Context, key, value []byte) error {
	_, err := c.change(ctx, &wire.KVRequest{Type: wire.TypeSet, Key: key, Value: value})
	return err
}

// Delete removes key. It is no error if key is absent.
func (c *Client) Delete(ctx context.Context, key []byte) error {
	_, err := c.change(ctx, &wire.KVRequest{Type: wire.TypeDelete, Key: key})
	return err
}

// Add stores value under key if the key is absent, and reports whether it was.
func (c *Client) Add(ctx context.Context, key, value []byte) (bool, error) {
	return c.change(ctx, &wire.KVRequest{Type: wire.TypeAdd, Key: key, Value: value})
}

// Modify stores value under key if the key is present, and reports whether it was.
func (c *Client) Modify(ctx context.Context, key, value []byte) (bool, error) {
	return c.change(ctx, &wire.KVRequest{Type: wire.TypeModify, Key: key, Value: value})
}

// CompareAndSwap stores value under key if the key is present with the value old,
// and reports whether it was.
func (c *Client) CompareAndSwap(ctx context.Context, key, old, value []byte) (bool, error) {
	return c.change(ctx, &wire.KVRequest{Type: wire.TypeCAS, Key: key, Old: old, Value: value})
}

// CompareAndDelete removes key if it is present with the value old, and reports
// whether it was.
func (c *Client) CompareAndDelete(ctx context.Context, key, old []byte) (bool, error) {
	return c.change(ctx, &wire.KVRequest{Type: wire.TypeCAD, Key: key, Old: old})
}

// change carries out r and reports whether it changed anything.
func (c *Client) change(ctx context.Context, r *wire.KVRequest) (bool, error) {
	cl, err := c.do(ctx, r)
	if err != nil {
		return false, err
	}
	defer cl.recycle()
	return cl.made(cl.record)
}

// Params asks the server for the limits of the store.
func (c *Client) Params(ctx context.Context) (Params, error) {
	cl, err := c.do(ctx, &wire.KVRequest{Type: wire.TypeParams})
	if err != nil {
		return Params{}, err
	}
	defer cl.recycle()
	return cl.params(cl.record)
}

// Close ends the connection. Operations that are under way fail with ErrClosed, as
// do all later ones. It returns when all that the Client had started has ended, so
// it must not be called from a function given to a Pipeline.
func (c *Client) Close() error {
	c.starting.Lock()
	c.end()
	c.starting.Unlock()
	c.keeper.Wait() // the session does not change any more
	c.session.Load().close()
	return nil
}

// check returns an error wrapping ErrTooLong if a server with these limits would refuse r. The
// server would not answer but close the connection, which all users of the Client share.
func (p *Params) check(r *wire.KVRequest) error {
	maxKey, maxValue := MaxLen, MaxLen
	switch r.Type {
	case wire.TypeApply:
		return p.checkApply(r)
	case wire.TypeSet, wire.TypeAdd, wire.TypeModify, wire.TypeCAS:
		maxKey, maxValue = p.MaxKey, p.MaxValue
	}
	switch {
	case len(r.Key) > maxKey:
		return tooLong("key", len(r.Key), maxKey)
	case len(r.Value) > maxValue:
		return tooLong("value", len(r.Value), maxValue)
	case len(r.Old) > MaxLen:
		return tooLong("old value", len(r.Old), MaxLen)
	case len(r.End) > MaxLen:
		return tooLong("end key", len(r.End), MaxLen)
	}
	return nil
}

func tooLong(what string, n, most int) error {
	return fmt.Errorf("%s of %d bytes is %w: at most %d are possible", what, n, ErrTooLong, most)
}
