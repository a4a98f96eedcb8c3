package tree

import (
	"fmt"

	"kivaloo/tree/page"
)

// Pages are built directly in their stored form, in the frames from which they will be read. A
// fresh page has no block number until it is numbered, and its parent's record has none either.

// newNode returns a frame for a fresh page.
func (w *pageCommit) newNode(height int) (nodeID, *node) {
	id, nd, err := w.cache.alloc(height)
	if err != nil {
		w.err = err
		id = noNode // the frame that is never used, see newCache
		if height > 0 {
			id = parentBit
		}
		nd = w.cache.node(id)
		nd.height = uint8(height)
		return id, nd
	}
	nd.state, nd.oldest = frameBuilding, noBlock
	w.fresh = append(w.fresh, id)
	return id, nd
}

// freshBranch returns the branch of a page that was just built.
func freshBranch(sep []byte, id nodeID, nd *node) branch {
	return branch{sep: sep, rec: page.Child{Block: noBlock, Oldest: noBlock, Size: nd.size}, id: id, fresh: true}
}

// writeLeaf writes a leaf. The pairs must fit into a page.
func (w *pageCommit) writeLeaf(pairs []pair, lo, hi []byte, root bool) branch {
	id, nd := w.newNode(0)
	p := w.cache.page(nd)
	at := page.PutHead(p, len(pairs), 0, page.BoundsPrefix(lo, hi), root)
	l := page.Layout{Keys: len(pairs), Root: root, Body: at}
	for i := range pairs {
		at = page.PutString(p, at, pairs[i].key)
	}
	l.Second = at
	for i := range pairs {
		at = page.PutString(p, at, pairs[i].value)
	}
	l.End = at
	clear(p[at:])
	w.cache.index(nd, l)
	nd.bounds = boundsHash(lo, hi)
	return freshBranch(lo, id, nd)
}

// finish writes the unwritten pages of b, a subtree of the given height, and returns its root.
func (w *pageCommit) finish(b branch, height int, lo, hi []byte, root bool) nodeID {
	switch {
	case b.kids != nil:
		return w.writeParent(b.kids, height, lo, hi, root)
	case root: // a leaf that was not written as a root
		leaf := w.writeLeaf(w.appendPairs(w.pairs[:0], b.id), nil, nil, true)
		w.replace(b.id)
		return leaf.id
	}
	return b.id
}

// writeParent writes a parent, and the unwritten pages below it.
func (w *pageCommit) writeParent(kids []branch, height int, lo, hi []byte, root bool) nodeID {
	c := w.cache
	for i := range kids {
		k := &kids[i]
		if !k.fresh {
			continue
		}
		kidLo, kidHi := lo, hi
		if i > 0 {
			kidLo = k.sep
		}
		if i+1 < len(kids) {
			kidHi = kids[i+1].sep
		}
		k.id = w.finish(*k, height-1, kidLo, kidHi, false)
		k.rec = page.Child{Block: noBlock, Oldest: noBlock, Size: c.node(k.id).size}
	}
	id, nd := w.newNode(height)
	p := c.page(nd)
	at := page.PutHead(p, len(kids)-1, height, page.BoundsPrefix(lo, hi), root)
	l := page.Layout{Keys: len(kids) - 1, Height: height, Root: root, Body: at}
	for _, k := range kids[1:] {
		at = page.PutString(p, at, k.sep)
	}
	l.Second = at
	for _, k := range kids {
		page.PutChild(p[at:], k.rec)
		at += page.ChildBytes
	}
	l.End = at
	clear(p[at:])
	c.index(nd, l)
	nd.bounds = boundsHash(lo, hi)
	for i, k := range kids {
		c.setChild(nd, i, k.id)
	}
	return id
}

// number assigns block numbers to the new pages, starting at first, and stores the pages in
// w.pages. The root comes last, after reserve blocks for the seal and the flush record.
func (w *pageCommit) number(first uint64, reserve int) {
	w.pages, w.numbered = w.pages[:0], w.numbered[:0]
	w.numberBelow(w.cache.node(w.result.root), first)
	for range reserve {
		w.pages = append(w.pages, nil)
	}
	w.numberOne(w.result.root, first)
}

// numberBelow numbers the fresh pages below nd.
func (w *pageCommit) numberBelow(nd *node, first uint64) {
	if nd.height == 0 {
		return
	}
	c := w.cache
	for i := range int(nd.keys) + 1 {
		r := c.record(nd, i)
		if r.Block != noBlock {
			continue
		}
		id := c.children(nd)[i]
		kid := c.node(id)
		w.numberBelow(kid, first)
		w.numberOne(id, first)
		c.putRecord(nd, i, page.Child{Block: kid.block, Oldest: kid.oldest, Size: kid.size})
	}
}

// numberOne numbers a page whose children are numbered.
func (w *pageCommit) numberOne(id nodeID, first uint64) {
	c := w.cache
	nd := c.node(id)
	block := first + uint64(len(w.pages))
	nd.oldest = block
	if nd.height > 0 {
		for i := range int(nd.keys) + 1 {
			nd.oldest = min(nd.oldest, c.record(nd, i).Oldest)
		}
	}
	nd.setBlock(block)
	w.pages = append(w.pages, c.page(nd))
	w.numbered = append(w.numbered, id)
}

// publish adds the new pages to the cache and frees the pages that they replace. With keepOld it
// leaves the latter to eviction, because a snapshot may still read them. The root gets a pin for
// the caller.
func (w *pageCommit) publish(keepOld bool) {
	c := w.cache
	for _, id := range w.numbered {
		nd := c.node(id)
		nd.state = frameClean
		nd.use()
		c.table[nd.block] = id
	}
	c.node(w.result.root).pins++
	for _, id := range w.pinned {
		c.node(id).pins--
	}
	w.pinned = w.pinned[:0]
	for _, id := range w.fresh {
		if c.node(id).block == noBlock { // built, then merged into another
			c.free(id)
		}
	}
	w.fresh = w.fresh[:0]
	if !keepOld {
		for _, id := range w.replaced {
			if nd := c.node(id); nd.state == frameClean && nd.pins == 0 {
				c.free(id)
			}
		}
	}
	w.end()
}

// check verifies the new pages as strictly as pages from a disk. It runs only in test builds.
func (w *pageCommit) check(id nodeID, lo, hi []byte) {
	c := w.cache
	nd := c.node(id)
	want := page.Want{
		Block: nd.block, Oldest: nd.oldest, Size: nd.size,
		Root: nd.root, Height: int(nd.height), Lo: lo, Hi: hi, Exact: true,
	}
	if _, err := want.Verify(c.page(nd)); err != nil {
		panic(fmt.Sprintf("page built for block %d, height %d: %v", nd.block, nd.height, err))
	}
	if nd.height == 0 {
		return
	}
	kidLo := lo
	for i := range int(nd.keys) + 1 {
		kidHi := hi
		if i < int(nd.keys) {
			kidHi = c.key(nd, i)
		}
		if kid := c.child(nd, i); kid != noNode && c.node(kid).state == frameBuilding {
			w.check(kid, kidLo, kidHi)
		}
		kidLo = kidHi
	}
}
