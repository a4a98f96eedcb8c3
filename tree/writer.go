package tree

import (
	"fmt"
	"slices"
	"time"

	"kivaloo/tree/memtable"
)

// writer decides the outcome of modifying requests, in order of arrival. A Set or Delete needs no
// other data. The others, including conditions, need the current value of their key: from the
// memtables or, if those do not have the key, from a page. The outcome goes into the newest
// memtable.
//
//	queue --> decide --> memtable, waiting --> [append] --> answer
//
// Invariants:
//  1. waiting is in the order of decision. The first syncing of them depend on the current append,
//     the others on the next one.
//  2. The requests of an atomic batch are decided together, so that they are all in one commit.
type writer struct {
	t *Tree

	queue   []ref // not yet decided, in order of arrival
	waiting []ref // decided; answered when durable, together with what they depended on
	syncing int

	asked    int    // number of pages being read for requests in the queue
	finding  bool   // the keys of the first request in the queue, a DeleteRange, are being found
	head     uint64 // block that the first request in the queue waits for; noBlock: it does not wait
	timing   bool   // the commit timer is running
	expired  bool   // it has expired, and nothing has been decided since
	deadline time.Duration
	touched  uint64 // keeps the compiler from removing loads that only warm the processor's caches
}

// due reports whether to decide requests in the queue. It also runs the commit timer.
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
		return false // requests that arrive before the append is done are decided together
	}
	return w.expired || t.cfg.MinCommit > 0 && len(w.queue) >= t.cfg.MinCommit
}

// decide decides queued requests, as far as the memtable has room and pages are in memory.
func (w *writer) decide() {
	if w.head != noBlock || w.finding || !w.due() {
		return
	}
	if err := w.t.writable(); err != nil {
		w.failQueue(err)
		return
	}
	if (w.t.full() || w.t.foldsFirst()) && w.t.now < w.t.flush.notBefore { // there is no room, and there may be none soon
		w.failQueue(fmt.Errorf("%w: %w", ErrReadOnly, w.t.flush.why))
		return
	}
	s := &w.t.space
	plenty := s.plenty(len(w.queue))
	s.pressed = false
	n, hold := 0, w.t.holdsChanges()
	for n < len(w.queue) && w.head == noBlock && !hold && !w.t.commitFull() {
		if w.queue[n].request().Op == DeleteRange {
			break // see findRange
		}
		if !plenty && !s.admits(w.queue[n:]) {
			s.pressed = true
			break
		}
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
	if s.pressed && !s.working() {
		w.failQueue(s.refuse())
	}
}

// touch prefetches the index slots of many keys at once.
func (w *writer) touch(refs []ref) {
	table := w.t.active()
	for _, r := range refs {
		w.touched += table.Touch(table.Hash(r.request().Key))
	}
}

// decideFirst decides the first request, or the whole atomic batch that it begins. It returns the
// number of requests decided: 0 if a page is missing.
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
	if n > 1 {
		return w.decideAtomic(refs[:n], refs[n:])
	}
	q := refs[0].request()
	lost := w.pageFor(q, nil, refs[1:])
	if w.head != noBlock {
		return 0
	}
	if q.err = lost; lost == nil {
		q.err = w.decideOne(q)
	}
	w.waiting = append(w.waiting, refs[0])
	return 1
}

// decideAtomic decides an atomic batch. It returns the number of requests decided: all, or 0 if a
// page is missing.
func (w *writer) decideAtomic(refs, behind []ref) int {
	lost := w.learn(refs, behind)
	if w.head != noBlock {
		return 0
	}
	if lost == nil {
		lost = w.reserve(refs)
	}
	met := !slices.ContainsFunc(refs, func(r ref) bool {
		q := r.request()
		return q.Op.Condition() && !holds(q, q.before)
	})
	for _, r := range refs {
		q := r.request()
		switch {
		case lost != nil:
			q.err = lost
		case q.Op.Condition():
			q.changed = holds(q, q.before)
		case met:
			q.err = w.decideOne(q)
		}
		w.waiting = append(w.waiting, r)
	}
	return len(refs)
}

// learn records what the requests of an atomic batch need to know about their keys. If a page is
// missing, w.head says which. Recorded states stay valid, because nothing else is decided
// meanwhile. So the pages of a batch need not all be in memory at once.
func (w *writer) learn(refs, behind []ref) error {
	for i, r := range refs {
		q := r.request()
		if q.before != 0 || (q.Op == Set || q.Op == Delete) && w.t.logs() {
			continue
		}
		if err := w.pageFor(q, refs[i+1:], behind); err != nil || w.head != noBlock {
			return err
		}
		s, err := w.lookup(q)
		if err != nil {
			return err
		}
		q.before = s
	}
	return nil
}

