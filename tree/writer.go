package tree

import (
	"bytes"
	"fmt"
	"time"

	"kivaloo/tree/memtable"
)

// writer is the part of a tree that decides what modifying requests do, in the order in which they
// came. A Set or a Delete needs to know nothing; the others need the value that their key holds at
// that moment: from the memtables or, where those know nothing, from a page. What a request makes of
// its key goes into the newest memtable.
//
//	queue --> decide --> memtable, waiting --> [append] --> answer
//
// Invariants:
//  1. waiting is in the order of decision; the first syncing of it depend on the append under way, the
//     others on the next one.
//  2. The requests of an atomic batch are decided together, so that one commit has all of them.
type writer struct {
	t *Tree

	queue   []ref // not yet decided, in the order they came
	waiting []ref // decided, and answered when what they saw and did is durable
	syncing int

	asked    int    // pages on their way that requests in the queue need
	head     uint64 // block that the first request in the queue waits for; noBlock: it does not wait
	timing   bool   // the commit timer is running
	expired  bool   // it has run out, and nothing has been decided since
	deadline time.Duration
	touched  uint64 // keeps loads that are only there to warm the caches from being optimised away
}

// due reports whether requests in the queue are to be decided, and runs the commit timer.
func (w *writer) due() bool {
	t := w.t
	if len(w.queue) == 0 {
		return false
	}
	if !w.timing && !w.expired {
		w.timing, w.deadline = true, t.now+t.cfg.CommitDelay
	}
	if w.timing && t.now >= w.deadline {
		w.timing, w.expired = false, true
	}
	if t.appends.busy && t.cfg.CommitDelay+time.Duration(t.cfg.MinCommit) > 0 {
		return false // what comes until the append is done is decided together
	}
	return w.expired || t.cfg.MinCommit > 0 && len(w.queue) >= t.cfg.MinCommit
}

// decide decides what is in the queue, as far as the memtable has room and pages are in memory.
func (w *writer) decide() {
	if w.head != noBlock || !w.due() {
		return
	}
	if err := w.t.writable(); err != nil {
		w.failQueue(err)
		return
	}
	if w.t.full() && w.t.now < w.t.flush.notBefore { // there is no room for them, and may not soon be
		w.failQueue(fmt.Errorf("%w: %w", ErrReadOnly, w.t.flush.why))
		return
	}
	n, hold := 0, w.t.holdsChanges()
	for n < len(w.queue) && w.head == noBlock && !hold && !w.t.commitFull() {
		if n%touchGroup == 0 {
			w.touch(w.queue[n:min(len(w.queue), n+touchGroup)])
		}
		n += w.decideFirst(w.queue[n:])
	}
	left := copy(w.queue, w.queue[n:])
	clear(w.queue[left:])
	if w.queue = w.queue[:left]; left == 0 {
		w.timing, w.expired = false, false
	}
}

// touch has the processor fetch the slots of many keys at once.
func (w *writer) touch(refs []ref) {
	table := w.t.active()
	for _, r := range refs {
		w.touched += table.Touch(table.Hash(r.request().Key))
	}
}

// decideFirst decides the first request, or the whole atomic batch that it begins. It returns the
// number of requests decided; 0 if a page is missing.
func (w *writer) decideFirst(refs []ref) int {
	n := 1
	for refs[0].b.Atomic && n < len(refs) && refs[n].b == refs[0].b {
		n++
	}
	if refs[0].b.Client.Abandoned() {
		for _, r := range refs[:n] {
			r.b.Client.Dropped(r.request())
			w.t.replies.answered(r, StatusDropped)
		}
		return n
	}
	lost := w.pagesFor(refs[:n], refs[n:])
	if w.head != noBlock {
		return 0
	}
	if n > 1 && lost == nil {
		lost = w.reserve(refs[:n])
	}
	for _, r := range refs[:n] {
		if r.request().err = lost; lost == nil {
			r.request().err = w.decideOne(r.request())
		}
		w.waiting = append(w.waiting, r)
	}
	return n
}

// reserve makes sure that there is memory for all requests of an atomic batch, so that none of them can
// fail after another one was decided.
func (w *writer) reserve(refs []ref) error {
	bytes := 0
	for _, r := range refs {
		bytes += len(r.request().Key) + len(r.request().Value)
	}
	return w.t.active().Reserve(len(refs), bytes)
}

// pagesFor makes sure that what some requests need to know is in memory. If it is not, w.head says
// which page they wait for; what those behind them need is asked for as well.
func (w *writer) pagesFor(refs, behind []ref) error {
	for _, r := range refs {
		if !w.needsPage(r.request()) {
			continue
		}
		block, err := w.ask(r.request().Key)
		if err != nil {
			return err
		}
		if block == noBlock {
			continue
		}
		w.head = block
		if w.asked == 1 {
			for _, r := range behind[:min(len(behind), askAhead)] {
				if w.needsPage(r.request()) {
					_, _ = w.ask(r.request().Key) // an error is met again
				}
			}
		}
		return nil
	}
	return nil
}

