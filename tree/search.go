package tree

import (
	"bytes"

	"kivaloo/tree/keys"
	"kivaloo/tree/page"
)

// countBelow returns how many of heads are less than h. The loop has no branch that depends on the
// data, so the processor can run ahead into the next search.
func countBelow(heads []uint64, h uint64) int {
	base, n := 0, len(heads)
	for n > 1 {
		half := n >> 1
		if heads[base+half-1] < h {
			base += half
		}
		n -= half
	}
	if n == 1 && heads[base] < h {
		base++
	}
	return base
}

// position returns the number of keys of nd less than key, and whether the next one equals it.
func (c *cache) position(nd *node, key []byte) (int, bool) {
	if nd.keys == 0 {
		return 0, false
	}
	common := int(nd.common)
	if common > 0 {
		prefix := page.String(c.page(nd), int(nd.first))[:common]
		if len(key) < common || !bytes.Equal(key[:common], prefix) {
			if bytes.Compare(key, prefix) < 0 {
				return 0, false
			}
			return int(nd.keys), false
		}
	}
	sample, exact := c.sample(nd, key, keys.Head(key[common:]))
	if nd.stride == 1 || exact {
		return sample * int(nd.stride), exact
	}
	return c.scan(nd, key, sample)
}

// sample returns the number of indexed keys of nd less than key, and whether the next indexed key
// equals it. h is the head of key.
func (c *cache) sample(nd *node, key []byte, h uint64) (int, bool) {
	heads := nd.heads()
	lo := countBelow(heads, h)
	if lo == len(heads) || heads[lo] != h {
		return lo, false
	}
	p, offsets := c.page(nd), c.keyOffsets(nd)
	hi := lo + 1
	if hi < len(heads) && heads[hi] == h {
		hi = len(heads)
		if h != ^uint64(0) {
			hi = countBelow(heads, h+1)
		}
	}
	for lo < hi {
		mid := (lo + hi) / 2
		switch order := bytes.Compare(page.String(p, int(offsets[mid])), key); {
		case order == 0:
			return mid, true
		case order < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, false
}

// scan is position among the keys between two indexed keys. sample is the index entry after key.
func (c *cache) scan(nd *node, key []byte, sample int) (int, bool) {
	if sample == 0 {
		return 0, false
	}
	i := (sample - 1) * int(nd.stride)
	end := min(i+int(nd.stride), int(nd.keys))
	p := c.page(nd)
	at := int(c.keyOffsets(nd)[sample-1])
	for i++; i < end; i++ {
		at = page.Skip(p, at, 1)
		if order := bytes.Compare(page.String(p, at), key); order >= 0 {
			return i, order == 0
		}
	}
	return end, false
}

// childFor returns which child of a parent is responsible for key.
func (c *cache) childFor(nd *node, key []byte) int {
	i, exact := c.position(nd, key)
	if exact {
		i++ // a key equal to a separator belongs to its right
	}
	return i
}

// valueOffset returns the offset of the value of key in a leaf, if key is there.
func (c *cache) valueOffset(nd *node, key []byte) (at int, found bool) {
	s := c.locate(nd, key)
	switch s.number {
	case slotNone:
		return 0, false
	case slotUnknown:
		i, found := c.position(nd, key)
		if !found {
			return 0, false
		}
		return c.valueAt(nd, i), true
	}
	return s.value, bytes.Equal(page.String(c.page(nd), s.key), key)
}

// lookup returns the value of key in a leaf. It aliases the page.
func (c *cache) lookup(nd *node, key []byte) ([]byte, bool) {
	return c.valueIn(nd, key, slot{number: slotUnknown})
}

// slotOf returns the only index entry of a leaf that can be for key. It only compares heads. The
// common prefix need not be compared: a key of the leaf has it too.
func (nd *node) slotOf(key []byte) int {
	switch {
	case nd.stride > 1:
		return slotUnknown
	case len(key) < int(nd.common):
		return slotNone
	}
	heads, h := nd.heads(), keys.Head(key[nd.common:])
	i := countBelow(heads, h)
	switch {
	case i == len(heads) || heads[i] != h:
		return slotNone
	case i+1 < len(heads) && heads[i+1] == h:
		return slotUnknown // several keys with the same head
	}
	return i
}

// locate returns the slot of key in a leaf.
func (c *cache) locate(nd *node, key []byte) slot {
	s := slot{number: nd.slotOf(key)}
	if s.number >= 0 {
		s.key, s.value = int(c.keyOffsets(nd)[s.number]), int(c.valueOffsets(nd)[s.number])
	}
	return s
}

// valueIn returns the value of key in a leaf. s comes from slotOf and the index.
func (c *cache) valueIn(nd *node, key []byte, s slot) ([]byte, bool) {
	switch s.number {
	case slotNone:
		return nil, false
	case slotUnknown:
		i, found := c.position(nd, key)
		if !found {
			return nil, false
		}
		return c.value(nd, i), true
	}
	p := c.page(nd)
	if !bytes.Equal(page.String(p, s.key), key) {
		return nil, false
	}
	return page.String(p, s.value), true
}
