package tree

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"time"

	"kivaloo/tree/memtable"
)

// flusher writes frozen memtables into pages, the oldest first and each in the order of its keys, as
// page commits of bounded size:
//
//	idle --> sorting --> preparing --> built --> appending --+
//	  ^                      ^                               |
//	  |                      +----------- not the last ------+
//	  +---------------------------------- the last ----------+
//
// Each step's root is a root to recover from, together with the journal from the first commit of the
// table on. Until its last step is durable the table keeps answering for all of its keys, so a table
// that is half flushed needs no special case.
//
// A step may also have no table: it rewrites old leaves, or only the root, so that the root is the
// last block.
type flusher struct {
	t *Tree

	state   flushState
	table   *memtable.Table // the one that is being flushed; nil for a step without
	cursor  memtable.Cursor
	ahead   []change // the next changes of the table
	merged  []change // with touches of old leaves
	done    int      // changes of the table that are durable in pages, or left out
	step    *pageCommit
	taken   int  // of ahead, in the step
	last    bool // the step is the last one of its table
	leaves  int  // that a step may rewrite
	started time.Duration

	notBefore time.Duration // after a failure it is not tried before
	why       error         // it failed

	// Changes whose leaf cannot be had are carried into the newest memtable. The last step goes out
	// only after they are durable there.
	carried   int // of the table at hand
	carriedTo *memtable.Table
	carriedAt memtable.Pos

	waiters []flushWaiter
}

type flushState uint8

const (
	flushIdle      flushState = iota
	flushSorting              // the table is being sorted, a part of it in each step of the tree
	flushPreparing            // pages are on their way that the step needs
	flushBuilt                // the step goes out with the next append
	flushAppending            // it is in the append under way
)

// errLeafLost: a change cannot be flushed, because the page it falls into cannot be read. The log
// names the block.
var errLeafLost = errors.New("a page that has to be rewritten cannot be read")

// flushWaiter waits until a table has been flushed.
type flushWaiter struct {
	table *memtable.Table
	f     func(error)
}

// wanted reports whether the newest memtable, which is not empty, is to be flushed.
func (f *flusher) wanted() bool {
	t := f.t
	if t.cfg.ReadOnly || t.refusal != nil || t.now < f.notBefore {
		return false
	}
	active := t.active()
	if t.full() || t.spreadTooFar() || slices.ContainsFunc(f.waiters, func(w flushWaiter) bool { return w.table == active }) {
		return true
	}
	return !t.stuck && (t.stopping || t.idleSince() >= flushIdleAfter)
}

// putOff postpones the flush. It fails everything that waits for it.
func (f *flusher) putOff(err error) {
	t := f.t
	f.notBefore, f.why = t.now+noSpaceRetry, err
	t.cfg.Log.Error("flush put off", "err", err)
	f.failWaiters(err)
}

// urgent reports whether something waits for the flush.
func (f *flusher) urgent() bool {
	t := f.t
	return t.stopping || len(f.waiters) > 0 || len(t.snapshotsWanted) > 0 || len(t.view.tables) > 2 ||
		t.full() || t.idleSince() >= flushIdleAfter
}

// committing reports whether the table at hand is a commit that only its flush makes durable, because
// there is no journal.
func (f *flusher) committing() bool { return f.table != nil && !f.table.Settled() }

// comesTo reports whether changes of keys from one on are still to be flushed, from a table that is
// flushed in steps.
func (f *flusher) comesTo(key []byte) bool {
	switch {
	case f.table == nil || f.committing():
		return false
	case f.taken < len(f.ahead):
		return bytes.Compare(f.ahead[f.taken].key, key) <= 0
	}
	return f.state == flushSorting || !f.cursor.Done() && bytes.Compare(f.cursor.Key(), key) <= 0
}

// ready reports whether a step is to go out with the next append.
func (f *flusher) ready() bool {
	return f.state == flushBuilt && (!f.last || f.carriedTo == nil || f.carriedTo.Durable() >= f.carriedAt)
}

