package kivaloo

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math"
	"sync"

	"kivaloo/tree"
)

const (
	// firstPieceBytes and lastPieceBytes are how much of a scan is read at a time. It is little at
	// first, because most scans are short, and never more than stays in the processor's cache. Each
	// piece shows the store at one moment.
	firstPieceBytes = 4 << 10
	lastPieceBytes  = 128 << 10
	pieceGrowth     = 4

	// getTogether is how many keys of a GetMany the tree is asked for at a time.
	getTogether = 256
)

// Get implements Reader.
func (db *DB) Get(ctx context.Context, key []byte) ([]byte, error) {
	return db.get(ctx, nil, key)
}

// AppendGet implements Reader.
func (db *DB) AppendGet(ctx context.Context, dst, key []byte) ([]byte, error) {
	return db.appendGet(ctx, nil, dst, key)
}

// Has implements Reader.
func (db *DB) Has(ctx context.Context, key []byte) (bool, error) { return db.has(ctx, nil, key) }

// GetMany implements Reader.
func (db *DB) GetMany(ctx context.Context, keys ...[]byte) ([][]byte, error) {
	return db.getMany(ctx, nil, keys)
}

// Range implements Reader.
func (db *DB) Range(ctx context.Context, start, end []byte) iter.Seq2[Pair, error] {
	return db.Scan(ctx, ScanOptions{Start: start, End: end})
}

// Scan implements Reader.
func (db *DB) Scan(ctx context.Context, o ScanOptions) iter.Seq2[Pair, error] {
	return scan(ctx, dbSource{db, nil}, o)
}

// Count implements Reader.
func (db *DB) Count(ctx context.Context, o ScanOptions) (int64, error) {
	return count(ctx, dbSource{db, nil}, o)
}

func (db *DB) get(ctx context.Context, at *tree.Snapshot, key []byte) ([]byte, error) {
	value, err := db.appendGet(ctx, at, []byte{}, key)
	if err != nil {
		return nil, err
	}
	return value, nil
}

func (db *DB) has(ctx context.Context, at *tree.Snapshot, key []byte) (bool, error) {
	var room [MaxLen]byte
	switch _, err := db.appendGet(ctx, at, room[:0], key); err {
	case nil:
		return true, nil
	case ErrNotFound:
		return false, nil
	default:
		return false, err
	}
}

// getMany reads what is in memory itself, and has the tree read the rest, many keys at a time.
func (db *DB) getMany(ctx context.Context, at *tree.Snapshot, keys [][]byte) ([][]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, db.opError("get", false, err)
	}
	if len(keys) == 0 {
		return [][]byte{}, nothing(ctx, dbSource{db, at}, "get")
	}
	values := make([][]byte, len(keys))
	var left []int // keys that are not in memory
	for i, key := range keys {
		if len(key) > MaxLen {
			return nil, db.opError("get", false, tooLong("key", len(key), MaxLen))
		}
		value, found, ok := db.readers.Get(at, []byte{}, key)
		if !ok {
			left = append(left, i)
		} else if found {
			values[i] = value
		}
	}
	for len(left) > 0 {
		now := left[:min(len(left), getTogether)]
		if err := db.askMany(ctx, at, keys, values, now); err != nil {
			return nil, err
		}
		left = left[len(now):]
	}
	return values, nil
}

// askMany has the tree read the keys whose indexes are in which.
func (db *DB) askMany(ctx context.Context, at *tree.Snapshot, keys, values [][]byte, which []int) error {
	var asking sync.WaitGroup
	errs := make([]error, len(which))
	for n, i := range which {
		asking.Go(func() {
			value, err := db.askGet(ctx, at, []byte{}, keys[i])
			switch err {
			case nil:
				values[i] = value
			case ErrNotFound:
			default:
				errs[n] = err
			}
		})
	}
	asking.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
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

// askGet has the tree answer a Get whose page is not in memory.
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

// dbSource is the source of a scan: a DB or, if at is not nil, a snapshot of it.
type dbSource struct {
	db *DB
	at *tree.Snapshot
}

// dbPiece is the buffer for a piece of a scan of a DB.
type dbPiece = tree.Piece

func (s dbSource) piece(ctx context.Context, q *query, p *piece) error {
	p.size = min(max(firstPieceBytes, pieceGrowth*p.size), lastPieceBytes)
	if err := s.fill(ctx, q, &p.db, p.size); err != nil {
		return err
	}
	p.pairs = p.pairs[:0]
	p.keys, p.values, p.n, p.more, p.next = p.db.Keys, p.db.Values, int64(p.db.N), !p.db.Last, p.db.Next
	return nil
}

func (s dbSource) alive(ctx context.Context) error {
	if s.at != nil && s.at.Dropped() {
		return ErrClosed
	}
	_, err := s.db.Params(ctx)
	return err
}

func (s dbSource) opError(op string, sent bool, err error) error {
	return s.db.opError(op, sent, err)
}

// fill puts about size bytes of the first pairs of q into p, and where to continue.
func (s dbSource) fill(ctx context.Context, q *query, p *tree.Piece, size int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := tree.Request{Op: tree.Scan, Key: q.start, End: q.end, Max: uint32(size), Limit: uint32(min(q.limit, math.MaxUint32)), At: s.at,
		Reverse: q.reverse, KeysOnly: q.keysOnly, CountOnly: q.countOnly}
	if s.db.readers.Scan(&r, p) {
		return nil
	}
	c := newDBCall()
	r.Max = lastPieceBytes
	c.add(r)
	if _, err := s.db.do(ctx, c); err != nil {
		return err
	}
	defer c.release()
	if !c.last && (!q.reverse && bytes.Compare(c.next, q.start) <= 0 || q.reverse && len(q.end) > 0 && bytes.Compare(c.next, q.end) >= 0) {
		return fmt.Errorf("the range from %q to %q has not ended, and continues at %q", q.start, q.end, c.next)
	}
	p.Keys, p.Values, p.N, p.Last = p.Keys[:0], p.Values[:0], c.n, c.last
	for rest := c.value; len(rest) > 0; {
		var key, value []byte
		key, rest = rest[:1+int(rest[0])], rest[1+int(rest[0]):]
		if !q.keysOnly {
			value, rest = rest[:1+int(rest[0])], rest[1+int(rest[0]):]
		}
		p.Keys, p.Values = append(p.Keys, key...), append(p.Values, value...)
	}
	p.Next = append(p.Next[:0], c.next...)
	return nil
}
