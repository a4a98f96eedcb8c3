package tree

import "fmt"

// Pages are built directly in the form in which they are stored, in the frames
// in which they will be read.

// newNode returns a frame for a fresh page.
func (t *Tree) newNode(w *write, height int) (nodeID, *node) {
	id, nd, err := t.cache.alloc(height)
	if err != nil {
		w.err = err
		id = noNode // the frame that is never used: see newCache
		if height > 0 {
			id = parentBit
		}
		nd = t.cache.node(id)
		nd.height = uint8(height)
		return id, nd
	}
	t.cache.setState(nd, frameFresh)
	nd.born = t.cache.provisional()
	nd.setBlock(nd.born)
	nd.oldest = noBlock
	w.fresh = append(w.fresh, id)
	return id, nd
}

// writeLeaf writes a leaf of pairs, which fit into a page.
func (t *Tree) writeLeaf(w *write, pairs []pair, lo, hi []byte, root bool) branch {
	id, nd := t.newNode(w, 0)
	p := t.cache.page(nd)
	prefix := boundsPrefix(lo, hi)
	at := putHead(p, len(pairs), 0, prefix, root)
	l := layout{head: head{keys: len(pairs), root: root, body: at}}
	for i := range pairs {
		at = putString(p, at, pairs[i].key)
	}
	l.keysEnd = at
	for i := range pairs {
		at = putString(p, at, pairs[i].value)
	}
	l.end = at
	clear(p[at:])
	t.cache.index(nd, l)
	return branch{sep: lo, rec: record{size: nd.size}, id: id, fresh: true}
}

// finish writes the pages of b, a subtree of the given height, that are not written yet, and returns
// the node of its root.
func (t *Tree) finish(w *write, b branch, height int, lo, hi []byte, root bool) nodeID {
	switch {
	case b.kids != nil:
		return t.writeParent(w, b.kids, height, lo, hi, root)
	case root: // a leaf, written as one that is not a root
		leaf := t.writeLeaf(w, t.appendPairs(w.pairs[:0], b.id), nil, nil, true)
		w.replace(b.id)
		return leaf.id
	}
	return b.id
}

// writeParent writes a parent and what below it is not written yet.
func (t *Tree) writeParent(w *write, kids []branch, height int, lo, hi []byte, root bool) nodeID {
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
		k.id = t.finish(w, *k, height-1, kidLo, kidHi, false)
		// Until it is numbered, a fresh page is known by its provisional block.
		kid := t.cache.node(k.id)
		k.rec.block, k.rec.oldest = kid.block, kid.oldest
	}
	id, nd := t.newNode(w, height)
	p := t.cache.page(nd)
	at := putHead(p, len(kids)-1, height, boundsPrefix(lo, hi), root)
	l := layout{head: head{keys: len(kids) - 1, height: height, root: root, body: at}}
	for _, k := range kids[1:] {
		at = putString(p, at, k.sep)
	}
	l.keysEnd = at
	for _, k := range kids {
		putRecord(p[at:], k.rec)
		at += recordBytes
	}
	l.end = at
	clear(p[at:])
	t.cache.index(nd, l)
	t.cache.setBounds(nd, lo, hi)
	for i, k := range kids {
		t.cache.setChild(nd, i, k.id)
		nd.oldest = min(nd.oldest, k.rec.oldest)
	}
	return id
}

// checkSaved verifies the pages of a subtree that have just been numbered as strictly as those of somebody else
// would be. Only test builds pay for it.
func (t *Tree) checkSaved(id nodeID, nd *node, lo, hi []byte) {
	c := t.cache
	w := want{
		block: nd.block, oldest: nd.oldest, size: nd.size,
		root: nd.root, height: int(nd.height), lo: lo, hi: hi, exact: true,
	}
	if _, err := w.verify(c.page(nd)); err != nil {
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
		if kid := c.child(nd, i); kid != noNode && c.node(kid).state == frameSaved {
			t.checkSaved(kid, c.node(kid), kidLo, kidHi)
		}
		kidLo = kidHi
	}
}
