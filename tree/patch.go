package tree

import "kivaloo/tree/page"

// Most changes alter only a few bytes of a page: in a leaf, values of unchanged length, and in a
// parent, the records of its children. Then the new page is a copy of the old one and its index,
// with these bytes replaced.

// canPatch reports whether a parent changes only in the records of changed children. That is so if
// no child was split, and none became so small that it might be merged with a neighbour.
func (w *pageCommit) canPatch(nd *node, level *level) bool {
	if nd.root {
		return false // the root's header contains the number of pages, and the root may have to shrink
	}
	limit := mergeLimit(w.cache.blockSize)
	from := 0
	for j, change := range level.changes {
		if change.end-from != 1 {
			return false
		}
		size := int(level.changed[from].rec.Size) - page.HeadBytes
		for _, neighbour := range [2]int{change.kid - 1, change.kid + 1} {
			if neighbour < 0 || neighbour > int(nd.keys) {
				continue
			}
			other := int(w.cache.record(nd, neighbour).Size)
			if j+1 < len(level.changes) && level.changes[j+1].kid == neighbour {
				other = int(level.changed[change.end].rec.Size)
			} else if j > 0 && level.changes[j-1].kid == neighbour {
				other = int(level.changed[from-1].rec.Size)
			}
			if size+other <= limit {
				return false
			}
		}
		from = change.end
	}
	return true
}

// patchParent writes the parent that replaces old, between the bounds lo and hi.
func (w *pageCommit) patchParent(old *node, level *level, lo, hi []byte) branch {
	c := w.cache
	for i := range level.changed {
		if k := &level.changed[i]; k.kids != nil {
			kidLo, kidHi := c.kidBounds(old, level.changes[i].kid, lo, hi)
			k.id = w.finish(*k, int(old.height)-1, kidLo, kidHi, false)
			k.kids = nil
		}
	}
	id, nd := w.newNode(int(old.height))
	w.copyPage(nd, old)
	copy(nd.heads(), old.heads())
	copy(c.keyOffsets(nd), c.keyOffsets(old))
	for i, hint := range c.children(old) {
		c.setChild(nd, i, hint)
	}
	copy(c.blocks(nd), c.blocks(old))
	for j, change := range level.changes {
		k := &level.changed[j]
		c.putRecord(nd, change.kid, page.Child{Block: noBlock, Oldest: noBlock, Size: c.node(k.id).size})
		c.setChild(nd, change.kid, k.id)
	}
	return freshBranch(lo, id, nd)
}

// patchLeaf writes the leaf that replaces old. It only succeeds if every change replaces a value by
// one of the same length.
func (w *pageCommit) patchLeaf(old *node, changes []change, lo []byte) (branch, bool) {
	c := w.cache
	if old.root {
		return branch{}, false
	}
	var room [64]int
	offsets := room[:0]
	for i := range changes {
		at := 0
		if ch := &changes[i]; ch.action != touch {
			var found bool
			at, found = c.valueOffset(old, ch.key)
			if ch.action != put || !found || len(page.String(c.page(old), at)) != len(ch.value) {
				return branch{}, false
			}
		}
		offsets = append(offsets, at)
	}
	id, nd := w.newNode(0)
	w.copyPage(nd, old)
	copy(nd.heads(), old.heads())
	copy(c.keyOffsets(nd), c.keyOffsets(old))
	copy(c.valueOffsets(nd), c.valueOffsets(old))
	p := c.page(nd)
	for i := range changes {
		if changes[i].action == put {
			copy(p[offsets[i]+1:], changes[i].value)
		}
	}
	w.ascending = false
	return freshBranch(lo, id, nd), true
}

// copyPage makes the new frame nd hold the same page as old, without the index.
func (w *pageCommit) copyPage(nd, old *node) {
	copy(w.cache.page(nd), w.cache.page(old))
	nd.size, nd.keys, nd.first, nd.second = old.size, old.keys, old.first, old.second
	nd.stride, nd.common, nd.root, nd.bounds = old.stride, old.common, old.root, old.bounds
}

// kidBounds returns the bounds of child i of a parent whose own bounds are lo and hi.
func (c *cache) kidBounds(nd *node, i int, lo, hi []byte) (kidLo, kidHi []byte) {
	if i > 0 {
		lo = c.key(nd, i-1)
	}
	if i < int(nd.keys) {
		hi = c.key(nd, i)
	}
	return lo, hi
}
