package tree

import (
	"bytes"
	"cmp"
	"container/heap"
	"slices"
	"sort"

	"kivaloo/tree/journal"
	"kivaloo/tree/page"
)

// A stray is a leaf found by reading block after block instead of descending from a root. It has
// all pairs that existed between its first and its last key when it was written. A parent that
// leads to it, in whatever tree, shows how far it reaches beyond these keys.
type stray struct {
	block  uint64
	start  uint64 // number of a commit: the leaf's tree has all commits before this one
	dated  bool   // the leaf's tree lacks commit start, so start is exact
	epoch  int    // of the journal, as in chain
	size   uint32 // bytes of the page
	lo, hi []byte // range of the pairs it has: from lo on, before hi
	empty  bool   // has no pairs: lo and hi come from a parent, or are nil
	loose  bool   // lo or hi comes from a page that no checksum confirms
	// misplaced means that it was not written to this block. So it may be older than all others.
	misplaced bool
}

// newer reports whether l is to be trusted over another leaf.
func (l *stray) newer(other *stray) bool {
	if l.misplaced != other.misplaced {
		return other.misplaced
	}
	return l.block > other.block
}

// strays is the result of one pass over a store, for some holes.
type strays struct {
	s       *salvager
	holes   []keyRange // in order
	end     []byte     // keys from here on are left to another pass; nil: none
	leaves  []stray    // by block
	from    uint64     // first block read
	parents []uint64   // pages above leaves, or above each other, in order: block and height
	held    int        // memory of leaves, in bytes
	chain   chain
}

const heightShift = 56 // bits of a block number; no store gets near the limit

func (f *strays) add(l stray) error {
	f.leaves = append(f.leaves, l)
	if f.held += strayBytes + len(l.lo) + len(l.hi); f.held < f.s.budget {
		return nil
	}
	return f.thin()
}

// scan reads all blocks, starting at from, and finds what can fill holes.
func (s *salvager) scan(holes []keyRange, from uint64) (*strays, error) {
	f := &strays{s: s, holes: holes, from: from, chain: s.newChain(from)}
	err := s.eachBlock(from, s.store.Blocks().Next, func(at uint64, p []byte, bad error) error {
		if bad != nil {
			f.chain.unreadable(at)
			return nil
		}
		if isJournal(p) {
			f.journal(at, p)
			return nil
		}
		return f.page(at, p)
	})
	if err != nil {
		return nil, err
	}
	f.chain.end(&s.root)
	return f, f.widen()
}

// eachBlock reads the blocks from from up to end. It calls do for each, with the error if the block
// is unreadable.
func (s *salvager) eachBlock(from, end uint64, do func(at uint64, p []byte, bad error) error) error {
	end = min(end, 1<<heightShift)
	blocks := newBlockReader(s.store)
	blocks.ahead = end
	for at := from; at < end; at++ {
		if err := s.step(); err != nil {
			return err
		}
		p, err := blocks.read(at)
		if err != nil && !isBad(err) {
			return err
		}
		if err != nil {
			s.bad.add(at)
		}
		if err := do(at, p, err); err != nil { // p is nil if err is not
			return err
		}
	}
	return nil
}

// journal processes a journal block.
func (f *strays) journal(at uint64, p []byte) {
	b, err := journal.ParseAt(at, p)
	if err != nil {
		f.s.bad.add(at)
		f.chain.unreadable(at)
		return
	}
	if b.Kind == journal.Piece {
		f.chain.piece(at, &b)
		return
	}
	f.chain.flush(at, &b)
	f.date(b.First, b.Seq)
}

// date records the first commit that is missing in the leaves written from a block on.
func (f *strays) date(from, seq uint64) {
	for i := len(f.leaves) - 1; i >= 0 && f.leaves[i].block >= from; i-- {
		if l := &f.leaves[i]; !l.misplaced {
			l.start, l.dated, l.epoch = seq, true, f.chain.epoch
		}
	}
}

