package tree

import (
	"bytes"
	"container/heap"
	"errors"
	"slices"
	"time"

	"kivaloo/disk"
)

// cleaner rewrites old leaves, so that the blocks before them can be freed.
//
// It owes work in proportion to the garbage there is: debt, in pages. What clients
// rewrite pays debt too, an old page more than a young one. While it owes more
// leaves than are waiting, it looks for the oldest ones and has them wait; they are
// rewritten together with the next batch, or after five seconds without one by themselves. The rules
// and the rate are the original's.
//
// That rate weighs the price of storage against that of writing, over months. It does not bound the space
// that a burst of random writes takes, each of which leaves a few pages of garbage. With Config.MaxSpread every
// commit adds to the debt in proportion to what it has written, the more the closer the tree comes to
// being spread over MaxSpread times the blocks that it consists of.
//
// A leaf is rewritten only if it was appended before the last change of a client, or before the store was opened. What
// cleaning itself appends is behind that, so it comes to an end when there are no more changes: then an idle store does nothing.
//
// Blocks are freed from the oldest on, so a leaf that cannot be read, and so not moved, holds all blocks behind it. Rewriting
// those would only add to them. Such a leaf ends the cleaning: what is behind it is no garbage, and is left where it is. The
// cleaner reads it again from time to time.
type cleaner struct {
	nextTick time.Duration
	debt     float64         // pages
	waiting  []*oldLeaf      // to be rewritten
	marked   map[uint64]bool // blocks of waiting
	stuck    *stuckPage      // nil: there is none
	changed  uint64          // block behind those before the append of the last change of a client
	ready    int             // of waiting, those in memory
	rewrote  bool            // since the last tick, leaves that had waited
	used     uint64          // blocks from the oldest that a restart needs to those that cleaning ends at, as of the last append

	free    disk.Op
	freeing bool
}

// oldLeaf is a leaf that waits to be rewritten, its page pinned once it is there; or a parent that a
// search for old leaves has to read on its way.
type oldLeaf struct {
	block  uint64
	oldest uint64 // lowest block of any leaf below; its own for a leaf
	key    []byte // falls into it
	id     nodeID
	parent bool
}

// stuckPage is a page that cleaning could not read: the oldest one.
type stuckPage struct {
	oldLeaf
	err     error
	delay   time.Duration // before it is read again
	retryAt time.Duration
	reading bool
}

// cleaningRate is how many pages a second are cleaned for each block of garbage.
func cleaningRate(blockSize int, storageCost float64) float64 {
	const monthSeconds = 86400 * 30
	return float64(blockSize) / 1e9 / monthSeconds * storageCost * 1e6
}

// tick does what is done every second: cleaning, and freeing what the committed tree does
// not need.
func (t *Tree) tick() {
	cl := &t.clean
	if cl.nextTick == 0 {
		cl.nextTick = t.now + tickEvery
	}
	if t.now < cl.nextTick {
		return
	}
	t.endLeases()
	t.checkSnapshots()
	if cl.nextTick += tickEvery; cl.nextTick <= t.now { // a missed tick is not made up for
		cl.nextTick = t.now + tickEvery
	}
	if t.cfg.StorageCost > 0 {
		t.retryStuck()
		t.accrueDebt()
		t.findOldLeaves()
	}
	t.noteCleaning()
	t.freeOld() // also when nothing is to be freed: it shows that the store is still there
}

// freeOld tells the store which blocks nobody needs.
func (t *Tree) freeOld() {
	cl := &t.clean
	if cl.freeing || t.cfg.ReadOnly {
		return
	}
	cl.freeing = true
	cl.free = disk.Op{Kind: disk.Free, Block: t.oldestNeeded()}
	t.submit(&cl.free)
}

func (t *Tree) freed(op *disk.Op) {
	t.clean.freeing = false
	if op.Err != nil {
		t.cfg.Log.Error("free blocks", "before", op.Block, "err", op.Err)
		t.cfg.OnFault(op.Err)
	}
}

func (t *Tree) accrueDebt() {
	cl, nodes := &t.clean, float64(t.committed.nodes)
	if t.cache.node(t.committed.root).oldest >= t.cleaningEnd() {
		return // nothing can be done about the garbage
	}
	if cl.used >= t.committed.nodes {
		cl.debt += (float64(cl.used) - nodes) * cleaningRate(t.cache.blockSize, t.cfg.StorageCost)
	}
	cl.debt = max(-nodes, min(nodes, cl.debt))
}

// payDebt takes off the debt what the pages that w rewrites are worth.
func (t *Tree) payDebt(w *write) {
	if t.clean.used == 0 {
		return
	}
	for _, id := range w.replaced {
		if nd := t.cache.node(id); nd.block&provisionalBit == 0 {
			t.clean.debt -= float64(t.next-nd.block) / float64(t.clean.used)
		}
	}
}

