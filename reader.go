package kivaloo

import (
	"bytes"
	"context"
	"iter"
)

// Reader is what can be read: a DB, a Client, and a Snapshot of either.
//
// All methods may be called from any number of goroutines at once. Slices that are passed in may be
// reused once the method has returned; those given to Range and Scan, once the loop has ended.
// Slices that are returned belong to the caller, except for those of a Scan with Borrow.
//
// Errors are ErrNotFound, an *OptionError, or an *OpError.
type Reader interface {
	// Get returns the value of key, or ErrNotFound. The value is not nil, even if it is empty.
	Get(ctx context.Context, key []byte) ([]byte, error)

	// AppendGet appends the value of key to dst and returns the result. It allocates nothing if dst
	// has room. After an error, which is ErrNotFound if there is no such key, it returns dst as it
	// was.
	AppendGet(ctx context.Context, dst, key []byte) ([]byte, error)

	// Has reports whether key is present.
	Has(ctx context.Context, key []byte) (bool, error)

	// GetMany returns the values of keys, in their order. The value of an absent key is nil; that
	// of a present one is not nil, even if it is empty. It reads all keys at once, and each value
	// is of some moment during the call. For one moment for all of them there is Snapshot.
	GetMany(ctx context.Context, keys ...[]byte) ([][]byte, error)

	// Range returns the pairs with start <= key < end, in ascending order of the keys as byte
	// strings. An empty end means up to the last key. It is Scan with Start and End.
	Range(ctx context.Context, start, end []byte) iter.Seq2[Pair, error]

	// Scan returns the pairs that o asks for. An error comes with an empty pair and ends the loop.
	//
	// The pairs are read some at a time, as the loop uses them up. Each piece shows the store at
	// one moment; what others change meanwhile may or may not be seen in the pieces after it. For
	// one moment throughout there is Snapshot.
	Scan(ctx context.Context, o ScanOptions) iter.Seq2[Pair, error]

	// Count returns how many pairs Scan would return. KeysOnly and Borrow make no difference.
	Count(ctx context.Context, o ScanOptions) (int64, error)
}

// Pair is a key with its value.
type Pair struct {
	Key, Value []byte
}

// Clone returns a copy of p that belongs to the caller. Only pairs of a Scan with Borrow need that.
func (p Pair) Clone() Pair { return Pair{bytes.Clone(p.Key), bytes.Clone(p.Value)} }

// ScanOptions say which pairs a Scan returns, and how. The zero value means all pairs, in ascending
// order of the keys. Bounds are combined: a key must satisfy all of them.
type ScanOptions struct {
	// Start is the smallest key wanted, whatever the direction. Empty means no such bound.
	Start []byte
	// End is the smallest key that is not wanted any more. Empty means no such bound.
	End []byte
	// Prefix is what all keys begin with. Empty means no such bound.
	Prefix []byte
	// After continues a listing behind the key it stopped at: only keys that come later in the
	// direction of the scan are returned, and not After itself. nil means from the beginning; a
	// slice of length 0 is the empty key.
	After []byte
	// Reverse returns the pairs in descending order of the keys.
	Reverse bool
	// Limit is how many pairs are returned at most. 0 means no limit.
	Limit int
	// KeysOnly leaves the values out: they are nil.
	KeysOnly bool
	// Borrow is the fast form: a pair is valid only until the loop goes on, and must not be
	// written to. Pair.Clone makes a copy that stays.
	Borrow bool
}

// query is the evaluated form of a ScanOptions. What has been read is removed from it as the scan
// goes on.
type query struct {
	start, end []byte // an empty end means no bound
	limit      int64  // pairs still wanted; 0: all of them
	empty      bool   // no key is within the bounds
	reverse    bool
	keysOnly   bool
	countOnly  bool
}

// query returns o with its bounds combined, or an error for an impossible value. owner is put
// before the names of fields.
func (o *ScanOptions) query(owner string) (query, error) {
	q := query{start: o.Start, end: o.End, limit: int64(o.Limit), reverse: o.Reverse, keysOnly: o.KeysOnly}
	if o.Limit < 0 {
		return q, badOption(owner+"Limit", "%d is negative", o.Limit)
	}
	for _, bound := range []struct {
		field string
		key   []byte
	}{{"Start", o.Start}, {"End", o.End}, {"Prefix", o.Prefix}, {"After", o.After}} {
		if len(bound.key) > MaxLen {
			return q, tooLong(owner+bound.field, len(bound.key), MaxLen)
		}
	}
	q.atLeast(o.Prefix)
	if len(o.Prefix) > 0 {
		q.before(afterPrefix(o.Prefix))
	}
	switch {
	case o.After == nil:
	case o.Reverse && len(o.After) == 0: // nothing is before the empty key
		q.empty = true
	case o.Reverse:
		q.before(o.After)
	default:
		next := successor(o.After)
		q.empty = len(next) == 0
		q.atLeast(next)
	}
	q.empty = q.empty || len(q.end) > 0 && bytes.Compare(q.start, q.end) >= 0
	return q, nil
}

// atLeast removes the keys before start.
func (q *query) atLeast(start []byte) {
	if bytes.Compare(start, q.start) > 0 {
		q.start = start
	}
}

// before removes the keys from end on, unless end is empty.
func (q *query) before(end []byte) {
	if len(end) > 0 && (len(q.end) == 0 || bytes.Compare(end, q.end) < 0) {
		q.end = end
	}
}

// afterPrefix returns the smallest key greater than all keys with this prefix, or nil if there is
// none.
func afterPrefix(prefix []byte) []byte {
	for n := len(prefix); n > 0; n-- {
		if prefix[n-1] < 0xff {
			end := bytes.Clone(prefix[:n])
			end[n-1]++
			return end
		}
	}
	return nil
}

// successor returns the smallest key greater than key that is not too long, or nil if there is
// none.
func successor(key []byte) []byte {
	if len(key) < MaxLen {
		return append(key[:len(key):len(key)], 0)
	}
	return afterPrefix(key)
}
