package tree

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"kivaloo/tree/memtable"
)

// flusher writes frozen memtables into pages, the oldest first and each in key order, as page
// commits of bounded size:
//
//	idle --> sorting --> preparing --> built --> appending --+
//	  ^                      ^                               |
//	  |                      +----------- not the last ------+
//	  +---------------------------------- the last ----------+
//
// Recovery can start from the root of any step, because the journal is kept from the memtable's
// first commit on until the flush ends. Reads also consult the memtable for all its keys until its
// last step is durable. So a half-flushed memtable needs no special case.
//
// A step may have no memtable. Such a step rewrites old leaves, or only the root, so that the store
// ends in a root.
type flusher struct {
	t *Tree

	state   flushState
	table   *memtable.Table // the memtable being flushed; nil for a step without one
	cursor  memtable.Cursor
	ahead   []change // the next changes of the table
	done    int      // changes already durable in pages, or left out
	step    *pageCommit
	taken   int  // changes from ahead in the step
	moves   int  // old leaves in the step
	last    bool // the step is the last one of its memtable
	leaves  int  // leaves that a step may rewrite
	started time.Duration

	notBefore time.Duration // after a failure, the earliest time to try again
	why       error         // why it failed; nil once a step is durable

	// A change whose leaf cannot be read is copied ("carried") into the newest memtable, unless a
	// newer change of the key is there. The last step is appended only once that memtable is
	// durable up to carriedAt. The appender raises the limit of the memtable: otherwise carried
	// changes could fill it, and be flushed and carried without end.
	carriedWhy   error // why changes of this memtable were carried; nil: none were
	carriedTo    *memtable.Table
	carriedAt    memtable.Pos
	carriedBytes int // of this memtable's changes, in durable steps
	leftOutBytes int // the same for the current step

	waiters []flushWaiter
}

type flushState uint8

const (
	flushIdle      flushState = iota
	flushSorting              // the memtable is being sorted, part of it in each step of the tree
	flushPreparing            // waiting for pages that the step needs
	flushBuilt                // the step goes out with the next append
	flushAppending            // the step is in the current append
)

// errLeafUnreadable means that a change cannot be flushed, because its leaf cannot be read.
var errLeafUnreadable = errors.New("a change cannot be flushed, because its leaf cannot be read")

// flushWaiter waits for the flush of a memtable.
type flushWaiter struct {
	table *memtable.Table
	f     func(error)
}

// wanted reports whether the newest memtable should be flushed now. The memtable must not be empty.
func (f *flusher) wanted() bool {
	t := f.t
	if t.cfg.ReadOnly || t.refusal != nil || t.now < f.notBefore {
		return false
	}
	active := t.active()
	if t.full() || t.space.pressed && t.carriedWhy == nil || slices.ContainsFunc(f.waiters, func(w flushWaiter) bool { return w.table == active }) {
		return true
	}
	return t.carriedWhy == nil && (t.stopping || t.idleSince() >= flushIdleAfter)
}

// failing returns why nothing can be flushed now, or nil.
func (f *flusher) failing() error {
	if f.t.refusal == nil && f.t.now < f.notBefore {
		return f.why
	}
	return f.t.refusal
}

// putOff postpones the flush after err, and passes err to all callbacks that wait for a flush.
func (f *flusher) putOff(err error) {
	t := f.t
	delay := noSpaceRetry
	if errors.Is(err, errLeafUnreadable) {
		delay = unreadableRetry
	}
	f.notBefore = t.now + delay
	if f.why == nil || f.why.Error() != err.Error() {
		t.cfg.Log.Error("flush put off", "err", err)
	}
	f.why = err
	f.failWaiters(err)
	if t.foldsFirst() {
		t.writer.failQueue(fmt.Errorf("%w: %w", ErrReadOnly, err))
	}
}

// committing reports whether the memtable being flushed is itself a commit. Without a journal, only
// the flush makes it durable.
func (f *flusher) committing() bool { return f.table != nil && !f.table.Settled() }

// commitWaits reports whether the next memtable to flush is itself a commit. Such a flush is not
// postponed, because requests wait for it. It may find room where cleaning found none; if not, its
// requests fail.
func (f *flusher) commitWaits() bool {
	tables := f.t.view.tables
	return len(tables) > 1 && !tables[len(tables)-1].Settled()
}

// ready reports whether a step can go into the next append.
func (f *flusher) ready() bool {
	return f.state == flushBuilt && (!f.last || f.carriedTo == nil || f.carriedTo.Durable() >= f.carriedAt)
}

