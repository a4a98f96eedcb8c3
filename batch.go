package kivaloo

import (
	"context"
	"errors"
	"fmt"

	"kivaloo/tree"
)

// MaxBatch is how many changes a Batch may have: they are all made in one commit. A longer one fails
// with ErrTooLong before anything has begun. The journal takes a batch of this length whatever the
// cache: it needs no pages, and its memtable may be larger than others. Without a journal a batch that
// changes more pages than the cache has room for fails, and nothing of it is made.
const MaxBatch = 100_000

// errNoBatch: a Batch that belongs to no DB, so that nothing says how long its keys may be.
var errNoBatch = errors.New("the batch was not made by NewBatch")

// Batch is changes that are made together: after a crash all are there or none is, and no one ever sees some of them
// without the others. It is used by one goroutine. NewBatch makes one; what has been made otherwise takes no changes.
type Batch struct {
	db   *DB
	call *dbCall // nil: there are no changes
	err  error   // the first change that cannot be
}

// NewBatch returns a batch without changes.
func (db *DB) NewBatch() *Batch { return &Batch{db: db} }

// Set has value stored under key. Later changes of a batch come after earlier ones.
func (b *Batch) Set(key, value []byte) { b.add(tree.Request{Op: tree.Set, Key: key, Value: value}) }

// Delete has key removed, if it is there.
func (b *Batch) Delete(key []byte) { b.add(tree.Request{Op: tree.Delete, Key: key}) }

// add adds a change, of which it keeps copies.
func (b *Batch) add(r tree.Request) {
	err := errNoBatch
	if b.db != nil {
		err = b.db.check(&r)
	}
	if err == nil && b.Len() == MaxBatch {
		err = fmt.Errorf("a batch of more than %d changes is %w", MaxBatch, ErrTooLong)
	}
	if b.err == nil {
		b.err = err
	}
	if b.err != nil {
		return
	}
	if b.call == nil {
		b.call = newDBCall()
	}
	b.call.add(r)
}

// Len is how many changes there are.
func (b *Batch) Len() int {
	if b.call == nil {
		return 0
	}
	return len(b.call.requests)
}

// Reset takes all changes out.
func (b *Batch) Reset() { b.call, b.err = nil, nil }

// Apply makes the changes of b, and takes them out of it, also if it fails. OpError.Sent tells whether they may have
// been made.
func (db *DB) Apply(ctx context.Context, b *Batch) error {
	if b == nil || b.db == nil {
		return db.opError("batch", false, errNoBatch)
	}
	c, err := b.call, b.err
	b.Reset()
	switch {
	case b.db != db:
		return db.opError("batch", false, fmt.Errorf("the batch is for the store in %s", b.db.dir))
	case err != nil:
		return db.opError("batch", false, err)
	case c == nil:
		return nil
	}
	if sent, err := db.do(ctx, c); err != nil {
		return db.opError("batch", sent, err)
	}
	c.release()
	return nil
}
