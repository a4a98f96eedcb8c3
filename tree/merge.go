package tree

import "errors"

// mergeLimit is the greatest size in bytes of a page that comes from a merge: two
// thirds of a block, from the original.
func mergeLimit(blockSize int) int { return 2 * blockSize / 3 }

// mergeKids merges neighbours among the children of one parent of the given height, until no two of
// which at least one is fresh would fit together into two thirds of a page. Two clean neighbours
// are left alone. lo and hi are the bounds of the parent.
func (t *Tree) mergeKids(w *write, kids []branch, height int, lo, hi []byte) []branch {
	for {
		merged := false
		// Groups are formed from right to left, as the original does.
		for end := len(kids); end > 0; {
			start := t.groupStart(kids[:end], height)
			if end-start > 1 {
				first, past := lo, hi
				if start > 0 {
					first = kids[start].sep
				}
				if end < len(kids) {
					past = kids[end].sep
				}
				if one, ok := t.mergeRun(w, kids[start:end], height-1, first, past); ok {
					kids[start] = one
					kids = append(kids[:start+1], kids[end:]...)
					merged = true
				}
			}
			end = start
		}
		if !merged {
			return kids
		}
	}
}

// groupStart returns where the group begins that the last of kids is the end of.
func (t *Tree) groupStart(kids []branch, height int) int {
	limit := mergeLimit(t.cache.blockSize)
	i := len(kids) - 1
	size, fresh := int(kids[i].rec.size), kids[i].fresh
	for ; i > 0; i-- {
		fresh = fresh || kids[i-1].fresh
		size += int(kids[i-1].rec.size) - headerBytes
		if height > 1 {
			size += 1 + len(kids[i].sep)
		}
		if !fresh || size > limit {
			break
		}
	}
	return i
}

// mergeRun makes one branch of neighbours of the given height, between the bounds lo and hi. It
// returns false when a page that takes part is not in memory (then w waits for it, and the tree is
// built again) or cannot be had (then they stay apart).
func (t *Tree) mergeRun(w *write, run []branch, height int, lo, hi []byte) (branch, bool) {
	for i := range run {
		kidLo, kidHi := lo, hi
		if i > 0 {
			kidLo = run[i].sep
		}
		if i+1 < len(run) {
			kidHi = run[i+1].sep
		}
		if t.hold(w, &run[i], height, kidLo, kidHi) != nil {
			return branch{}, false
		}
	}
	w.added -= len(run) - 1
	sep := run[0].sep
	var one branch
	if height == 0 {
		one = t.mergeLeaves(w, run, lo, hi)
	} else {
		var kids []branch
		for _, b := range run {
			first := len(kids)
			kids = append(kids, t.kidsOf(w, b)...)
			kids[first].sep = b.sep
		}
		one = parentOf(t.mergeKids(w, kids, height, lo, hi))
	}
	one.sep = sep
	return one, true
}

// errMissing: a page has been asked for and is not there yet.
var errMissing = errors.New("page is not in memory")

// hold makes sure that the page of b, if it is a clean branch, is in memory and stays there
// until w is done. Its height and the bounds of its keys are given.
func (t *Tree) hold(w *write, b *branch, height int, lo, hi []byte) error {
	if b.fresh {
		return nil
	}
	want := want{block: b.rec.block, oldest: b.rec.oldest, size: b.rec.size, height: height, lo: lo, hi: hi}
	b.id = t.cache.find(b.id, &want) // it may have been evicted since b was made
	if b.id == noNode {
		if err := t.fetchForWrite(w, want); err != nil {
			return err
		}
		return errMissing
	}
	nd := t.cache.node(b.id)
	t.pin(w, b.id, nd)
	if !t.mayCopy(w, nd) {
		return errMissing
	}
	return nil
}

// mergeLeaves writes one leaf with the pairs of all in run.
func (t *Tree) mergeLeaves(w *write, run []branch, lo, hi []byte) branch {
	w.pairs = w.pairs[:0]
	for _, b := range run {
		w.pairs = t.appendPairs(w.pairs, b.id)
	}
	one := t.writeLeaf(w, w.pairs, lo, hi, false)
	for _, b := range run {
		w.replace(b.id)
	}
	return one
}

// appendPairs appends the pairs of a leaf.
func (t *Tree) appendPairs(pairs []pair, id nodeID) []pair {
	nd := t.cache.node(id)
	p := t.cache.page(nd)
	keyAt, valueAt := int(nd.first), int(nd.second)
	for range nd.keys {
		key, value := stringAt(p, keyAt), stringAt(p, valueAt)
		pairs = append(pairs, pair{key, value})
		keyAt += 1 + len(key)
		valueAt += 1 + len(value)
	}
	return pairs
}

// kidsOf returns the children of a branch that is a parent, which is being replaced.
func (t *Tree) kidsOf(w *write, b branch) []branch {
	if b.kids != nil {
		return b.kids
	}
	nd := t.cache.node(b.id)
	w.replace(b.id)
	kids := make([]branch, 0, nd.keys+1)
	for i, hint := range t.cache.children(nd) {
		k := branch{rec: t.kidRecord(nd, i), id: hint}
		if i > 0 {
			k.sep = t.cache.key(nd, i-1)
		}
		// A parent that was patched for this batch has children that were built for it.
		k.fresh = provisional(k.rec.block) && t.cache.node(hint).born > w.since
		kids = append(kids, k)
	}
	return kids
}

// pruneRoot takes away roots with a single child, and returns the root that remains
// and its height.
func (t *Tree) pruneRoot(w *write, root branch, height int) (branch, int) {
	for height > 0 && len(root.kids) == 1 {
		kid := root.kids[0]
		if err := t.hold(w, &kid, height-1, nil, nil); err != nil {
			if err != errMissing {
				w.err = err // as a root it would have to be rewritten
			}
			return root, height
		}
		w.added--
		height--
		if height > 0 && kid.kids == nil {
			kid = parentOf(t.kidsOf(w, kid))
		}
		root = kid
	}
	return root, height
}
