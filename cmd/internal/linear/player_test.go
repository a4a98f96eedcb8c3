package linear

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kivaloo"
)

// store is what players play on. Client and DB implement it.
type store interface {
	Get(ctx context.Context, key []byte) ([]byte, error)
	Range(ctx context.Context, start, end []byte) iter.Seq2[kivaloo.Pair, error]
	Set(ctx context.Context, key, value []byte) error
	Add(ctx context.Context, key, value []byte) (bool, error)
	Modify(ctx context.Context, key, value []byte) (bool, error)
	CompareAndSwap(ctx context.Context, key, old, value []byte) (bool, error)
	Delete(ctx context.Context, key []byte) error
	CompareAndDelete(ctx context.Context, key, old []byte) (bool, error)
	Close() error
}

// groupSwapper is a store that offers Apply in another form: it changes all keys of a group if they
// have the expected values.
type groupSwapper interface {
	swapGroup(ctx context.Context, keys [groupKeys][]byte, olds, values contents) (bool, error)
}

// viewer is a store that offers Snapshot in another form: the keys of a group at one moment.
type viewer interface {
	view(ctx context.Context, keys [groupKeys][]byte) (contents, error)
}

// view does the same on any store.
func view(ctx context.Context, s store, keys [groupKeys][]byte) (all contents, err error) {
	if s, ok := s.(viewer); ok {
		return s.view(ctx, keys)
	}
	at, err := s.(interface {
		Snapshot(context.Context) (kivaloo.Snapshot, error)
	}).Snapshot(ctx)
	if err != nil {
		return all, err
	}
	defer at.Close()
	for i, key := range keys {
		if all[i], err = found(at.Get(ctx, key)); err != nil {
			return all, err
		}
	}
	return all, nil
}

// swapGroup does the same on any store.
func swapGroup(ctx context.Context, s store, keys [groupKeys][]byte, olds, values contents) (bool, error) {
	if s, ok := s.(groupSwapper); ok {
		return s.swapGroup(ctx, keys, olds, values)
	}
	var b kivaloo.Batch
	for i, key := range keys {
		if olds[i] == absent {
			b.RequireAbsent(key)
		} else {
			b.RequireValue(key, []byte(olds[i]))
		}
		if values[i] == absent {
			b.Delete(key)
		} else {
			b.Set(key, []byte(values[i]))
		}
	}
	err := s.(interface {
		Apply(context.Context, *kivaloo.Batch) error
	}).Apply(ctx, &b)
	if errors.Is(err, kivaloo.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

const (
	// groups is how many groups of keys a history has: few, so that players meet.
	groups = 6

	// padding bounds the extra length of a value, in bytes. It spreads the keys over several pages.
	// Values may be as long as blocks of 512 bytes allow.
	padding = 80

	// hurry is how many operations there are for each that is hardly waited for. haste is how long
	// that one is waited for.
	hurry = 300
	haste = 50 * time.Microsecond

	// breath is how long a player rests after losing something.
	breath = 2 * time.Millisecond
)

// table is what several players play at: keys, and the record of their history.
type table struct {
	*history
	prefix    string      // of all keys
	disturbed atomic.Bool // something has been killed, so operations may fail

	mu     sync.Mutex
	recent [groups]contents // the last content seen; swaps expect it
}

func newTable(prefix string) *table { return &table{history: newHistory(), prefix: prefix} }

// groupStart and groupEnd are the bounds of a RANGE over a group. '0' is the character after '/'.
func (t *table) groupStart(group int) []byte { return fmt.Appendf(nil, "%s%02d/", t.prefix, group) }
func (t *table) groupEnd(group int) []byte   { return fmt.Appendf(nil, "%s%02d0", t.prefix, group) }

func (t *table) key(group, key int) []byte {
	return fmt.Appendf(t.groupStart(group), "%d", key)
}

// keys returns the keys of a group.
func (t *table) keys(group int) (all [groupKeys][]byte) {
	for i := range all {
		all[i] = t.key(group, i)
	}
	return all
}

// saw records the value found for a key of a group.
func (t *table) saw(group, key int, value string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recent[group][key] = value
}

// sawAll is saw for a whole group.
func (t *table) sawAll(group int, all contents) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recent[group] = all
}

func (t *table) expected(group, key int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.recent[group][key]
}

// player is a goroutine that makes one request after the other.
type player struct {
	*table
	store  store
	number int // of the player
	rnd    *rand.Rand
	serial int // makes every value unique
}

// play goes on until it is told to stop, or something is wrong. Operations may fail once something
// was killed. Those that are hardly waited for may fail at any time.
func (p *player) play(stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		err := p.turn()
		var lost *kivaloo.OpError
		switch {
		case err == nil, errors.Is(err, context.DeadlineExceeded), errors.Is(err, kivaloo.ErrTooManySnapshots):
		case !errors.As(err, &lost) || !p.disturbed.Load():
			return err
		default:
			time.Sleep(breath)
		}
	}
}

