package tree

import (
	"bytes"
	"slices"
	"time"
)

// writer is the part of a tree that carries out modifying requests, a batch at a time:
//
//	queue -> startBatch -> locate -> build -> [waits for the append before it] -> append -> publish -> settle
//
// While one batch is being made durable the next is built on the tree that it will leave.
type writer struct {
	queue    []ref  // not yet in a batch, in the order they came
	building *write // on tip; at most one
	syncing  *write // appended and not acknowledged; at most one
	spare    []*write
	serial   uint32

	timing    bool // the commit timer is running
	expired   bool // it has run out and no batch has been started since
	deadline  time.Duration
	lastBatch time.Duration // when the last batch was started

	refusal error         // why nothing can be made durable
	retryAt time.Duration // when to try again all the same; 0: never
}

// write is one batch on its way to the disk.
type write struct {
	serial     uint32
	requests   []ref         // in the order they came
	items      []item        // sorted by key
	outcomes   []outcome     // sorted by key
	leaves     []leafItems   // those that items fall into, in order
	overwrites []overwrite   // sorted by key; outcomes without those
	copies     bool          // nothing is overwritten
	started    time.Duration // when the batch was made
	base       version
	result     version // root is noNode where nothing changes

	located  bool
	after    bool // the batch before has to be published first
	collided bool // a page that would be overwritten has to be copied
	built    bool
	waiting  int    // pages
	over     bool   // it was given up while it waited
	bad      []lost // pages that could not be had
	err      error  // why the batch as a whole cannot be carried out

	pinned   []nodeID // pages of base that must stay
	fresh    []nodeID // frames taken for new pages
	replaced []nodeID // frames that are free once the result is committed
	saving   saving   // result, on its way to the store where there is no journal

	// While the tree is being built:
	levels    []*level // by height
	pairs     []pair   // of the leaf at hand
	added     int      // nodes that result has more than base
	since     uint64   // pages of this batch were born after it
	ascending bool     // what the last subtree got came in at its right end
}

// level is the scratch of one height while a tree is being built.
type level struct {
	arena []branch // the kids of all parents of this height
	parts []branch // what the last subtree of this height became

	changed []branch // what the children of the parent at hand became that have changed
	changes []kidChange
}

// kidChange is a child of a parent that has changed: what became of it ends before end in level.changed, and begins where
// the one before it ends.
type kidChange struct {
	kid, end int
}

func (w *write) level(height int) *level {
	for len(w.levels) <= height {
		w.levels = append(w.levels, &level{})
	}
	return w.levels[height]
}

func (w *write) startBuild() {
	w.fresh, w.replaced = w.fresh[:0], w.replaced[:0]
	w.added = 0
	for _, l := range w.levels {
		clear(l.arena)
		clear(l.changed)
		l.arena, l.parts, l.changed = l.arena[:0], l.parts[:0], l.changed[:0]
	}
}

// replace notes that the page in id will not be part of the result.
func (w *write) replace(id nodeID) { w.replaced = append(w.replaced, id) }

// advance takes the batches, and the checkpoint, as far as they can go now.
func (t *Tree) advance() {
	for ws := &t.writes; ; {
		t.still()
		w := t.nextBuilt()
		if ws.syncing != nil {
			return // its effects are seen in the answers of w
		}
		if w != nil && w.result.root == noNode {
			ws.building = nil
			t.settle(w)
			continue
		}
		if t.appends.busy {
			return
		}
		t.startCheckpoint()
		switch running := t.checkpoint.running; {
		case w != nil && t.nothingToLog(w):
			ws.building = nil
			t.payDebt(w)
			t.tip = w.result
			t.publish(w)
			t.settle(w)
		case w != nil && !(running && t.rootIsLeft()):
			ws.building = nil
			t.append(w)
		case running:
			t.append(nil)
		default:
			return
		}
	}
}

// nextBuilt returns the batch that is next to become durable, or nil if there is none yet.
func (t *Tree) nextBuilt() *write {
	ws := &t.writes
	if ws.building == nil && !t.startBatch() {
		return nil
	}
	if w := ws.building; w.built || t.prepare(w) {
		return w
	}
	return nil // it waits for pages
}

// nothingToLog reports whether w changes nothing that the journal would have to say: it has only rewritten old leaves,
// or is a part of the journal itself.
func (t *Tree) nothingToLog(w *write) bool {
	return t.replaying || t.logs() && !w.changes()
}

