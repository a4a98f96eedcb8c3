package kivaloo

import (
	"context"
	"sync"

	"kivaloo/wire"
)

// call is a request that is being carried out.
//
// It belongs to whoever issued it until issue puts it into a slot, and then to the
// slot. Whoever takes it out of the slot, with mu of the session held, owns it: the
// reader, to answer it; fail; or abandon. complete passes it on.
type call struct {
	typ     uint32   // of the request
	session *session // that it was issued on
	slot    int      // number of the slot it was put into
	id      uint64   // of the packet
	end     uint64   // where in the outgoing stream the request ends

	record []byte // of the answer, if wait is used: a copy, taken apart by who waited
	err    error  // nil, or an *OpError: then record means nothing

	// One of these gets the call when it has been answered or has failed.
	done chan struct{} // wait waits; has room for one
	pipe *Pipeline     // nil: wait waits

	// What a Pipeline is to do with the answer; each may be nil.
	gotten func(value []byte, found bool) // GET
	told   func(made bool)                // a change with a condition
}

var callPool = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

func newCall(typ uint32) *call {
	cl := callPool.Get().(*call)
	cl.typ = typ
	return cl
}

// recycle gives cl up, with its record. Nothing may be on its way into done.
func (cl *call) recycle() {
	*cl = call{done: cl.done, record: cl.record[:0]}
	callPool.Put(cl)
}

// do carries out r. The call that it returns has the answer, and is the caller's to
// recycle. The error is an *OpError.
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

// issue gives r and cl to the session of the moment or, if that has ended, to the
// one that the Client is given next. After an error, which is an *OpError that says
// that nothing was sent, cl is still the caller's.
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
		<-cl.done // the same as below, at half the price
		return cl.err
	}
	select {
	case <-cl.done:
	case <-ended:
		if cl.session.abandon(cl) {
			return cl.session.opError(cl.typ, true, ctx.Err())
		}
		<-cl.done // the answer has come at the same moment
	}
	return cl.err
}

// complete passes on a call that has its answer, in record, or its error. record is
// valid only during complete.
func (cl *call) complete(record []byte) {
	if cl.pipe != nil {
		cl.pipe.completed(cl, record)
		cl.recycle()
		return
	}
	cl.record = append(cl.record, record...)
	cl.done <- struct{}{}
}

// value takes the answer to a GET or GET_AT out of record. The error is not an *OpError yet.
func (cl *call) value(record []byte) (value []byte, found bool, err error) {
	if cl.typ == wire.TypeGetAt {
		value, found, err = wire.ParseValueAt(record)
	} else {
		value, found, err = wire.ParseKVValue(record)
	}
	return value, found, err
}

// made takes the answer to a change out of record: whether it was made.
func (cl *call) made(record []byte) (bool, error) {
	status, err := wire.ParseKVStatus(cl.typ, record)
	return err == nil && status == 0, cl.bad(err)
}

// params takes the answer to a PARAMS out of record.
func (cl *call) params(record []byte) (Params, error) {
	maxKey, maxValue, err := wire.ParseKVParams(record)
	return newParams(maxKey, maxValue), cl.bad(err)
}

// newParams returns the limits that a server has named.
func newParams(maxKey, maxValue uint32) Params {
	return Params{MaxKey: int(min(maxKey, MaxLen)), MaxValue: int(min(maxValue, MaxLen))}
}

// bad makes an *OpError of what is wrong with an answer, if anything is.
func (cl *call) bad(err error) error {
	if err == nil {
		return nil
	}
	return cl.session.opError(cl.typ, true, refused(err))
}
