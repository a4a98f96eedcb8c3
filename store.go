package kivaloo

import (
	"context"
	"iter"
)

// Store is what a Client and a DB have in common. A service that is written to it can
// have its store in its own process or on a server:
//
//	func open(ctx context.Context, where string) (kivaloo.Store, error) {
//		if addr, remote := strings.CutPrefix(where, "kivaloo:"); remote {
//			return kivaloo.Dial(ctx, addr, kivaloo.WithReconnect())
//		}
//		return kivaloo.Open(where, kivaloo.Options{})
//	}
//
// All methods may be called from any number of goroutines at once. Operations on one
// key take effect one after the other, in an order that agrees with who saw what;
// one that has returned comes before those that are called later. A change that has
// returned without an error is durable.
//
// Slices that are passed in may be reused once the method has returned (those given
// to Range once the loop has ended), and those returned belong to the caller, except
// for the pairs of a Range, which are valid until the loop goes on. Keys
// and values may be empty. Those that are longer than Params allows are refused with
// ErrTooLong.
//
// Errors are ErrNotFound, or an *OpError that says whether a change may have been
// made nevertheless. What is behind it can be told with errors.Is and errors.As.
type Store interface {
	// Get returns the value of key, or ErrNotFound. The value is not nil, even if it
	// is empty.
	Get(ctx context.Context, key []byte) ([]byte, error)

	// AppendGet appends the value of key to dst and returns the result. After an
	// error, which is ErrNotFound if there is no such key, it returns dst as it was.
	AppendGet(ctx context.Context, dst, key []byte) ([]byte, error)

	// Set stores value under key, whether or not there was a value before.
	Set(ctx context.Context, key, value []byte) error

	// Delete removes key; that it was not there is no error.
	Delete(ctx context.Context, key []byte) error

	// Add stores value under key if the key is absent, and reports whether it was.
	Add(ctx context.Context, key, value []byte) (bool, error)

	// Modify stores value under key if the key is present, and reports whether it was.
	Modify(ctx context.Context, key, value []byte) (bool, error)

	// CompareAndSwap stores value under key if the key is present with the value old,
	// and reports whether it was.
	CompareAndSwap(ctx context.Context, key, old, value []byte) (bool, error)

	// CompareAndDelete removes key if it is present with the value old, and reports
	// whether it was.
	CompareAndDelete(ctx context.Context, key, old []byte) (bool, error)

	// Range returns the pairs with start <= key < end, in ascending order of the keys
	// as byte strings. An empty end means up to the last key. An error comes with an
	// empty pair and is the last thing there is. What is changed while the loop goes on
	// may or may not be seen by it.
	Range(ctx context.Context, start, end []byte) iter.Seq2[Pair, error]

	// Params returns the limits of the store.
	Params(ctx context.Context) (Params, error)

	// Close ends the use of the store. Operations that are under way and all later
	// ones fail with ErrClosed.
	Close() error
}

var _ Store = (*Client)(nil)
