package tree

// Most changes leave a page as it is but for a few bytes: values of the same length in a leaf, and in a parent what it knows of
// its children. Then the new page is a copy of the old one, index and all, with these bytes put in.

// canPatch reports whether a parent stays what it is but for the records of children that have changed: none was split, and
// none is so small now that it might be merged with a neighbour.
func (t *Tree) canPatch(nd *node, level *level) bool {
	if nd.root {
		return false // its header says how many pages there are, and it may have to shrink
	}
	limit := mergeLimit(t.cache.blockSize)
	from := 0
	for j, change := range level.changes {
		if change.end-from != 1 {
			return false
		}
		size := int(level.changed[from].rec.size) - headerBytes
		for _, neighbour := range [2]int{change.kid - 1, change.kid + 1} {
			if neighbour < 0 || neighbour > int(nd.keys) {
				continue
			}
			other := int(t.cache.record(nd, neighbour).size)
			if j+1 < len(level.changes) && level.changes[j+1].kid == neighbour {
				other = int(level.changed[change.end].rec.size)
			} else if j > 0 && level.changes[j-1].kid == neighbour {
				other = int(level.changed[from-1].rec.size)
			}
			if size+other <= limit {
				return false
			}
		}
		from = change.end
	}
	return true
}

// patchParent writes a parent that takes the place of old, between the bounds lo and hi.
func (t *Tree) patchParent(w *write, old *node, level *level, lo, hi []byte) branch {
	c := t.cache
	for i := range level.changed {
		if k := &level.changed[i]; k.kids != nil {
			kidLo, kidHi := c.kidBounds(old, level.changes[i].kid, lo, hi)
			k.id = t.finish(w, *k, int(old.height)-1, kidLo, kidHi, false)
			k.kids = nil
		}
	}
	id, nd := t.newNode(w, int(old.height))
	t.copyPage(nd, old)
	c.setBounds(nd, lo, hi)
	copy(nd.heads(), old.heads())
	copy(c.keyOffsets(nd), c.keyOffsets(old))
	copy(c.children(nd), c.children(old))
	copy(c.blocks(nd), c.blocks(old))
	for j, change := range level.changes {
		k := &level.changed[j]
		kid := c.node(k.id)
		c.putRecord(nd, change.kid, record{block: kid.block, oldest: kid.oldest, size: k.rec.size})
		c.setChild(nd, change.kid, k.id)
	}
	for i := range int(nd.keys) + 1 {
		nd.oldest = min(nd.oldest, t.kidRecord(nd, i).oldest)
	}
	return branch{sep: lo, rec: record{size: nd.size}, id: id, fresh: true}
}

// canPatchLeaf reports whether outcomes only put values in the place of others of the same length.
func canPatchLeaf(nd *node, outcomes []outcome) bool {
	if nd.root {
		return false
	}
	for i := range outcomes {
		if o := &outcomes[i]; o.action != touch && o.at == 0 {
			return false
		}
	}
	return true
}

// patchLeaf writes a leaf that takes the place of old.
func (t *Tree) patchLeaf(w *write, old *node, outcomes []outcome, lo []byte) branch {
	c := t.cache
	id, nd := t.newNode(w, 0)
	t.copyPage(nd, old)
	copy(nd.heads(), old.heads())
	copy(c.keyOffsets(nd), c.keyOffsets(old))
	copy(c.valueOffsets(nd), c.valueOffsets(old))
	p := c.page(nd)
	for i := range outcomes {
		if o := &outcomes[i]; o.action == put || o.action == carry {
			copy(p[o.at+1:], o.value)
		}
	}
	w.ascending = false
	return branch{sep: lo, rec: record{size: nd.size}, id: id, fresh: true}
}

// copyPage makes nd, a new frame, the same page as old, but for the index.
func (t *Tree) copyPage(nd, old *node) {
	copy(t.cache.page(nd), t.cache.page(old))
	nd.size, nd.keys, nd.first, nd.second = old.size, old.keys, old.first, old.second
	nd.stride, nd.common, nd.root = old.stride, old.common, old.root
}

// kidBounds returns the bounds of child i of a parent that has the bounds lo and hi.
func (c *cache) kidBounds(nd *node, i int, lo, hi []byte) (kidLo, kidHi []byte) {
	if i > 0 {
		lo = c.key(nd, i-1)
	}
	if i < int(nd.keys) {
		hi = c.key(nd, i)
	}
	return lo, hi
}
