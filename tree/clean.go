package tree

import (
	"bytes"
	"container/heap"
	"slices"
	"time"

	"kivaloo/disk"
)

// cleaner rewrites old leaves, so that the blocks before them can be freed.
//
// It owes work in proportion to the garbage: debt, in pages. Pages that changes replace pay debt too,
// an old page more than a young one. While it owes more leaves than wait, it finds the oldest ones and
// has them wait. They are rewritten with the next flush step or, after five seconds without one, by a
// step of their own. The rules and the rate are the original's.
//
// That rate weighs the price of storage against that of writing, over months. It does not bound the
// space that a burst of random writes takes, for each write leaves a few pages of garbage. With
// Config.MaxSpread every append adds to the debt in proportion to the blocks that it writes: all the
// more, the closer the space of the tree comes to MaxSpread times its size.
//
// Only leaves from before the last change of a client are rewritten. Otherwise the cleaner would clean
// its own pages in turn, and an idle store would never come to rest.
//
// A flush comes to the leaves in the order of their keys. What it has not come to yet is as old as the
// flush before it, and is left to it unless that one has left it alone too.
//
// A leaf that cannot be read cannot be moved. It does not count for the debt: otherwise everything
// else would be rewritten again and again because of it.
type cleaner struct {
	t *Tree

	off       bool // block numbers have gaps: distances say nothing about garbage
	nextTick  time.Duration
	debt      float64                  // pages
	waiting   []oldLeaf                // to be rewritten
	marked    map[uint64]bool          // blocks of waiting
	touches   []change                 // in the step that is being built
	taken     []oldLeaf                // in the step that is being built
	lost      map[uint64]time.Duration // blocks that cannot be read, and when they are tried again
	searching bool                     // a search for old leaves waits for a page
	rewrote   bool                     // since the last tick, leaves that had waited
	changed   uint64                   // block behind the last commit of a client, or where the store ended when it was opened
	flushes   [2]uint64                // blocks where the last flush began, and the one before it
	used      uint64                   // blocks from the oldest that a restart needs to the end, as of the last append
	ran       time.Duration            // when old leaves were last rewritten
	ranAt     uint64                   // block number for the next append at that time

	free    disk.Op
	freeing bool
}

// oldLeaf is a leaf that waits to be rewritten.
type oldLeaf struct {
	block uint64
	key   []byte // falls into it
}

// cleaningRate is how many pages a second are cleaned for each block of garbage.
func cleaningRate(blockSize int, storageCost float64) float64 {
	const monthSeconds = 86400 * 30
	return float64(blockSize) / 1e9 / monthSeconds * storageCost * 1e6
}

// tick does what is done every second: cleaning, and freeing what the committed tree does not need.
func (t *Tree) tick() {
	cl := &t.clean
	if t.limbo != nil {
		t.freeTables()
	}
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
	if cl.on() {
		cl.accrueDebt()
		cl.findOldLeaves()
	}
	t.noteCleaning()
	t.freeOld() // also when nothing is to be freed: it shows that the store answers
}

// on reports whether old leaves are rewritten at all.
func (cl *cleaner) on() bool {
	return !cl.off && cl.t.cfg.StorageCost > 0 && !cl.t.cfg.ReadOnly
}

// disable ends cleaning for good.
func (cl *cleaner) disable() {
	cl.off = true
	cl.waiting, cl.taken = nil, nil
	clear(cl.marked)
}

// freeOld frees the blocks before the oldest one that a restart or a snapshot needs.
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
		return
	}
	// The file that holds the oldest leaves may hold far more garbage before them. Then everything is
	// moved once more: the file is so long that what is appended goes into another one.
	if op.Next > 0 && op.Block > op.Next+max(t.view.tree.nodes, minMemtableBytes/uint64(t.cache.blockSize)) {
		t.clean.changed = t.appends.next
		t.clean.flushes[0] = t.appends.next
	}
}

func (cl *cleaner) accrueDebt() {
	t := cl.t
	used, nodes := float64(t.appends.next-cl.oldestMovable()), float64(t.view.tree.nodes)
	if used >= nodes {
		cl.debt += (used - nodes) * cleaningRate(t.cache.blockSize, t.cfg.StorageCost)
	}
	cl.debt = max(-nodes, min(nodes, cl.debt))
}

// oldestMovable returns the first block that a restart would need, but for leaves that cannot be
// read.
func (cl *cleaner) oldestMovable() uint64 {
	if len(cl.lost) == 0 {
		return cl.t.oldestOfRestart()
	}
	return min(cl.t.appends.durable.block, cl.oldestBelow(cl.t.view.tree.root))
}

