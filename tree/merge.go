package tree

import (
	"errors"

	"kivaloo/tree/page"
)

// mergeLimit is the greatest size in bytes of a page that comes from a merge: two
// thirds of a block, from the original.
func mergeLimit(blockSize int) int { return 2 * blockSize / 3 }

// mergeKids merges neighbours among the children of one parent of the given height, until no two of
// which at least one is fresh would fit together into two thirds of a page. Two clean neighbours
// are left alone. lo and hi are the bounds of the parent.
func (w *pageCommit) mergeKids(kids []branch, height int, lo, hi []byte) []branch {
	for {
		merged := false
		// Groups are formed from right to left, as the original does.
		for end := len(kids); end > 0; {
			start := w.groupStart(kids[:end], height)
			if end-start > 1 {
				first, past := lo, hi
				if start > 0 {
					first = kids[start].sep
				}
				if end < len(kids) {
					past = kids[end].sep
				}
				if one, ok := w.mergeRun(kids[start:end], height-1, first, past); ok {
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
func (w *pageCommit) groupStart(kids []branch, height int) int {
	limit := mergeLimit(w.cache.blockSize)
	i := len(kids) - 1
	size, fresh := int(kids[i].rec.Size), kids[i].fresh
	for ; i > 0; i-- {
		fresh = fresh || kids[i-1].fresh
		size += int(kids[i-1].rec.Size) - page.HeadBytes
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
// returns false when a page that takes part is not in memory (then w waits for it and the pages are
// built again) or cannot be had (then they stay apart).
func (w *pageCommit) mergeRun(run []branch, height int, lo, hi []byte) (branch, bool) {
	for i := range run {
		if w.hold(&run[i], height) != nil {
			return branch{}, false
		}
	}
	w.added -= len(run) - 1
	sep := run[0].sep
	var one branch
	if height == 0 {
		one = w.mergeLeaves(run, lo, hi)
	} else {
		var kids []branch
		for _, b := range run {
			first := len(kids)
			kids = append(kids, w.kidsOf(b)...)
			kids[first].sep = b.sep
		}
		one = parentOf(w.mergeKids(kids, height, lo, hi))
	}
	one.sep = sep
	return one, true
}

// errMissing: a page has been asked for and is not there yet.
var errMissing = errors.New("page is not in memory")

// hold makes sure that the page of b, of the given height, is in memory and stays there until w
// ends.
func (w *pageCommit) hold(b *branch, height int) error {
	if b.fresh {
		return nil
	}
	if !w.cache.node(b.id).is(b.rec.Block) { // it was evicted, or has never been here
		id, err := w.want(b.sep, height)
		if err != nil {
			return err
		}
		if id == noNode {
			return errMissing
		}
		b.id = id
	}
	w.pin(b.id)
	return nil
}

// mergeLeaves writes one leaf with the pairs of all in run.
func (w *pageCommit) mergeLeaves(run []branch, lo, hi []byte) branch {
	w.pairs = w.pairs[:0]
	for _, b := range run {
		w.pairs = w.appendPairs(w.pairs, b.id)
	}
	one := w.writeLeaf(w.pairs, lo, hi, false)
	for _, b := range run {
		w.replace(b.id)
	}
	return one
}

// appendPairs appends the pairs of a leaf.
func (w *pageCommit) appendPairs(pairs []pair, id nodeID) []pair {
	nd := w.cache.node(id)
	p := w.cache.page(nd)
	keyAt, valueAt := int(nd.first), int(nd.second)
	for range nd.keys {
		key, value := page.String(p, keyAt), page.String(p, valueAt)
		pairs = append(pairs, pair{key, value})
		keyAt += 1 + len(key)
		valueAt += 1 + len(value)
	}
	return pairs
}

// kidsOf returns the children of a branch that is a parent, which is being replaced.
func (w *pageCommit) kidsOf(b branch) []branch {
	if b.kids != nil {
		return b.kids
	}
	nd := w.cache.node(b.id)
	w.replace(b.id)
	kids := make([]branch, 0, nd.keys+1)
	for i, hint := range w.cache.children(nd) {
		k := branch{rec: w.cache.record(nd, i), id: hint}
		if i > 0 {
			k.sep = w.cache.key(nd, i-1)
		}
		k.fresh = k.rec.Block == noBlock // nd was patched for this commit
		kids = append(kids, k)
	}
	return kids
}

// pruneRoot takes away roots with a single child, and returns the root that remains
// and its height.
func (w *pageCommit) pruneRoot(root branch, height int) (branch, int) {
	for height > 0 && len(root.kids) == 1 {
		kid := root.kids[0]
		if err := w.hold(&kid, height-1); err != nil {
			if err != errMissing {
				w.err = err // as a root it would have to be rewritten
			}
			return root, height
		}
		w.added--
		height--
		if height > 0 && kid.kids == nil {
			kid = parentOf(w.kidsOf(kid))
		}
		root = kid
	}
	return root, height
}
