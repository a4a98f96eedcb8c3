package tree

import (
	"kivaloo/tree/keys"
	"kivaloo/tree/page"
)

// Where a page that has become too long is cut. The original closes a part once it is longer than
// two thirds of a block, which leaves room for keys that arrive in any order. Where everything new
// came in at the end, more of the same is to be expected: parts are filled nearly to the end, and
// the last one takes what follows.

// fillTarget is the length in bytes at which a part is closed.
func fillTarget(blockSize int, ascending bool) int {
	if ascending {
		return blockSize * 95 / 100
	}
	return mergeLimit(blockSize) + 1
}

// splitLeaf writes w.pairs, which take size bytes as one page, as one leaf if that is within
// limit, else as several.
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

// splitParent appends to parts one parent of kids if that is within limit bytes, else
// several. The separator of the first kid of each becomes its own.
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

// parentOf returns a fresh parent, not yet written, of kids.
func parentOf(kids []branch) branch {
	return branch{
		sep:   kids[0].sep,
		rec:   page.Child{Size: uint32(kidsSize(kids))},
		kids:  kids,
		fresh: true,
	}
}

// kidsSize is the size in bytes of a page with kids as children.
func kidsSize(kids []branch) int {
	size := page.ParentBase
	for _, k := range kids[1:] {
		size += 1 + len(k.sep) + page.ChildBytes
	}
	return size
}
