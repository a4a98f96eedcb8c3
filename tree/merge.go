package tree

import (
	"errors"

	"kivaloo/tree/page"
)

// mergeLimit is the greatest size, in bytes, of a page that results from a merge. It is two thirds
// of a block, from the original.
func mergeLimit(blockSize int) int { return 2 * blockSize / 3 }

// mergeKids merges neighbouring children of one parent. It stops when no two neighbours with a
// fresh page among them would fit into two thirds of a page. It leaves two clean neighbours alone.
// lo and hi are the bounds of the parent; height is that of the parent.
func (w *pageCommit) mergeKids(kids []branch, height int, lo, hi []byte) []branch {
	for {
		merged := false
		// Groups are formed from right to left, as in the original.
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

// groupStart returns the start of the group that ends with the last of kids.
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

// mergeRun merges neighbours of the given height, between the bounds lo and hi, into one branch. It
// returns false if one of the pages is not in memory. Then w waits for the page, and the pages are
// built again. It also returns false if a page cannot be read. Then the pages stay apart.
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

// errMissing means that a page has been requested and has not arrived yet.
var errMissing = errors.New("page is not in memory")

// hold ensures that the page of b, of the given height, is in memory and stays there until w ends.
func (w *pageCommit) hold(b *branch, height int) error {
	if b.fresh {
		return nil
	}
	if !w.cache.node(b.id).is(b.rec.Block) { // it was evicted, or was never in memory
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

// mergeLeaves writes one leaf with all pairs of a run.
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

// kidsOf returns the children of a parent that is being replaced.
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

// pruneRoot removes roots with a single child. It returns the remaining root and its height.
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