// changes reports whether w changes a pair.
func (w *write) changes() bool {
	return len(w.overwrites) > 0 || slices.ContainsFunc(w.outcomes, outcome.logged)
}

// startBatch makes a batch of the waiting requests, if it is time for one.
func (t *Tree) startBatch() bool {
	ws := &t.writes
	if ws.refusal != nil && !t.retryNow() && !t.replaying {
		t.failQueue(ws.refusal)
		return false
	}
	if t.cacheFull() || t.checkpointWaits() || len(t.waitStill) > 0 || !t.batchDue() {
		return false
	}
	ws.timing, ws.expired = false, false
	ws.lastBatch = t.now

	w := t.newWrite()
	n := wholeBatches(ws.queue, min(len(ws.queue), t.batchLimit()))
	for _, r := range ws.queue[:n] {
		if r.b.Client.Abandoned() {
			r.b.Client.Dropped(r.request())
			t.answered(r, StatusDropped)
			continue
		}
		r.request().err = nil
		w.items = append(w.items, item{key: r.request().Key, req: int32(len(w.requests))})
		w.requests = append(w.requests, r)
	}
	left := copy(ws.queue, ws.queue[n:])
	clear(ws.queue[left:])
	ws.queue = ws.queue[:left]
	w.items = t.addOldLeaves(w.items)
	sortItems(w.items)
	w.base, w.started = t.tip, t.now
	ws.building = w
	t.batchStarted(len(w.requests))
	return true
}

// wholeBatches returns n, or more if it would split what belongs together.
func wholeBatches(queue []ref, n int) int {
	for n > 0 && n < len(queue) && queue[n].b == queue[n-1].b && queue[n].b.Atomic {
		n++
	}
	return n
}

// batchDue reports whether a batch is to be started, and runs the commit timer.
func (t *Tree) batchDue() bool {
	ws := &t.writes
	if len(ws.queue) == 0 {
		return t.cleaningDue()
	}
	if t.replaying {
		return true
	}
	if !ws.timing && !ws.expired {
		ws.timing, ws.deadline = true, t.now+t.cfg.CommitDelay
	}
	if ws.timing && t.now >= ws.deadline {
		ws.timing, ws.expired = false, true
	}
	if ws.syncing != nil && len(ws.queue) < batchWindow {
		return false // what comes until the append is done goes into the same batch
	}
	return ws.expired || t.cfg.MinCommit > 0 && len(ws.queue) >= t.cfg.MinCommit || t.cleaningDue()
}

// batchLimit is how many requests may go into one batch: so many that the pages they
// touch take at most a quarter of the cache, and an append fits into a packet of the original.
func (t *Tree) batchLimit() int {
	pages := min(t.cache.limit/4, (1<<32-1-16)/t.cache.blockSize)
	limit := max(1, pages/(t.tip.height+1))
	if t.cfg.CommitDelay == 0 {
		limit = min(limit, max(batchWindow, len(t.writes.queue)/2))
	}
	return limit
}

func (t *Tree) newWrite() *write {
	ws := &t.writes
	var w *write
	if n := len(ws.spare); n > 0 {
		w, ws.spare = ws.spare[n-1], ws.spare[:n-1]
	} else {
		w = &write{}
	}
	ws.serial++
	w.serial = ws.serial
	return w
}

// prepare decides the requests of w and builds the pages. It returns false when it
// has to wait for pages of the base.
func (t *Tree) prepare(w *write) bool {
	if w.waiting > 0 || w.after && t.writes.syncing != nil {
		return false
	}
	for {
		for !w.located {
			if !t.locate(w) {
				return false
			}
			w.located = !w.refuseTogether()
		}
		switch {
		case len(w.outcomes) == 0 && len(w.overwrites) > 0:
			w.result = w.base
		case len(w.outcomes) > 0 && !t.build(w) && w.err == nil:
			w.located = false
			if !w.collided {
				return false
			}
			w.copies, w.collided = true, false
			continue
		}
		w.built = true
		return true
	}
}

// pin keeps a page in memory until w is done.
func (t *Tree) pin(w *write, id nodeID, nd *node) {
	nd.use()
	if nd.batch != w.serial {
		nd.batch = w.serial
		nd.pins++
		w.pinned = append(w.pinned, id)
	}
}

