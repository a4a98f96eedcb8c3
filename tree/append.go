package tree

import (
	"errors"
	"fmt"
	"time"

	"kivaloo/disk"
)

// appender hands to the store what is to become durable. What that is depends on how the tree commits:
//
//	journal   a batch:       its pieces ... [pages of the checkpoint under way ...]
//	          a checkpoint:  pages ...      as often as it takes
//	          its end:       pages ... [seal] checkpoint record, root, [mark]
//	pages     a batch:       pages ... [seal] root
//
// While one append is under way, what goes into the next is built.
type appender struct {
	busy    bool // an append is under way; writes.syncing is the batch in it, if there is one
	op      disk.Op
	since   time.Duration // when it was handed to the store
	pages   [][]byte
	saved   []nodeID // the tree's pages among them
	root    bool     // a root is among them, and all of its tree is in the store then
	journal journalWriter
	logged  uint64 // blocks of the journal in it
	seal    []byte
	record  []byte
	mark    []byte
	seq     uint64 // of the last batch in the journal
}

// logs reports whether batches become durable by the journal.
func (t *Tree) logs() bool { return t.cfg.JournalBytes > 0 }

// append hands w, if it is not nil, to the store, and what is next of the checkpoint under way.
func (t *Tree) append(w *write) {
	a, cp := &t.appends, &t.checkpoint
	a.pages, a.saved, a.logged, a.root = a.pages[:0], a.saved[:0], 0, false
	chunk := max(1, checkpointChunkBytes/t.cache.blockSize)
	switch {
	case w == nil:
		if t.save(&cp.saving, chunk) {
			t.putRoot(&cp.saving, true)
			if t.replaying || t.committed.logged != cp.saving.version.logged {
				t.putMark()
			}
		}
	case t.logs():
		a.seq++
		blocks := a.journal.writeBatch(t.cache.blockSize, a.seq, t.next, w.outcomes, w.overwrites)
		a.pages, a.logged = append(a.pages, blocks...), uint64(len(blocks))
		if cp.running {
			t.save(&cp.saving, chunk)
		}
	default:
		w.saving.begin(w.result)
		t.save(&w.saving, len(w.fresh))
		t.putRoot(&w.saving, false)
	}
	if w != nil {
		if w.changes() {
			t.clean.changed = t.next
		}
		t.payDebt(w)
		t.tip = w.result
		t.writes.syncing = w
	}
	a.busy, a.since = true, t.now
	a.op = disk.Op{Kind: disk.Append, Block: t.next, Pages: a.pages}
	t.submit(&a.op)
}

// putRoot adds the root of s, of which all other pages are numbered, to the append at hand: behind a checkpoint record, if
// there is to be one.
func (t *Tree) putRoot(s *saving, withRecord bool) {
	a, size := &t.appends, t.cache.blockSize
	root := t.cache.node(s.version.root)
	putNodes(t.cache.page(root), s.version.nodes)
	sealAt := -1
	if sealed(size) {
		if a.seal == nil {
			a.seal = make([]byte, size)
		}
		sealAt = len(a.pages)
		a.pages = append(a.pages, a.seal)
	}
	if withRecord {
		if a.record == nil {
			a.record = make([]byte, size)
		}
		writeCheckpoint(a.record, a.seq, t.next+uint64(len(a.pages)), s.version.next)
		a.pages = append(a.pages, a.record)
	}
	t.number(s.version.root, root)
	if sealAt >= 0 {
		putSeal(a.pages, sealAt, t.next)
	}
	if invariants {
		t.checkSaved(s.version.root, root, nil, nil)
	}
	a.root = true
}

// putMark adds a batch of the journal that changes nothing, behind a root that is not the last word: other batches, before it, have
// been acknowledged. Without it the original would open the store, and miss them.
func (t *Tree) putMark() {
	a := &t.appends
	if a.mark == nil {
		a.mark = make([]byte, t.cache.blockSize)
	}
	block, pieces := t.next+uint64(len(a.pages)), 1
	if t.replaying {
		pieces = 2 // which number would be next is not known yet: a batch that is never whole is passed over
	} else {
		a.seq++
		a.logged = 1
	}
	finishJournal(a.mark, journalPiece, a.seq, block, 0, pieces, 0)
	a.pages = append(a.pages, a.mark)
}

