package kivaloo

import (
	"bytes"
	"context"
	"errors"
	"iter"

	"kivaloo/wire"
)

// clientSource is the store of a Client or, if at is not nil, a snapshot of it. Its errors are
// *OpErrors.
type clientSource struct {
	c  *Client
	at *lease
}

// Get implements Reader. The value is all that it allocates.
func (c *Client) Get(ctx context.Context, key []byte) ([]byte, error) {
	return c.AppendGet(ctx, nil, key)
}

// AppendGet implements Reader.
func (c *Client) AppendGet(ctx context.Context, dst, key []byte) ([]byte, error) {
	return clientSource{c, nil}.appendGet(ctx, dst, key)
}

// Has implements Reader.
func (c *Client) Has(ctx context.Context, key []byte) (bool, error) {
	return clientSource{c, nil}.has(ctx, key)
}

// GetMany implements Reader.
func (c *Client) GetMany(ctx context.Context, keys ...[]byte) ([][]byte, error) {
	return clientSource{c, nil}.getMany(ctx, keys)
}

// Range implements Reader.
func (c *Client) Range(ctx context.Context, start, end []byte) iter.Seq2[Pair, error] {
	return c.Scan(ctx, ScanOptions{Start: start, End: end})
}

// Scan implements Reader. The store is read about 1 MiB at a time. A server of the original cannot
// scan in reverse: the error is ErrUnsupported.
func (c *Client) Scan(ctx context.Context, o ScanOptions) iter.Seq2[Pair, error] {
	return scan(ctx, clientSource{c, nil}, o)
}

// Count implements Reader. A server of the original sends all the pairs, so that they can be
// counted here.
func (c *Client) Count(ctx context.Context, o ScanOptions) (int64, error) {
	return count(ctx, clientSource{c, nil}, o)
}

// get returns the request for the value of key.
func (s clientSource) get(key []byte) *wire.KVRequest {
	if s.at != nil {
		return &wire.KVRequest{Type: wire.TypeGetAt, Snapshot: s.at.id, Key: key}
	}
	return &wire.KVRequest{Type: wire.TypeGet, Key: key}
}

// do carries out r, unless the snapshot has been closed.
func (s clientSource) do(ctx context.Context, r *wire.KVRequest) (*call, error) {
	if s.closed() {
		return nil, s.opError(opName(r.Type), false, ErrClosed)
	}
	return s.c.do(ctx, r)
}

func (s clientSource) closed() bool { return s.at != nil && s.at.closed.Load() }

// bad is call.bad. If the snapshot was closed meanwhile, the error is ErrClosed.
func (s clientSource) bad(cl *call, err error) error {
	if err != nil && s.closed() {
		err = ErrClosed
	}
	return cl.bad(err)
}

func (s clientSource) appendGet(ctx context.Context, dst, key []byte) ([]byte, error) {
	cl, err := s.do(ctx, s.get(key))
	if err != nil {
		return dst, err
	}
	defer cl.recycle()
	value, found, err := cl.value(cl.record)
	if err != nil {
		return dst, s.bad(cl, err)
	}
	if !found {
		return dst, ErrNotFound
	}
	if dst == nil {
		dst = make([]byte, 0, len(value)) // an empty value is not nil
	}
	return append(dst, value...), nil
}

func (s clientSource) has(ctx context.Context, key []byte) (bool, error) {
	cl, err := s.do(ctx, s.get(key))
	if err != nil {
		return false, err
	}
	defer cl.recycle()
	_, found, err := cl.value(cl.record)
	return found, s.bad(cl, err)
}

