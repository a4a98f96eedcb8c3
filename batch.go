package kivaloo

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"kivaloo/tree"
	"kivaloo/wire"
)

// MaxBatch is how many conditions and changes a Batch for a DB may have together: they are one
// commit. The journal takes a batch of this length whatever the cache: it needs no pages, and its
// memtable may be larger than others. Without a journal a batch that changes more pages than the
// cache has room for fails, and nothing of it is made.
//
// A Client sends a Batch in one request. That has at most MaxClientBatch conditions and changes,
// and about 1 MiB of keys and values.
const MaxBatch = 100_000

// MaxClientBatch is how many conditions and changes a Batch for a Client may have together.
const MaxClientBatch = 8192

// ErrConflict means that a condition of a Batch did not hold, so nothing in the batch was carried
// out.
var ErrConflict = errors.New("a condition does not hold")

// Batch is changes that are made together: after a crash all are there or none is, and no one ever
// sees some of them without the others. It may have conditions: unless all of them hold, nothing is
// changed. The zero value is an empty batch. It belongs to no store, keeps copies of what it is
// given, and is used by one goroutine at a time.
//
// Store.Apply makes the changes, and leaves the Batch as it was.
type Batch struct {
	conditions wire.List
	changes    wire.List
	err        error // the first call that cannot be carried out
}

// Set has value stored under key. Later changes of a batch come after earlier ones.
func (b *Batch) Set(key, value []byte) {
	b.change(wire.Change{Key: key, Value: value})
}

// Delete has key removed, if it is there.
func (b *Batch) Delete(key []byte) {
	b.change(wire.Change{Delete: true, Key: key})
}

// RequireAbsent adds the condition that key is absent. Conditions are about the store as it was
// before the batch, whatever the batch changes.
func (b *Batch) RequireAbsent(key []byte) {
	b.condition(wire.Condition{Kind: wire.IfAbsent, Key: key})
}

// RequirePresent adds the condition that key has some value.
func (b *Batch) RequirePresent(key []byte) {
	b.condition(wire.Condition{Kind: wire.IfPresent, Key: key})
}

// RequireValue adds the condition that key has that value.
func (b *Batch) RequireValue(key, value []byte) {
	b.condition(wire.Condition{Kind: wire.IfEquals, Key: key, Value: value})
}

// Len returns how many changes there are.
func (b *Batch) Len() int { return int(b.changes.N) }

// Reset empties b. It keeps the memory for what comes next.
func (b *Batch) Reset() {
	*b = Batch{conditions: wire.List{Data: b.conditions.Data[:0]}, changes: wire.List{Data: b.changes.Data[:0]}}
}

func (b *Batch) change(c wire.Change) {
	if b.fits(c.Key, c.Value) {
		b.changes.Data = wire.AppendChange(b.changes.Data, c)
		b.changes.N++
	}
}

func (b *Batch) condition(c wire.Condition) {
	if b.fits(c.Key, c.Value) {
		b.conditions.Data = wire.AppendCondition(b.conditions.Data, c)
		b.conditions.N++
	}
}

// fits reports whether a key and a value can be part of b. If not, Apply returns the error.
func (b *Batch) fits(key, value []byte) bool {
	switch {
	case b.err != nil:
	case len(key) > MaxLen:
		b.err = tooLong("key", len(key), MaxLen)
	case len(value) > MaxLen:
		b.err = tooLong("value", len(value), MaxLen)
	}
	return b.err == nil
}

// empty reports whether there is nothing to do.
func (b *Batch) empty() bool { return b.conditions.N+b.changes.N == 0 }

// check returns an error wrapping ErrTooLong unless a store with these limits accepts b. most is
// the most conditions and changes.
func (b *Batch) check(limits Params, most uint32) error {
	switch {
	case b == nil:
		return errors.New("there is no batch: it is nil")
	case b.err != nil:
		return b.err
	}
	if n := b.conditions.N + b.changes.N; n > most {
		return fmt.Errorf("a batch of %d conditions and changes is %w: at most %d are possible", n, ErrTooLong, most)
	}
	if limits.MaxKey >= MaxLen && limits.MaxValue >= MaxLen {
		return nil
	}
	for rest := b.changes.Data; len(rest) > 0; {
		var c wire.Change
		c, rest, _ = wire.CutChange(rest) // AppendChange made it
		switch {
		case c.Delete:
		case len(c.Key) > limits.MaxKey:
			return tooLong("key", len(c.Key), limits.MaxKey)
		case len(c.Value) > limits.MaxValue:
			return tooLong("value", len(c.Value), limits.MaxValue)
		}
	}
	return nil
}

