package kivaloo

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"kivaloo/wire"
)

// Pair is a key with its value. One that comes from a Range is valid until the loop goes on: what is to be kept is
// to be cloned.
type Pair struct {
	Key, Value []byte
}

// Clone returns a copy of p that stays.
func (p Pair) Clone() Pair { return Pair{bytes.Clone(p.Key), bytes.Clone(p.Value)} }

// Range returns the pairs with start <= key < end, in ascending order of the keys as
// byte strings. An empty end means up to the last key. An error comes with an
// empty pair and is the last thing there is.
//
// The store is asked for about 1 MiB at a time, as the pairs are used up. Each such
// piece shows the store at one moment; what others change meanwhile may or may
// not be seen in the pieces after it. start and end must not be changed before
// the loop has ended.
func (c *Client) Range(ctx context.Context, start, end []byte) iter.Seq2[Pair, error] {
	return func(yield func(Pair, error) bool) {
		from := start
		for len(end) == 0 || bytes.Compare(from, end) < 0 {
			next, pairs, err := c.rangePiece(ctx, from, end)
			if err != nil {
				yield(Pair{}, err)
				return
			}
			if !yieldPairs(pairs, end, yield) || len(next) == 0 {
				return
			}
			from = next
		}
	}
}

// rangePiece asks for the first pairs of a range, which are at least one unless
// there is none, and for where the rest begins, empty for nowhere.
func (c *Client) rangePiece(ctx context.Context, from, end []byte) (next, pairs []byte, err error) {
	cl, err := c.do(ctx, &wire.KVRequest{Type: wire.TypeRange, Max: rangeMaxBytes, Key: from, End: end})
	if err != nil {
		return nil, nil, err
	}
	defer cl.recycle()
	record := cl.record
	cl.record = nil // the pairs that are given out lie in it
	_, next, pairs, err = wire.ParseKVPairs(record, rangeMaxBytes)
	if err == nil {
		err = checkRange(next, pairs, from, end)
	}
	return next, pairs, cl.bad(err)
}

// checkRange returns an error unless next and pairs answer from and end: the keys ascend
// and do not leave the range, and next leads on. Without that a bad server could
// have a loop run in circles.
//
// A key that equals end is let through; the original server returns it.
func checkRange(next, pairs, from, end []byte) error {
	if len(next) > 0 && bytes.Compare(next, from) <= 0 {
		return fmt.Errorf("%w: the range from %q goes on at %q", wire.ErrBadRecord, from, next)
	}
	least, first := from, true
	for rest := pairs; len(rest) > 0; {
		key, _, tail, err := wire.CutPair(rest)
		if err != nil {
			return err
		}
		if c := bytes.Compare(key, least); c < 0 || c == 0 && !first {
			return fmt.Errorf("%w: the range from %q has %q out of order", wire.ErrBadRecord, from, key)
		}
		if len(next) > 0 && bytes.Compare(key, next) >= 0 && !bytes.Equal(key, end) {
			return fmt.Errorf("%w: the range from %q to %q has %q", wire.ErrBadRecord, from, next, key)
		}
		least, first, rest = key, false, tail
	}
	return nil
}

// yieldPairs gives out those of pairs, which checkRange has seen, that come before
// end. It returns false if no more are wanted.
func yieldPairs(pairs, end []byte, yield func(Pair, error) bool) bool {
	for rest := pairs; len(rest) > 0; {
		key, value, tail, _ := wire.CutPair(rest)
		if len(end) > 0 && bytes.Compare(key, end) >= 0 {
			return false
		}
		// Capacities end with the slices, so that appending to one spares the next.
		if !yield(Pair{key[:len(key):len(key)], value[:len(value):len(value)]}, nil) {
			return false
		}
		rest = tail
	}
	return true
}
