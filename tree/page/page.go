package page

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"kivaloo/disk"
	"kivaloo/tree/keys"
)

// A page is one node of the tree:
//
//	offset size
//	0      6    magic
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
// Child i holds the keys k with separator[i-1] <= k < separator[i]. Integers are big-endian.
//
// The magic is the original's. A root has another magic if it does not hold every acknowledged
// change, because the journal holds the rest. So the original refuses the store instead of opening
// it without the rest.
const (
	magic        = "KVLDS\x00"
	partialMagic = "KVROOT"

	countAt  = 6
	heightAt = 8
	prefixAt = 9
	nodesAt  = 10
	rootBit  = 0x80

	HeadBytes  = 10
	RootExtra  = 8  // extra bytes of a root
	ChildBytes = 20 // of a child record
	LeafBase   = HeadBytes
	ParentBase = HeadBytes + ChildBytes // size of a parent with one child

	// MinSeparated is the smallest size that another child adds to a parent: a separator of one
	// byte, and the record.
	MinSeparated = 2 + ChildBytes

	// MaxString is the longest key, value or separator, in bytes.
	MaxString = 255
)

// Child is what a parent records about a child.
type Child struct {
	Block  uint64
	Oldest uint64 // lowest block of any leaf below
	Size   uint32 // bytes of its page, without padding
}

// Layout describes a page and the offsets of its parts.
type Layout struct {
	Keys    int
	Height  int
	Prefix  int
	Root    bool
	Partial bool   // in a root: the journal holds changes that the tree does not
	Nodes   uint64 // in a root: pages of the tree
	Body    int    // offset of the first key
	Second  int    // offset of the first value, or of the first child record
	End     int    // offset of the padding: the size of the page
}

// ParseHead reads the fixed part of a page of at least disk.MinBlockSize bytes. It leaves Second
// and End unset.
func ParseHead(p []byte) (Layout, error) {
	l := Layout{
		Keys:   int(binary.BigEndian.Uint16(p[countAt:])),
		Height: int(p[heightAt] &^ rootBit),
		Root:   p[heightAt]&rootBit != 0,
		Prefix: int(p[prefixAt]),
		Body:   HeadBytes,
	}
	switch string(p[:len(magic)]) {
	case magic:
	case partialMagic:
		l.Partial = true
		if !l.Root {
			return l, fmt.Errorf("%w: not a page: it begins with %q and is no root", disk.ErrCorrupt, partialMagic)
		}
	default:
		return l, fmt.Errorf("%w: not a page: it does not begin with %q", disk.ErrCorrupt, magic[:5])
	}
	if l.Root {
		l.Nodes = binary.BigEndian.Uint64(p[nodesAt:])
		l.Body += RootExtra
	}
	return l, nil
}

// Parse finds the parts of a page. It checks that they are within the page and that zeros follow.
// After that, its strings and child records can be read without further checks.
func Parse(p []byte) (Layout, error) {
	l, err := ParseHead(p)
	if err != nil {
		return l, err
	}
	if l.Second, err = stringsEnd(p, l.Body, l.Keys, "key"); err != nil {
		return l, err
	}
	if l.Height == 0 {
		if l.End, err = stringsEnd(p, l.Second, l.Keys, "value"); err != nil {
			return l, err
		}
	} else if l.End = l.Second + (l.Keys+1)*ChildBytes; l.End > len(p) {
		return l, fmt.Errorf("%w: %d child records run past the page", disk.ErrCorrupt, l.Keys+1)
	}
	if !AllZero(p[l.End:]) {
		return l, fmt.Errorf("%w: bytes after the page's content, from offset %d on, are not zero", disk.ErrCorrupt, l.End)
	}
	return l, nil
}

// stringsEnd returns the offset after n strings that begin at offset at.
func stringsEnd(p []byte, at, n int, what string) (int, error) {
	for i := range n {
		if at >= len(p) || at+1+int(p[at]) > len(p) {
			return 0, fmt.Errorf("%w: %s %d runs past the page", disk.ErrCorrupt, what, i)
		}
		at += 1 + int(p[at])
	}
	return at, nil
}

// AllZero reports whether p has only zeros.
func AllZero(p []byte) bool { return len(bytes.TrimLeft(p, "\x00")) == 0 }

// Index returns where in p a page may begin, or -1.
func Index(p []byte) int {
	i, partial := bytes.Index(p, []byte(magic)), bytes.Index(p, []byte(partialMagic))
	if i < 0 || partial >= 0 && partial < i {
		return partial
	}
	return i
}

// PutHead writes the fixed part of a page and returns the offset of the body. PutRoot writes the
// node count of a root.
func PutHead(p []byte, keys, height, prefix int, root bool) (body int) {
	copy(p, magic)
	binary.BigEndian.PutUint16(p[countAt:], uint16(keys))
	p[heightAt], p[prefixAt] = byte(height), byte(prefix)
	if root {
		p[heightAt] |= rootBit
		return HeadBytes + RootExtra
	}
	return HeadBytes
}

// PutRoot writes what only a root has: the number of pages in the tree, and whether the journal
// holds changes that the tree does not.
func PutRoot(p []byte, nodes uint64, partial bool) {
	binary.BigEndian.PutUint64(p[nodesAt:], nodes)
	if partial {
		copy(p, partialMagic)
	} else {
		copy(p, magic)
	}
}

// EmptyRoot returns the page of a tree without keys.
func EmptyRoot(blockSize int) []byte {
	p := make([]byte, blockSize)
	PutHead(p, 0, 0, 0, true)
	PutRoot(p, 1, false)
	return p
}

// GetChild reads the child record at the beginning of p.
func GetChild(p []byte) Child {
	_ = p[ChildBytes-1]
	return Child{
		Block:  binary.BigEndian.Uint64(p),
		Oldest: binary.BigEndian.Uint64(p[8:]),
		Size:   binary.BigEndian.Uint32(p[16:]),
	}
}

// PutChild writes a child record at the beginning of p.
func PutChild(p []byte, c Child) {
	_ = p[ChildBytes-1]
	binary.BigEndian.PutUint64(p, c.Block)
	binary.BigEndian.PutUint64(p[8:], c.Oldest)
	binary.BigEndian.PutUint32(p[16:], c.Size)
}

// Child returns child record i of a parent.
func (l *Layout) Child(p []byte, i int) Child { return GetChild(p[l.Second+i*ChildBytes:]) }

// Oldest returns the lowest block of any leaf below a page. block is the block of the page itself.
func (l *Layout) Oldest(p []byte, block uint64) uint64 {
	if l.Height > 0 {
		for i := range l.Keys + 1 {
			block = min(block, l.Child(p, i).Oldest)
		}
	}
	return block
}

// PutString writes a length byte and s at p[at:] and returns the offset after them.
func PutString(p []byte, at int, s []byte) int {
	p[at] = byte(len(s))
	return at + 1 + copy(p[at+1:at+1+len(s)], s) // panics instead of writing part of s
}

// String returns the string whose length byte is at p[at], which must be within the page.
func String(p []byte, at int) []byte {
	n := int(p[at])
	return p[at+1 : at+1+n : at+1+n]
}

// Skip returns the offset of the string n strings after the one at at.
func Skip(p []byte, at, n int) int {
	for ; n > 0; n-- {
		at += 1 + int(p[at])
	}
	return at
}

// BoundsPrefix returns m for a page with the bounds lo and hi. A nil hi is no bound and shares
// nothing. An empty lo shares nothing either, so it can also stand for no bound.
func BoundsPrefix(lo, hi []byte) int {
	if hi == nil {
		return 0
	}
	return keys.CommonPrefix(lo, hi)
}
