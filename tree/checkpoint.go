package tree

import (
	"fmt"
	"slices"
	"time"
)

// checkpointer saves the pages that batches have left in memory, so that the journal can be given up.
//
// It takes one committed tree and appends those of its pages that are not in the store yet, some at a time, with the batches
// that go on meanwhile. The root comes last, in an append of its own, behind a record of where replay has to start. Then the
// journal up to there, and what only older trees had, can be freed:
//
//	commit commit commit | commit+pages commit+pages pages | pages record root | commit ...
//	                     the tree that is saved; replay starts here
//
// A page gets its number when it is appended. Parents that were built meanwhile still know it by its provisional number; so
// it stays in memory until a sweep over all parents that are not saved has told them.
//
// Invariants:
//  1. saved is the tree of the last root in the store. Its root is in memory.
//  2. Replaying the journal from saved.next on gives the committed tree.
//  3. Parents whose records are provisional are fresh; the pages that they mean are fresh or saved.
//  4. A page in held is fresh or saved. The committed tree does not have it any more; some other tree may.
type checkpointer struct {
	saved    version
	running  bool
	saving   saving
	numbered []nodeID // pages that have got their numbers since it began
	started  time.Duration

	sweeping bool
	sweepAt  uint32 // next parent frame to look at

	held     []heldPage
	waiting  []savedWaiter
	changed  time.Duration // when the committed tree last changed
	stopping bool
}

// saving is a tree of which the pages get their numbers, children before parents.
type saving struct {
	version version
	stack   []savingStep // from the root down
}

// savingStep is a page that is not in the store, and the first of its children that has not been looked at.
type savingStep struct {
	id  nodeID
	kid int
}

func (s *saving) begin(v version) {
	s.version = v
	s.stack = append(s.stack[:0], savingStep{id: v.root})
}

// save numbers up to room more pages of s. It returns whether only the root is left.
func (t *Tree) save(s *saving, room int) bool {
	for {
		if t.descendToUnsaved(s); len(s.stack) == 1 {
			return true
		}
		if room--; room < 0 {
			return false
		}
		last := len(s.stack) - 1
		t.number(s.stack[last].id, t.cache.node(s.stack[last].id))
		s.stack = s.stack[:last]
		parent := &s.stack[last-1]
		t.cache.resolve(t.cache.node(parent.id), parent.kid)
		parent.kid++
	}
}

// rootIsLeft reports whether the checkpoint under way needs only its last append.
func (t *Tree) rootIsLeft() bool {
	s := &t.checkpoint.saving
	t.descendToUnsaved(s)
	return len(s.stack) == 1
}

// descendToUnsaved goes down from where s is to a page of which all children are in the store.
func (t *Tree) descendToUnsaved(s *saving) {
	c := t.cache
	for down := true; down; {
		down = false
		top := &s.stack[len(s.stack)-1]
		nd := c.node(top.id)
		if nd.height == 0 {
			return
		}
		for ; top.kid <= int(nd.keys); top.kid++ {
			if provisional(c.resolve(nd, top.kid).block) {
				s.stack = append(s.stack, savingStep{id: c.children(nd)[top.kid]})
				down = true
				break
			}
		}
	}
}

// heldPage is a page that a tree of the past has, and that is not in the store.
type heldPage struct {
	id    nodeID
	until uint64 // provisional number of the first root without it
}

// born is the age of a tree, in provisional numbers: every page in it was born no later.
func (t *Tree) born(v *version) uint64 { return t.cache.node(v.root).born }

// isSaved reports whether all of a tree is in the store.
func (t *Tree) isSaved(v *version) bool { return !provisional(t.cache.node(v.root).block) }

// toSave returns the tree that a checkpoint is to save next: the oldest snapshot that has not been saved, so that its
// pages can leave memory, or else the committed tree.
func (t *Tree) toSave() *version {
	for _, s := range t.snapshots {
		if !t.isSaved(&s.version) && t.born(&s.version) >= t.born(&t.checkpoint.saved) {
			return &s.version
		}
	}
	return &t.committed
}

