package kivaloo

import (
	"context"

	"kivaloo/tree"
)

// Set stores value under key, whether or not there was a value before.
func (db *DB) Set(ctx context.Context, key, value []byte) error {
	_, err := db.change(ctx, "set", tree.Request{Op: tree.Set, Key: key, Value: value})
	return err
}

// Delete removes key; that it was not there is no error.
func (db *DB) Delete(ctx context.Context, key []byte) error {
	_, err := db.change(ctx, "delete", tree.Request{Op: tree.Delete, Key: key})
	return err
}

// Add stores value under key if the key is absent, and reports whether it was.
func (db *DB) Add(ctx context.Context, key, value []byte) (bool, error) {
	return db.change(ctx, "add", tree.Request{Op: tree.Add, Key: key, Value: value})
}

// Modify stores value under key if the key is present, and reports whether it was.
func (db *DB) Modify(ctx context.Context, key, value []byte) (bool, error) {
	return db.change(ctx, "modify", tree.Request{Op: tree.Modify, Key: key, Value: value})
}

// CompareAndSwap stores value under key if the key is present with the value old,
// and reports whether it was.
func (db *DB) CompareAndSwap(ctx context.Context, key, old, value []byte) (bool, error) {
	return db.change(ctx, "cas", tree.Request{Op: tree.CAS, Key: key, Old: old, Value: value})
}

// CompareAndDelete removes key if it is present with the value old, and reports
// whether it was.
func (db *DB) CompareAndDelete(ctx context.Context, key, old []byte) (bool, error) {
	return db.change(ctx, "cad", tree.Request{Op: tree.CAD, Key: key, Old: old})
}

// change carries out one change, and reports whether it was made.
func (db *DB) change(ctx context.Context, op string, r tree.Request) (bool, error) {
	if err := db.check(&r); err != nil {
		return false, db.opError(op, false, err)
	}
	c := newDBCall()
	c.add(r)
	if sent, err := db.do(ctx, c); err != nil {
		return false, db.opError(op, sent, err)
	}
	defer c.release()
	return c.found, nil
}

// check returns an error wrapping ErrTooLong if the store does not take a change.
func (db *DB) check(r *tree.Request) error {
	limits := Params{MaxKey: MaxLen, MaxValue: MaxLen}
	if r.Op != tree.Delete && r.Op != tree.CAD {
		limits = db.limits
	}
	switch {
	case len(r.Key) > limits.MaxKey:
		return tooLong("key", len(r.Key), limits.MaxKey)
	case len(r.Value) > limits.MaxValue:
		return tooLong("value", len(r.Value), limits.MaxValue)
	case len(r.Old) > MaxLen:
		return tooLong("old value", len(r.Old), MaxLen)
	}
	return nil
}