// page processes a block that is not a journal block.
func (f *strays) page(at uint64, p []byte) error {
	l, err := pageAlone(at, p)
	if err != nil {
		f.s.bad.add(at)
		f.chain.unreadable(at)
		return nil
	}
	f.chain.page(at, p)
	if f.s.isSeal(at, p) {
		return nil
	}
	f.s.parts = true
	var dated, misplaced bool
	if l.Root {
		if misplaced, err = f.s.misplaced(at, p, l); err != nil {
			return err
		}
		dated = !misplaced && f.root(at, l.Partial)
	}
	if l.Height > 0 {
		f.parent(at, p, l)
		return nil
	}
	if misplaced && f.from > f.s.store.Blocks().First { // this pass looks for newer leaves
		return nil
	}
	one := stray{block: at, misplaced: misplaced, start: max(f.chain.lacks, f.chain.since), epoch: f.chain.epoch, size: uint32(l.End), empty: l.Keys == 0}
	if l.Root {
		one.lo, one.empty = []byte{}, false
	}
	if l.Keys > 0 && !l.Root {
		one.lo = bytes.Clone(page.String(p, l.Body))
		last := page.String(p, page.Skip(p, l.Body, l.Keys-1))
		one.hi = append(bytes.Clone(last), 0)
	}
	if dated {
		one.start, one.dated = f.chain.startOf(at), true
	}
	if !one.empty && !f.wants(one.lo, one.hi) {
		return nil
	}
	return f.add(one)
}

// root processes a root. Without a flush record, the leaves of its append lack no commit. Only a
// seal says which leaves these are.
func (f *strays) root(at uint64, partial bool) (known bool) {
	known = f.chain.root(at, partial)
	if !known || f.chain.recorded(at) || f.chain.seal+1 != at {
		return known
	}
	f.date(f.chain.sealed, firstAfter(at))
	return true
}

// pageAlone verifies a page about which only its block is known.
func pageAlone(at uint64, p []byte) (page.Layout, error) {
	l, err := page.Parse(p)
	if err != nil {
		return l, err
	}
	w := page.Want{Block: at, Root: l.Root, Height: l.Height, Size: uint32(l.End), Oldest: l.Oldest(p, at)}
	return l, w.VerifyContent(p, l)
}

// parent records a page that leads to known leaves, or to known parents.
func (f *strays) parent(at uint64, p []byte, l page.Layout) {
	for i := range l.Keys + 1 {
		kid := l.Child(p, i).Block
		var known bool
		if l.Height == 1 {
			known = f.find(kid) != nil
		} else {
			known = f.hasParent(kid)
		}
		if known {
			f.parents = append(f.parents, at|uint64(l.Height)<<heightShift)
			if len(f.parents) > maxSalvageParents { // the newest are the most useful
				f.parents = slices.Delete(f.parents, 0, len(f.parents)/2)
			}
			return
		}
	}
}

// find returns the leaf in a block.
func (f *strays) find(block uint64) *stray {
	i, ok := slices.BinarySearchFunc(f.leaves, block, func(l stray, block uint64) int { return cmp.Compare(l.block, block) })
	if !ok {
		return nil
	}
	return &f.leaves[i]
}

// hasParent reports whether the page in a block was recorded by parent.
func (f *strays) hasParent(block uint64) bool {
	_, ok := slices.BinarySearchFunc(f.parents, block, func(p, block uint64) int { return cmp.Compare(p&(1<<heightShift-1), block) })
	return ok
}

// wants reports whether the range from lo to hi includes part of a hole.
func (f *strays) wants(lo, hi []byte) bool {
	if f.end != nil && bytes.Compare(lo, f.end) > 0 {
		return false
	}
	i := firstHole(f.holes, lo)
	return i < len(f.holes) && before(f.holes[i].lo, hi)
}

// firstHole returns the index of the first hole that ends after a key. Holes are in order.
func firstHole(holes []keyRange, key []byte) int {
	i, _ := slices.BinarySearchFunc(holes, key, func(h keyRange, key []byte) int {
		if before(key, h.hi) {
			return 1
		}
		return -1
	})
	return i
}

