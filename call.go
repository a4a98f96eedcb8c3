package kivaloo

import (
	"context"
	"errors"
	"sync"

	"kivaloo/wire"
)

// call is a request in progress.
//
// It belongs to its issuer until issue puts it into a slot, and then to the slot. The goroutine
// that takes it out of the slot, with mu of the session held, owns it: the reader, which answers
// it; fail; or abandon. complete passes it on.
type call struct {
	typ     uint32   // of the request
	session *session // session on which it was issued
	id      uint64   // of the packet
	end     uint64   // end of the request in the outgoing stream

	record []byte // copy of the answer, for wait; the waiter parses it
	err    error  // nil, or an *OpError: then record is invalid

	// One of these gets the call when it has been answered or has failed.
	done chan struct{} // for wait; has room for one
	pipe *Pipeline     // nil: wait is used

	// How a Pipeline handles the answer; each may be nil.
	gotten func(value []byte, found bool) // GET
	told   func(made bool)                // a conditional change
}

var callPool = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

func newCall(typ uint32) *call {
	cl := callPool.Get().(*call)
	cl.typ = typ
	return cl
}

// recycle makes cl available for reuse, with its record. Nothing may be on its way into done.
func (cl *call) recycle() {
	*cl = call{done: cl.done, record: cl.record[:0]}
	callPool.Put(cl)
}

// do carries out r. The call that it returns has the answer, and the caller must recycle it. The
// error is an *OpError.
func (c *Client) do(ctx context.Context, r *wire.KVRequest) (*call, error) {
	cl := newCall(r.Type)
	err := c.issue(ctx, r, cl)
	if err == nil {
		err = cl.wait(ctx)
	}
	if err != nil {
		cl.recycle()
		return nil, err
	}
	return cl, nil
}

// issue gives r and cl to the current session. If that has ended, it waits for the next one. After
// an error, an *OpError that says that nothing was sent, the caller still owns cl.
func (c *Client) issue(ctx context.Context, r *wire.KVRequest, cl *call) error {
	if err := ctx.Err(); err != nil {
		return c.notSent(r.Type, err)
	}
	s := c.session.Load()
	for {
		err := s.issue(ctx, r, cl)
		if err != errEnded {
			return err
		}
		if s, err = c.after(ctx, s); err != nil {
			return c.notSent(r.Type, err)
		}
	}
}

func (c *Client) notSent(typ uint32, err error) error {
	return &OpError{Op: opName(typ), Addr: c.addr, Err: err}
}

// wait waits until cl has been answered. After an error, an *OpError, there is no answer.
func (cl *call) wait(ctx context.Context) error {
	ended := ctx.Done()
	if ended == nil {
		<-cl.done // the same as below, in half the time
		return cl.err
	}
	select {
	case <-cl.done:
	case <-ended:
		if cl.session.abandon(cl) {
			return cl.session.opError(cl.typ, true, ctx.Err())
		}
		<-cl.done // the answer came at the same moment
	}
	return cl.err
}

// complete passes on a call with its answer, in record, or its error. record is valid only during
// complete.
func (cl *call) complete(record []byte) {
	if cl.pipe != nil {
		cl.pipe.completed(cl, record)
		cl.recycle()
		return
	}
	cl.record = append(cl.record, record...)
	cl.done <- struct{}{}
}

// value parses the answer to a GET or GET_AT. The error is not an *OpError yet.
func (cl *call) value(record []byte) (value []byte, found bool, err error) {
	if cl.typ == wire.TypeGetAt {
		value, found, err = wire.ParseValueAt(record)
	} else {
		value, found, err = wire.ParseKVValue(record)
	}
	return value, found, err
}

// made parses the answer to a change: whether it was made.
func (cl *call) made(record []byte) (bool, error) {
	status, err := wire.ParseKVStatus(cl.typ, record)
	return err == nil && status == 0, cl.bad(err)
}

// params parses the answer to a PARAMS.
func (cl *call) params(record []byte) (Params, error) {
	maxKey, maxValue, err := wire.ParseKVParams(record)
	return newParams(maxKey, maxValue), cl.bad(err)
}

// newParams converts the limits of a server.
func newParams(maxKey, maxValue uint32) Params {
	return Params{MaxKey: int(min(maxKey, MaxLen)), MaxValue: int(min(maxValue, MaxLen))}
}

// bad wraps an error in an answer in an *OpError; nil stays nil.
func (cl *call) bad(err error) error {
	if err == nil {
		return nil
	}
	r := (*wire.Refusal)(nil)
	sent := !errors.As(err, &r) || r.Status != wire.StatusRefused
	return cl.session.opError(cl.typ, sent, refused(err))
}