// advance continues the flush as far as it can without waiting for a page or an append.
func (f *flusher) advance() {
	t := f.t
	if t.cfg.ReadOnly || t.refusal != nil || t.now < f.notBefore && !f.commitWaits() {
		return
	}
	if f.state == flushIdle && !f.begin() {
		return
	}
	if f.state == flushSorting {
		for !f.table.Sort(f.table.Tip(), sortItems) {
			if !f.committing() {
				return
			}
		}
		f.cursor.Reset()
		f.cursor.Add(f.table, f.table.Tip(), nil)
		f.state = flushPreparing
	}
	if f.state == flushPreparing && (f.step != nil || f.beginStep()) && f.step.prepare(f.leaves) {
		f.built()
	}
}

// begin starts to flush the oldest frozen memtable. If there is none, it starts a step without a
// memtable when cleaning or the root needs one. It reports whether it started anything.
func (f *flusher) begin() bool {
	t := f.t
	f.ahead, f.done, f.started = f.ahead[:0], 0, t.now
	f.carriedWhy, f.carriedTo, f.carriedBytes = nil, nil, 0
	if n := len(t.view.tables); n > 1 {
		f.table, f.state = t.view.tables[n-1], flushSorting
		t.clean.flushBegins(f.table.Len())
		if !f.committing() {
			t.events.Begin(EventFlush)
		}
		return true
	}
	if !t.clean.due() && !t.rootDue() {
		return false
	}
	f.table, f.state = nil, flushPreparing
	return true
}

// stepChanges returns how many changes the next step may take, or 0 if it is too early for a step.
// Steps are spread over the time in which half of the next memtable fills. So each append carries a
// part of the flush, and building a step does not delay requests for long. Short flushes are not
// spread.
func (f *flusher) stepChanges() int {
	t := f.t
	awaited := t.stopping || t.space.pressed || len(f.waiters)+len(t.snapshotsWanted) > 0 || t.idleSince() >= flushIdleAfter
	switch {
	case f.committing():
		return math.MaxInt // a commit goes out in one append, whatever its size
	case t.full() || t.foldsFirst() || len(t.view.tables) > 2:
		return maxStepChanges // changes wait for the flush to end
	case awaited || f.table == nil || f.table.Len() <= shortFlush:
		return flushStepChanges
	}
	due := int(float64(f.table.Len())*min(1, 2*f.t.active().Fill())) - f.done
	if due < min(minStepChanges, f.table.Len()-f.done) {
		return 0
	}
	return max(1, min(due, maxStepChanges))
}

// beginStep collects the changes of the next step and starts its page commit. The step also moves
// old leaves up to the last change. It returns false if it is too early for a step.
func (f *flusher) beginStep() bool {
	limit := f.stepChanges()
	if limit == 0 {
		return false
	}
	t := f.t
	for f.table != nil && !f.cursor.Done() && len(f.ahead) < limit {
		c := f.cursor.Change()
		ch := change{key: c.Key, value: c.Value, action: put}
		if c.Deleted {
			ch.action = remove
		}
		f.ahead = append(f.ahead, ch)
		f.cursor.Next()
	}
	f.leaves = max(1, t.cfg.stepBytes/t.cache.blockSize)
	if t.cramped {
		f.leaves = max(1, f.leaves/crampedShare)
	}
	old := sweep{clean: &t.clean, before: t.clean.before(), moves: t.space.mayMove()}
	if f.table != nil && !f.cursor.Done() {
		old.to = f.ahead[len(f.ahead)-1].key // the flush may replace later leaves anyway
	}
	if f.committing() { // a commit must contain all its changes
		old.moves, f.leaves = min(old.moves, f.leaves), math.MaxInt
		if t.cramped {
			old.moves = 0
		}
	}
	changes := f.ahead
	if f.table != nil && !f.committing() && t.space.pressed && t.space.short() && t.clean.gains() {
		changes, old.to = nil, nil // the space is only enough to move leaves
	}
	f.step = t.newPageCommit()
	f.step.begin(t.view.tree, changes, old)
	return true
}

// built runs when the pages of a step have been built, or building them has failed.
func (f *flusher) built() {
	if f.step.err != nil {
		f.t.stepFailed(f.step.err)
		return
	}
	f.taken, f.leftOutBytes = 0, 0 // the step may have left some out
	for _, ch := range f.step.changes {
		if ch.action != touch {
			f.taken++
		}
	}
	f.moves = len(f.step.changes) - f.taken
	for _, ch := range f.step.leftOut {
		f.taken++
		if err := f.carry(ch); err != nil {
			f.t.stepFailed(err)
			return
		}
	}
	useless := len(f.step.changes) == 0 || f.t.clean.isBad(f.t.clean.oldest()) // nothing would be freed
	if f.table == nil && useless && !f.t.rootDue() {
		f.t.clean.movedAt = f.t.now
		f.step.drop()
		f.t.spareCommit(f.step)
		f.step, f.state = nil, flushIdle
		return
	}
	f.last = f.table == nil || f.cursor.Done() && f.taken == len(f.ahead) && !f.step.cut
	f.state = flushBuilt
}