// widen extends the leaves to the bounds that their parents give them. It begins with the highest
// parents.
func (f *strays) widen() error {
	type bounds struct {
		lo, hi         []byte
		knowLo, knowHi bool
		loose          bool
	}
	const mask = 1<<heightShift - 1
	order := slices.Clone(f.parents)
	slices.SortFunc(order, func(a, b uint64) int { return cmp.Compare(b>>heightShift, a>>heightShift) })
	known := make(map[uint64]bounds)
	p := make([]byte, f.s.store.Info().BlockSize)
	for _, packed := range order {
		at := packed & mask
		if err := f.s.store.readPage(at, p); err != nil {
			if !isBad(err) {
				return err
			}
			continue
		}
		l, err := page.Parse(p)
		if err != nil || l.Height == 0 {
			continue
		}
		own := known[at]
		delete(known, at)
		if l.Root {
			own = bounds{lo: []byte{}, knowLo: true, knowHi: true}
		}
		own.loose = own.loose || !f.s.store.vouched(at)
		separators, err := f.s.separators(at, p, l)
		if err != nil {
			return err
		}
		kid := own
		for i := 0; i <= l.Keys; i++ {
			kid.hi, kid.knowHi = own.hi, own.knowHi
			if i < l.Keys {
				kid.hi, kid.knowHi = separators[i], true
			}
			c := l.Child(p, i)
			if l.Height > 1 {
				if f.hasParent(c.Block) {
					known[c.Block] = kid
				}
			} else if leaf := f.find(c.Block); leaf != nil && leaf.size == c.Size {
				leaf.widen(kid.lo, kid.hi, kid.knowLo, kid.knowHi, kid.loose)
			}
			kid.lo, kid.knowLo = kid.hi, kid.knowHi
		}
	}
	return nil
}

// widen extends a leaf to the bounds that a parent gives it, unless they contradict the leaf's
// keys.
func (l *stray) widen(lo, hi []byte, knowLo, knowHi, loose bool) {
	switch {
	case l.empty:
		if knowLo && knowHi {
			l.lo, l.hi, l.empty, l.loose = lo, hi, false, loose
		}
		return
	case knowLo && bytes.Compare(lo, l.lo) > 0, knowHi && hi != nil && l.hi != nil && bytes.Compare(hi, l.hi) < 0:
		return
	}
	if knowLo && !bytes.Equal(lo, l.lo) {
		l.lo, l.loose = lo, l.loose || loose
	}
	if knowHi && (l.hi != nil && (hi == nil || !bytes.Equal(hi, l.hi))) {
		l.hi, l.loose = hi, l.loose || loose
	}
}

// thin frees memory when too much was found. It drops leaves whose keys are all in newer ones. If
// that is not enough, it leaves the upper half of the keys to another pass.
func (f *strays) thin() error {
	f.keep()
	if f.held < f.s.budget/2 {
		return nil
	}
	parts := slices.DeleteFunc(f.paint(f.holes, f.end), func(p part) bool { return p.leaf == nil })
	if len(parts) > 1 {
		f.end = parts[len(parts)/2].lo
		f.keep()
	}
	return nil
}

// keep drops the leaves whose keys are all in newer ones. It keeps a leaf that begins where the
// next pass begins, because a parent may show that the leaf begins before that.
func (f *strays) keep() {
	end := f.end
	if end != nil {
		end = append(bytes.Clone(end), 0)
	}
	parts := f.paint(f.holes, end)
	used := make(map[uint64]bool, len(parts))
	for _, p := range parts {
		if p.leaf != nil {
			used[p.leaf.block] = true
		}
	}
	f.held = 0
	f.leaves = slices.DeleteFunc(f.leaves, func(l stray) bool {
		if !used[l.block] && !l.empty {
			return true
		}
		f.held += strayBytes + len(l.lo) + len(l.hi)
		return false
	})
}

// part is a part of a hole, with the newest leaf that covers it, or nil.
type part struct {
	keyRange
	leaf *stray
}

// partOf returns the index of the first part that ends after a key, and whether that part contains
// the key. Parts are in order.
func partOf(parts []part, key []byte) (i int, ok bool) {
	i = sort.Search(len(parts), func(i int) bool { return before(key, parts[i].hi) })
	return i, i < len(parts) && bytes.Compare(parts[i].lo, key) <= 0
}