// oldestBelow returns the lowest block of a leaf below a page that can be read, as far as pages in
// memory tell.
func (cl *cleaner) oldestBelow(id nodeID) uint64 {
	c := cl.t.cache
	nd := c.node(id)
	if _, lost := cl.lost[nd.oldest]; !lost {
		return nd.oldest
	}
	oldest := cl.t.appends.next
	if nd.height == 0 {
		return oldest
	}
	for i := range int(nd.keys) + 1 {
		r := c.record(nd, i)
		if _, lost := cl.lost[r.Oldest]; !lost {
			oldest = min(oldest, r.Oldest)
		} else if kid := c.child(nd, i); kid != noNode {
			oldest = min(oldest, cl.oldestBelow(kid))
		}
	}
	return oldest
}

// payDebt reduces the debt for the pages that a page commit replaces.
func (cl *cleaner) payDebt(replaced []nodeID) {
	if cl.used == 0 {
		return
	}
	for _, id := range replaced {
		if nd := cl.t.cache.node(id); nd.state == frameClean {
			cl.debt -= float64(cl.t.appends.next-nd.block) / float64(cl.used)
		}
	}
}

// oldestOfRestart is the first block that a restart would need. Before a root that is a leaf those are
// its seal and its flush record.
func (t *Tree) oldestOfRestart() uint64 {
	root := t.cache.node(t.view.tree.root)
	return min(root.oldest, t.appends.durable.block, root.block-t.beforeRoot)
}

// journalBytes is how much of the journal a restart would replay.
func (t *Tree) journalBytes() int64 {
	return int64(t.appends.blocks-t.appends.durable.before) * int64(t.cache.blockSize)
}

// spreadTooFar reports whether the store takes more space than it may because of its journal.
func (t *Tree) spreadTooFar() bool {
	return t.cfg.MaxSpread > 0 && !t.clean.off && t.journalBytes() >= minMemtableBytes/2 &&
		float64(t.clean.used) > t.cfg.MaxSpread*float64(t.view.tree.nodes) &&
		t.appends.durable.block < t.cache.node(t.view.tree.root).oldest
}

// flushBegins notes where a flush begins.
func (cl *cleaner) flushBegins() { cl.flushes = [2]uint64{cl.t.appends.next, cl.flushes[0]} }

// afterAppend adds to the debt for an append of so many blocks.
func (t *Tree) afterAppend(written int) {
	cl := &t.clean
	cl.used = t.appends.next - cl.oldestMovable()
	if t.cfg.MaxSpread == 0 || !cl.on() {
		return
	}
	nodes := float64(t.view.tree.nodes)
	soft := nodes * (1 + t.cfg.MaxSpread) / 2
	// The next append takes as much again before this one's garbage can go.
	if over := (float64(cl.used) + float64(written) - soft) / (t.cfg.MaxSpread*nodes - soft); over > 0 {
		cl.debt = min(nodes, max(cl.debt, 0)+float64(written)*min(over, 1)*cleanShare)
		if len(cl.waiting) < cleanTogether { // a step takes no more
			cl.findOldLeaves()
		}
	}
	if t.oldestNeeded() > cl.free.Block+t.view.tree.nodes/freeShare {
		t.freeOld() // a second of such writes would leave too much lying about
	}
}

// findOldLeaves has the oldest leaves wait, as many as the debt asks for. It takes all old leaves below
// one parent together, so that the parent is rewritten once for all of them.
func (cl *cleaner) findOldLeaves() {
	t := cl.t
	cl.searching = false
	if t.view.tree.nodes/2 >= t.appends.next {
		return
	}
	young := min(t.appends.next-t.view.tree.nodes/2, cl.changed, cl.flushes[0])
	todo := oldHeap{}
	if root := t.cache.node(t.view.tree.root); root.oldest < young {
		todo = append(todo, oldSubtree{oldest: root.oldest, block: root.block, height: int(root.height)})
	}
	for len(todo) > 0 && len(cl.waiting) <= min(t.cache.limit/16, 2*cleanTogether) && float64(len(cl.waiting)) < cl.debt {
		sub := heap.Pop(&todo).(oldSubtree)
		if until, lost := cl.lost[sub.block]; lost && t.now < until {
			continue
		}
		if sub.height == 0 { // a root
			cl.await(sub.block, sub.lo)
			continue
		}
		id, err := t.pager.want(t.view.tree.root, sub.lo, sub.height, waiter{other: cl})
		switch {
		case err != nil:
			cl.unreadable(sub.block)
		case id == noNode:
			cl.searching = true // it goes on when the page has come; what is next in age has to wait for it
			return
		default:
			cl.open(&todo, id, sub.lo, young)
		}
	}
}

