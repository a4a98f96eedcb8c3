package tree

import (
	"errors"
	"fmt"
	"time"

	"kivaloo/disk"
)

// writer is the part of a tree that carries out modifying requests, a batch at a time:
//
//	queue -> startBatch -> locate -> build -> [waits for the append before it] -> append -> publish
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
	serial   uint32
	requests []ref         // in the order they came
	items    []item        // sorted by key
	outcomes []outcome     // sorted by key
	started  time.Duration // when the batch was made
	appended time.Duration // when it was given to the store
	base     version
	result   version // root is noNode where nothing changes

	located bool
	built   bool
	waiting int              // pages
	over    bool             // it was given up while it waited
	bad     map[uint64]error // blocks that could not be had
	err     error            // why the batch as a whole cannot be carried out

	pinned   []nodeID // pages of base that must stay
	fresh    []nodeID // frames taken for new pages
	replaced []nodeID // frames that are free once the result is committed
	written  []nodeID // the pages of result, in the order they are appended
	pages    [][]byte
	seal     []byte // one of pages: see seal.go
	op       disk.Op

	// While the tree is being built:
	levels    []*level // by height
	pairs     []pair   // of the leaf at hand
	added     int      // nodes that result has more than base
	ascending bool     // what the last subtree got came in at its right end
}

// level is the scratch of one height while a tree is being built.
type level struct {
	arena []branch // the kids of all parents of this height
	parts []branch // what the last subtree of this height became
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
		l.arena, l.parts = l.arena[:0], l.parts[:0]
	}
}

// replace notes that the page in id will not be part of the result.
func (w *write) replace(id nodeID) { w.replaced = append(w.replaced, id) }

// advance takes the batches as far as they can go now.
func (t *Tree) advance() {
	for ws := &t.writes; ; {
		if ws.building == nil && !t.startBatch() {
			return
		}
		w := ws.building
		if !w.built && !t.prepare(w) {
			return // for pages
		}
		if ws.syncing != nil {
			return // its effects are seen in the answers of this one
		}
		ws.building = nil
		if w.result.root == noNode {
			t.settle(w)
		} else {
			t.append(w)
		}
	}
}

