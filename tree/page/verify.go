package page

import (
	"bytes"
	"fmt"

	"kivaloo/disk"
)

// Want is what the rest of the tree says that a page must be.
type Want struct {
	Block  uint64 // where it was found
	Root   bool
	Height int    // ignored for a root
	Size   uint32 // from the parent's record; ignored for a root
	Oldest uint64 // from the parent's record; ignored for a root
	Lo, Hi []byte // bounds of its keys, Lo <= key < Hi; a nil Hi means no bound
	// Exact requires the prefix length that this program and the original write. Otherwise a
	// smaller one passes too: it only makes the original slower.
	Exact bool
}

// Verify checks everything about a page that can be checked without reading another page. It trusts
// nothing in p. If it returns no error, the caller can trust all of p.
func (w *Want) Verify(p []byte) (Layout, error) {
	l, err := Parse(p)
	if err != nil {
		return l, err
	}
	switch {
	case l.Root != w.Root:
		err = fmt.Errorf("%w: root bit is %t, want %t", disk.ErrCorrupt, l.Root, w.Root)
	case !w.Root && l.Height != w.Height:
		err = fmt.Errorf("%w: height %d, want %d", disk.ErrCorrupt, l.Height, w.Height)
	case !w.Root && int(w.Size) != l.End:
		err = fmt.Errorf("%w: size %d, but its parent records %d", disk.ErrCorrupt, l.End, w.Size)
	case !w.Root && l.Height == 0 && w.Oldest != w.Block:
		err = fmt.Errorf("%w: its parent records oldest leaf %d, but it is a leaf at block %d", disk.ErrCorrupt, w.Oldest, w.Block)
	}
	if err != nil {
		return l, err
	}
	if err := w.VerifyContent(p, l); err != nil {
		return l, err
	}
	return l, w.verifyPrefix(l)
}

// VerifyContent is the part of Verify that needs no bounds. It only shows that the page is
// possible.
func (w *Want) VerifyContent(p []byte, l Layout) error {
	if err := w.verifyKeys(p, l); err != nil || l.Height == 0 {
		return err
	}
	return w.verifyChildren(p, l)
}

// verifyKeys checks that the keys or separators are in order and between the bounds.
func (w *Want) verifyKeys(p []byte, l Layout) error {
	var last []byte
	for i, at := 0, l.Body; i < l.Keys; i++ {
		key := String(p, at)
		switch { // the keys are in order, so only the first and last can be out of bounds
		case i == 0 && bytes.Compare(key, w.Lo) < 0:
			return fmt.Errorf("%w: key %d, %q, is before the page's lower bound %q", disk.ErrCorrupt, i, key, w.Lo)
		case i > 0 && bytes.Compare(last, key) >= 0:
			return fmt.Errorf("%w: key %d, %q, does not follow %q", disk.ErrCorrupt, i, key, last)
		case i == l.Keys-1 && w.Hi != nil && bytes.Compare(key, w.Hi) >= 0:
			return fmt.Errorf("%w: key %d, %q, is not before the page's upper bound %q", disk.ErrCorrupt, i, key, w.Hi)
		}
		last = key
		at += 1 + len(key)
	}
	return nil
}

// verifyChildren checks the child records of a parent.
func (w *Want) verifyChildren(p []byte, l Layout) error {
	if w.Root && l.Keys == 0 {
		return fmt.Errorf("%w: a root with a single child", disk.ErrCorrupt)
	}
	oldest := disk.NoBlock
	for i := range l.Keys + 1 {
		c := l.Child(p, i)
		switch {
		case c.Block >= w.Block:
			return fmt.Errorf("%w: child %d is at block %d, which is not before its parent", disk.ErrCorrupt, i, c.Block)
		case c.Oldest > c.Block || l.Height == 1 && c.Oldest != c.Block:
			return fmt.Errorf("%w: child %d, at block %d, has oldest leaf %d", disk.ErrCorrupt, i, c.Block, c.Oldest)
		case c.Size < HeadBytes || int(c.Size) > len(p):
			return fmt.Errorf("%w: child %d, at block %d, has size %d", disk.ErrCorrupt, i, c.Block, c.Size)
		}
		oldest = min(oldest, c.Oldest)
	}
	if !w.Root && oldest != w.Oldest {
		return fmt.Errorf("%w: oldest leaf below it is %d, but its parent records %d", disk.ErrCorrupt, oldest, w.Oldest)
	}
	return nil
}

// verifyPrefix checks the prefix length. If it is too large, the original skips bytes that differ.
func (w *Want) verifyPrefix(l Layout) error {
	m := BoundsPrefix(w.Lo, w.Hi)
	if l.Prefix > m || w.Exact && l.Prefix != m {
		return fmt.Errorf("%w: prefix length %d, but its bounds %q and %q share %d bytes", disk.ErrCorrupt, l.Prefix, w.Lo, w.Hi, m)
	}
	return nil
}
