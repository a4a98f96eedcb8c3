package kivaloo

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"kivaloo/disk"
	"kivaloo/tree"
)

const (
	// maxSpareBytes and maxSpareRequests bound what a dbCall that is kept for the next one holds.
	maxSpareBytes    = 64 << 10
	maxSpareRequests = 64
)

// dbCall is requests to the tree and their answers. It gets the answers on the tree's goroutine.
//
// Two have it: who waits, and the tree. Who waits may leave; the last one of both recycles it. Until both are
// done with it, nothing that its requests point to may change.
type dbCall struct {
	batch    tree.Batch
	requests []tree.Request
	text     []byte // what requests point to

	found bool   // Get: the key is there. A change: it was made
	value []byte // Get: the value. Range: the pairs
	last  bool   // Range: there is no more
	next  []byte // Range: where to go on
	err   error  // of any of the requests

	done    chan struct{} // the tree is done with it; has room for one
	holders atomic.Int32
}

var dbCalls = sync.Pool{New: func() any { return &dbCall{done: make(chan struct{}, 1)} }}

// newDBCall returns a call without requests.
func newDBCall() *dbCall {
	c := dbCalls.Get().(*dbCall)
	c.holders.Store(2)
	return c
}

// add adds a request, of which it keeps copies of the slices. Those of requests before stay good.
func (c *dbCall) add(r tree.Request) {
	for _, field := range []*[]byte{&r.Key, &r.Value, &r.Old, &r.End} {
		start := len(c.text)
		c.text = append(c.text, *field...)
		*field = c.text[start:len(c.text):len(c.text)]
	}
	c.requests = append(c.requests, r)
}

// do has the tree carry the requests of c out, all together, and waits for the answers. Then c is the caller's, who gives
// it up by release. If it returns an error the caller has c no more; sent says whether the requests
// may have been, or may still be, carried out.
func (db *DB) do(ctx context.Context, c *dbCall) (sent bool, err error) {
	c.batch = tree.Batch{Client: c, Requests: c.requests, Atomic: len(c.requests) > 1}
	if err := ctx.Err(); err != nil {
		c.holders.Add(-1)
		c.release()
		return false, err
	}
	if err := db.push(&c.batch); err != nil {
		c.holders.Add(-1)
		c.release()
		return false, err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		c.release()
		return true, ctx.Err()
	}
	if err := c.err; err != nil {
		c.release()
		return !certain(err), err
	}
	return true, nil
}

// release gives c up.
func (c *dbCall) release() {
	if c.holders.Add(-1) > 0 {
		return
	}
	select {
	case <-c.done: // nobody has waited for it
	default:
	}
	if cap(c.text) > maxSpareBytes || cap(c.value) > maxSpareBytes || cap(c.requests) > maxSpareRequests {
		return
	}
	clear(c.requests)
	*c = dbCall{requests: c.requests[:0], text: c.text[:0], value: c.value[:0], next: c.next[:0], done: c.done}
	dbCalls.Put(c)
}

// Value implements tree.Client, as do the methods after it.
func (c *dbCall) Value(_ *tree.Request, value []byte, found bool) {
	c.value, c.found = append(c.value, value...), found
}

func (c *dbCall) Done(_ *tree.Request, done bool) { c.found = done }

func (c *dbCall) Pairs(r *tree.Request, _ int, next, pairs []byte) {
	c.last = bytes.Equal(next, r.End)
	c.next, c.value = append(c.next, next...), append(c.value, pairs...)
}

func (c *dbCall) Failed(_ *tree.Request, err error) { c.err = err }
func (c *dbCall) Dropped(*tree.Request)             {}
func (c *dbCall) Flush()                            {}
func (c *dbCall) Abandoned() bool                   { return false }

func (c *dbCall) Release(*tree.Batch) {
	c.done <- struct{}{}
	c.release()
}

// nobody is the client of a tree.Batch without requests.
type nobody struct{}

func (nobody) Value(*tree.Request, []byte, bool)        {}
func (nobody) Done(*tree.Request, bool)                 {}
func (nobody) Pairs(*tree.Request, int, []byte, []byte) {}
func (nobody) Failed(*tree.Request, error)              {}
func (nobody) Dropped(*tree.Request)                    {}
func (nobody) Release(*tree.Batch)                      {}
func (nobody) Flush()                                   {}
func (nobody) Abandoned() bool                          { return false }

// certain reports whether a change that has failed with err has certainly not been made. Only a failed append leaves
// that open.
func certain(err error) bool {
	for _, e := range []error{tree.ErrReadOnly, tree.ErrStopped, tree.ErrSnapshotGone, tree.ErrCacheFull, disk.ErrNoSpace} {
		if errors.Is(err, e) {
			return true
		}
	}
	return errors.As(err, new(*tree.BlockError))
}
