package kivaloo

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"kivaloo/disk"
	"kivaloo/tree"
)

const (
	// maxSpareBytes and maxSpareRequests bound the memory of a dbCall that is kept for reuse.
	maxSpareBytes    = 64 << 10
	maxSpareRequests = 64
)

// dbCall is requests to the tree and their answers. It receives the answers on the tree's
// goroutine.
//
// It has two holders: the waiting caller and the tree. The caller may leave early. The last holder
// recycles it. Until both are done, nothing that its requests point to may change.
type dbCall struct {
	batch    tree.Batch
	requests []tree.Request
	text     []byte // memory that requests point to

	atomic   bool // the requests are one commit
	conflict int  // index of the first condition that did not hold, or -1

	found    bool   // Get: the key is present. Change: it was made
	value    []byte // Get: the value. Scan: the pairs
	n        int    // Scan: number of pairs
	last     bool   // Scan: nothing is left
	next     []byte // Scan: where to continue
	position uint64 // Watch: where to continue
	err      error  // of any of the requests

	left    atomic.Bool   // the caller has left: drop changes that have not begun, and Watches
	done    chan struct{} // the tree is done; has room for one
	holders atomic.Int32
}

var dbCalls = sync.Pool{New: func() any { return &dbCall{done: make(chan struct{}, 1)} }}

// newDBCall returns a call without requests.
func newDBCall() *dbCall {
	c := dbCalls.Get().(*dbCall)
	c.holders.Store(2)
	c.conflict = -1
	return c
}

// add adds a request and copies its slices. Those of earlier requests stay valid.
func (c *dbCall) add(r tree.Request) {
	for _, field := range []*[]byte{&r.Key, &r.Value, &r.Old, &r.End} {
		start := len(c.text)
		c.text = append(c.text, *field...)
		*field = c.text[start:len(c.text):len(c.text)]
	}
	c.requests = append(c.requests, r)
}

// do has the tree carry out all requests of c together, and waits for the answers. Then the caller
// owns c and must release it. After an error the caller no longer has c. sent says whether the
// requests may have been, or may still be, carried out.
func (db *DB) do(ctx context.Context, c *dbCall) (sent bool, err error) {
	c.batch = tree.Batch{Client: c, Requests: c.requests, Atomic: c.atomic}
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
		c.left.Store(true)
		c.release()
		return true, ctx.Err()
	}
	if err := c.err; err != nil {
		c.release()
		return !certain(err), err
	}
	return true, nil
}

// release releases one hold on c.
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

// Value implements tree.Client, like the methods after it.
func (c *dbCall) Value(_ *tree.Request, value []byte, found bool) {
	c.value, c.found = append(c.value, value...), found
}

func (c *dbCall) Done(r *tree.Request, done bool) {
	c.found = done
	if !done && c.conflict < 0 && r.Op.Condition() {
		c.conflict = int(r.ID)
	}
}

func (c *dbCall) Pairs(*tree.Request, int, []byte, []byte) {} // a DB uses Scans

func (c *dbCall) Scanned(_ *tree.Request, n int, more bool, next, pairs []byte) {
	c.n, c.last = n, !more
	c.next, c.value = append(c.next, next...), append(c.value, pairs...)
}

func (c *dbCall) Changed(_ *tree.Request, position uint64, _ int, changes []byte) {
	c.position, c.value = position, append(c.value, changes...)
}

func (c *dbCall) Failed(_ *tree.Request, err error) { c.err = err }
func (c *dbCall) Dropped(*tree.Request)             { c.err = ErrClosed }
func (c *dbCall) Flush()                            {}
func (c *dbCall) Abandoned() bool                   { return c.left.Load() }

func (c *dbCall) Release(*tree.Batch) {
	c.done <- struct{}{}
	c.release()
}

// certain reports whether a change that failed with err was certainly not made. Only a failed
// append leaves that open.
func certain(err error) bool {
	if errors.Is(err, disk.ErrLeftBehind) && !errors.Is(err, tree.ErrReadOnly) {
		return false
	}
	for _, e := range []error{tree.ErrReadOnly, tree.ErrStopped, tree.ErrSnapshotGone, tree.ErrCacheFull, disk.ErrNoSpace} {
		if errors.Is(err, e) {
			return true
		}
	}
	return errors.As(err, new(*tree.BlockError))
}
