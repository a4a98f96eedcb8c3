package tree

import (
	"bytes"

	"kivaloo/tree/page"
)

// The descending half of a scan. It mirrors walk and the functions that walk calls: leaves from
// right to left, and the pairs of each from last to first. Everything from s.next on, including
// that key, has been passed.

// walkDown is walk from right to left.
func (s *scan) walkDown(nd *node, lo, hi []byte) bool {
	c := s.cache
	nd.use()
	if nd.height == 0 {
		return s.takeLeafDown(nd, lo)
	}
	i := s.below(nd)
	for kid := s.child(nd, i, lo, hi); i >= 0; i-- {
		if kid == nil {
			s.stop = scanMissing
			if s.adopt {
				s.ahead = s.leavesLeft()
				s.wantDown(nd, i, lo, hi)
			}
			return false
		}
		var next *node
		if i > 0 {
			next = s.child(nd, i-1, lo, hi)
			s.touch(next)
		}
		kidLo, kidHi := c.kidBounds(nd, i, lo, hi)
		if !s.walkDown(kid, kidLo, kidHi) {
			if s.ahead > 0 {
				s.wantDown(nd, i-1, lo, hi)
			}
			return false
		}
		kid = next
	}
	return true
}

// below returns how many keys or separators of nd are less than the end. For a parent, that is the
// index of the last wanted child.
func (s *scan) below(nd *node) int {
	if s.next != nil || len(s.end) == 0 {
		return int(nd.keys)
	}
	n, _ := s.cache.position(nd, s.end)
	return n
}

// takeLeafDown is takeLeaf for a leaf with the lower bound lo.
func (s *scan) takeLeafDown(nd *node, lo []byte) bool {
	switch {
	case s.changesFrom(lo):
		if !s.mergeLeafDown(nd, lo) {
			return false
		}
	case s.countOnly:
		if !s.countLeafDown(nd) {
			return false
		}
	case !s.copyLeafDown(nd):
		return false
	}
	if bytes.Compare(lo, s.start) <= 0 {
		s.stop = scanComplete
		return false
	}
	return s.passed(lo)
}

// changesFrom reports whether memtables have changes from lo on that were not passed.
func (s *scan) changesFrom(lo []byte) bool {
	return !s.overlay.Done() && bytes.Compare(s.overlay.Key(), lo) >= 0
}

// countLeafDown counts the pairs of a leaf. It returns false if the scan ends in it.
func (s *scan) countLeafDown(nd *node) bool {
	first, _ := s.cache.position(nd, s.start)
	i := s.below(nd)
	if n := s.maxPairs - s.count; i-first > n {
		s.count += n
		s.stop, s.next = scanFull, s.cache.key(nd, i-n)
		return false
	}
	s.count += i - first
	return true
}

// copyLeafDown takes the pairs of a leaf from last to first. It returns false if the scan ends in
// it.
func (s *scan) copyLeafDown(nd *node) bool {
	p := s.cache.page(nd)
	keyOffsets, valueOffsets := s.offsets(nd)
	for i := s.below(nd) - 1; i >= 0; i-- {
		keyAt, valueAt := int(keyOffsets[i]), int(valueOffsets[i])
		keyEnd, valueEnd := keyAt+1+int(p[keyAt]), valueAt+1+int(p[valueAt])
		if !s.takeDown(p[keyAt:keyEnd], p[valueAt:valueEnd]) {
			return false
		}
		s.next = p[keyAt+1 : keyEnd]
	}
	return true
}

// offsets returns the offsets of all keys and all values of a leaf.
func (s *scan) offsets(nd *node) (keys, values []uint32) {
	if nd.stride == 1 {
		return s.cache.keyOffsets(nd), s.cache.valueOffsets(nd)
	}
	n := int(nd.keys)
	if cap(s.spare) < 2*n {
		s.spare = make([]uint32, 2*n)
	}
	keys, values = s.spare[:n], s.spare[n:2*n]
	p := s.cache.page(nd)
	sampleStrings(p, int(nd.first), 1, keys)
	sampleStrings(p, int(nd.second), 1, values)
	return keys, values
}

// takeDown is take, but the caller sets s.next.
func (s *scan) takeDown(key, value []byte) bool {
	switch {
	case bytes.Compare(key[1:], s.start) < 0:
		s.stop = scanComplete
		return false
	case !s.roomFor(key, value):
		s.stop = scanFull
		return false
	}
	s.put(key, value)
	return true
}

// mergeLeafDown takes the pairs of a leaf and the changes from lo on, from the last key to the
// first. It returns false if the scan ends among them.
func (s *scan) mergeLeafDown(nd *node, lo []byte) bool {
	p := s.cache.page(nd)
	keyOffsets, valueOffsets := s.offsets(nd)
	i := s.below(nd) - 1
	var room [2 * (page.MaxString + 1)]byte
	for changes := true; ; {
		changes = changes && s.changesFrom(lo)
		order := 1 // compares the leaf's key with that of the change
		switch left := i >= 0; {
		case !left && !changes:
			return true
		case !left:
			order = -1
		case changes:
			order = bytes.Compare(page.String(p, int(keyOffsets[i])), s.overlay.Key())
		}
		if order <= 0 {
			ch := s.overlay.Change()
			if !s.passes(ch.Key) {
				return false
			}
			if !ch.Deleted {
				key, value := s.asStrings(room[:0], ch)
				if !s.takeDown(key, value) {
					return false
				}
			}
			s.next = ch.Key
			s.overlay.Next()
		}
		if order < 0 {
			continue
		}
		if order > 0 {
			keyAt, valueAt := int(keyOffsets[i]), int(valueOffsets[i])
			keyEnd, valueEnd := keyAt+1+int(p[keyAt]), valueAt+1+int(p[valueAt])
			if !s.takeDown(p[keyAt:keyEnd], p[valueAt:valueEnd]) {
				return false
			}
			s.next = p[keyAt+1 : keyEnd]
		}
		i--
	}
}

// wantDown mirrors wantFrom: it goes left from child i of nd.
func (s *scan) wantDown(nd *node, i int, lo, hi []byte) {
	for ; i >= 0 && s.ahead > 0; i-- {
		kidLo, kidHi := s.cache.kidBounds(nd, i, lo, hi)
		if kidHi != nil && bytes.Compare(kidHi, s.start) <= 0 {
			s.ahead = 0
			return
		}
		s.wantKid(nd, i, kidLo, kidHi, lo, hi)
	}
}
