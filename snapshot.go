package kivaloo

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"sync"

	"kivaloo/tree"
)

// Snapshot is a store at one moment, to be read while changes go on. Until it is closed, everything
// that they replace takes space on the disk. Any number of goroutines may call its methods at once.
type Snapshot interface {
	Reader

	// Close gives the snapshot up. Reads that are under way or come later fail with ErrClosed. For
	// one of a Client it waits up to a second for the server's answer. A server that cannot be
	// told gives the snapshot up a minute after its last use.
	Close() error
}

// dbSnapshot is the Snapshot of a DB.
type dbSnapshot struct {
	db      *DB
	at      *tree.Snapshot
	name    string // for the log
	closing sync.Once
	cleanup runtime.Cleanup
}

// Snapshot returns the store as it is now: with every acknowledged change, and no other. The caller
// closes it. Options.Log gets a line about each snapshot that is open for long, and about each that
// was dropped without Close, which the garbage collector closes. It names the line that called
// Snapshot.
func (db *DB) Snapshot(ctx context.Context) (Snapshot, error) {
	s, err := db.snapshot(ctx, callerLine())
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (db *DB) snapshot(ctx context.Context, name string) (*dbSnapshot, error) {
	at, err := db.take(ctx, func(t *tree.Tree, got func(*tree.Snapshot, error)) {
		t.TakeSnapshot(name, got)
	})
	if err != nil {
		return nil, db.opError("snapshot", false, err)
	}
	s := &dbSnapshot{db: db, at: at, name: name}
	s.cleanup = runtime.AddCleanup(s, func(at *tree.Snapshot) {
		db.log.Warn("a snapshot was dropped without being closed", "snapshot", name, "dir", db.dir)
		db.release(at)
	}, at)
	return s, nil
}

// take returns the snapshot that ask gets from the tree. If ctx ends first, the snapshot is
// released as soon as it exists.
func (db *DB) take(ctx context.Context, ask func(t *tree.Tree, got func(*tree.Snapshot, error))) (*tree.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	type result struct {
		at  *tree.Snapshot
		err error
	}
	taken := make(chan result, 1)
	var left bool // owned by the tree
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
	case r := <-taken: // after a commit, or a flush
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

// callerLine returns the place in the program that called the caller's caller.
func callerLine() string {
	_, file, line, _ := runtime.Caller(2)
	return fmt.Sprintf("%s:%d", file, line)
}

func (db *DB) release(at *tree.Snapshot) {
	at.Drop()
	_ = db.on(func(t *tree.Tree) { t.Release(at) }) // if the DB is closed, the snapshot is gone anyway
}

func (s *dbSnapshot) Get(ctx context.Context, key []byte) ([]byte, error) {
	defer runtime.KeepAlive(s)
	return s.db.get(ctx, s.at, key)
}

func (s *dbSnapshot) AppendGet(ctx context.Context, dst, key []byte) ([]byte, error) {
	defer runtime.KeepAlive(s)
	return s.db.appendGet(ctx, s.at, dst, key)
}

func (s *dbSnapshot) Has(ctx context.Context, key []byte) (bool, error) {
	defer runtime.KeepAlive(s)
	return s.db.has(ctx, s.at, key)
}

func (s *dbSnapshot) GetMany(ctx context.Context, keys ...[]byte) ([][]byte, error) {
	defer runtime.KeepAlive(s)
	return s.db.getMany(ctx, s.at, keys)
}

func (s *dbSnapshot) Range(ctx context.Context, start, end []byte) iter.Seq2[Pair, error] {
	return s.Scan(ctx, ScanOptions{Start: start, End: end})
}

func (s *dbSnapshot) Scan(ctx context.Context, o ScanOptions) iter.Seq2[Pair, error] {
	return func(yield func(Pair, error) bool) {
		defer runtime.KeepAlive(s)
		scan(ctx, dbSource{s.db, s.at}, o)(yield)
	}
}

func (s *dbSnapshot) Count(ctx context.Context, o ScanOptions) (int64, error) {
	defer runtime.KeepAlive(s)
	return count(ctx, dbSource{s.db, s.at}, o)
}

func (s *dbSnapshot) Close() error {
	s.closing.Do(func() {
		s.cleanup.Stop()
		s.db.release(s.at)
	})
	return nil
}
