package tree

import (
	"bytes"

	"kivaloo/tree/page"
)

// Without a checksum, a separator of a parent may be wrong. Then one of the two pages beside it
// seems to have keys that belong to the other. The keys of the pages show the right separator.

// separators returns the separators of a parent. It corrects those that do not fit between the keys
// of the pages below.
func (s *salvager) separators(block uint64, p []byte, l page.Layout) ([][]byte, error) {
	all := make([][]byte, l.Keys)
	for i, at := 0, l.Body; i < l.Keys; i++ {
		all[i] = bytes.Clone(page.String(p, at))
		at += 1 + len(all[i])
	}
	if s.store.vouched(block) {
		return all, nil
	}
	left, err := s.keysBelow(l.Child(p, 0), l.Height-1)
	for i := 0; i < l.Keys && err == nil; i++ {
		var right keysBelow
		if right, err = s.keysBelow(l.Child(p, i+1), l.Height-1); err != nil {
			break
		}
		sep := between(left.last, all[i], right.first)
		if !bytes.Equal(sep, all[i]) && (i == 0 || bytes.Compare(all[i-1], sep) < 0) && (i+1 == l.Keys || bytes.Compare(sep, all[i+1]) < 0) {
			all[i] = sep
			s.bad.add(block)
		}
		left = right
	}
	return all, err
}

// between returns a separator that is greater than last and at most first. It returns sep if sep
// fits. last or first may be nil, for unknown.
func between(last, sep, first []byte) []byte {
	behind := last == nil || bytes.Compare(last, sep) < 0
	before := first == nil || bytes.Compare(sep, first) <= 0
	switch {
	case behind && before, last != nil && first != nil && bytes.Compare(last, first) >= 0:
		return sep
	case first != nil:
		return first
	}
	return append(bytes.Clone(last), 0)
}

// keysBelow is the first and the last key below a page. nil means unknown.
type keysBelow struct{ first, last []byte }

// keysBelow returns the first and the last key below a child of a page.
func (s *salvager) keysBelow(c page.Child, height int) (k keysBelow, err error) {
	p := make([]byte, s.store.Info().BlockSize)
	l, ok, err := s.child(c, height, p)
	switch {
	case err != nil || !ok || height == 0 && l.Keys == 0:
		return k, err
	case height == 0:
		k.first = bytes.Clone(page.String(p, l.Body))
		k.last = bytes.Clone(page.String(p, page.Skip(p, l.Body, l.Keys-1)))
		return k, nil
	}
	lowest, err := s.keysBelow(l.Child(p, 0), height-1)
	if err != nil {
		return k, err
	}
	highest, err := s.keysBelow(l.Child(p, l.Keys), height-1)
	return keysBelow{lowest.first, highest.last}, err
}

// child reads a page, and reports whether it is the one that its parent records, apart from its
// bounds.
func (s *salvager) child(c page.Child, height int, p []byte) (l page.Layout, ok bool, err error) {
	if err := s.step(); err != nil {
		return l, false, err
	}
	if err := s.store.readPage(c.Block, p); err != nil {
		if isBad(err) {
			err = nil
		}
		return l, false, err
	}
	l, err = pageAlone(c.Block, p)
	return l, err == nil && !l.Root && l.Height == height && l.End == int(c.Size), nil
}