func (s clientSource) getMany(ctx context.Context, keys [][]byte) ([][]byte, error) {
	if s.closed() {
		return nil, s.opError("get", false, ErrClosed)
	}
	if len(keys) == 0 {
		return [][]byte{}, nothing(ctx, s, "get")
	}
	values := make([][]byte, len(keys))
	p := s.c.Pipeline(ctx)
	for i, key := range keys {
		err := p.issue(s.get(key), func(value []byte, found bool) {
			if found {
				values[i] = append([]byte{}, value...)
			}
		}, nil)
		if err != nil {
			break // Wait returns the error
		}
	}
	if err := p.Wait(); err != nil {
		if s.closed() {
			err = s.opError("get", false, ErrClosed)
		}
		return nil, partOf("get", false, err)
	}
	return values, nil
}

func (s clientSource) alive(ctx context.Context) error {
	if s.closed() || s.c.open.Err() != nil {
		return ErrClosed
	}
	return ctx.Err()
}

func (s clientSource) opError(op string, sent bool, err error) error {
	return &OpError{Op: op, Addr: s.c.addr, Sent: sent, Err: err}
}

// piece requests the first pairs of q. It sends a RANGE to a server that does not know SCAN.
func (s clientSource) piece(ctx context.Context, q *query, p *piece) error {
	err := s.scanPiece(ctx, q, p)
	if s.at == nil && !q.reverse && errors.Is(err, ErrUnsupported) {
		return s.rangePiece(ctx, q, p)
	}
	return err
}

func (s clientSource) scanPiece(ctx context.Context, q *query, p *piece) error {
	r := wire.KVRequest{Type: wire.TypeScan, Max: rangeMaxBytes, Limit: uint32(min(q.limit, maxScanLimit)), Key: q.start, End: q.end}
	if s.at != nil {
		r.Snapshot = s.at.id
	}
	for _, flag := range []struct {
		set bool
		bit byte
	}{{q.reverse, wire.ScanReverse}, {q.keysOnly, wire.ScanKeysOnly}, {q.countOnly, wire.ScanCountOnly}} {
		if flag.set {
			r.Flags |= flag.bit
		}
	}
	cl, err := s.do(ctx, &r)
	if err != nil {
		return err
	}
	defer cl.recycle()
	record := cl.record
	cl.record = nil // the returned pairs alias it
	got, err := wire.ParseScanned(record, &r)
	if err != nil {
		return s.bad(cl, err)
	}
	p.n, p.more, p.next = int64(got.N), len(got.Next) > 0, got.Next
	p.keys, p.pairs = nil, got.Pairs
	if q.keysOnly {
		p.keys, p.pairs = got.Pairs, nil
	}
	return s.bad(cl, p.checkAnswer(q))
}

// rangePiece is scanPiece for a server of the original.
func (s clientSource) rangePiece(ctx context.Context, q *query, p *piece) error {
	cl, err := s.do(ctx, &wire.KVRequest{Type: wire.TypeRange, Max: rangeMaxBytes, Key: q.start, End: q.end})
	if err != nil {
		return err
	}
	defer cl.recycle()
	record := cl.record
	cl.record = nil // the returned pairs alias it
	_, next, pairs, err := wire.ParseKVPairs(record, rangeMaxBytes)
	if err != nil {
		return s.bad(cl, err)
	}
	got := piece{pairs: pairs, next: next, more: len(next) > 0 && !bytes.Equal(next, q.end)}
	all := *q
	all.keysOnly = false
	if err := got.checkAnswer(&all); err != nil {
		return s.bad(cl, err)
	}
	p.pairs, p.keys, p.n, p.more, p.next = nil, nil, 0, got.more, next
	for rest := pairs; len(rest) > 0 && (q.limit == 0 || p.n < q.limit); {
		key, _, tail, _ := wire.CutPair(rest)
		if len(q.end) > 0 && bytes.Compare(key, q.end) >= 0 {
			p.more = false
			break
		}
		switch {
		case q.countOnly:
		case q.keysOnly:
			p.keys = append(p.keys, rest[:1+len(key)]...)
		default:
			p.pairs = pairs[:len(pairs)-len(tail)]
		}
		p.n++
		rest = tail
	}
	return nil
}
