package kivaloo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"kivaloo/wire"
)

// source is a store, or a snapshot, as a scan reads it.
type source interface {
	// piece puts the first pairs of q into p: at least one, unless p.more is true, which says that
	// there may be more behind them. q is not empty. Nothing may change p's memory before the next
	// call with the same p.
	piece(ctx context.Context, q *query, p *piece) error
	// opError returns an error of this source.
	opError(op string, sent bool, err error) error
}

// piece is part of what a scan finds, at one moment.
type piece struct {
	// Pairs are in pairs, one after the other, each a length byte, key, length byte and value. Or
	// keys and values are each by themselves, also with length bytes.
	pairs        []byte
	keys, values []byte

	n    int64  // pairs
	more bool   // there may be more
	next []byte // where the rest begins or, in reverse, ends, if there is more
	size int    // bytes asked for, to ask for more the next time

	db dbPiece // what a DB reads into
}

// cut takes the first pair out of p. The value is nil if the query was for keys only.
func (p *piece) cut(q *query) (pair Pair, ok bool) {
	switch {
	case len(p.keys) > 0:
		pair.Key, p.keys = cutString(p.keys)
		if !q.keysOnly {
			pair.Value, p.values = cutString(p.values)
		}
	case len(p.pairs) > 0:
		pair.Key, p.pairs = cutString(p.pairs)
		if !q.keysOnly {
			pair.Value, p.pairs = cutString(p.pairs)
		}
	default:
		return Pair{}, false
	}
	return pair, true
}

// cutString takes a string off b, which has been checked. Its capacity ends with it, so that
// appending to it spares what follows.
func cutString(b []byte) (s, rest []byte) {
	end := 1 + int(b[0])
	return b[1:end:end], b[end:]
}

// scan is Scan of any source.
func scan(ctx context.Context, s source, o ScanOptions) iter.Seq2[Pair, error] {
	return func(yield func(Pair, error) bool) {
		q, err := o.query()
		if err != nil {
			yield(Pair{}, scanError(s, "scan", err))
			return
		}
		var p piece
		var own copier
		for !q.empty {
			if err := s.piece(ctx, &q, &p); err != nil {
				yield(Pair{}, scanError(s, "scan", err))
				return
			}
			for {
				pair, ok := p.cut(&q)
				if !ok {
					break
				}
				if !o.Borrow {
					pair = own.clone(pair)
				}
				if !yield(pair, nil) {
					return
				}
			}
			q.advance(&p)
		}
	}
}

// count is Count of any source.
func count(ctx context.Context, s source, o ScanOptions) (n int64, err error) {
	q, err := o.query()
	if err != nil {
		return 0, scanError(s, "count", err)
	}
	q.keysOnly, q.countOnly, q.reverse = false, true, false // from which end makes no difference
	var p piece
	for !q.empty {
		if err := s.piece(ctx, &q, &p); err != nil {
			return 0, scanError(s, "count", err)
		}
		n += p.n
		q.advance(&p)
	}
	return n, nil
}

// advance takes what is in p out of q.
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

// scanError is the error of a scan of s.
func scanError(s source, op string, err error) error {
	if errors.As(err, new(*OptionError)) || errors.As(err, new(*OpError)) {
		return err
	}
	return s.opError(op, false, err)
}

// checkAnswer returns an error unless p answers q: keys are in order and do not leave the range,
// and next leads on. Without that a bad server could have a loop run in circles.
//
// A key that equals the end is let through in a forward scan; the original's server returns it.
func (p *piece) checkAnswer(q *query) error {
	if p.more && (q.reverse && (len(q.end) > 0 && bytes.Compare(p.next, q.end) >= 0 || bytes.Compare(p.next, q.start) < 0) ||
		!q.reverse && bytes.Compare(p.next, q.start) <= 0) {
		return fmt.Errorf("%w: the range from %q to %q continues at %q", wire.ErrBadRecord, q.start, q.end, p.next)
	}
	rest := *p
	var last []byte
	for first := true; ; first = false {
		pair, ok := rest.cut(q)
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

// covers reports whether key can be in p, which answers q.
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
	// copyBytes is how much memory the copies of some pairs share: little enough that a caller who
	// keeps one of them does not keep much else.
	copyBytes = 4 << 10
	// firstCopyBytes is how much it is at first: most scans are short.
	firstCopyBytes = 512
)

// copier makes copies of pairs, several in one allocation.
type copier struct {
	room []byte // not used yet
	size int    // of the latest allocation
}

func (c *copier) clone(p Pair) Pair {
	if need := len(p.Key) + len(p.Value); c.room == nil || len(c.room) < need {
		c.size = min(max(firstCopyBytes, 2*c.size), copyBytes)
		c.room = make([]byte, max(need, c.size))
	}
	key := c.take(p.Key)
	if p.Value == nil {
		return Pair{Key: key}
	}
	return Pair{key, c.take(p.Value)}
}

func (c *copier) take(b []byte) []byte {
	n := copy(c.room, b)
	taken := c.room[:n:n]
	c.room = c.room[n:]
	return taken
}