// startBatch makes a batch of the waiting requests, if it is time for one.
func (t *Tree) startBatch() bool {
	ws := &t.writes
	if ws.refusal != nil && !t.retryNow() {
		t.failQueue(ws.refusal)
		return false
	}
	if !t.batchDue() {
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
	if w.waiting > 0 {
		return false
	}
	for !w.located {
		if !t.locate(w) {
			return false
		}
		w.located = !w.refuseTogether()
	}
	if len(w.outcomes) > 0 && !t.build(w) && w.err == nil {
		return false
	}
	w.built = true
	return true
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

// fetchForWrite makes w wait for the page of its base at which the way to key ends. It
// fails if the page cannot be had.
func (t *Tree) fetchForWrite(w *write, key []byte) error {
	want, _ := t.missing(w.base.root, key)
	if err := w.bad[want.block]; err != nil {
		t.fault(want.block, err)
		return err
	}
	if err := t.fetch(w.base.root, key, waiter{write: w}); err != nil {
		return err
	}
	w.waiting++
	return nil
}

// pageCameForWrite tells w that a page is there, or why it is not. The page stays until w is done:
// in a small cache it could be gone again before w comes to it, time after time.
func (t *Tree) pageCameForWrite(w *write, f *fetch, err error) {
	w.waiting--
	if w.over {
		return
	}
	if err == nil {
		t.pin(w, f.id, t.cache.node(f.id))
		return
	}
	if w.bad == nil {
		w.bad = make(map[uint64]error)
	}
	w.bad[f.want.block] = err
}

// append numbers the pages of w and hands them to the store. This and appended are all that
// knows how a batch becomes durable.
func (t *Tree) append(w *write) {
	w.pages, w.written = w.pages[:0], w.written[:0]
	root := t.cache.node(w.result.root)
	t.number(w, w.result.root, root)
	w.result.block, w.result.oldest = root.block, root.oldest
	putNodes(t.cache.page(root), w.result.nodes)
	if sealed(t.cache.blockSize) {
		putSeal(w.pages, len(w.pages)-2, t.next)
	}
	if invariants {
		t.checkFresh(w.result.root, root, nil, nil)
	}
	t.payDebt(w)
	t.tip, w.appended = w.result, t.now
	t.writes.syncing = w
	w.op = disk.Op{Kind: disk.Append, Block: t.next, Pages: w.pages}
	t.submit(&w.op)
}

// number gives the fresh pages of a subtree their blocks, children before parents and the
// root last, and enters them in the records of their parents.
func (t *Tree) number(w *write, id nodeID, nd *node) {
	c := t.cache
	oldest := noBlock
	if nd.height > 0 {
		kids := c.children(nd)
		for i := range kids {
			r := c.record(nd, i)
			if r.block&provisionalBit != 0 {
				kid := c.node(kids[i])
				t.number(w, kids[i], kid)
				r = record{block: kid.block, oldest: kid.oldest, size: kid.size}
				c.putRecord(nd, i, r)
			}
			oldest = min(oldest, r.oldest)
		}
	}
	if nd.root && sealed(c.blockSize) {
		if w.seal == nil {
			w.seal = make([]byte, c.blockSize)
		}
		w.pages = append(w.pages, w.seal)
	}
	block := t.next + uint64(len(w.pages))
	nd.oldest = min(oldest, block)
	nd.setBlock(block)
	c.table[nd.block] = id
	w.written = append(w.written, id)
	w.pages = append(w.pages, c.page(nd))
}

// appended takes in the outcome of an append.
func (t *Tree) appended(op *disk.Op) {
	w := t.writes.syncing
	t.writes.syncing = nil
	t.wasOut(w.appended)
	switch {
	case op.Err != nil:
		t.appendFailed(w, fmt.Errorf("append %d pages at block %d: %w", len(w.pages), op.Block, op.Err))
	case !op.OK:
		t.appendFailed(w, fmt.Errorf("append at block %d: refused: something else writes to the store", op.Block))
	default:
		t.publish(w, op.Next)
	}
}

// publish makes the result of w the committed tree and answers its requests.
func (t *Tree) publish(w *write, next uint64) {
	t.next = next
	before := t.committed
	t.committed = w.result
	t.counts.commits++
	t.counts.written += uint64(len(w.written))
	t.committedNow(w)
	for _, id := range w.written {
		t.cache.node(id).state = frameClean
	}
	t.cache.node(w.result.root).pins++ // until it is replaced
	t.cache.node(before.root).pins--
	t.unpin(w)
	if t.cache.readers != nil {
		v := t.committed
		t.cache.readers.view.Store(&v)
	}
	for _, id := range w.replaced {
		if !t.inSnapshot(t.cache.node(id).block) {
			t.cache.free(id)
		}
	}
	w.replaced = w.replaced[:0]
	t.afterCommit(len(w.written))
	t.settle(w)
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

// appendFailed gives up w and the batch that was built on it. Nothing of them is
// acknowledged, and no more is made durable until the store can be trusted again.
func (t *Tree) appendFailed(w *write, err error) {
	ws := &t.writes
	ws.refusal = fmt.Errorf("%w: %w", ErrReadOnly, err)
	ws.retryAt = 0
	if errors.Is(err, disk.ErrNoSpace) {
		ws.retryAt = t.now + noSpaceRetry
	}
	t.cfg.Log.Error("store is read-only", "err", err)
	t.tip = t.committed
	t.abandon(w, err)
	if next := ws.building; next != nil {
		ws.building = nil
		t.abandon(next, ws.refusal)
	}
	t.cfg.OnFault(ws.refusal)
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
	clear(w.pairs)
	w.requests, w.items, w.outcomes, w.pairs = w.requests[:0], w.items[:0], w.outcomes[:0], w.pairs[:0]
	w.fresh, w.replaced, w.written = w.fresh[:0], w.replaced[:0], w.written[:0]
	w.located, w.built, w.err, w.bad = false, false, nil, nil
	w.base, w.result = version{}, version{}
	if w.over = w.waiting > 0; w.over {
		return // pages will come for it yet: it must not be another batch by then
	}
	t.writes.spare = append(t.writes.spare, w)
}
