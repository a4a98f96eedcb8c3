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
// outstanding. Requests are sent in order, and those that concern one key take
// effect in order. After the first failure nothing more is issued.
//
// A Pipeline is used by one goroutine; a Client can have any number of them.
type Pipeline struct {
	c   *Client
	ctx context.Context // of all the requests

	mu      sync.Mutex // also held during each
	pending int        // requests without an answer
	err     error      // the first failure
	left    bool       // Wait has given up: each is not called any more

	idle chan struct{} // rung when pending falls to 0; has room for one
}

// Pipeline returns an empty pipeline. All its requests use ctx.
func (c *Client) Pipeline(ctx context.Context) *Pipeline {
	return &Pipeline{c: c, ctx: ctx, idle: make(chan struct{}, 1)}
}

// Set issues a Set. The error is the first of any request so far.
func (p *Pipeline) Set(key, value []byte) error {
	return p.issue(&wire.KVRequest{Type: wire.TypeSet, Key: key, Value: value}, nil)
}

// Delete issues a Delete. The error is the first of any request so far.
func (p *Pipeline) Delete(key []byte) error {
	return p.issue(&wire.KVRequest{Type: wire.TypeDelete, Key: key}, nil)
}

// Get issues a Get and has each called with the answer, unless the Get fails. value
// is valid only during the call. Calls come one at a time, in the order in which
// the server answers, on the goroutine that reads for the whole Client: each must
// be quick and must not use the Client or the Pipeline.
//
// The error is the first of any request so far.
func (p *Pipeline) Get(key []byte, each func(value []byte, found bool)) error {
	return p.issue(&wire.KVRequest{Type: wire.TypeGet, Key: key}, each)
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
		case <-p.idle: // perhaps of an earlier time: look again
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

func (p *Pipeline) issue(r *wire.KVRequest, each func([]byte, bool)) error {
	p.mu.Lock()
	if err := p.err; err != nil {
		p.mu.Unlock()
		return err
	}
	p.pending++
	p.mu.Unlock()

	cl := newCall(r.Type)
	cl.pipe, cl.each = p, each
	if err := p.c.issue(p.ctx, r, cl); err != nil {
		cl.err = err
		cl.complete()
		return err
	}
	return nil
}

// completed takes note of what became of cl.
func (p *Pipeline) completed(cl *call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case cl.err != nil && p.err == nil:
		p.err = cl.err
	case cl.err == nil && cl.each != nil && !p.left:
		cl.each(cl.answer.value, cl.answer.ok)
	}
	p.pending--
	if p.pending == 0 {
		select {
		case p.idle <- struct{}{}:
		default: // one ring is already waiting to be heard
		}
	}
}