// turn carries out one operation.
func (p *player) turn() error {
	// Reads are more frequent than the rest, because they show what is wrong.
	kinds := [...]opcode{opGet, opGet, opGet, opRange, opRange, opView, opSet, opSet, opAdd, opAdd, opModify, opSwap, opSwap, opDelete, opCompareDelete, opApply, opApply, opApply}
	c := call{op: kinds[p.rnd.IntN(len(kinds))], group: p.rnd.IntN(groups), key: p.rnd.IntN(groupKeys)}
	switch c.op {
	case opSet, opAdd, opModify, opSwap:
		c.value = p.newValue()
	case opApply:
		for i := range groupKeys {
			c.olds[i] = p.expected(c.group, i)
			if p.rnd.IntN(4) > 0 {
				c.values[i] = p.newValue()
			}
		}
	}
	switch c.op {
	case opSwap, opCompareDelete:
		if c.old = p.expected(c.group, c.key); c.old == absent {
			c.old = "none"
		}
	}
	if p.rnd.IntN(hurry) == 0 {
		return p.carryOut(haste, c)
	}
	return p.carryOut(patience, c)
}

// newValue returns a unique value.
func (p *player) newValue() string {
	p.serial++
	return fmt.Sprintf("%d.%d%s", p.number, p.serial, strings.Repeat("-", p.rnd.IntN(padding)))
}

// carryOut carries out c, waiting for at most wait, and records the result.
func (p *player) carryOut(wait time.Duration, c call) error {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	called := p.now()
	a, err := p.ask(ctx, c)
	p.add(p.number, called, c, a, err)
	switch {
	case err != nil:
	case c.op == opGet:
		p.saw(c.group, c.key, a.found[c.key])
	case c.op == opRange, c.op == opView:
		p.sawAll(c.group, a.found)
	case c.op == opApply && a.made:
		p.sawAll(c.group, c.values)
	case a.made:
		p.saw(c.group, c.key, c.value)
	}
	return err
}

// ask sends c to the store.
func (p *player) ask(ctx context.Context, c call) (a answer, err error) {
	key, old, value := p.key(c.group, c.key), []byte(c.old), []byte(c.value)
	switch c.op {
	case opGet:
		a.found[c.key], err = found(p.store.Get(ctx, key))
	case opRange:
		a.found, err = p.scan(ctx, c.group)
	case opSet:
		a.made, err = true, p.store.Set(ctx, key, value)
	case opAdd:
		a.made, err = p.store.Add(ctx, key, value)
	case opModify:
		a.made, err = p.store.Modify(ctx, key, value)
	case opSwap:
		a.made, err = p.store.CompareAndSwap(ctx, key, old, value)
	case opDelete:
		a.made, err = true, p.store.Delete(ctx, key)
	case opCompareDelete:
		a.made, err = p.store.CompareAndDelete(ctx, key, old)
	case opView:
		a.found, err = view(ctx, p.store, p.keys(c.group))
	case opApply:
		a.made, err = swapGroup(ctx, p.store, p.keys(c.group), c.olds, c.values)
	}
	return a, err
}

// found converts the result of Get.
func found(value []byte, err error) (string, error) {
	if errors.Is(err, kivaloo.ErrNotFound) {
		return absent, nil
	}
	return string(value), err
}

// scan reads a whole group. Its pairs fit into one answer, which shows one moment.
func (p *player) scan(ctx context.Context, group int) (all contents, err error) {
	for pair, err := range p.store.Range(ctx, p.groupStart(group), p.groupEnd(group)) {
		if err != nil {
			return all, err
		}
		key := int(pair.Key[len(pair.Key)-1] - '0')
		if key >= groupKeys || string(pair.Key) != string(p.key(group, key)) || all[key] != absent {
			return all, fmt.Errorf("range over group %d has %q", group, pair.Key)
		}
		all[key] = string(pair.Value)
	}
	return all, nil
}