// fetchForWrite makes w wait for a page of its base. It fails if the page cannot be had.
func (t *Tree) fetchForWrite(w *write, want want) error {
	for i := range w.bad {
		if bad := &w.bad[i]; bad.want.same(&want) {
			t.fault(want.block, bad.err)
			return bad.err
		}
	}
	if err := t.fetchWanted(want, waiter{write: w}); err != nil {
		return err
	}
	w.waiting++
	return nil
}

// pageCameForWrite tells w that a page is there, or why it is not. The page stays until w is done:
// in a small cache it could be gone again before w comes to it, time after time.
func (t *Tree) pageCameForWrite(w *write, id nodeID, bad lost) {
	w.waiting--
	switch {
	case w.over:
	case bad.err == nil:
		t.pin(w, id, t.cache.node(id))
	default:
		bad.want.lo, bad.want.hi = bytes.Clone(bad.want.lo), bytes.Clone(bad.want.hi)
		w.bad = append(w.bad, bad)
	}
}

// publish makes the result of w, which is durable, the committed tree.
func (t *Tree) publish(w *write) {
	before := t.committed
	t.committed = w.result
	if t.committed.next = t.next; t.replaying {
		t.committed.next = before.next // the rest of the journal is still to be replayed
	}
	t.committed.logged = before.logged + t.appends.logged
	t.appends.logged = 0
	t.tip = t.committed
	t.checkpoint.changed = t.now
	readers := t.cache.readers
	if readers != nil {
		readers.writes.Add(1)
	}
	t.writeOver(w)
	t.counts.commits++
	t.committedNow(w)
	t.cache.node(w.result.root).pins++ // until it is replaced
	t.cache.node(before.root).pins--
	t.unpin(w)
	if !t.logs() && !t.replaying {
		for _, id := range t.appends.saved {
			t.cache.setState(t.cache.node(id), frameClean)
		}
		t.setSaved(t.committed)
	}
	if readers != nil {
		v := t.committed
		readers.view.Store(&v)
		readers.writes.Add(1)
	}
	for _, id := range w.replaced {
		t.discard(id)
	}
	w.replaced = w.replaced[:0]
}

// settle answers the requests of w, of which the effects are durable.
func (t *Tree) settle(w *write) {
	for _, r := range w.requests {
		q := r.request()
		switch {
		case w.err != nil:
			t.fail(r, w.err)
		case q.err != nil:
			t.fail(r, q.err)
		default:
			r.b.Client.Done(q, q.changed)
			t.answered(r, outcomeOf(q.changed))
		}
	}
	t.retire(w)
}

// abandon fails all requests of w and drops what was built.
func (t *Tree) abandon(w *write, err error) {
	w.err = err
	t.discardFresh(w)
	t.settle(w)
}

// retryNow reports whether a batch may be tried although the last append failed.
func (t *Tree) retryNow() bool {
	ws := &t.writes
	if ws.retryAt == 0 || t.now < ws.retryAt {
		return false
	}
	ws.refusal = nil
	return true
}

func (t *Tree) failQueue(err error) {
	for _, r := range t.writes.queue {
		t.fail(r, err)
	}
	clear(t.writes.queue)
	t.writes.queue = t.writes.queue[:0]
	t.writes.timing, t.writes.expired = false, false
}

// discardFresh frees the pages that were built for w.
func (t *Tree) discardFresh(w *write) {
	for _, id := range w.fresh {
		t.cache.free(id)
	}
	w.fresh, w.replaced = w.fresh[:0], w.replaced[:0]
	w.result = version{}
}

func (t *Tree) unpin(w *write) {
	for _, id := range w.pinned {
		t.cache.node(id).pins--
	}
	w.pinned = w.pinned[:0]
}

// retire makes w ready for another batch.
func (t *Tree) retire(w *write) {
	t.unpin(w)
	clear(w.requests)
	clear(w.items)
	clear(w.outcomes)
	clear(w.leaves)
	clear(w.overwrites)
	w.leaves, w.overwrites, w.copies, w.after, w.collided = w.leaves[:0], w.overwrites[:0], false, false, false
	clear(w.pairs)
	w.requests, w.items, w.outcomes, w.pairs = w.requests[:0], w.items[:0], w.outcomes[:0], w.pairs[:0]
	w.fresh, w.replaced = w.fresh[:0], w.replaced[:0]
	w.located, w.built, w.err, w.bad = false, false, nil, nil
	w.base, w.result = version{}, version{}
	if w.over = w.waiting > 0; w.over {
		return // pages will come for it yet: it must not be another batch by then
	}
	t.writes.spare = append(t.writes.spare, w)
}