// advance goes on with the flush as far as that is possible now.
func (f *flusher) advance() {
	t := f.t
	if t.cfg.ReadOnly || t.refusal != nil || t.now < f.notBefore {
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

// begin begins with the oldest frozen table or, if there is none, with a step without a table.
func (f *flusher) begin() bool {
	t := f.t
	f.ahead, f.done, f.started = f.ahead[:0], 0, t.now
	f.carried, f.carriedTo = 0, nil
	if n := len(t.view.tables); n > 1 {
		f.table, f.state = t.view.tables[n-1], flushSorting
		t.clean.flushBegins()
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

// inTime reports whether the next step should not be put off: steps are spread over the time in which
// the next table fills, so that the flush ends when that is half full. Short flushes are not spread.
func (f *flusher) inTime() bool {
	if f.table == nil || f.committing() || f.table.Len() <= shortFlush || f.urgent() {
		return true
	}
	return float64(f.done) <= float64(f.table.Len())*(2*f.t.active().Fill()+flushLead)
}

// beginStep gathers the changes of the next step.
func (f *flusher) beginStep() bool {
	if !f.inTime() {
		return false
	}
	t := f.t
	f.leaves = max(1, t.cfg.stepBytes/t.cache.blockSize)
	if t.cramped {
		f.leaves = max(1, f.leaves/crampedShare)
	}
	whole := f.committing() // a commit goes out in one append, whatever its size
	if whole {
		f.leaves = math.MaxInt
	}
	for f.table != nil && !f.cursor.Done() && (whole || len(f.ahead) < flushStepChanges) {
		c := f.cursor.Change()
		ch := change{key: c.Key, value: c.Value, action: put}
		if c.Deleted {
			ch.action = remove
		}
		f.ahead = append(f.ahead, ch)
		f.cursor.Next()
	}
	var hi []byte
	if f.table != nil && !f.cursor.Done() {
		hi = f.ahead[len(f.ahead)-1].key
	}
	changes, touches := f.ahead, t.clean.takeReady(max(1, f.leaves/2), hi)
	if len(touches) > 0 {
		f.merged = mergeChanges(f.merged, f.ahead, touches)
		changes = f.merged
	}
	f.step = t.newPageCommit()
	f.step.begin(t.view.tree, changes)
	return true
}

// mergeChanges adds touches of leaves to changes, both in the order of their keys, except for touches
// of keys that change anyway. It uses the memory of to.
func mergeChanges(to, changes, touches []change) []change {
	to = to[:0]
	for _, touch := range touches {
		n, found := slices.BinarySearchFunc(changes, touch.key, func(ch change, key []byte) int { return bytes.Compare(ch.key, key) })
		if to = append(to, changes[:n]...); !found {
			to = append(to, touch)
		}
		changes = changes[n:]
	}
	return append(to, changes...)
}

// built notes that the pages of a step are ready, or why they cannot be built.
func (f *flusher) built() {
	if f.step.err != nil {
		f.t.stepFailed(f.step.err)
		return
	}
	f.taken = 0 // the step may have cut them off
	for _, ch := range f.step.changes {
		if ch.action != touch {
			f.taken++
		}
	}
	for _, ch := range f.step.leftOut {
		if ch.action == touch {
			f.t.clean.unreadable(ch.block)
			continue
		}
		f.taken++
		if err := f.carry(ch); err != nil {
			f.t.stepFailed(err)
			return
		}
	}
	if f.table == nil && len(f.step.changes) == 0 && !f.t.rootDue() { // no leaf that was to be moved can be read
		f.t.clean.finish()
		f.step.drop()
		f.t.spareCommit(f.step)
		f.step, f.state = nil, flushIdle
		return
	}
	f.last = f.table == nil || f.cursor.Done() && f.taken == len(f.ahead)
	f.state = flushBuilt
}

// carry copies a change whose leaf cannot be read into the newest memtable, unless a newer table has
// the key. So the journal keeps the change, and readers see it.
func (f *flusher) carry(ch change) error {
	if f.committing() {
		return errLeafLost // its requests fail
	}
	t := f.t
	active := t.active()
	hash := active.Hash(ch.key)
	for _, table := range t.view.tables {
		if table == f.table {
			break
		}
		if _, found := table.Get(hash, ch.key, table.Tip()); found != memtable.Unknown {
			return nil
		}
	}
	f.carried++
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

// dropStep gives up a step whose append failed or that cannot be built. The flush will try it again.
func (f *flusher) dropStep() {
	if f.step == nil {
		return
	}
	f.t.clean.giveBack()
	f.step.drop()
	f.t.spareCommit(f.step)
	f.step = nil
	if f.state = flushPreparing; f.table == nil {
		f.state = flushIdle
	}
}

// stepDurable follows the publication of a durable step.
func (f *flusher) stepDurable() {
	t := f.t
	t.cramped = false
	t.clean.finish()
	f.done += f.taken
	f.ahead, f.taken = f.ahead[:copy(f.ahead, f.ahead[f.taken:])], 0
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
	t.stuck = f.carried > 0
	t.dropTable(flushed, f.carried == 0)
	if !wasCommit {
		t.events.End(EventFlush)
		t.counts.flushes++
		if t.metrics != nil {
			t.metrics.Flush.Add(t.now - f.started)
		}
	}
	f.tell(flushed)
}

// whenFlushed calls f when everything that is committed now is in durable pages, or with the error if
// the flush fails.
func (t *Tree) whenFlushed(f func(error)) {
	switch fl := &t.flush; {
	case t.cfg.ReadOnly || len(t.view.tables) == 1 && t.active().Empty():
		f(nil)
	case t.refusal != nil:
		f(t.refusal)
	case t.now < fl.notBefore:
		f(fl.why)
	case t.active().Empty():
		fl.waiters = append(fl.waiters, flushWaiter{t.view.tables[1], f})
	default:
		fl.waiters = append(fl.waiters, flushWaiter{t.active(), f})
	}
}

// tell calls back everything that waits for the flush of a table.
func (f *flusher) tell(table *memtable.Table) {
	var err error
	if f.carried > 0 {
		err = errLeafLost
	}
	waiters := f.waiters
	f.waiters = nil
	for _, w := range waiters {
		if w.table != table {
			f.waiters = append(f.waiters, w)
			continue
		}
		w.f(err)
	}
}

// failWaiters calls back everything that waits for a flush, with an error.
func (f *flusher) failWaiters(err error) {
	waiters := f.waiters
	f.waiters = nil
	for _, w := range waiters {
		w.f(err)
	}
}