// marked takes account of the mark in an append that is in the store now, if there is one: replay of the committed tree
// starts behind it.
func (t *Tree) marked() {
	if a := &t.appends; a.logged > 0 {
		t.committed.logged += a.logged
		t.committed.next = t.next
		t.tip = t.committed
		a.logged = 0
	}
}

// number adds a page to the append at hand, of which the children have their numbers.
func (t *Tree) number(id nodeID, nd *node) {
	a, c := &t.appends, t.cache
	block := t.next + uint64(len(a.pages))
	nd.oldest = block
	if nd.height > 0 {
		for i := range int(nd.keys) + 1 {
			nd.oldest = min(nd.oldest, c.record(nd, i).oldest)
		}
	}
	nd.setBlock(block)
	c.table[block] = id
	c.setState(nd, frameSaved)
	a.saved = append(a.saved, id)
	a.pages = append(a.pages, c.page(nd))
}

// appended takes in the outcome of an append.
func (t *Tree) appended(op *disk.Op) {
	a, w := &t.appends, t.writes.syncing
	a.busy, t.writes.syncing = false, nil
	t.wasOut(a.since)
	switch {
	case op.Err != nil:
		t.appendFailed(w, fmt.Errorf("append %d blocks at block %d: %w", len(a.pages), op.Block, op.Err))
		return
	case !op.OK:
		t.appendFailed(w, fmt.Errorf("append at block %d: refused: something else writes to the store", op.Block))
		return
	}
	t.next = op.Next
	if a.root {
		t.torn = t.replaying || a.logged > 0 // then a mark is behind it
	}
	t.counts.written += uint64(len(a.pages))
	if t.checkpoint.running && len(a.saved) > 0 {
		t.chunkSaved()
	}
	if w != nil {
		t.publish(w)
	} else {
		t.marked()
	}
	t.afterAppend(len(a.pages))
	if w != nil {
		t.settle(w)
	}
}

// appendFailed gives up w, if it is not nil, the batch that was built behind it, and the checkpoint under way. Nothing of
// them is acknowledged, and no more is made durable until the store can be trusted again.
func (t *Tree) appendFailed(w *write, err error) {
	ws := &t.writes
	ws.refusal = fmt.Errorf("%w: %w", ErrReadOnly, err)
	ws.retryAt = 0
	if errors.Is(err, disk.ErrNoSpace) {
		ws.retryAt = t.now + noSpaceRetry
	}
	t.cfg.Log.Error("store is read-only", "err", err)
	t.tip = t.committed
	t.unnumber()
	if w != nil {
		t.abandon(w, err)
	}
	if next := ws.building; next != nil {
		ws.building = nil
		t.abandon(next, ws.refusal)
	}
	t.checkpointFailed(ws.refusal)
	t.cfg.OnFault(ws.refusal)
}

// unnumber takes the numbers of an append that failed off its pages, and out of their parents.
func (t *Tree) unnumber() {
	a, c := &t.appends, t.cache
	if a.logged > 0 {
		a.seq, a.logged = a.seq-1, 0
	}
	for _, id := range a.saved {
		nd := c.node(id)
		delete(c.table, nd.block)
		nd.setBlock(nd.born)
		c.setState(nd, frameFresh)
	}
	for _, id := range a.saved {
		t.forgetNumbers(c.node(id))
	}
	for _, s := range t.checkpoint.saving.stack {
		t.forgetNumbers(c.node(s.id))
	}
	a.saved = a.saved[:0]
}

// forgetNumbers puts back the provisional numbers of children that were in an append that failed.
func (t *Tree) forgetNumbers(nd *node) {
	if nd.height == 0 {
		return
	}
	c := t.cache
	for i, id := range c.children(nd) {
		if r := c.record(nd, i); !provisional(r.block) && r.block >= t.next {
			kid := c.node(id)
			r.block, r.oldest = kid.born, noBlock
			c.putRecord(nd, i, r)
		}
	}
}
