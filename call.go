package kivaloo

import (
	"context"
	"sync"

	"kivaloo/wire"
)

// call is a request that is being carried out.
//
// It belongs to whoever issued it until issue puts it into a slot, and then to the
// slot. Whoever takes it out of the slot, with mu held, owns it: the reader, to
// answer it; fail; or abandon. complete passes it on.
type call struct {
	typ  uint32 // of the request
	slot int    // number of the slot it was put into
	end  uint64 // where in the outgoing stream the request ends

	answer answer
	err    error // nil, or an *OpError: then answer means nothing

	// One of these gets the call when it has been answered or has failed.
	done chan struct{} // do waits; has room for one
	pipe *Pipeline     // nil: do waits
	each func(value []byte, found bool)
}

// answer is what the server said, as far as the type of the request has it.
type answer struct {
	ok     bool   // GET: present. A change: it was made
	value  []byte // GET: the value. RANGE: the pairs
	next   []byte // RANGE: where to go on, empty for nowhere
	params Params // PARAMS
}

var callPool = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

func newCall(typ uint32) *call {
	cl := callPool.Get().(*call)
	cl.typ = typ
	return cl
}

// recycle gives cl up. Nothing may be on its way into done.
func (cl *call) recycle() {
	*cl = call{done: cl.done}
	callPool.Put(cl)
}

// do carries out r and waits for the answer.
func (c *Client) do(ctx context.Context, r wire.KVRequest) (answer, error) {
	cl := newCall(r.Type)
	defer cl.recycle()
	if err := c.issue(ctx, &r, cl); err != nil {
		return answer{}, err
	}
	select {
	case <-cl.done:
	case <-ctx.Done():
		if c.abandon(cl) {
			return answer{}, c.opError(r.Type, true, ctx.Err())
		}
		<-cl.done // the answer has come at the same moment
	}
	if cl.err != nil {
		return answer{}, cl.err
	}
	return cl.answer, nil
}

// receive takes the answer out of record, which is valid only during the call.
func (cl *call) receive(record []byte) (err error) {
	a := &cl.answer
	switch cl.typ {
	case wire.TypeParams:
		var maxKey, maxValue uint32
		maxKey, maxValue, err = wire.ParseKVParams(record)
		a.params = Params{MaxKey: int(min(maxKey, MaxLen)), MaxValue: int(min(maxValue, MaxLen))}
	case wire.TypeGet:
		a.value, a.ok, err = wire.ParseKVValue(record)
		if cl.pipe == nil {
			a.value = append(make([]byte, 0, len(a.value)), a.value...)
		}
	case wire.TypeRange:
		var next, pairs []byte
		_, next, pairs, err = wire.ParseKVPairs(record, rangeMaxBytes)
		both := append(append(make([]byte, 0, len(next)+len(pairs)), next...), pairs...)
		a.next, a.value = both[:len(next):len(next)], both[len(next):]
	default:
		var status uint32
		status, err = wire.ParseKVStatus(cl.typ, record)
		a.ok = status == 0
	}
	return err
}

// complete passes on a call that has its answer or its error.
func (cl *call) complete() {
	if cl.pipe == nil {
		cl.done <- struct{}{}
		return
	}
	cl.pipe.completed(cl)
	cl.recycle()
}