// oldestOfRestart is the first block that a restart would need.
func (t *Tree) oldestOfRestart() uint64 {
	saved := &t.checkpoint.saved
	return min(t.cache.node(saved.root).oldest, saved.next)
}

// cleanable returns how many blocks there are from the oldest that a restart needs to those that cleaning ends at.
func (t *Tree) cleanable() uint64 {
	end := t.next
	if t.clean.stuck != nil {
		end = t.clean.stuck.oldest
	}
	return end - min(end, t.oldestOfRestart())
}

// spreadTooFar reports whether the store takes more space than it may, because of the journal among other things.
func (t *Tree) spreadTooFar() bool {
	return t.cfg.MaxSpread > 0 && float64(t.clean.used) > t.cfg.MaxSpread*float64(t.committed.nodes) &&
		t.journalBytes() >= minJournalBytes/journalShare
}

// afterAppend takes account of an append of so many blocks.
func (t *Tree) afterAppend(written int) {
	cl := &t.clean
	cl.used = t.cleanable()
	if t.cfg.MaxSpread == 0 {
		return
	}
	nodes := float64(t.committed.nodes)
	soft := nodes * (1 + t.cfg.MaxSpread) / 2
	// The next commit takes as much again before this one's garbage can go.
	if over := (float64(cl.used) + float64(written) - soft) / (t.cfg.MaxSpread*nodes - soft); over > 0 {
		cl.debt = min(nodes, max(cl.debt, 0)+float64(written)*min(over, 1)*cleanShare)
		t.findOldLeaves()
	}
	if t.oldestNeeded() > cl.free.Block+t.committed.nodes/freeShare {
		t.freeOld() // a second of such writes would leave too much lying about
	}
}

// cleaningEnd is the block before which leaves may be rewritten, once they are old.
func (t *Tree) cleaningEnd() uint64 {
	if s := t.clean.stuck; s != nil {
		return min(s.oldest, t.clean.changed)
	}
	return t.clean.changed
}

// findOldLeaves adds the oldest leaves to those that wait, as many as the debt asks for. It takes
// all old leaves below one parent together: its page is rewritten once for all of them.
func (t *Tree) findOldLeaves() {
	cl := &t.clean
	if t.committed.nodes/2 >= t.next {
		return
	}
	young := min(t.next-t.committed.nodes/2, t.cleaningEnd())
	todo := oldHeap{}
	if root := t.cache.node(t.committed.root); root.oldest < young {
		todo = append(todo, oldSubtree{oldest: root.oldest, block: root.block, id: t.committed.root})
	}
	for len(todo) > 0 && len(cl.waiting) <= t.cache.limit/16 && float64(len(cl.waiting)) < cl.debt {
		sub := heap.Pop(&todo).(oldSubtree)
		id := sub.id
		if id == noNode || !t.cache.node(id).is(sub.block) {
			// Go on there in a later tick; what is next in age has to wait for it.
			t.fetchOld(&oldLeaf{block: sub.block, oldest: sub.oldest, key: sub.lo, parent: true})
			return
		}
		t.openOld(&todo, id, sub.lo, young)
	}
}

// openOld puts the children of a page that have leaves from before young into todo, or, where they
// are leaves, has them wait. lo is the lower bound of the page.
func (t *Tree) openOld(todo *oldHeap, id nodeID, lo []byte, young uint64) {
	c := t.cache
	nd := c.node(id)
	if nd.height == 0 {
		t.waitToClean(id, nd.block, lo)
		return
	}
	nd.pins++ // fetching a leaf may evict others
	defer func() { nd.pins-- }()
	for i := range int(nd.keys) + 1 {
		if i > 0 {
			lo = c.key(nd, i-1)
		}
		r := c.record(nd, i)
		switch {
		case r.oldest >= young:
		case nd.height == 1:
			t.waitToClean(c.child(nd, i), r.block, lo)
		default:
			heap.Push(todo, oldSubtree{oldest: r.oldest, block: r.block, id: c.child(nd, i), lo: bytes.Clone(lo)})
		}
	}
}

// waitToClean has a leaf wait, of which the page is in id or, if that is noNode, has to be fetched.
func (t *Tree) waitToClean(id nodeID, block uint64, key []byte) {
	cl := &t.clean
	if cl.marked[block] {
		return
	}
	leaf := &oldLeaf{block: block, oldest: block, key: bytes.Clone(key)}
	if id == noNode && !t.fetchOld(leaf) {
		return
	}
	cl.marked[block] = true
	cl.waiting = append(cl.waiting, leaf)
	if id != noNode {
		t.cleanPageCame(leaf, id, nil)
	}
}

