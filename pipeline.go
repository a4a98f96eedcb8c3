package kivaloo

import (
	"context"
	"sync"

	"kivaloo/wire"
)

// Pipeline issues many requests without waiting for each: for bulk work, where a
// goroutine for every request would cost more than the request.
//
//	p := c.Pipeline(ctx)
//	for key, value := range pairs {
//		if p.Set(key, value) != nil {
//			break // the error is kept for Wait
//		}
//	}
//	err := p.Wait()
//
// Its methods wait only while as many requests as the Client's window has are
// outstanding. Their error is the first of any request so far; after that nothing
// more is issued. Requests are sent in order, and those that concern one key take
// effect in order.
//
// A Pipeline is not atomic. Each of its requests takes effect by itself, others see
// some of them done and some not, and when one fails those before it, and some
// after it, have taken effect.
//
// The functions that are given to the methods may be nil. They are not called for a
// request that fails. Calls come one at a time, in the order in which the server
// answers, on the goroutine that reads for the whole Client: they must be quick and
// must not use the Client or the Pipeline.
//
// A Pipeline is used by one goroutine; a Client can have any number of them.
type Pipeline struct {
	c   *Client
	ctx context.Context // for all the requests

	mu      sync.Mutex // also held while callbacks run
	pending int        // outstanding requests
	err     error      // the first failure
	left    bool       // Wait has given up, so no callback is called any more

	idle chan struct{} // signalled when pending falls to 0; has room for one
}

// Pipeline returns an empty pipeline. All its requests use ctx.
func (c *Client) Pipeline(ctx context.Context) *Pipeline {
	return &Pipeline{c: c, ctx: ctx, idle: make(chan struct{}, 1)}
}

// Get issues a Get and calls each with the answer. value is valid only during the call.
func (p *Pipeline) Get(key []byte, each func(value []byte, found bool)) error {
	return p.issue(&wire.KVRequest{Type: wire.TypeGet, Key: key}, each, nil)
}

// Set issues a Set.
func (p *Pipeline) Set(key, value []byte) error {
	return p.issue(&wire.KVRequest{Type: wire.TypeSet, Key: key, Value: value}, nil, nil)
}

// Delete issues a Delete.
func (p *Pipeline) Delete(key []byte) error {
	return p.issue(&wire.KVRequest{Type: wire.TypeDelete, Key: key}, nil, nil)
}

// Add issues an Add, and tells each whether the value was stored.
func (p *Pipeline) Add(key, value []byte, each func(added bool)) error {
	return p.issue(&wire.KVRequest{Type: wire.TypeAdd, Key: key, Value: value}, nil, each)
}

// Modify issues a Modify, and tells each whether the value was stored.
func (p *Pipeline) Modify(key, value []byte, each func(modified bool)) error {
	return p.issue(&wire.KVRequest{Type: wire.TypeModify, Key: key, Value: value}, nil, each)
}

// CompareAndSwap issues a CompareAndSwap, and tells each whether the value was stored.
func (p *Pipeline) CompareAndSwap(key, old, value []byte, each func(swapped bool)) error {
	return p.issue(&wire.KVRequest{Type: wire.TypeCAS, Key: key, Old: old, Value: value}, nil, each)
}

// CompareAndDelete issues a CompareAndDelete, and tells each whether the key was removed.
func (p *Pipeline) CompareAndDelete(key, old []byte, each func(deleted bool)) error {
	return p.issue(&wire.KVRequest{Type: wire.TypeCAD, Key: key, Old: old}, nil, each)
}

// Wait returns when all requests have been answered or have failed, with the first
// error. If that is nil the pipeline can be used again. Otherwise it speaks for one
// request: of the others some may have been sent, even if that one was not.
//
// When the context ends first, Wait returns an error that says so, and the answers
// to come are ignored.
func (p *Pipeline) Wait() error {
	for {
		p.mu.Lock()
		pending, err := p.pending, p.err
		p.mu.Unlock()
		if pending == 0 {
			return err
		}
		select {
		case <-p.idle: // the signal may be old, so look again
		case <-p.ctx.Done():
			return p.leave()
		}
	}
}

// leave ends the pipeline with requests outstanding.
func (p *Pipeline) leave() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = true
	if p.err == nil {
		p.err = &OpError{Op: "pipeline", Addr: p.c.addr, Sent: true, Err: p.ctx.Err()}
	}
	return p.err
}

func (p *Pipeline) issue(r *wire.KVRequest, gotten func([]byte, bool), told func(bool)) error {
	p.mu.Lock()
	if err := p.err; err != nil {
		p.mu.Unlock()
		return err
	}
	p.pending++
	p.mu.Unlock()

	cl := newCall(r.Type)
	cl.pipe, cl.gotten, cl.told = p, gotten, told
	if err := p.c.issue(p.ctx, r, cl); err != nil {
		cl.err = err
		cl.complete(nil)
		return err
	}
	return nil
}

// completed records the outcome of cl: its error, or the answer in record.
func (p *Pipeline) completed(cl *call, record []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := cl.err
	if err == nil {
		err = p.pass(cl, record)
	}
	if p.err == nil {
		p.err = err
	}
	p.pending--
	if p.pending == 0 {
		select {
		case p.idle <- struct{}{}:
		default: // a signal is already waiting
		}
	}
}

// pass passes the answer in record to the callback of cl, if any.
func (p *Pipeline) pass(cl *call, record []byte) error {
	if cl.typ == wire.TypeGet || cl.typ == wire.TypeGetAt {
		value, found, err := cl.value(record)
		if err == nil && cl.gotten != nil && !p.left {
			cl.gotten(value, found)
		}
		return cl.bad(err)
	}
	made, err := cl.made(record)
	if err == nil && cl.told != nil && !p.left {
		cl.told(made)
	}
	return err
}