// startCheckpoint begins one if it is time.
func (t *Tree) startCheckpoint() {
	cp := &t.checkpoint
	if w := t.writes.building; w != nil && len(w.overwrites) > 0 {
		return // into the tree that would be saved
	}
	if cp.running || cp.sweeping {
		return
	}
	if t.torn && (cp.stopping || !t.logs()) && t.idle() && t.isSaved(&t.committed) {
		t.renewRoot()
	}
	if !t.checkpointDue() {
		return
	}
	cp.running, cp.started = true, t.now
	t.events.Begin(EventCheckpoint)
	cp.saving.begin(*t.toSave())
	cp.numbered = cp.numbered[:0]
	t.cache.node(cp.saving.version.root).pins++
}

// renewRoot makes the root anew, so that it is saved again: as the last block, where the original looks for it.
func (t *Tree) renewRoot() {
	c := t.cache
	old := c.node(t.committed.root)
	w := &write{}
	id, nd := t.newNode(w, int(old.height))
	if w.err != nil {
		return // without it the original refuses the store, and nothing is lost
	}
	copy(c.page(nd), c.page(old))
	l, err := parseLayout(c.page(nd))
	if err != nil {
		panic(err) // it has been verified, or built here
	}
	c.index(nd, l)
	nd.oldest = old.oldest
	nd.pins++
	old.pins--
	t.committed.root = id
	t.tip = t.committed
	if r := c.readers; r != nil {
		v := t.committed
		r.view.Store(&v)
	}
}

// checkpointWaits reports whether a checkpoint is due, and begins when the batches under way, which may overwrite
// something, are done.
func (t *Tree) checkpointWaits() bool {
	cp := &t.checkpoint
	return !cp.running && !cp.sweeping && t.checkpointDue()
}

// checkpointDue reports whether it is time for one.
func (t *Tree) checkpointDue() bool {
	cp := &t.checkpoint
	if t.cfg.ReadOnly || t.writes.refusal != nil || t.isSaved(t.toSave()) {
		return false
	}
	switch {
	case len(cp.waiting) > 0, t.cache.unsaved >= t.cache.limit/4*3:
		return true
	case t.journalBytes() >= t.journalLimit():
		return !t.replaying // it would not make the journal shorter
	case t.idle() && !t.replaying:
		return cp.stopping || t.now-cp.changed >= checkpointIdle
	}
	return t.spreadTooFar()
}

// idle reports whether no changes are waiting or under way.
func (t *Tree) idle() bool {
	ws := &t.writes
	return ws.syncing == nil && ws.building == nil && len(ws.queue) == 0
}

// journalBytes is how much of the journal a restart would replay.
func (t *Tree) journalBytes() int64 {
	return int64(t.committed.logged-t.checkpoint.saved.logged) * int64(t.cache.blockSize)
}

// journalLimit is how long the journal may become: no longer than it is worth for so small a tree.
func (t *Tree) journalLimit() int64 {
	tree := int64(t.committed.nodes) * int64(t.cache.blockSize)
	return min(t.cfg.JournalBytes, max(minJournalBytes, tree/journalShare))
}

// cacheFull reports whether no more batches can be built before pages have been saved.
func (t *Tree) cacheFull() bool {
	return t.cache.unsaved >= t.cache.limit/8*7 && !t.cfg.ReadOnly
}

// chunkSaved takes account of pages that are in the store now.
func (t *Tree) chunkSaved() {
	a, cp := &t.appends, &t.checkpoint
	cp.numbered = append(cp.numbered, a.saved...)
	if a.root {
		t.setSaved(cp.saving.version)
		t.counts.checkpoints++
		t.checkpointDone()
		if t.metrics != nil {
			t.metrics.Checkpoint.Add(t.now - cp.started)
		}
		t.tellSaved(nil)
	}
}

// setSaved makes v, whose root has just come into the store, the tree that a restart begins with.
func (t *Tree) setSaved(v version) {
	t.cache.node(v.root).pins++
	t.cache.node(t.checkpoint.saved.root).pins--
	t.checkpoint.saved = v
}

// checkpointDone ends a checkpoint, whether or not it came to its end, and begins the sweep for what it has saved.
func (t *Tree) checkpointDone() {
	cp := &t.checkpoint
	cp.running = false
	t.events.End(EventCheckpoint)
	cp.saving.stack = cp.saving.stack[:0]
	t.cache.node(cp.saving.version.root).pins--
	cp.sweeping, cp.sweepAt = true, 1
	t.reviewHeld()
}

func (t *Tree) checkpointFailed(err error) {
	if t.checkpoint.running {
		t.checkpointDone()
	}
	t.tellSaved(err)
}

