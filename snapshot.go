package kivaloo

import (
	"context"
	"iter"
	"sync"

	"kivaloo/tree"
)

// Snapshot is a DB at one moment, to be read while changes go on. What is replaced meanwhile takes space on the disk until
// it is closed. Its methods may be called from any number of goroutines at once.
type Snapshot struct {
	db      *DB
	at      *tree.Snapshot
	closing sync.Once
}

// Snapshot returns the store as it is now: with every change that has been acknowledged, and no other. It is to be
// closed.
func (db *DB) Snapshot(ctx context.Context) (*Snapshot, error) {
	s := &Snapshot{db: db}
	err := ctx.Err()
	if err == nil {
		err = db.on(func(t *tree.Tree) { s.at = t.TakeSnapshot() })
	}
	if err != nil {
		return nil, db.opError("snapshot", false, err)
	}
	return s, nil
}

// Get returns the value of key, or ErrNotFound.
func (s *Snapshot) Get(ctx context.Context, key []byte) ([]byte, error) {
	return s.db.get(ctx, s.at, key)
}

// AppendGet appends the value of key to dst and returns that, or dst and ErrNotFound.
func (s *Snapshot) AppendGet(ctx context.Context, dst, key []byte) ([]byte, error) {
	return s.db.appendGet(ctx, s.at, dst, key)
}

// Range returns the pairs with start <= key < end, in ascending order of the keys. An empty end means up to the last
// key. An error comes with an empty pair and is the last thing there is.
func (s *Snapshot) Range(ctx context.Context, start, end []byte) iter.Seq2[Pair, error] {
	return s.db.scan(ctx, s.at, start, end)
}

// Close gives the snapshot up. Reads that are under way or come later fail with ErrClosed.
func (s *Snapshot) Close() error {
	s.closing.Do(func() {
		s.at.Drop()
		_ = s.db.on(func(t *tree.Tree) { t.Release(s.at) }) // with the DB it is gone anyway
	})
	return nil
}
