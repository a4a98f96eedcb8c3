package history

import (
	"bytes"
	"fmt"
	"iter"
	"slices"

	"kivaloo"
)

// view is what a reader has seen of the keys from first up to, not including, end.
type view struct {
	what       string
	first, end int
	serials    []uint32 // of these keys; 0: the key was absent
	read       span     // when it was read
	atomic     bool     // all of it must have existed at one moment
}

// readView reads all pairs of a range over the keys from first up to end. It checks that they are
// in order, and that each key has a value that a change can have written to it.
func (p *pairs) readView(what string, first, end int, all iter.Seq2[kivaloo.Pair, error]) (*view, error) {
	v := &view{what: what, first: first, end: end, serials: make([]uint32, end-first)}
	last := -1
	for pair, err := range all {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		key, ok := p.number[string(pair.Key)]
		if !ok || key < first || key >= end {
			return nil, fmt.Errorf("%s: has %.40q, which is not among its keys", what, pair.Key)
		}
		if key <= last {
			return nil, fmt.Errorf("%s: has %.40q after %.40q", what, pair.Key, p.keys[last])
		}
		serial, err := p.serial(key, pair.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		v.serials[key-first], last = serial, key
	}
	return v, nil
}

// bounds returns the start and the end of the range from key first up to key end.
func (p *pairs) bounds(first, end int) (from, to []byte) {
	if first > 0 {
		from = p.keys[first]
	}
	if end < len(p.keys) {
		to = p.keys[end]
	}
	return from, to
}

// check compares a view with what the keys held while it was read. It needs all versions, so the
// round must have ended.
func (p *pairs) check(v *view) error {
	within := v.read
	var unsure []int
	seen := make([]int, len(v.serials)) // index of the version; -1: it may be one of several
	for i, serial := range v.serials {
		key := v.first + i
		spans, at := p.when(key, serial, v.read)
		switch {
		case len(spans) == 0:
			had := p.versions[key]
			return fmt.Errorf("%s, read from %d to %d: %.40q has change %d, which it did not have then; it had %v",
				v.what, v.read.from, v.read.to, p.keys[key], serial, had[max(0, len(had)-8):])
		case len(spans) > 1:
			unsure, seen[i] = append(unsure, i), -1
		default:
			seen[i] = at[0]
			if within = within.and(spans[0]); within.empty() && v.atomic {
				return fmt.Errorf("%s: what it has of %.40q was never there together with what it has of other keys", v.what, p.keys[key])
			}
		}
	}
	if !v.atomic {
		return nil
	}
	for _, i := range unsure {
		if spans, _ := p.when(v.first+i, v.serials[i], within); len(spans) == 0 {
			return fmt.Errorf("%s: %.40q was absent, but not while other keys had what it has of them", v.what, p.keys[v.first+i])
		}
	}
	return p.checkBatches(v, seen)
}

// checkBatches checks that a view has all of each atomic batch or nothing.
func (p *pairs) checkBatches(v *view, seen []int) error {
	has := make(map[int]bool) // by batch
	for i, at := range seen {
		for n, version := range p.versions[v.first+i] {
			if version.batch == 0 || at < 0 {
				continue
			}
			before, known := has[version.batch]
			if has[version.batch] = n <= at; known && before != (n <= at) {
				return fmt.Errorf("%s: has a part of batch %d, without or with its change of %.40q", v.what, version.batch, p.keys[v.first+i])
			}
		}
	}
	return nil
}

// same returns an error if two readings of one snapshot differ.
func (p *pairs) same(a, b *view) error {
	if slices.Equal(a.serials, b.serials) {
		return nil
	}
	for i := range a.serials {
		if a.serials[i] != b.serials[i] {
			return fmt.Errorf("%s: %.40q had change %d, and has change %d when it is read again", a.what, p.keys[a.first+i], a.serials[i], b.serials[i])
		}
	}
	return nil
}

// checkValue checks what a Get of a key returned in the span read.
func (p *pairs) checkValue(key int, value []byte, found bool, read span) error {
	var serial uint32
	var err error
	if found {
		if serial, err = p.serial(key, value); err != nil {
			return err
		}
	}
	return p.check(&view{what: "get", first: key, end: key + 1, serials: []uint32{serial}, read: read})
}

// holds checks the answer to a Get of a key that nobody else changes.
func (p *pairs) holds(key int, value []byte, found bool) error {
	serial := p.now(key)
	if found != (serial > 0) || found && !bytes.Equal(value, p.value(key, serial)) {
		return fmt.Errorf("get %.40q: %.40q, %t; want change %d", p.keys[key], value, found, serial)
	}
	return nil
}