// needsPage reports whether a request cannot be decided by what is in the memtables. Where there is
// no journal a commit writes pages, so each request needs its leaf.
func (w *writer) needsPage(q *Request) bool {
	if (q.Op == Set || q.Op == Delete) && w.t.logs() {
		return false
	}
	_, found := w.inTables(q.Key)
	return found == memtable.Unknown || !w.t.logs()
}

// ask returns noBlock if the leaf of a key is in memory, or else asks for the page that is missing on
// the way to it.
func (w *writer) ask(key []byte) (block uint64, err error) {
	t := w.t
	id, want, err := t.cache.descend(t.view.tree.root, key, 0)
	switch {
	case id != noNode:
		t.cache.node(id).use()
		return noBlock, nil
	case err == nil:
		err = t.pager.fetch(want, waiter{other: w})
	}
	if err != nil {
		t.fault(want.Block, err)
		return noBlock, err
	}
	t.replies.tally.misses++
	w.asked++
	return want.Block, nil
}

// pageArrived goes on with the first request if that has waited for the page.
func (w *writer) pageArrived(block uint64, _ nodeID, _ error) {
	w.asked--
	if block == w.head {
		w.head = noBlock
		w.decide() // at once: in a small cache the page could be gone again
	}
}

// inTables returns what the memtables say of a key, with what has been decided and is not durable.
func (w *writer) inTables(key []byte) ([]byte, memtable.Found) {
	tables := w.t.view.tables
	hash := tables[0].Hash(key)
	for _, table := range tables {
		if value, found := table.Get(hash, key, table.Tip()); found != memtable.Unknown {
			return value, found
		}
	}
	return nil, memtable.Unknown
}

// decideOne carries out a request whose page is in memory, if it needs one.
func (w *writer) decideOne(q *Request) error {
	table := w.t.active()
	hash := table.Hash(q.Key)
	q.changed = true
	blind := q.Op == Set || q.Op == Delete && w.t.logs()
	if !blind {
		value, there, err := w.lookup(q.Key)
		if err != nil {
			return err
		}
		if q.changed = holds(q, value, there); !q.changed || q.Op == Delete && !there {
			return nil
		}
	}
	if q.Op == Delete || q.Op == CAD {
		return table.Delete(hash, q.Key)
	}
	return table.Set(hash, q.Key, q.Value)
}

// lookup returns the value that a key has, with all that has been decided. The leaf must be in memory
// if the memtables know nothing.
func (w *writer) lookup(key []byte) (value []byte, there bool, err error) {
	value, found := w.inTables(key)
	if found != memtable.Unknown {
		return value, found == memtable.Present, nil
	}
	id, _, err := w.t.cache.descend(w.t.view.tree.root, key, 0)
	if err != nil {
		return nil, false, err
	}
	value, there = w.t.cache.lookup(w.t.cache.node(id), key)
	return value, there, nil
}

// holds reports whether the condition of a request holds for a key with a value, or without one.
func holds(q *Request, value []byte, there bool) bool {
	switch q.Op {
	case Add:
		return !there
	case Modify:
		return there
	case CAS, CAD:
		return there && bytes.Equal(value, q.Old)
	}
	return true
}

// committing notes that everything decided so far depends on the append that begins.
func (w *writer) committing() { w.syncing = len(w.waiting) }

// committed answers the requests whose effects are durable.
func (w *writer) committed() {
	w.answer(w.syncing, nil)
	w.syncing = 0
}

// answerSettled answers requests that changed nothing, when nothing that they saw waits to be durable.
func (w *writer) answerSettled() {
	if len(w.waiting) > 0 && w.syncing == 0 && !w.t.active().Pending() && !w.t.flush.committing() {
		w.answer(len(w.waiting), nil)
	}
}

// failed fails all requests that have been decided: those of the append that failed with err, the
// others with later.
func (w *writer) failed(err, later error) {
	w.answer(w.syncing, err)
	w.syncing = 0
	w.answer(len(w.waiting), later)
}

// answer answers the first n requests that wait.
func (w *writer) answer(n int, err error) {
	for _, r := range w.waiting[:n] {
		q := r.request()
		switch {
		case err != nil:
			w.t.replies.fail(r, err)
		case q.err != nil:
			w.t.replies.fail(r, q.err)
		default:
			r.b.Client.Done(q, q.changed)
			w.t.replies.answered(r, outcomeOf(q.changed))
		}
	}
	left := copy(w.waiting, w.waiting[n:])
	clear(w.waiting[left:])
	w.waiting = w.waiting[:left]
}

func (w *writer) failQueue(err error) {
	for _, r := range w.queue {
		w.t.replies.fail(r, err)
	}
	clear(w.queue)
	w.queue = w.queue[:0]
	w.timing, w.expired = false, false
}
