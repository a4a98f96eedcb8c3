package kivaloo

import (
	"bytes"
	"context"
	"iter"
	"time"

	"kivaloo/tree"
)

// Watch implements Store.
func (db *DB) Watch(ctx context.Context, o WatchOptions) iter.Seq2[Change, error] {
	return watch(ctx, dbSource{db, nil}, o)
}

// Position implements Store. After a restart the position is good if nothing was changed after it
// or, after a crash, if the journal has all changes after it. Otherwise a Watch from it ends with
// ErrPositionGone.
func (db *DB) Position(ctx context.Context) (uint64, error) {
	found, err := dbSource{db, nil}.changes(ctx, &query{}, 0, 0)
	return found.position, partOf("position", false, err)
}

func (s dbSource) changes(ctx context.Context, q *query, position uint64, wait time.Duration) (watched, error) {
	c := newDBCall()
	c.add(tree.Request{Op: tree.Watch, Key: q.start, End: q.end, Position: position, Wait: wait, Max: watchMaxBytes})
	if _, err := s.db.do(ctx, c); err != nil {
		return watched{}, s.opError("watch", false, err)
	}
	defer c.release()
	return watched{c.position, bytes.Clone(c.value)}, nil
}
