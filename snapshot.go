package kivaloo

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"sync"

	"kivaloo/tree"
)

// Snapshot is a DB at one moment, to be read while changes go on. What is replaced meanwhile takes space on the disk until
// it is closed. Its methods may be called from any number of goroutines at once.
type Snapshot struct {
	db      *DB
	at      *tree.Snapshot
	name    string // for the log
	closing sync.Once
	cleanup runtime.Cleanup
}

// Snapshot returns the store as it is now: with every change that has been acknowledged, and no other. It is to be
// closed. Options.Log is told of those that are open for long, and of those that are dropped without Close, which the
// garbage collector closes; it names them by the line that has called Snapshot.
func (db *DB) Snapshot(ctx context.Context) (*Snapshot, error) {
	return db.snapshot(ctx, callerLine())
}

func (db *DB) snapshot(ctx context.Context, name string) (*Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, db.opError("snapshot", false, err)
	}
	s := &Snapshot{db: db, name: name}
	taken := make(chan *tree.Snapshot, 1)
	err := db.on(func(t *tree.Tree) {
		t.TakeSnapshot(name, func(at *tree.Snapshot) { taken <- at })
	})
	if err != nil {
		return nil, db.opError("snapshot", false, err)
	}
	at := <-taken // a batch or two come to their end
	s.at = at
	s.cleanup = runtime.AddCleanup(s, func(at *tree.Snapshot) {
		db.log.Warn("a snapshot was dropped without being closed", "snapshot", name, "dir", db.dir)
		db.release(at)
	}, at)
	return s, nil
}

// callerLine is where in the program the method was called that calls this.
func callerLine() string {
	_, file, line, _ := runtime.Caller(2)
	return fmt.Sprintf("%s:%d", file, line)
}

func (db *DB) release(at *tree.Snapshot) {
	at.Drop()
	_ = db.on(func(t *tree.Tree) { t.Release(at) }) // with the DB it is gone anyway
}

// Get returns the value of key, or ErrNotFound.
func (s *Snapshot) Get(ctx context.Context, key []byte) ([]byte, error) {
	defer runtime.KeepAlive(s)
	return s.db.get(ctx, s.at, key)
}

// AppendGet appends the value of key to dst and returns that, or dst and ErrNotFound.
func (s *Snapshot) AppendGet(ctx context.Context, dst, key []byte) ([]byte, error) {
	defer runtime.KeepAlive(s)
	return s.db.appendGet(ctx, s.at, dst, key)
}

// Range returns the pairs with start <= key < end, in ascending order of the keys. An empty end means up to the last
// key. An error comes with an empty pair and is the last thing there is.
func (s *Snapshot) Range(ctx context.Context, start, end []byte) iter.Seq2[Pair, error] {
	return func(yield func(Pair, error) bool) {
		defer runtime.KeepAlive(s)
		s.db.scan(ctx, s.at, start, end)(yield)
	}
}

// Close gives the snapshot up. Reads that are under way or come later fail with ErrClosed.
func (s *Snapshot) Close() error {
	s.closing.Do(func() {
		s.cleanup.Stop()
		s.db.release(s.at)
	})
	return nil
}
