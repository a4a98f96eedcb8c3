package kivaloo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// conflictMin and conflictMax bound the pause before an Update is tried again. The shortest is
	// about the time of a commit. The longest is long enough to let others have their turn.
	conflictMin = time.Millisecond
	conflictMax = 100 * time.Millisecond
)

// Tx is what the function of an Update reads and changes a store by. It is used by one goroutine,
// and not after the function has returned. Slices that are passed in may be reused; those returned
// belong to the caller.
type Tx struct {
	ctx   context.Context
	store Store
	read  map[string]seen
	made  map[string][]byte // nil: deleted
	order []string          // of made
}

// seen is what a Tx has read for a key.
type seen struct {
	value   []byte
	present bool
}

// Get returns the value of key, as the Tx has left it, or ErrNotFound.
func (tx *Tx) Get(key []byte) ([]byte, error) {
	value, present := tx.made[string(key)]
	if present {
		if value == nil {
			return nil, ErrNotFound
		}
		return bytes.Clone(value), nil
	}
	found, ok := tx.read[string(key)]
	if !ok {
		value, err := tx.store.Get(tx.ctx, key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		found = seen{value, err == nil}
		tx.read[string(key)] = found
	}
	if !found.present {
		return nil, ErrNotFound
	}
	return append([]byte{}, found.value...), nil
}

// Has reports whether key is present, as the Tx has left it.
func (tx *Tx) Has(key []byte) (bool, error) {
	switch _, err := tx.Get(key); {
	case err == nil:
		return true, nil
	case errors.Is(err, ErrNotFound):
		return false, nil
	default:
		return false, err
	}
}

// Set has value stored under key if the Update succeeds.
func (tx *Tx) Set(key, value []byte) { tx.change(key, append([]byte{}, value...)) }

// Delete has key removed if the Update succeeds.
func (tx *Tx) Delete(key []byte) { tx.change(key, nil) }

func (tx *Tx) change(key, value []byte) {
	if _, again := tx.made[string(key)]; !again {
		tx.order = append(tx.order, string(key))
	}
	tx.made[string(key)] = value
}

// batch returns the changes, on the condition that everything read is unchanged.
func (tx *Tx) batch() *Batch {
	b := new(Batch)
	for key, found := range tx.read {
		if found.present {
			b.RequireValue([]byte(key), found.value)
		} else {
			b.RequireAbsent([]byte(key))
		}
	}
	for _, key := range tx.order {
		if value := tx.made[key]; value != nil {
			b.Set([]byte(key), value)
		} else {
			b.Delete([]byte(key))
		}
	}
	return b
}

// update implements Update for any store.
func update(ctx context.Context, s Store, f func(tx *Tx) error, opError func(op string, sent bool, err error) error) error {
	for tries := 1; ; tries++ {
		tx := &Tx{ctx: ctx, store: s, read: map[string]seen{}, made: map[string][]byte{}}
		if err := f(tx); err != nil {
			return err
		}
		err := s.Apply(ctx, tx.batch())
		if !errors.Is(err, ErrConflict) {
			return err
		}
		most := min(conflictMin<<min(tries, 10), conflictMax)
		select {
		case <-time.After(rand.N(most)):
		case <-ctx.Done():
			return opError("update", false, fmt.Errorf("%w after %d attempts: %w", ctx.Err(), tries, cause(err)))
		}
	}
}

// Update implements Store.
func (db *DB) Update(ctx context.Context, f func(tx *Tx) error) error {
	return update(ctx, db, f, db.opError)
}

// Update implements Store. A server of the original does not offer it: the error is ErrUnsupported.
func (c *Client) Update(ctx context.Context, f func(tx *Tx) error) error {
	return update(ctx, c, f, clientSource{c, nil}.opError)
}
