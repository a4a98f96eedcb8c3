package kivaloo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"kivaloo/wire"
)

// source is the source of a scan: a store, or a snapshot.
type source interface {
	// piece puts the first pairs of q into p: at least one, unless p.more is true, which means that
	// more may follow. q must not be empty. p's memory must not change before the next call with
	// the same p.
	piece(ctx context.Context, q *query, p *piece) error
	// alive returns an error if the source has been closed, or ctx has ended.
	alive(ctx context.Context) error
	// opError returns an error of this source.
	opError(op string, sent bool, err error) error
}

// piece is part of the result of a scan, from one moment.
type piece struct {
	// The pairs are in pairs, one after the other, each a length byte, key, length byte and value.
	// Alternatively, keys and values are separate, also with length bytes.
	pairs        []byte
	keys, values []byte

	n    int64  // number of pairs
	more bool   // more may follow
	next []byte // where the rest begins (in reverse: ends), if more may follow
	size int    // bytes requested; the next piece requests more

	db dbPiece // buffer of a DB
}

// cut removes the first pair of p. The value is nil if the query was for keys only. The pair is a
// copy, unless keys and values are nil.
func (p *piece) cut(q *query, keys, values *copier) (pair Pair, ok bool) {
	switch {
	case len(p.keys) > 0:
		pair.Key, p.keys = cutString(p.keys, keys)
		if !q.keysOnly {
			pair.Value, p.values = cutString(p.values, values)
		}
	case len(p.pairs) > 0:
		pair.Key, p.pairs = cutString(p.pairs, keys)
		if !q.keysOnly {
			pair.Value, p.pairs = cutString(p.pairs, keys)
		}
	default:
		return Pair{}, false
	}
	return pair, true
}

// list returns the pairs of p, each with its value, one after the other.
func (p *piece) list() []byte {
	for len(p.keys) > 0 {
		key, value := p.keys[:1+int(p.keys[0])], p.values[:1+int(p.values[0])]
		p.pairs = append(append(p.pairs, key...), value...)
		p.keys, p.values = p.keys[len(key):], p.values[len(value):]
	}
	return p.pairs
}

// cutString removes a string from b, which has been checked. The string is a copy, unless own is
// nil. Its capacity ends with it, so appending to it does not overwrite what follows.
func cutString(b []byte, own *copier) (s, rest []byte) {
	end := 1 + int(b[0])
	if own != nil {
		return own.next(b, end)[1:], b[end:]
	}
	return b[1:end:end], b[end:]
}

// scan implements Scan for any source.
func scan(ctx context.Context, s source, o ScanOptions) iter.Seq2[Pair, error] {
	return func(yield func(Pair, error) bool) {
		q, err := o.query("ScanOptions.")
		if err != nil {
			yield(Pair{}, scanError(s, "scan", err))
			return
		}
		if q.empty {
			if err := nothing(ctx, s, "scan"); err != nil {
				yield(Pair{}, err)
			}
			return
		}
		var p piece
		var keys, values *copier
		if !o.Borrow {
			keys, values = new(copier), new(copier)
		}
		for !q.empty {
			if err := s.piece(ctx, &q, &p); err != nil {
				yield(Pair{}, scanError(s, "scan", err))
				return
			}
			for {
				pair, ok := p.cut(&q, keys, values)
				if !ok {
					break
				}
				if !yield(pair, nil) {
					return
				}
			}
			q.advance(&p)
		}
	}
}

// count implements Count for any source.
func count(ctx context.Context, s source, o ScanOptions) (n int64, err error) {
	q, err := o.query("ScanOptions.")
	if err != nil {
		return 0, scanError(s, "count", err)
	}
	if q.empty {
		return 0, nothing(ctx, s, "count")
	}
	q.keysOnly, q.countOnly, q.reverse = false, true, false // the direction makes no difference
	var p piece
	for !q.empty {
		if err := s.piece(ctx, &q, &p); err != nil {
			return 0, partOf("count", false, scanError(s, "count", err))
		}
		n += p.n
		q.advance(&p)
	}
	return n, nil
}

// advance removes the content of p from q.
func (q *query) advance(p *piece) {
	switch {
	case !p.more || q.limit > 0 && p.n >= q.limit:
		q.empty = true
		return
	case q.limit > 0:
		q.limit -= p.n
	}
	if q.reverse {
		q.end = p.next
	} else {
		q.start = p.next
	}
	q.empty = len(q.end) > 0 && bytes.Compare(q.start, q.end) >= 0
}

// nothing is an operation on s that has nothing to do. It fails like any other if s is closed.
func nothing(ctx context.Context, s source, op string) error {
	if err := s.alive(ctx); err != nil {
		return partOf(op, false, scanError(s, op, err))
	}
	return nil
}

// scanError returns the error of a scan of s.
func scanError(s source, op string, err error) error {
	if errors.As(err, new(*OptionError)) || errors.As(err, new(*OpError)) {
		return err
	}
	return s.opError(op, false, err)
}

// checkAnswer returns an error unless p answers q: the keys are in order and within the range, and
// next comes later. Otherwise a bad server could keep a loop running in circles.
//
// In a forward scan it accepts a key that equals the end, because the original's server returns it.
func (p *piece) checkAnswer(q *query) error {
	if p.more && (q.reverse && (len(q.end) > 0 && bytes.Compare(p.next, q.end) >= 0 || bytes.Compare(p.next, q.start) < 0) ||
		!q.reverse && bytes.Compare(p.next, q.start) <= 0) {
		return fmt.Errorf("%w: the range from %q to %q continues at %q", wire.ErrBadRecord, q.start, q.end, p.next)
	}
	rest := *p
	var last []byte
	for first := true; ; first = false {
		pair, ok := rest.cut(q, nil, nil)
		if !ok {
			return nil
		}
		order := bytes.Compare(pair.Key, last)
		if !first && (q.reverse && order >= 0 || !q.reverse && order <= 0) {
			return fmt.Errorf("%w: the range from %q to %q has %q out of order", wire.ErrBadRecord, q.start, q.end, pair.Key)
		}
		if !p.covers(q, pair.Key) {
			return fmt.Errorf("%w: the range from %q to %q has %q", wire.ErrBadRecord, q.start, q.end, pair.Key)
		}
		last = pair.Key
	}
}

// covers reports whether key can be in p, the answer to q.
func (p *piece) covers(q *query, key []byte) bool {
	start, end := q.start, q.end
	if p.more && q.reverse {
		start = p.next
	}
	if p.more && !q.reverse {
		end = p.next
	}
	if bytes.Compare(key, start) < 0 {
		return false
	}
	return len(end) == 0 || bytes.Compare(key, end) < 0 || !q.reverse && bytes.Equal(key, q.end)
}

const (
	// copyBytes is how much is copied at a time. It is small, so that a caller who keeps one pair
	// does not keep much else.
	copyBytes = 4 << 10
	// firstCopyBytes is the size of the first allocation, because most scans are short.
	firstCopyBytes = 512
)

// copier copies lists, many items at a time.
type copier struct {
	room []byte // copy of a part of the list
	used int    // bytes of it that were returned
}

// next returns a copy of the first n bytes of list. The next call gets the rest of list. When there
// is none, it gets another list.
func (c *copier) next(list []byte, n int) []byte {
	if c.used+n > len(c.room) {
		size := min(max(firstCopyBytes, 2*len(c.room)), copyBytes)
		c.room, c.used = bytes.Clone(list[:min(len(list), max(n, size))]), 0
	}
	start := c.used
	c.used += n
	return c.room[start:c.used:c.used]
}
