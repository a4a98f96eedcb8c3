package tree

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"kivaloo/disk"
)

// A page is one node as it is stored, in one block:
//
//	offset size
//	0      6    "KVLDS\0"
//	6      2    n, the number of keys
//	8      1    height, 0 for a leaf; 0x80 added in the root of a tree
//	9      1    m, a length that the bounds of the page's key range share
//	10     8    only in a root: number of nodes in the tree
//	10/18       leaf:   n keys, then n values
//	            parent: n separators, then n+1 child records
//	            zeros up to the block size
//
// A key, value or separator is a length byte and that many bytes. A child record is
//
//	0      8    block of the child
//	8      8    oldest leaf: lowest block of any leaf below the child
//	16     4    size of the child's page without its padding
//
// Child i holds the keys k with separator[i-1] <= k < separator[i].
const (
	magic         = "KVLDS\x00"
	countOffset   = 6
	heightOffset  = 8
	prefixOffset  = 9
	nodesOffset   = 10
	headerBytes   = 10
	rootExtra     = 8 // bytes a root has more than another page
	recordBytes   = 20
	rootBit       = 0x80
	leafBase      = headerBytes               // size of an empty leaf
	parentBase    = headerBytes + recordBytes // size of a parent with one child
	minChildBytes = recordBytes + 2           // a separator of one byte and its child
)

// record is what a parent knows of a child.
type record struct {
	block  uint64
	oldest uint64
	size   uint32 // bytes
}

// head is the fixed part of a page.
type head struct {
	keys   int
	height int
	prefix int
	root   bool
	nodes  uint64 // only of a root
	body   int    // offset of the first key
}

// parseHead reads the fixed part of a page of at least disk.MinBlockSize bytes.
func parseHead(p []byte) (head, error) {
	if string(p[:len(magic)]) != magic {
		return head{}, fmt.Errorf("%w: not a page: it does not begin with %q", disk.ErrCorrupt, magic[:5])
	}
	h := head{
		keys:   int(binary.BigEndian.Uint16(p[countOffset:])),
		height: int(p[heightOffset] &^ rootBit),
		root:   p[heightOffset]&rootBit != 0,
		prefix: int(p[prefixOffset]),
		body:   headerBytes,
	}
	if h.root {
		h.nodes = binary.BigEndian.Uint64(p[nodesOffset:])
		h.body += rootExtra
	}
	return h, nil
}

// putHead writes the fixed part of a page. The node count of a root is put
// in by putNodes.
func putHead(p []byte, keys, height, prefix int, root bool) (body int) {
	copy(p, magic)
	binary.BigEndian.PutUint16(p[countOffset:], uint16(keys))
	p[heightOffset] = byte(height)
	p[prefixOffset] = byte(prefix)
	if root {
		p[heightOffset] |= rootBit
		return headerBytes + rootExtra
	}
	return headerBytes
}

func putNodes(p []byte, nodes uint64) { binary.BigEndian.PutUint64(p[nodesOffset:], nodes) }

func getRecord(p []byte) record {
	_ = p[recordBytes-1]
	return record{
		block:  binary.BigEndian.Uint64(p),
		oldest: binary.BigEndian.Uint64(p[8:]),
		size:   binary.BigEndian.Uint32(p[16:]),
	}
}

func putRecord(p []byte, r record) {
	_ = p[recordBytes-1]
	binary.BigEndian.PutUint64(p, r.block)
	binary.BigEndian.PutUint64(p[8:], r.oldest)
	binary.BigEndian.PutUint32(p[16:], r.size)
}

// putString appends a length byte and s at p[at:] and returns the offset behind it.
func putString(p []byte, at int, s []byte) int {
	p[at] = byte(len(s))
	return at + 1 + copy(p[at+1:at+1+len(s)], s) // never a part of it
}

// stringAt returns the string whose length byte is at p[at]. The caller knows that it is
// within the page.
func stringAt(p []byte, at int) []byte {
	n := int(p[at])
	return p[at+1 : at+1+n : at+1+n]
}

// want is what the rest of the tree says a page must be.
type want struct {
	block  uint64 // where it was found
	root   bool
	height int    // ignored for a root
	size   uint32 // from the parent's record; ignored for a root
	oldest uint64 // from the parent's record; ignored for a root
	lo, hi []byte // bounds of its keys, lo <= key < hi; a nil hi is no bound
	// exact asks for a prefix byte that is not merely harmless but the one that
	// this implementation and the original write.
	exact bool
}

// same reports whether w and v say the same.
func (w *want) same(v *want) bool {
	return w.block == v.block && w.height == v.height && w.size == v.size && w.oldest == v.oldest &&
		bytes.Equal(w.lo, v.lo) && bytes.Equal(w.hi, v.hi)
}

// layout says where the parts of a page are.
type layout struct {
	head
	keysEnd int // offset of the first value, or of the first child record
	end     int // offset of the padding: the size of the page
}

// parseLayout finds the parts of a page and checks that they are within it, and that what follows
// them is zero. The page's strings and records can be read without further care.
func parseLayout(p []byte) (layout, error) {
	h, err := parseHead(p)
	l := layout{head: h}
	if err != nil {
		return l, err
	}
	if l.keysEnd, err = stringsEnd(p, h.body, h.keys, "key"); err != nil {
		return l, err
	}
	if h.height == 0 {
		if l.end, err = stringsEnd(p, l.keysEnd, h.keys, "value"); err != nil {
			return l, err
		}
	} else if l.end = l.keysEnd + (h.keys+1)*recordBytes; l.end > len(p) {
		return l, fmt.Errorf("%w: %d child records run past the page", disk.ErrCorrupt, h.keys+1)
	}
	if !allZero(p[l.end:]) {
		return l, fmt.Errorf("%w: bytes after the end of the page's content, at offset %d, are not zero", disk.ErrCorrupt, l.end)
	}
	return l, nil
}