// paint divides holes into parts, each with the newest leaf that covers it. If end is not nil, it
// stops there.
func (f *strays) paint(holes []keyRange, end []byte) (parts []part) {
	byLo := make([]*stray, 0, len(f.leaves))
	for i := range f.leaves {
		if !f.leaves[i].empty {
			byLo = append(byLo, &f.leaves[i])
		}
	}
	slices.SortFunc(byLo, func(a, b *stray) int { return bytes.Compare(a.lo, b.lo) })
	var open newest
	for _, h := range holes {
		if end != nil {
			h.hi = lower(h.hi, end)
		}
		for at := h.lo; before(at, h.hi); {
			for ; len(byLo) > 0 && bytes.Compare(byLo[0].lo, at) <= 0; byLo = byLo[1:] {
				heap.Push(&open, byLo[0])
			}
			for len(open) > 0 && !before(at, open[0].hi) {
				heap.Pop(&open)
			}
			p := part{keyRange: keyRange{at, h.hi}}
			if len(byLo) > 0 {
				p.hi = lower(p.hi, byLo[0].lo)
			}
			if len(open) > 0 {
				p.leaf, p.hi = open[0], lower(p.hi, open[0].hi)
			}
			if n := len(parts); n > 0 && parts[n-1].leaf == p.leaf && bytes.Equal(parts[n-1].hi, p.lo) && parts[n-1].hi != nil {
				parts[n-1].hi = p.hi
			} else {
				parts = append(parts, p)
			}
			if at = p.hi; at == nil {
				break
			}
		}
	}
	return parts
}

// newest is a heap of leaves, newest first.
type newest []*stray

func (n newest) Len() int           { return len(n) }
func (n newest) Less(i, j int) bool { return n[i].newer(n[j]) }
func (n newest) Swap(i, j int)      { n[i], n[j] = n[j], n[i] }
func (n *newest) Push(x any)        { *n = append(*n, x.(*stray)) }
func (n *newest) Pop() any {
	old := *n
	last := old[len(old)-1]
	*n = old[:len(old)-1]
	return last
}

// fill fills holes from strays, then replays the journal over what it took.
func (s *salvager) fill(holes []keyRange) error {
	for len(holes) > 0 {
		s.of += 2 * (s.store.Blocks().Next - s.store.Blocks().First)
		f, err := s.scan(holes, s.store.Blocks().First)
		if err != nil {
			return err
		}
		parts := f.paint(holes, f.end)
		complete := make([]bool, len(parts))
		p := make([]byte, s.store.Info().BlockSize)
		for i, one := range parts {
			if complete[i], err = s.takePart(&f.chain, one, p); err != nil {
				return err
			}
		}
		if err := s.replayOn(parts, complete); err != nil {
			return err
		}
		if f.end == nil {
			return nil
		}
		holes = slices.Clone(holes[firstHole(holes, f.end):])
		if len(holes) > 0 && bytes.Compare(holes[0].lo, f.end) < 0 {
			holes[0].lo = f.end
		}
	}
	return nil
}

// takePart takes the pairs of a part from its leaf. It reports whether, according to c, the leaf
// and the journal since are complete. Without c it reports false.
func (s *salvager) takePart(c *chain, one part, p []byte) (complete bool, err error) {
	var l page.Layout
	if one.leaf != nil {
		if err = s.store.readPage(one.leaf.block, p); err == nil {
			l, err = page.Parse(p)
		}
		if err != nil && !isBad(err) {
			return false, err
		}
	}
	if one.leaf == nil || err != nil {
		s.note(one.keyRange, Lost, 0)
		return false, nil
	}
	complete = c != nil && c.completes(one.leaf)
	trust := s.trust(complete, !one.leaf.loose && s.store.vouched(one.leaf.block))
	if trust == Stale && l.Keys == 0 && l.Root {
		trust = Lost // the empty tree that every store begins with
	}
	return complete, s.take(one.keyRange, p, l, trust)
}
