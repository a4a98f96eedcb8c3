package tree

import (
	"kivaloo/tree/keys"
	"kivaloo/tree/page"
)

// Where to cut a page that has become too long. The original closes a part once it is longer than
// two thirds of a block, which leaves room for keys that arrive in any order. If all new keys came
// in at the end, more of the same are likely. Then parts are filled nearly to the end, and the last
// one takes the keys that follow.

// fillTarget is the length in bytes at which a part is closed.
func fillTarget(blockSize int, ascending bool) int {
	if ascending {
		return blockSize * 95 / 100
	}
	return mergeLimit(blockSize) + 1
}

// splitLeaf writes w.pairs as one leaf, or as several if one would exceed limit. size is their
// length as one page.
func (w *pageCommit) splitLeaf(size int, lo, hi []byte, limit int) []branch {
	level := w.level(0)
	level.parts = level.parts[:0]
	if size <= limit {
		level.parts = append(level.parts, w.writeLeaf(w.pairs, lo, hi, false))
		return level.parts
	}
	target := fillTarget(w.cache.blockSize, w.ascending)
	start, used := 0, page.LeafBase
	for i, p := range w.pairs {
		if i > start && (used >= target || used+p.size() > limit) {
			sep := keys.ShortestSeparator(w.pairs[i-1].key, p.key)
			level.parts = append(level.parts, w.writeLeaf(w.pairs[start:i], lo, sep, false))
			lo, start, used = sep, i, page.LeafBase
		}
		used += p.size()
	}
	level.parts = append(level.parts, w.writeLeaf(w.pairs[start:], lo, hi, false))
	w.added += len(level.parts) - 1
	return level.parts
}

// splitParent appends one parent of kids to parts, or several if one would exceed limit bytes. Each
// parent takes the separator of its first kid.
func (w *pageCommit) splitParent(kids []branch, limit int, ascending bool, parts []branch) []branch {
	size := kidsSize(kids)
	if size <= limit {
		return append(parts, parentOf(kids))
	}
	target := fillTarget(w.cache.blockSize, ascending)
	start, used := 0, page.ParentBase
	for i, k := range kids {
		if i == start {
			continue
		}
		more := 1 + len(k.sep) + page.ChildBytes
		if used >= target || used+more > limit {
			parts = append(parts, parentOf(kids[start:i:i]))
			start, used = i, page.ParentBase
			continue
		}
		used += more
	}
	return append(parts, parentOf(kids[start:]))
}

// parentOf returns a fresh parent of kids that is not written yet.
func parentOf(kids []branch) branch {
	return branch{
		sep:   kids[0].sep,
		rec:   page.Child{Size: uint32(kidsSize(kids))},
		kids:  kids,
		fresh: true,
	}
}

// kidsSize returns the size in bytes of a page with these children.
func kidsSize(kids []branch) int {
	size := page.ParentBase
	for _, k := range kids[1:] {
		size += 1 + len(k.sep) + page.ChildBytes
	}
	return size
}