// stringsEnd returns the offset behind n strings that begin at offset at.
func stringsEnd(p []byte, at, n int, what string) (int, error) {
	for i := range n {
		if at >= len(p) || at+1+int(p[at]) > len(p) {
			return 0, fmt.Errorf("%w: %s %d runs past the page", disk.ErrCorrupt, what, i)
		}
		at += 1 + int(p[at])
	}
	return at, nil
}

// verify checks everything about a page that can be checked without reading
// another one. It trusts nothing in p; the caller can trust all of it afterwards.
func (w *want) verify(p []byte) (layout, error) {
	l, err := parseLayout(p)
	if err != nil {
		return l, err
	}
	switch {
	case l.root != w.root:
		err = fmt.Errorf("%w: root bit is %t, want %t", disk.ErrCorrupt, l.root, w.root)
	case !w.root && l.height != w.height:
		err = fmt.Errorf("%w: height %d, want %d", disk.ErrCorrupt, l.height, w.height)
	case !w.root && int(w.size) != l.end:
		err = fmt.Errorf("%w: size %d, but its parent records %d", disk.ErrCorrupt, l.end, w.size)
	case !w.root && l.height == 0 && w.oldest != w.block:
		err = fmt.Errorf("%w: its parent records oldest leaf %d, but it is a leaf at block %d", disk.ErrCorrupt, w.oldest, w.block)
	}
	if err != nil {
		return l, err
	}
	if err := w.verifyKeys(p, l); err != nil {
		return l, err
	}
	if l.height > 0 {
		if err := w.verifyRecords(p, l); err != nil {
			return l, err
		}
	}
	return l, w.verifyPrefix(l.head)
}

// verifyKeys checks that the keys or separators are in order and between the bounds.
func (w *want) verifyKeys(p []byte, l layout) error {
	var last []byte
	for i, at := 0, l.body; i < l.keys; i++ {
		key := stringAt(p, at)
		switch { // in order, all are between the bounds if the outer two are
		case l.height > 0 && len(key) == 0:
			return fmt.Errorf("%w: separator %d is empty", disk.ErrCorrupt, i)
		case i == 0 && bytes.Compare(key, w.lo) < 0:
			return fmt.Errorf("%w: key %d, %q, is before the page's lower bound %q", disk.ErrCorrupt, i, key, w.lo)
		case i > 0 && bytes.Compare(last, key) >= 0:
			return fmt.Errorf("%w: key %d, %q, does not follow %q", disk.ErrCorrupt, i, key, last)
		case i == l.keys-1 && w.hi != nil && bytes.Compare(key, w.hi) >= 0:
			return fmt.Errorf("%w: key %d, %q, is not before the page's upper bound %q", disk.ErrCorrupt, i, key, w.hi)
		}
		last = key
		at += 1 + len(key)
	}
	return nil
}

// verifyRecords checks the child records of a parent.
func (w *want) verifyRecords(p []byte, l layout) error {
	if w.root && l.keys == 0 {
		return fmt.Errorf("%w: a root with a single child", disk.ErrCorrupt)
	}
	oldest := disk.NoBlock
	for i := range l.keys + 1 {
		r := getRecord(p[l.keysEnd+i*recordBytes:])
		switch {
		case r.block >= w.block:
			return fmt.Errorf("%w: child %d is at block %d, which is not before its parent", disk.ErrCorrupt, i, r.block)
		case r.oldest > r.block || l.height == 1 && r.oldest != r.block:
			return fmt.Errorf("%w: child %d, at block %d, has oldest leaf %d", disk.ErrCorrupt, i, r.block, r.oldest)
		case r.size < headerBytes || int(r.size) > len(p):
			return fmt.Errorf("%w: child %d, at block %d, has size %d", disk.ErrCorrupt, i, r.block, r.size)
		}
		oldest = min(oldest, r.oldest)
	}
	if !w.root && oldest != w.oldest {
		return fmt.Errorf("%w: oldest leaf below it is %d, but its parent records %d", disk.ErrCorrupt, oldest, w.oldest)
	}
	return nil
}

// verifyPrefix checks the prefix byte. One that is too large makes the
// original skip bytes that do differ; one that is too small is only slow.
func (w *want) verifyPrefix(h head) error {
	m := boundsPrefix(w.lo, w.hi)
	if h.prefix > m || w.exact && h.prefix != m {
		return fmt.Errorf("%w: prefix length %d, but its bounds %q and %q share %d bytes", disk.ErrCorrupt, h.prefix, w.lo, w.hi, m)
	}
	return nil
}

// boundsPrefix is the prefix length of a page with the bounds lo and hi. An absent
// bound shares nothing. An empty lo shares nothing either, so it may stand for none.
func boundsPrefix(lo, hi []byte) int {
	if hi == nil {
		return 0
	}
	return commonPrefix(lo, hi)
}

// commonPrefix is how many bytes a and b share from the start.
func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if binary.LittleEndian.Uint64(a[i:]) != binary.LittleEndian.Uint64(b[i:]) {
			break
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// shortestSeparator returns the shortest s with left < s <= right, as a part of right.
// left must be less than right.
func shortestSeparator(left, right []byte) []byte {
	return right[:commonPrefix(left, right)+1]
}