// conflict returns the error for the condition with this index.
func (b *Batch) conflict(index int) error {
	rest, c := b.conditions.Data, wire.Condition{}
	for range index + 1 {
		c, rest, _ = wire.CutCondition(rest)
	}
	switch c.Kind {
	case wire.IfAbsent:
		return fmt.Errorf("%w: key %q is not absent", ErrConflict, c.Key)
	case wire.IfPresent:
		return fmt.Errorf("%w: key %q is not present", ErrConflict, c.Key)
	}
	return fmt.Errorf("%w: key %q is not %q", ErrConflict, c.Key, c.Value)
}

// Apply implements Store.
func (db *DB) Apply(ctx context.Context, b *Batch) error {
	if err := b.check(db.limits, MaxBatch); err != nil {
		return db.opError("batch", false, err)
	}
	if b.empty() {
		return nothing(ctx, dbSource{db, nil}, "batch")
	}
	if db.readOnly && b.changes.N == 0 {
		return db.checkConditions(ctx, b)
	}
	c := newDBCall()
	c.addBatch(b)
	if sent, err := db.do(ctx, c); err != nil {
		return db.opError("batch", sent, err)
	}
	defer c.release()
	if c.conflict >= 0 {
		return db.opError("batch", false, b.conflict(c.conflict))
	}
	return nil
}

// checkConditions is Apply for a batch without changes on a DB that is only read. The tree decides
// no requests there.
func (db *DB) checkConditions(ctx context.Context, b *Batch) error {
	rest := b.conditions.Data
	for i := range int(b.conditions.N) {
		var c wire.Condition
		c, rest, _ = wire.CutCondition(rest) // AppendCondition made it
		value, err := db.Get(ctx, c.Key)
		if err != nil && err != ErrNotFound {
			return partOf("batch", false, err)
		}
		present := err == nil
		if c.Kind == wire.IfAbsent && present || c.Kind != wire.IfAbsent && !present || c.Kind == wire.IfEquals && !bytes.Equal(value, c.Value) {
			return db.opError("batch", false, b.conflict(i))
		}
	}
	return nil
}

// addBatch adds the content of b, conditions first.
func (c *dbCall) addBatch(b *Batch) {
	c.text = append(append(c.text, b.conditions.Data...), b.changes.Data...)
	conditions := c.text[:len(b.conditions.Data)]
	for i := uint64(0); len(conditions) > 0; i++ {
		var one wire.Condition
		one, conditions, _ = wire.CutCondition(conditions)
		op := tree.Expect
		switch one.Kind {
		case wire.IfAbsent:
			op = tree.ExpectAbsent
		case wire.IfPresent:
			op = tree.ExpectPresent
		}
		c.requests = append(c.requests, tree.Request{Op: op, ID: i, Key: one.Key, Old: one.Value})
	}
	for changes := c.text[len(b.conditions.Data):]; len(changes) > 0; {
		var one wire.Change
		one, changes, _ = wire.CutChange(changes)
		op := tree.Set
		if one.Delete {
			op = tree.Delete
		}
		c.requests = append(c.requests, tree.Request{Op: op, Key: one.Key, Value: one.Value})
	}
	c.atomic = true
}

// Apply implements Store. A server of the original does not offer it: the error is ErrUnsupported.
func (c *Client) Apply(ctx context.Context, b *Batch) error {
	if err := b.check(Params{MaxLen, MaxLen}, MaxClientBatch); err != nil {
		return clientSource{c, nil}.opError("batch", false, err)
	}
	if b.empty() {
		return nothing(ctx, clientSource{c, nil}, "batch")
	}
	r := wire.KVRequest{Type: wire.TypeApply, Conditions: b.conditions, Changes: b.changes}
	cl, err := c.do(ctx, &r)
	if err != nil {
		return err
	}
	defer cl.recycle()
	conflict, err := wire.ParseApplied(cl.record, b.conditions.N)
	switch {
	case err != nil:
		return cl.bad(err)
	case conflict >= 0:
		return cl.session.opError(r.Type, false, b.conflict(conflict))
	}
	return nil
}