// pageArrived goes on with the search that waited for a page.
func (cl *cleaner) pageArrived(block uint64, _ nodeID, err error) {
	if err != nil {
		cl.unreadable(block)
	}
	if cl.searching {
		cl.findOldLeaves()
	}
}

// open adds the children of a parent with leaves from before young to todo. Children that are leaves
// wait at once. lo is the lower bound of the parent.
func (cl *cleaner) open(todo *oldHeap, id nodeID, lo []byte, young uint64) {
	c := cl.t.cache
	nd := c.node(id)
	for i := range int(nd.keys) + 1 {
		if i > 0 {
			lo = c.key(nd, i-1)
		}
		r := c.record(nd, i)
		switch {
		case r.Oldest >= young, r.Oldest >= cl.flushes[1] && cl.t.flush.comesTo(lo):
		case nd.height == 1:
			cl.await(r.Block, lo)
		default:
			heap.Push(todo, oldSubtree{oldest: r.Oldest, block: r.Block, height: int(nd.height) - 1, lo: bytes.Clone(lo)})
		}
	}
}

// await has a leaf wait to be rewritten.
func (cl *cleaner) await(block uint64, key []byte) {
	if until, lost := cl.lost[block]; cl.marked[block] || lost && cl.t.now < until {
		return
	}
	cl.marked[block] = true
	cl.waiting = append(cl.waiting, oldLeaf{block: block, key: bytes.Clone(key)})
}

// unreadable notes a page that cannot be read. It is tried again later: the fault of a disk may pass.
func (cl *cleaner) unreadable(block uint64) {
	if len(cl.lost) >= maxFaults {
		clear(cl.lost)
	}
	cl.lost[block] = cl.t.now + lostRetry
}

// due reports whether a step is to be made for the sake of cleaning alone: when nothing has been
// committed for a while, or, where the store is spread too far, whenever a part of it has been written.
func (cl *cleaner) due() bool {
	t := cl.t
	if len(cl.waiting) == 0 || !cl.on() || cl.searching && len(cl.waiting) < cleanTogether {
		return false
	}
	nodes := t.view.tree.nodes
	if t.cfg.MaxSpread > 0 && float64(cl.used) > t.cfg.MaxSpread*float64(nodes) &&
		t.appends.next-cl.ranAt >= max(nodes/freeShare, minMemtableBytes/uint64(t.cache.blockSize)) {
		return true
	}
	return t.now-max(cl.ran, t.changed) >= cleanAfter
}

// takeReady takes up to n of the leaves that wait for a step that is being built, and forgets those
// that have been rewritten meanwhile. The step goes no further than key hi; nil is no bound. The touches
// are in the order of their keys.
func (cl *cleaner) takeReady(n int, hi []byte) []change {
	cl.taken, cl.touches = cl.taken[:0], cl.touches[:0]
	cl.waiting = slices.DeleteFunc(cl.waiting, func(leaf oldLeaf) bool {
		switch {
		case len(cl.touches) == n || hi != nil && bytes.Compare(leaf.key, hi) > 0:
			return false
		case cl.isStale(leaf):
			delete(cl.marked, leaf.block)
			return true
		}
		cl.taken = append(cl.taken, leaf)
		cl.touches = append(cl.touches, change{key: leaf.key, action: touch, block: leaf.block})
		return true
	})
	if len(cl.touches) > 0 {
		slices.SortFunc(cl.touches, func(a, b change) int { return bytes.Compare(a.key, b.key) })
		cl.ran, cl.ranAt, cl.rewrote = cl.t.now, cl.t.appends.next, true
	}
	return cl.touches
}

// isStale reports whether a leaf is known to have been rewritten.
func (cl *cleaner) isStale(leaf oldLeaf) bool {
	c, root := cl.t.cache, cl.t.view.tree
	if root.height == 0 {
		return c.node(root.root).block != leaf.block
	}
	id, _, err := c.descend(root.root, leaf.key, 1)
	if id == noNode || err != nil {
		return false
	}
	nd := c.node(id)
	return c.blockOf(nd, c.childFor(nd, leaf.key)) != leaf.block
}

// finish forgets the leaves that were taken: they were rewritten, or cannot be read. Those that were
// cut off the step are found again.
func (cl *cleaner) finish() {
	for _, leaf := range cl.taken {
		delete(cl.marked, leaf.block)
	}
	cl.taken = cl.taken[:0]
}

// giveBack puts the leaves of a failed step back to those that wait.
func (cl *cleaner) giveBack() {
	cl.waiting = append(cl.waiting, cl.taken...)
	cl.taken = cl.taken[:0]
}

// oldSubtree is a subtree of the committed tree with old leaves.
type oldSubtree struct {
	oldest uint64
	block  uint64
	height int
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
