package tree

import "bytes"

// branch is a subtree of the tree that a batch builds.
//
// It is one of three: clean, a page of the base tree that stays (kids nil, fresh false); a
// fresh page that has been written into a frame (kids nil, fresh true, id set); or a fresh
// parent of which the page is not written yet, so that it can still be merged (kids set).
type branch struct {
	sep   []byte // separator to its left; without meaning for the first child of a parent
	rec   record // for its parent; of a fresh branch only the size is known
	id    nodeID // its page; of a clean branch only a hint, as in node, until it is held
	kids  []branch
	fresh bool
}

// pair is a key and its value, aliasing a page or a request.
type pair struct{ key, value []byte }

func (p pair) size() int { return 2 + len(p.key) + len(p.value) }

// build makes the pages of the tree that the outcomes in w lead to, bottom-up, and leaves the
// root in w.result. Nothing of the base tree is changed. It returns false when pages are missing
// that a merge needs: they have been asked for, and build is to be called again when they
// are there.
func (t *Tree) build(w *write) bool {
	w.startBuild()
	w.since = t.cache.lastBorn()
	w.after = false
	parts := t.rebuild(w, w.base.root, w.outcomes, nil, nil, t.cache.blockSize-rootExtra)
	height := w.base.height
	ascending := w.ascending
	for len(parts) > 1 {
		height++
		kids := append([]branch(nil), parts...)
		parts = t.splitParent(w, kids, t.cache.blockSize-rootExtra, ascending, parts[:0:0])
		w.added += len(parts)
	}
	root, height := t.pruneRoot(w, parts[0], height)
	w.result = version{
		root:   t.finish(w, root, height, nil, nil, true),
		nodes:  uint64(int64(w.base.nodes) + int64(w.added)),
		height: height,
	}
	if w.waiting > 0 || w.err != nil || w.after || w.collided { // the pages were built around what is missing
		t.discardFresh(w)
		return false
	}
	return true
}

// rebuild applies outcomes to the subtree of id, of which the bounds are lo and hi, and returns the
// branches that take its place: one, or several where it had to be split. A page may take
// up to limit bytes. The result is valid until the next call for the same height.
func (t *Tree) rebuild(w *write, id nodeID, outcomes []outcome, lo, hi []byte, limit int) []branch {
	w.replace(id)
	nd := t.cache.node(id)
	if nd.height == 0 {
		return t.rebuildLeaf(w, nd, outcomes, lo, hi, limit)
	}
	t.lookUp()
	level := w.level(int(nd.height))
	ascending := t.rebuildKids(w, nd, outcomes, lo, hi)
	if t.canPatch(nd, level) {
		level.parts = append(level.parts[:0], t.patchParent(w, nd, level, lo, hi))
	} else {
		kids := t.mergeKids(w, t.gatherKids(nd, level, lo), int(nd.height), lo, hi)
		level.parts = t.splitParent(w, kids, limit, ascending, level.parts[:0])
	}
	w.ascending = ascending
	w.added += len(level.parts) - 1
	return level.parts
}

// rebuildKids leaves in the level of nd what becomes of those children of a parent that outcomes are for. It returns whether
// all that is new came in at its right end.
func (t *Tree) rebuildKids(w *write, nd *node, outcomes []outcome, lo, hi []byte) (ascending bool) {
	c, level := t.cache, w.level(int(nd.height))
	level.changed, level.changes = level.changed[:0], level.changes[:0]
	ascending = true
	for n := int(nd.keys); len(outcomes) > 0; {
		i := c.childFor(nd, outcomes[0].key)
		childLo, childHi := c.kidBounds(nd, i, lo, hi)
		mine := outcomesBefore(outcomes, childHi)
		parts := t.rebuild(w, c.child(nd, i), mine, childLo, childHi, c.blockSize)
		parts[0].sep = childLo
		level.changed = append(level.changed, parts...)
		level.changes = append(level.changes, kidChange{i, len(level.changed)})
		ascending = ascending && w.ascending && i == n
		outcomes = outcomes[len(mine):]
	}
	return ascending
}

// gatherKids returns all children of a parent, those that have changed and the others.
func (t *Tree) gatherKids(nd *node, level *level, lo []byte) []branch {
	c := t.cache
	start, hints := len(level.arena), c.children(nd)
	from, changes := 0, level.changes
	for i := range int(nd.keys) + 1 {
		if len(changes) > 0 && changes[0].kid == i {
			level.arena = append(level.arena, level.changed[from:changes[0].end]...)
			from, changes = changes[0].end, changes[1:]
			continue
		}
		sep := lo
		if i > 0 {
			sep = c.key(nd, i-1)
		}
		level.arena = append(level.arena, branch{sep: sep, rec: t.kidRecord(nd, i), id: hints[i]})
	}
	return level.arena[start:len(level.arena):len(level.arena)]
}

// kidRecord returns child record i of a parent for a parent that takes its place.
func (t *Tree) kidRecord(nd *node, i int) record {
	if t.checkpoint.sweeping {
		return t.cache.resolve(nd, i) // the sweep may have passed the new parent already
	}
	return t.cache.record(nd, i)
}

// outcomesBefore returns the outcomes for keys before hi; all where hi is no bound.
func outcomesBefore(outcomes []outcome, hi []byte) []outcome {
	if hi == nil {
		return outcomes
	}
	n := 0
	for n < len(outcomes) && bytes.Compare(outcomes[n].key, hi) < 0 {
		n++
	}
	return outcomes[:n]
}

// rebuildLeaf merges a leaf with its outcomes into one or more new leaves.
func (t *Tree) rebuildLeaf(w *write, nd *node, outcomes []outcome, lo, hi []byte, limit int) []branch {
	c := t.cache
	if canPatchLeaf(nd, outcomes) {
		level := w.level(0)
		level.parts = append(level.parts[:0], t.patchLeaf(w, nd, outcomes, lo))
		return level.parts
	}
	w.pairs = w.pairs[:0]
	size := leafBase
	add := func(p pair) {
		w.pairs = append(w.pairs, p)
		size += p.size()
	}
	p := c.page(nd)
	keyAt, valueAt, left := int(nd.first), int(nd.second), int(nd.keys)
	next := func() pair {
		key, value := stringAt(p, keyAt), stringAt(p, valueAt)
		keyAt += 1 + len(key)
		valueAt += 1 + len(value)
		left--
		return pair{key, value}
	}
	w.ascending = true // until an outcome comes before the end of what was there
	for _, o := range outcomes {
		order := 1
		for left > 0 {
			if order = bytes.Compare(stringAt(p, keyAt), o.key); order >= 0 {
				break
			}
			add(next())
		}
		switch o.action {
		case put, carry:
			add(pair{o.key, o.value})
		case touch:
			continue
		}
		if left > 0 {
			w.ascending = false
			if order == 0 {
				next() // replaced or removed
			}
		}
	}
	for left > 0 {
		add(next())
	}
	return t.splitLeaf(w, size, lo, hi, limit)
}