// checkApply returns an error wrapping ErrTooLong if a server with the limits p would refuse r, an
// APPLY.
func (p *Params) checkApply(r *wire.KVRequest) error {
	b := Batch{conditions: r.Conditions, changes: r.Changes}
	if err := b.check(*p, MaxClientBatch); err != nil {
		return err
	}
	if n := len(r.Conditions.Data) + len(r.Changes.Data); n > maxApplyBytes {
		return fmt.Errorf("a batch of %d bytes is %w: at most %d are possible", n, ErrTooLong, maxApplyBytes)
	}
	return nil
}

// DeleteRange implements Store.
func (db *DB) DeleteRange(ctx context.Context, start, end []byte) (n int64, err error) {
	q, err := (&ScanOptions{Start: start, End: end}).query("")
	if err != nil {
		return 0, scanError(dbSource{db, nil}, "delete range", err)
	}
	if q.empty {
		return 0, nothing(ctx, dbSource{db, nil}, "delete range")
	}
	for !q.empty {
		c := newDBCall()
		c.add(tree.Request{Op: tree.DeleteRange, Key: q.start, End: q.end, Limit: deleteTogether})
		if sent, err := db.do(ctx, c); err != nil {
			return n, db.opError("delete range", sent || n > 0, err)
		}
		n += int64(c.n)
		q.advance(&piece{more: !c.last, next: bytes.Clone(c.next)})
		c.release()
	}
	return n, nil
}

// DeletePrefix implements Store.
func (db *DB) DeletePrefix(ctx context.Context, prefix []byte) (n int64, err error) {
	return db.DeleteRange(ctx, prefix, afterPrefix(prefix))
}

// DeleteRange implements Store. For a server of the original it reads the keys and deletes each of
// them. Then it misses keys whose changes have not been answered yet.
func (c *Client) DeleteRange(ctx context.Context, start, end []byte) (n int64, err error) {
	q, err := (&ScanOptions{Start: start, End: end}).query("")
	if err != nil {
		return 0, scanError(clientSource{c, nil}, "delete range", err)
	}
	if q.empty {
		return 0, nothing(ctx, clientSource{c, nil}, "delete range")
	}
	for !q.empty {
		deleted, err := c.deletePiece(ctx, &q)
		if errors.Is(err, ErrUnsupported) {
			more, err := c.deleteEach(ctx, &q)
			return n + more, err
		}
		if err != nil {
			return n, partOf("delete range", n > 0, err)
		}
		n += int64(deleted.N)
		q.advance(&piece{more: len(deleted.Next) > 0, next: deleted.Next})
	}
	return n, nil
}

// DeletePrefix implements Store.
func (c *Client) DeletePrefix(ctx context.Context, prefix []byte) (n int64, err error) {
	return c.DeleteRange(ctx, prefix, afterPrefix(prefix))
}

// deletePiece deletes the first keys of q. The result belongs to the caller.
func (c *Client) deletePiece(ctx context.Context, q *query) (wire.Deleted, error) {
	cl, err := c.do(ctx, &wire.KVRequest{Type: wire.TypeDeleteRange, Max: deleteTogether, Key: q.start, End: q.end})
	if err != nil {
		return wire.Deleted{}, err
	}
	defer cl.recycle()
	deleted, err := wire.ParseDeleted(cl.record)
	if err == nil {
		deleted.Next = bytes.Clone(deleted.Next)
		err = (&piece{more: len(deleted.Next) > 0, next: deleted.Next}).checkAnswer(q)
	}
	return deleted, cl.bad(err)
}

// deleteEach deletes the keys of q one by one.
func (c *Client) deleteEach(ctx context.Context, q *query) (n int64, err error) {
	p := c.Pipeline(ctx)
	for pair, err := range c.Scan(ctx, ScanOptions{Start: q.start, End: q.end, KeysOnly: true, Borrow: true}) {
		if err != nil {
			p.Wait() // do not leave requests half done
			return 0, partOf("delete range", n > 0, err)
		}
		if p.Delete(pair.Key) != nil {
			break // Wait returns the error
		}
		n++
	}
	if err := p.Wait(); err != nil {
		return 0, partOf("delete range", n > 0, err)
	}
	return n, nil
}
