package kivaloo

import (
	"context"
	"io"
	"iter"
)

// Store is what a Client and a DB have in common. A service that is written to it can
// have its store in its own process or on a server:
//
//	func open(ctx context.Context, where string) (kivaloo.Store, error) {
//		if addr, remote := strings.CutPrefix(where, "kivaloo:"); remote {
//			return kivaloo.Dial(ctx, addr, kivaloo.DialOptions{Reconnect: true})
//		}
//		return kivaloo.Open(where, kivaloo.Options{})
//	}
//
// All methods may be called from any number of goroutines at once. Operations on one
// key take effect one after the other, in an order that agrees with who saw what;
// one that has returned comes before those that are called later. A change that has
// returned without an error is durable.
//
// Slices that are passed in may be reused once the method has returned. Keys and values may be
// empty. Those that are longer than Params allows are refused with ErrTooLong.
//
// Errors are ErrNotFound, or an *OpError that says whether a change may have been
// made nevertheless. What is behind it can be told with errors.Is and errors.As.
type Store interface {
	Reader

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

	// Apply makes the changes of b, all together or, if one of its conditions does not hold, none.
	// Then the error wraps ErrConflict. One wrapping ErrTooLong is for a batch that is too long:
	// MaxBatch for a DB, MaxClientBatch for a Client. b stays as it was.
	Apply(ctx context.Context, b *Batch) error

	// Update makes the changes of f, all together, if what f has read is still the same then.
	// Otherwise it calls f again, after a pause, until ctx ends; the error is that of ctx together
	// with ErrConflict. If f returns an error, Update changes nothing and returns that error.
	//
	// f can be called any number of times, so it should have no effect but on tx. What it reads may
	// be of different moments; then nothing of it counts. Other Updates and changes go on
	// meanwhile.
	Update(ctx context.Context, f func(tx *Tx) error) error

	// DeleteRange removes the keys with start <= key < end, and returns how many it has removed. An
	// empty end means up to the last key. It is a change like others: it comes after those that
	// were issued before it, also by a Pipeline of the same Client. Up to 4,096 keys are removed
	// together. If there are more, keys that others set meanwhile may be removed or not. After an
	// error, n is how many are certainly gone.
	DeleteRange(ctx context.Context, start, end []byte) (n int64, err error)

	// DeletePrefix is DeleteRange for the keys that begin with prefix; an empty one means all.
	DeletePrefix(ctx context.Context, prefix []byte) (n int64, err error)

	// Load stores many pairs as fast as it can, and returns how many. A pair need be valid only
	// until the next one is asked for, so that a Scan with Borrow can be loaded. The pairs are not
	// stored together; after an error, which may be one that came with a pair, some are stored.
	Load(ctx context.Context, pairs iter.Seq2[Pair, error]) (n int64, err error)

	// Snapshot returns the store as it is now: with every acknowledged change, and no other. The
	// caller closes it.
	Snapshot(ctx context.Context) (Snapshot, error)

	// Backup writes the store, as it is at one moment at the beginning, to w in a form that Restore
	// reads. Changes go on meanwhile; what they replace takes disk space until the backup ends.
	Backup(ctx context.Context, w io.Writer, o BackupOptions) error

	// Watch returns changes as they are made: those in the range of o after o.Position, in the
	// order of their commits, all of them durable. Several changes of one key in one commit may
	// appear as the last of them. The loop waits for the next change until ctx ends, or the store
	// is closed; that is its error. An error comes with an empty Change and ends the loop.
	//
	// To have a copy of a range, take its Position, read it by Scan, and Watch from the Position
	// on. The store keeps recent changes only: a Watch that is too slow, or begins at an old
	// position, ends with ErrPositionGone.
	Watch(ctx context.Context, o WatchOptions) iter.Seq2[Change, error]

	// Position returns the position behind the last change: WatchOptions.Position for those to
	// come.
	Position(ctx context.Context) (uint64, error)

	// Params returns the limits of the store.
	Params(ctx context.Context) (Params, error)

	// Close ends the use of the store. Operations that are under way and all later
	// ones fail with ErrClosed.
	Close() error
}

var _ Store = (*Client)(nil)