// reserve allocates memory for all requests of an atomic batch, so that none can fail after another
// was decided.
func (w *writer) reserve(refs []ref) error {
	changes, bytes := 0, 0
	for _, r := range refs {
		if q := r.request(); !q.Op.Condition() {
			changes++
			bytes += len(q.Key) + len(q.Value)
		}
	}
	return w.t.active().Reserve(changes, bytes)
}

// pageFor ensures that the page for a request is in memory. If it is not, w.head says which page
// the request waits for. The pages for the rest of its batch and for later requests are requested
// too.
func (w *writer) pageFor(q *Request, rest, behind []ref) error {
	if !w.needsPage(q) {
		return nil
	}
	block, err := w.ask(q.Key)
	if err != nil || block == noBlock {
		return err
	}
	w.head = block
	if w.asked == 1 {
		w.askAhead(rest)
		w.askAhead(behind)
	}
	return nil
}

// askAhead requests the pages that some requests need.
func (w *writer) askAhead(refs []ref) {
	for _, r := range refs[:min(len(refs), askAhead)] {
		if w.needsPage(r.request()) {
			_, _ = w.ask(r.request().Key) // the request itself gets the error later
		}
	}
}

// needsPage reports whether the memtables alone cannot decide a request. Without a journal a commit
// writes pages, so each request except a condition needs its leaf.
func (w *writer) needsPage(q *Request) bool {
	if (q.Op == Set || q.Op == Delete) && w.t.logs() {
		return false
	}
	_, found := w.inTables(q.Key)
	return found == memtable.Unknown || !w.t.logs() && !q.Op.Condition()
}

// ask returns noBlock if the leaf of a key is in memory. Otherwise it requests the first missing
// page on the way, and returns its block.
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

// pageArrived continues with the first request if it waited for this page.
func (w *writer) pageArrived(block uint64, _ nodeID, _ error) {
	w.asked--
	if block == w.head {
		w.head = noBlock
		w.decide() // at once, because a small cache could evict the page again
	}
}

// inTables returns the state of a key in the memtables, including decided changes that are not
// durable.
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

// decideOne carries out a request. If it needs a page, that must be in memory.
func (w *writer) decideOne(q *Request) error {
	table := w.t.active()
	hash := table.Hash(q.Key)
	q.changed = true
	blind := q.Op == Set || q.Op == Delete && w.t.logs()
	if !blind {
		s, err := w.lookup(q)
		if err != nil {
			return err
		}
		if q.changed = holds(q, s); !q.changed || q.Op.Condition() || q.Op == Delete && s&keyThere == 0 {
			return nil
		}
	}
	if q.Op == Delete || q.Op == CAD {
		return table.Delete(hash, q.Key)
	}
	return table.Set(hash, q.Key, q.Value)
}

// lookup returns the state of a request's key after everything decided so far. If neither the
// memtables nor q.before know it, the leaf must be in memory.
func (w *writer) lookup(q *Request) (keyState, error) {
	value, found := w.inTables(q.Key)
	if found != memtable.Unknown {
		return stateOf(q, value, found == memtable.Present), nil
	}
	if q.before != 0 {
		return q.before, nil
	}
	id, _, err := w.t.cache.descend(w.t.view.tree.root, q.Key, 0)
	if err != nil {
		return 0, err
	}
	value, there := w.t.cache.lookup(w.t.cache.node(id), q.Key)
	return stateOf(q, value, there), nil
}

// holds reports whether the condition of a request holds for a key in this state.
func holds(q *Request, s keyState) bool {
	switch q.Op {
	case Add, ExpectAbsent:
		return s&keyThere == 0
	case Modify, ExpectPresent:
		return s&keyThere != 0
	case CAS, CAD, Expect:
		return s&keyOld != 0
	}
	return true
}

// committing records that everything decided so far depends on the append that now begins.
func (w *writer) committing() { w.syncing = len(w.waiting) }

// committed answers the requests whose effects are durable.
func (w *writer) committed() {
	w.answer(w.syncing, nil)
	w.syncing = 0
}

// answerSettled answers requests that changed nothing, once nothing that they depended on is still
// waiting to become durable.
func (w *writer) answerSettled() {
	if w.settled() {
		w.answer(len(w.waiting), nil)
	}
}

// settled reports whether everything decided is durable and in view.
func (w *writer) settled() bool {
	return w.syncing == 0 && !w.t.active().Pending() && !w.t.flush.committing()
}

// failed fails all decided requests: those in the failed append with err, the others with later.
func (w *writer) failed(err, later error) {
	for _, r := range w.queue { // its state may include changes that failed
		r.request().before = 0
	}
	w.answer(w.syncing, err)
	w.syncing = 0
	w.answer(len(w.waiting), later)
}

// answer answers the first n waiting requests.
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
	w.timing, w.expired, w.t.space.pressed = false, false, false
}
