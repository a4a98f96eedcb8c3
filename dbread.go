package kivaloo

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"kivaloo/tree"
)

const (
	// firstPieceBytes and lastPieceBytes are how much of a Range is gathered at a time: little at first, for most are
	// short, and never more than stays in the processor's cache. Each piece shows the store at one moment.
	firstPieceBytes = 4 << 10
	lastPieceBytes  = 128 << 10
	pieceGrowth     = 4
)

// Get returns the value of key, or ErrNotFound.
func (db *DB) Get(ctx context.Context, key []byte) ([]byte, error) {
	return db.get(ctx, nil, key)
}

func (db *DB) get(ctx context.Context, at *tree.Snapshot, key []byte) ([]byte, error) {
	value, err := db.appendGet(ctx, at, []byte{}, key)
	if err != nil {
		return nil, err
	}
	return value, nil
}

// AppendGet appends the value of key to dst and returns that, or dst and ErrNotFound. It
// allocates nothing if dst has room.
func (db *DB) AppendGet(ctx context.Context, dst, key []byte) ([]byte, error) {
	return db.appendGet(ctx, nil, dst, key)
}

// appendGet is AppendGet for the committed tree or, if at is not nil, a snapshot.
func (db *DB) appendGet(ctx context.Context, at *tree.Snapshot, dst, key []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return dst, db.opError("get", false, err)
	}
	if len(key) > MaxLen {
		return dst, db.opError("get", false, tooLong("key", len(key), MaxLen))
	}
	value, found, ok := db.readers.Get(at, dst, key)
	if !ok {
		return db.askGet(ctx, at, dst, key)
	}
	if !found {
		return dst, ErrNotFound
	}
	return value, nil
}

// askGet has the tree answer a Get of which the page is not in memory.
func (db *DB) askGet(ctx context.Context, at *tree.Snapshot, dst, key []byte) ([]byte, error) {
	c := newDBCall()
	c.add(tree.Request{Op: tree.Get, Key: key, At: at})
	if _, err := db.do(ctx, c); err != nil {
		return dst, db.opError("get", false, err)
	}
	defer c.release()
	if !c.found {
		return dst, ErrNotFound
	}
	return append(dst, c.value...), nil
}

// Range returns the pairs with start <= key < end, in ascending order of the keys as byte strings. An empty end
// means up to the last key. An error comes with an empty pair and is the last thing there is. A pair is valid until the
// loop goes on.
//
// The pairs are read some at a time, as they are used up: what others change meanwhile may or may not be seen. For one
// moment throughout there is Snapshot. start and end must not be changed before the loop has ended.
func (db *DB) Range(ctx context.Context, start, end []byte) iter.Seq2[Pair, error] {
	return db.scan(ctx, nil, start, end)
}

// scan is Range for the committed tree or, if at is not nil, a snapshot.
func (db *DB) scan(ctx context.Context, at *tree.Snapshot, start, end []byte) iter.Seq2[Pair, error] {
	return func(yield func(Pair, error) bool) {
		if err := checkBounds(start, end); err != nil {
			yield(Pair{}, db.opError("range", false, err))
			return
		}
		for p, err := range db.pieces(ctx, at, start, end, firstPieceBytes) {
			if err != nil {
				yield(Pair{}, db.opError("range", false, err))
				return
			}
			for key, value := range p.All() {
				if !yield(Pair{key, value}, nil) {
					return
				}
			}
		}
	}
}

// pieces returns the pairs from start to end in pieces, of about size bytes at first. Each is valid until the loop goes on. It
// ends with the piece that says that it is the last, or with an error.
func (db *DB) pieces(ctx context.Context, at *tree.Snapshot, start, end []byte, size int) iter.Seq2[*tree.Piece, error] {
	return func(yield func(*tree.Piece, error) bool) {
		if len(end) > 0 && bytes.Compare(start, end) >= 0 {
			return
		}
		var p tree.Piece
		for from := start; ; from = p.Next {
			if err := db.fill(ctx, at, &p, from, end, size); err != nil {
				yield(nil, err)
				return
			}
			if !yield(&p, nil) || p.Last {
				return
			}
			size = min(pieceGrowth*size, lastPieceBytes)
		}
	}
}

// fill puts pairs from a key on into p, about size bytes of them, and where to go on. from may be p.Next.
func (db *DB) fill(ctx context.Context, at *tree.Snapshot, p *tree.Piece, from, end []byte, size int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if db.readers.Range(at, p, from, end, size) {
		return nil
	}
	c := newDBCall()
	c.add(tree.Request{Op: tree.Range, Key: from, End: end, Max: lastPieceBytes, At: at})
	if _, err := db.do(ctx, c); err != nil {
		return err
	}
	defer c.release()
	if !c.last && bytes.Compare(c.next, from) <= 0 {
		return fmt.Errorf("the range from %q has come to no end, and goes on at %q", from, c.next)
	}
	p.Keys, p.Values = p.Keys[:0], p.Values[:0]
	for rest := c.value; len(rest) > 0; {
		k := 1 + int(rest[0])
		v := k + 1 + int(rest[k])
		p.Keys, p.Values = append(p.Keys, rest[:k]...), append(p.Values, rest[k:v]...)
		rest = rest[v:]
	}
	p.Last = c.last
	p.Next = append(p.Next[:0], c.next...)
	return nil
}

func checkBounds(start, end []byte) error {
	switch {
	case len(start) > MaxLen:
		return tooLong("key", len(start), MaxLen)
	case len(end) > MaxLen:
		return tooLong("end key", len(end), MaxLen)
	}
	return nil
}