// sweep tells some of the parents that are not saved which numbers their children have got. After the last one, what
// the checkpoint has saved may leave memory.
func (t *Tree) sweep() {
	cp, c := &t.checkpoint, t.cache
	if !cp.sweeping {
		return
	}
	for n := 0; n < sweepPages && cp.sweepAt < c.parents.next; n++ {
		if nd := c.parents.at(cp.sweepAt); nd.state == frameFresh {
			for i := range int(nd.keys) + 1 {
				c.resolve(nd, i)
			}
		}
		cp.sweepAt++
	}
	if cp.sweepAt < c.parents.next {
		return
	}
	cp.sweeping = false
	for _, id := range cp.numbered {
		if nd := c.node(id); nd.state == frameSaved { // else it has been freed
			c.setState(nd, frameClean)
		}
	}
	cp.numbered = cp.numbered[:0]
	t.reviewHeld()
}

// discard gives up a page that the committed tree has no more.
func (t *Tree) discard(id nodeID) {
	h := heldPage{id: id, until: t.born(&t.committed)}
	if t.holds(h) {
		if t.cache.node(id).state != frameClean { // such a page is the clock hand's
			t.checkpoint.held = append(t.checkpoint.held, h)
		}
		return
	}
	t.cache.free(id)
}

// holds reports whether a tree of the past may still need a page to be in memory or, where it is clean, to be left there.
func (t *Tree) holds(h heldPage) bool {
	nd, cp := t.cache.node(h.id), &t.checkpoint
	if h.id == cp.saved.root {
		return true
	}
	has := func(v *version) bool { b := t.born(v); return nd.born <= b && b < h.until }
	for _, s := range t.snapshots {
		if has(&s.version) {
			return true
		}
	}
	// The checkpoint needs it until it is in the store.
	return cp.running && has(&cp.saving.version) && (nd.state == frameFresh || nd.state == frameSaved && t.appends.busy)
}

// reviewHeld gives up the pages that nothing holds any more, and leaves those that are clean now to the clock hand.
func (t *Tree) reviewHeld() {
	cp := &t.checkpoint
	cp.held = slices.DeleteFunc(cp.held, func(h heldPage) bool {
		held := t.holds(h)
		if !held {
			t.cache.free(h.id)
		}
		return !held || t.cache.node(h.id).state == frameClean
	})
}

// savedWaiter waits for a tree that is as new as the committed one was when it came.
type savedWaiter struct {
	born uint64
	tell func(error)
}

// whenSaved calls tell when checkpoint.saved is a tree that is no older than what is committed now: at once, if it is, else
// after a checkpoint, or after one has failed.
func (t *Tree) whenSaved(tell func(error)) {
	cp := &t.checkpoint
	switch {
	case t.cfg.ReadOnly || t.born(&cp.saved) >= t.born(&t.committed):
		tell(nil)
	case t.writes.refusal != nil:
		tell(t.writes.refusal)
	default:
		cp.waiting = append(cp.waiting, savedWaiter{t.born(&t.committed), tell})
	}
}

// tellSaved tells those who wait that the tree that they wait for has been saved or, with an error, that it could not be.
func (t *Tree) tellSaved(err error) {
	cp := &t.checkpoint
	saved := t.born(&cp.saved)
	waiting := cp.waiting
	cp.waiting = nil
	for _, w := range waiting {
		if err == nil && w.born > saved {
			cp.waiting = append(cp.waiting, w)
			continue
		}
		w.tell(err)
	}
}

// Stop has the tree flush what is in the journal only, as soon as nothing else is to be done: after that the
// directory is as the original would have left it. A disk that was full gets one more try.
func (t *Tree) Stop() {
	cp, ws := &t.checkpoint, &t.writes
	if !cp.stopping && ws.retryAt > 0 {
		ws.retryAt = t.now
	}
	cp.stopping = true
}

// flushed reports whether nothing is in the journal only, and the last block is a root.
func (t *Tree) flushed() bool { return t.cfg.ReadOnly || !t.torn && t.isSaved(&t.committed) }

// Unflushed returns an error if a tree that was stopped, and is no longer busy, could not write all of the last flush.
func (t *Tree) Unflushed() error {
	if t.flushed() {
		return nil
	}
	return fmt.Errorf("the last flush failed: %d bytes of changes are in the journal only, and the next start replays them: %w",
		t.journalBytes(), t.writes.refusal)
}
