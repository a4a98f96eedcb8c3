package tree

import (
	"maps"
	"slices"
	"time"

	"kivaloo/disk"
	"kivaloo/tree/page"
)

// cleaner moves old leaves to the end of the store, so that the blocks before them can be freed. To
// move a leaf means to write it again, unchanged. Moved leaves ride in flush steps. After five
// seconds without a change they get a step of their own.
//
// Two rules decide which leaves are old:
//
//   - The first weighs the price of storage against the price of writing, over months. The
//     cleaner's debt, in blocks, grows in proportion to the garbage. Leaves within that many blocks
//     of the oldest one are old. Each replaced page pays off some debt, and older pages pay more.
//     The rate is the original's.
//   - Config.MaxSpread bounds the blocks in use, as a multiple of the tree's pages. A flush walks
//     through all keys once. A leaf is old if the store would exceed that bound by the time the
//     next flush reaches it. See the method before.
//
// Leaves written after the last change by a client are never old. Otherwise the cleaner would move
// its own pages again and again, and an idle store would never stop writing.
//
// A leaf that cannot be read cannot be moved. While it is the oldest one nothing can be freed, so
// no other leaf is moved either.
type cleaner struct {
	t *Tree

	off        bool // block numbers have gaps, so distances do not measure garbage
	nextTick   time.Duration
	debt       float64            // blocks
	badPages   map[uint64]badPage // unreadable pages, by their block and by the oldest leaf below
	logged     uint64             // stuck blocks when last logged
	moved      bool               // old leaves were moved since the last tick
	movedAt    time.Duration      // when old leaves were last moved
	lastChange uint64             // block after the last commit of a client; leaves from here on stay
	flushAt    uint64             // the block where the last flush began
	cycle      uint64             // expected number of blocks between two flush starts
	used       uint64             // blocks from the oldest that a restart needs to the end, as of the last append

	free    disk.Op
	freeing bool
}

// badPage is a page that cannot be read.
type badPage struct {
	block uint64
	retry time.Duration // when to try again
}

// cleaningRate returns how many pages a second to clean for each block of garbage.
func cleaningRate(blockSize int, storageCost float64) float64 {
	const monthSeconds = 86400 * 30
	return float64(blockSize) / 1e9 / monthSeconds * storageCost * 1e6
}

// tick runs once a second. It adds to the cleaning debt and frees the blocks that neither a restart
// nor a snapshot needs.
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
	if cl.nextTick += tickEvery; cl.nextTick <= t.now { // do not make up for a missed tick
		cl.nextTick = t.now + tickEvery
	}
	if cl.on() {
		cl.accrueDebt()
	}
	cl.logStuck()
	t.noteCleaning()
	t.freeOld() // even if there is nothing to free: it shows that the store responds
}

// on reports whether cleaning is enabled.
func (cl *cleaner) on() bool {
	return !cl.off && cl.t.cfg.StorageCost > 0 && !cl.t.cfg.ReadOnly
}

// disable ends cleaning for good.
func (cl *cleaner) disable() { cl.off = true }

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
	t.space.learn(op)
	if op.Err != nil {
		t.cfg.Log.Error("cannot free blocks", "before", op.Block, "err", op.Err)
		t.cfg.OnFault(op.Err)
		return
	}
	if t.oldestFileWastes(op) {
		t.clean.lastChange = t.appends.next // every leaf may be moved once more
	}
	if t.clean.on() && t.cfg.MaxSpread > 0 {
		t.freeSoon() // blocks that became garbage meanwhile
	}
}

// oldestFileWastes reports whether the garbage at the start of the oldest file is larger than the
// tree. A file can only be deleted as a whole, so a single leaf in it can keep much garbage even
// when there is nothing left to clean. Moving that leaf releases the file: it is already so long
// that appends go into another one.
func (t *Tree) oldestFileWastes(free *disk.Op) bool {
	needed, fileStart := free.Block, free.Next
	smallest := minMemtableBytes / uint64(t.cache.blockSize) // not worth it for a smaller store
	return fileStart > 0 && needed > fileStart+max(t.view.tree.nodes, smallest)
}

func (cl *cleaner) accrueDebt() {
	t := cl.t
	used, nodes := float64(t.appends.next-t.oldestOfRestart()), float64(t.view.tree.nodes)
	if used >= nodes {
		cl.debt += (used - nodes) * cleaningRate(t.cache.blockSize, t.cfg.StorageCost)
	}
	cl.debt = max(-nodes, min(nodes, cl.debt))
}

// stuckBlocks returns how many blocks of garbage cannot be freed because the oldest leaf cannot be
// read: the blocks in use minus the tree's pages.
func (cl *cleaner) stuckBlocks() uint64 {
	if _, bad := cl.badPages[cl.oldest()]; !bad || cl.used < cl.t.view.tree.nodes {
		return 0
	}
	return cl.used - cl.t.view.tree.nodes
}

// logStuck logs when there are as many stuck blocks as the tree has pages. It logs again each time
// their number has doubled.
func (cl *cleaner) logStuck() {
	stuck := cl.stuckBlocks()
	if stuck == 0 {
		cl.logged = 0
	}
	if stuck < max(1, cl.t.view.tree.nodes, 2*cl.logged) {
		return
	}
	cl.logged = stuck
	cl.t.cfg.Log.Error("disk space cannot be freed, because an old page cannot be read: restore the store from a backup, or rescue it with salvage",
		"blocks", stuck, "page at block", cl.badPages[slices.Min(slices.Collect(maps.Keys(cl.badPages)))].block)
}

// isBad reports whether a block could not be read and must not be tried again yet.
func (cl *cleaner) isBad(block uint64) bool { return cl.t.now < cl.badPages[block].retry }

