package kivaloo

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"sync"

	"kivaloo/tree"
)

// Snapshot is a DB at one moment, to be read while changes go on. Until it is closed, everything that
// they replace takes space on the disk. Any number of goroutines may call its methods at once.
type Snapshot struct {
	db      *DB
	at      *tree.Snapshot
	name    string // for the log
	closing sync.Once
	cleanup runtime.Cleanup
}

// Snapshot returns the store as it is now: with every acknowledged change, and no other. The caller
// closes it. Options.Log gets a line about each snapshot that is open for long, and about each that was
// dropped without Close, which the garbage collector closes. It names the line that called Snapshot.
func (db *DB) Snapshot(ctx context.Context) (*Snapshot, error) {
	return db.snapshot(ctx, callerLine())
}

func (db *DB) snapshot(ctx context.Context, name string) (*Snapshot, error) {
	at, err := db.take(ctx, func(t *tree.Tree, got func(*tree.Snapshot, error)) {
		t.TakeSnapshot(name, func(at *tree.Snapshot) { got(at, nil) })
	})
	if err != nil {
		return nil, db.opError("snapshot", false, err)
	}
	s := &Snapshot{db: db, at: at, name: name}
	s.cleanup = runtime.AddCleanup(s, func(at *tree.Snapshot) {
		db.log.Warn("a snapshot was dropped without being closed", "snapshot", name, "dir", db.dir)
		db.release(at)
	}, at)
	return s, nil
}

// take returns the snapshot that ask gets from the tree. If ctx ends first, the snapshot is released as
// soon as it is there.
func (db *DB) take(ctx context.Context, ask func(t *tree.Tree, got func(*tree.Snapshot, error))) (*tree.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	type result struct {
		at  *tree.Snapshot
		err error
	}
	taken := make(chan result, 1)
	var left bool // the tree's
	err := db.on(func(t *tree.Tree) {
		ask(t, func(at *tree.Snapshot, err error) {
			if left && err == nil {
				t.Release(at)
			}
			taken <- result{at, err}
		})
	})
	if err != nil {
		return nil, err
	}
	select {
	case r := <-taken: // a commit, or a flush, ends first
		return r.at, r.err
	case <-ctx.Done():
	}
	err = db.on(func(*tree.Tree) { left = true })
	select {
	case r := <-taken: // it came meanwhile
		return r.at, r.err
	default:
	}
	if err != nil {
		return nil, err
	}
	return nil, ctx.Err()
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