// fetchOld has the first page fetched that is missing on the way to a leaf. It returns false if none is, or if
// that page cannot be had.
func (t *Tree) fetchOld(leaf *oldLeaf) bool {
	want, gone := t.missing(t.committed.root, leaf.key)
	if !gone {
		return false
	}
	err := t.fetchWanted(want, waiter{leaf: leaf})
	if err != nil {
		t.cleanPageLost(leaf, err)
	}
	return err == nil
}

// cleanPageCame pins the page of a leaf that waits.
func (t *Tree) cleanPageCame(leaf *oldLeaf, id nodeID, err error) {
	if s := t.clean.stuck; s != nil && leaf == &s.oldLeaf {
		s.reading = false
	}
	if err != nil {
		t.cleanPageLost(leaf, err)
		return
	}
	if leaf.parent {
		return
	}
	if t.cache.node(id).block != leaf.block {
		// Only a page on the way to it, which had been evicted. The next search comes to the leaf again.
		t.forgetOldLeaf(leaf)
		return
	}
	leaf.id = id
	t.cache.node(id).pins++
	t.clean.ready++
}

// cleanPageLost gives up a page that cannot be had. If it has not merely been replaced meanwhile, cleaning ends at it.
func (t *Tree) cleanPageLost(leaf *oldLeaf, err error) {
	cl := &t.clean
	t.forgetOldLeaf(leaf)
	w, gone := t.missing(t.committed.root, leaf.key)
	var of *BlockError
	if !gone || !errors.As(err, &of) || of.Block != w.block {
		return
	}
	t.fault(w.block, err)
	switch s := cl.stuck; {
	case s != nil && s.oldest < w.oldest:
		return
	case s != nil && s.block == w.block:
		s.delay = min(2*s.delay, maxStuckRetry)
		s.retryAt = t.now + s.delay
		return
	}
	cl.stuck = &stuckPage{err: err, delay: stuckRetry, retryAt: t.now + stuckRetry}
	cl.stuck.oldLeaf = oldLeaf{block: w.block, oldest: w.oldest, key: leaf.key, parent: true}
	cl.used = t.cleanable()
	cl.debt = min(cl.debt, float64(cl.used))
	t.cfg.Log.Error("an old page cannot be read, so it cannot be moved: no space is reclaimed from there on; "+
		"restore the store from a backup if this lasts", "block", w.block, "from", w.oldest, "err", err)
}

// retryStuck reads the page again at which cleaning ends, now and then, and goes on if it is there or has been replaced.
func (t *Tree) retryStuck() {
	cl := &t.clean
	s := cl.stuck
	if s == nil || s.reading || t.now < s.retryAt {
		return
	}
	if w, gone := t.missing(t.committed.root, s.key); gone && w.oldest <= s.oldest {
		s.reading = t.fetchOld(&s.oldLeaf) // it may be a page on the way to it; then the next tick comes to the page itself
		return
	}
	t.cfg.Log.Info("a page that could not be read is there, or has been replaced: space is reclaimed again", "block", s.block)
	cl.stuck = nil
	cl.used = t.cleanable()
}

// forgetOldLeaf takes a leaf out of those that wait.
func (t *Tree) forgetOldLeaf(leaf *oldLeaf) {
	cl := &t.clean
	cl.waiting = slices.DeleteFunc(cl.waiting, func(l *oldLeaf) bool { return l == leaf })
	delete(cl.marked, leaf.block)
}

// cleaningDue reports whether a batch is to be run for the sake of cleaning alone.
func (t *Tree) cleaningDue() bool {
	return t.clean.ready > 0 && t.now-t.writes.lastBatch >= cleanAfter
}

// addOldLeaves moves the leaves that wait and are in memory to the items of a batch.
func (t *Tree) addOldLeaves(items []item) []item {
	cl := &t.clean
	keep := cl.waiting[:0]
	for _, leaf := range cl.waiting {
		if leaf.id == noNode {
			keep = append(keep, leaf)
			continue
		}
		delete(cl.marked, leaf.block)
		// If a client has had it rewritten meanwhile, the frame holds something else now.
		if nd := t.cache.node(leaf.id); nd.block == leaf.block {
			nd.pins--
			cl.rewrote = true
			items = append(items, item{key: leaf.key, req: touchLeaf, leaf: leaf.block})
		}
	}
	clear(cl.waiting[len(keep):])
	cl.waiting = keep
	cl.ready = 0
	return items
}

// oldSubtree is a subtree of the committed tree with old leaves.
type oldSubtree struct {
	oldest uint64
	block  uint64
	id     nodeID // noNode if it was not in memory
	lo     []byte // lower bound of its keys
}

// oldHeap orders subtrees by age, oldest first.
type oldHeap []oldSubtree

func (h oldHeap) Len() int           { return len(h) }
func (h oldHeap) Less(i, j int) bool { return h[i].oldest < h[j].oldest }
func (h oldHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *oldHeap) Push(x any)        { *h = append(*h, x.(oldSubtree)) }
func (h *oldHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