// carry copies a change whose leaf cannot be read into the newest memtable, unless a newer memtable
// has the key. So the change stays in the journal, and readers still see it. It fails if there is
// no journal, or if there are too many such changes.
func (f *flusher) carry(ch change) error {
	t := f.t
	err := fmt.Errorf("%w: %w", errLeafUnreadable, f.step.why)
	if !t.logs() {
		return err // no journal can keep it, so the requests of the commit fail
	}
	f.leftOutBytes += len(ch.key) + len(ch.value)
	if int64(f.carriedBytes+f.leftOutBytes) > t.memory()/carriedMemoryShare {
		return err // the memtable and its journal must not grow without bound
	}
	active := t.active()
	hash := active.Hash(ch.key)
	for _, table := range t.view.tables {
		if table == f.table {
			break
		}
		if _, found := table.Get(hash, ch.key, table.Tip()); found != memtable.Unknown {
			if table == active { // the newer change may not be durable yet
				f.carriedTo, f.carriedAt = active, active.Tip()
			}
			return nil
		}
	}
	f.carriedWhy = err
	// Carried changes must not fill the index either.
	if err := active.Reserve(active.Len()+1, len(ch.key)+len(ch.value)); err != nil {
		return err
	}
	add := active.Set
	if ch.action == remove {
		add = func(hash uint64, key, _ []byte) error { return active.Delete(hash, key) }
	}
	if err := add(hash, ch.key, ch.value); err != nil {
		return err
	}
	f.carriedTo, f.carriedAt = active, active.Tip()
	return nil
}

// dropStep discards a step that could not be built, or whose append failed. The flush builds it
// again later.
func (f *flusher) dropStep() {
	if f.step == nil {
		return
	}
	f.step.drop()
	f.t.spareCommit(f.step)
	f.step = nil
	if f.state = flushPreparing; f.table == nil {
		f.state = flushIdle
	}
}

// stepDurable runs after a durable step has been published. It ends the flush if this was the last
// step.
func (f *flusher) stepDurable() {
	t := f.t
	t.cramped = false
	if f.moves > 0 {
		t.clean.moved, t.clean.movedAt = true, t.now
	}
	f.notBefore, f.why = 0, nil
	f.done += f.taken
	f.ahead, f.taken = f.ahead[:copy(f.ahead, f.ahead[f.taken:])], 0
	f.carriedBytes += f.leftOutBytes
	t.spareCommit(f.step)
	f.step = nil
	if f.state = flushPreparing; !f.last {
		return
	}
	f.state = flushIdle
	if f.table == nil {
		return
	}
	flushed, wasCommit := f.table, f.committing()
	f.table = nil
	f.cursor.Reset()
	t.carriedWhy = f.carriedWhy
	t.dropTable(flushed, f.carriedWhy)
	if !wasCommit {
		t.events.End(EventFlush)
		t.counts.flushes++
		if t.metrics != nil {
			t.metrics.Flush.Add(t.now - f.started)
		}
	}
	f.notifyFlushed(flushed)
	f.carriedWhy = nil
}

// whenFlushed calls f once all changes committed so far are in durable pages, or with an error if
// the flush fails.
func (t *Tree) whenFlushed(f func(error)) {
	switch fl := &t.flush; {
	case t.cfg.ReadOnly || len(t.view.tables) == 1 && t.active().Empty():
		f(nil)
	case fl.failing() != nil:
		f(fl.failing())
	case t.active().Empty():
		fl.waiters = append(fl.waiters, flushWaiter{t.view.tables[1], f})
	default:
		fl.waiters = append(fl.waiters, flushWaiter{t.active(), f})
	}
}

// notifyFlushed runs the callbacks that wait for the flush of a memtable. They get an error if some
// of its changes could not be flushed.
func (f *flusher) notifyFlushed(table *memtable.Table) {
	waiters := f.waiters
	f.waiters = nil
	for _, w := range waiters {
		if w.table != table {
			f.waiters = append(f.waiters, w)
			continue
		}
		w.f(f.carriedWhy)
	}
}

// failWaiters runs all callbacks that wait for a flush, with err.
func (f *flusher) failWaiters(err error) {
	waiters := f.waiters
	f.waiters = nil
	for _, w := range waiters {
		w.f(err)
	}
}
