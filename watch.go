package kivaloo

import (
	"context"
	"errors"
	"iter"
	"time"

	"kivaloo/tree"
	"kivaloo/wire"
)

// Errors of Watch.
var (
	// ErrPositionGone: the changes after the position are not kept any more, or it is none of this
	// store. Read the pairs again, and watch from a new position.
	ErrPositionGone = tree.ErrPositionGone
	// ErrTooManyWatches: the store can keep no more watches now.
	ErrTooManyWatches = tree.ErrTooManyWatches
)

const (
	// watchWait is how long one request of a Watch waits for a change.
	watchWait = 30 * time.Second

	// watchMaxBytes is how much one request of a Watch asks for when it is behind.
	watchMaxBytes = 1 << 20
)

// Change is what became of a key. It belongs to the caller.
type Change struct {
	Key     []byte
	Value   []byte // nil if Deleted, and not nil otherwise
	Deleted bool

	// Position is where a later Watch can go on. It delivers all changes after this one. It begins
	// behind the commit of this change if this is the last change of the commit, and otherwise
	// delivers changes of that commit again.
	Position uint64
}

// WatchOptions say which changes a Watch returns.
type WatchOptions struct {
	// Start, End and Prefix are as for a Scan.
	Start, End, Prefix []byte
	// Position is that of a Change, or from Store.Position: changes after it are returned. 0 means
	// those after the loop has begun.
	Position uint64
	// Progress, if not nil, is called with a position each time the loop has returned all changes
	// up to it, at the latest after half a minute without any. Unlike Change.Position it moves on
	// with changes outside of the range, and a Watch from it returns no change again. It is called
	// on the goroutine of the loop. The first call comes after the first answer: at once if there
	// are no changes after Position, otherwise after the first of those have been returned.
	Progress func(position uint64)
}

// watched is part of the result of a Watch.
type watched struct {
	position uint64 // where to continue
	changes  []byte // for wire.CutChange
}

// watcher is the source of a Watch.
type watcher interface {
	source
	// changes returns the changes in the range of q after position. With position 0 it returns only
	// a position. It waits for a change for at most wait.
	changes(ctx context.Context, q *query, position uint64, wait time.Duration) (watched, error)
}

// watch implements Watch for any store.
func watch(ctx context.Context, w watcher, o WatchOptions) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		q, err := (&ScanOptions{Start: o.Start, End: o.End, Prefix: o.Prefix}).query("WatchOptions.")
		if err != nil {
			yield(Change{}, w.opError("watch", false, err))
			return
		}
		if q.empty {
			if err := nothing(ctx, w, "watch"); err != nil {
				yield(Change{}, err)
			}
			return
		}
		// The first request does not wait, because it finds the position, or missed changes. Nor
		// does a request after one with changes, because there may be more.
		position, wait := o.Position, time.Duration(0)
		var own copier
		for {
			found, err := w.changes(ctx, &q, position, wait)
			if err != nil {
				yield(Change{}, err)
				return
			}
			wait = watchWait
			for rest := found.changes; len(rest) > 0; wait = 0 {
				_, tail, _ := wire.CutChange(rest) // it has been checked
				c, _, _ := wire.CutChange(own.next(rest, len(rest)-len(tail)))
				rest = tail
				switch {
				case len(rest) == 0:
					position = found.position
				case c.Position != 0:
					position = c.Position
				}
				if !yield(Change{c.Key, c.Value, c.Delete, position}, nil) {
					return
				}
			}
			position = found.position
			if o.Progress != nil {
				o.Progress(position)
			}
		}
	}
}

// Watch implements Store. With DialOptions.Reconnect it goes on after a lost connection. A Watch
// that waits takes the place of one request in the Client's window, so a window of 1 has no room
// for it. A server of the original does not offer it: the error is ErrUnsupported.
func (c *Client) Watch(ctx context.Context, o WatchOptions) iter.Seq2[Change, error] {
	return watch(ctx, clientSource{c, nil}, o)
}

// Position implements Store.
func (c *Client) Position(ctx context.Context) (uint64, error) {
	found, err := clientSource{c, nil}.changes(ctx, &query{}, 0, 0)
	return found.position, partOf("position", false, err)
}

// changes asks again after a lost connection, if the Client connects again.
func (s clientSource) changes(ctx context.Context, q *query, position uint64, wait time.Duration) (watched, error) {
	if s.c.options.Window == 1 && wait > 0 {
		return watched{}, badOption("DialOptions.Window", "must be at least 2 for Watch, which holds one request open")
	}
	r := wire.KVRequest{Type: wire.TypeWatch, Position: position, Wait: uint32(wait.Milliseconds()), Max: watchMaxBytes, Key: q.start, End: q.end}
	for {
		found, err := s.watchOnce(ctx, &r)
		if err == nil || !s.c.options.Reconnect || !errors.Is(err, errLost) {
			return found, err
		}
	}
}

// watchOnce sends a WATCH. If ctx ends, it tells the server not to wait any longer.
func (s clientSource) watchOnce(ctx context.Context, r *wire.KVRequest) (watched, error) {
	cl := newCall(r.Type)
	if err := s.c.issue(ctx, r, cl); err != nil {
		cl.recycle()
		return watched{}, err
	}
	id := cl.id
	err := cl.wait(ctx)
	if err != nil {
		if ctx.Err() != nil {
			cl.session.unwatch(id)
		}
		cl.recycle()
		return watched{}, err
	}
	defer cl.recycle()
	record := cl.record
	cl.record = nil // the changes lie in it
	w, err := wire.ParseWatched(record, r.Max)
	return watched{w.Position, w.Changes.Data}, cl.bad(err)
}