// oldest returns the lowest block of any leaf.
func (cl *cleaner) oldest() uint64 { return cl.t.cache.node(cl.t.view.tree.root).oldest }

// hasOld reports whether there are old leaves to move, or to try again.
func (cl *cleaner) hasOld() bool { return cl.oldest() < cl.before() }

// payDebt reduces the debt by the pages that a page commit replaces.
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

// oldestOfRestart returns the first block that a restart needs. If the root is a leaf, that is the
// seal or flush record in front of it.
func (t *Tree) oldestOfRestart() uint64 {
	root := t.cache.node(t.view.tree.root)
	return min(root.oldest, t.appends.durable.block, root.block-t.beforeRoot)
}

// journalBytes returns how much of the journal a restart would replay.
func (t *Tree) journalBytes() int64 {
	return int64(t.appends.blocks-t.appends.durable.before) * int64(t.cache.blockSize)
}

// flushBegins records where the flush of a memtable with this many changes begins. It expects the
// next flush after as many blocks as came since the last one. A load that suddenly spreads over
// more keys would write more than that. So it expects at least half a block for each change, up to
// half the tree.
func (cl *cleaner) flushBegins(changes int) {
	next := cl.t.appends.next
	cl.cycle = max(next-cl.flushAt, min(uint64(changes), cl.t.view.tree.nodes)/2)
	cl.flushAt = next
}

// afterAppend frees the blocks that an append turned into garbage.
func (t *Tree) afterAppend() {
	t.clean.used = t.appends.next - t.oldestOfRestart()
	if t.cfg.MaxSpread > 0 && t.clean.on() {
		t.freeSoon()
	}
}

// freeSoon frees blocks without waiting for the next tick if enough of them are garbage.
func (t *Tree) freeSoon() {
	needed, asked := t.oldestNeeded(), t.clean.free.Block
	if needed > asked+t.view.tree.nodes/freeShare || t.space.after > asked && needed >= t.space.after {
		t.freeOld()
	}
}

// before returns the block before which leaves are old. The next step moves as many of them as it
// can.
//
// While changes wait for disk space, only leaves of the oldest file are old, and only as many as
// there is space to move. Moving others would use space before any is freed.
func (cl *cleaner) before() uint64 {
	t := cl.t
	next, nodes := t.appends.next, t.view.tree.nodes
	if !cl.on() || nodes/2 >= next {
		return 0
	}
	young, oldest := min(next-nodes/2, cl.lastChange), cl.oldest()
	if f := &t.flush; f.table != nil && !f.committing() {
		young = min(young, cl.flushAt) // a flush moves no leaf twice, however much it writes
	}
	if _, bad := cl.badPages[oldest]; bad {
		if cl.isBad(oldest) {
			return 0
		}
		return oldest + 1 // try it once more
	}
	if t.space.pressed {
		return min(young, t.space.front(), oldest+uint64(t.space.mayMove()))
	}
	before := oldest + uint64(max(0, cl.debt))
	if t.cfg.MaxSpread > 0 {
		before = max(before, cl.outOfBound())
	}
	return min(young, before)
}

// outOfBound returns the block before which leaves would exceed Config.MaxSpread by the time the
// next flush has moved them. That flush reaches them one cycle after this one, and moves them with
// an append. This flush is assumed to take no longer than a cycle. Otherwise each leaf that it
// moves would make the next one old, and it might move them all.
func (cl *cleaner) outOfBound() uint64 {
	t := cl.t
	step := uint64(t.cfg.stepBytes / t.cache.blockSize)
	end := min(t.appends.next, cl.flushAt+cl.cycle) + cl.cycle + min(step, cl.cycle)
	return end - min(end, uint64(t.space.most()))
}

// unreadable records a page that cannot be read, and the oldest leaf below it. Cleaning tries it
// again later, because a disk fault may be temporary.
func (cl *cleaner) unreadable(r page.Child) {
	if len(cl.badPages) >= maxFaults {
		clear(cl.badPages)
	}
	bad := badPage{r.Block, cl.t.now + unreadableRetry}
	cl.badPages[r.Block], cl.badPages[r.Oldest] = bad, bad
}

// due reports whether to make a step only for cleaning. It is due when nothing has been committed
// for a while, or when changes wait for disk space.
func (cl *cleaner) due() bool {
	t := cl.t
	if !cl.on() {
		return false
	}
	if t.space.pressed {
		return cl.gains()
	}
	return t.now-max(cl.movedAt, t.changed) >= cleanAfter && cl.hasOld()
}

// useful reports whether old leaves are all that keeps the oldest blocks from being freed. It is
// false if a snapshot, the journal of an unflushed memtable, or an unreadable leaf holds them too.
func (cl *cleaner) useful() bool {
	t := cl.t
	return cl.on() && !cl.isBad(cl.oldest()) && len(t.snapshotList) == 0 && cl.oldest() < t.appends.durable.block
}

// gains reports whether moving old leaves can free disk space.
func (cl *cleaner) gains() bool {
	nodes := cl.t.view.tree.nodes
	return cl.useful() && cl.used >= nodes+nodes/16 && cl.t.space.mayMove() > 0 && cl.hasOld()
}

// sweep says which old leaves a page commit moves along with its changes.
type sweep struct {
	clean  *cleaner
	to     []byte // only leaves up to the one that this key belongs to; nil: all
	before uint64 // only leaves before this block
	moves  int    // most leaves to move
}

// takes reports whether a page is an old leaf to move, or has one below it.
func (s *sweep) takes(r page.Child) bool {
	return r.Oldest < s.before && s.moves > 0 && !s.clean.isBad(r.Block)
}
