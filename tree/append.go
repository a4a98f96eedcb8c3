package tree

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"kivaloo/disk"
	"kivaloo/tree/journal"
	"kivaloo/tree/memtable"
	"kivaloo/tree/page"
)

// appender makes commits and flush steps durable by appending them to the store. An append is
//
//	[pages of a flush step ... seal, flush record, root] [journal blocks of a commit ...]
//
// Either part may be missing. While one append is under way, the tree decides requests for the
// next.
type appender struct {
	busy       bool // an append is under way
	op         disk.Op
	since      time.Duration // when it was submitted to the store
	pages      [][]byte
	step       *pageCommit // the flush step in it, or nil
	commit     bool        // it contains journal blocks
	carried    int         // bytes of changes and blocks of its commit, if it has carried changes
	answers    bool        // requests wait for it to become durable
	complete   bool        // it ends in a root that holds every change
	restart    start       // restart point recorded in its root
	rootID     uint64      // id of its root
	beforeRoot uint64      // see Tree

	next    uint64 // block number for the next append
	last    uint64 // last block of a commit or root; noBlock if there is none
	seq     uint64 // of the last commit in the journal
	end     storeEnd
	starts  []start
	durable start // where a restart from the last durable root begins to replay
	blocks  uint64
	starved bool // the last append failed for lack of resources, and changes were refused

	journal journal.Writer
	seal    []byte
	record  []byte
}

// storeEnd says what the last blocks of the store are.
type storeEnd uint8

const (
	endsOtherwise storeEnd = iota // a root that holds every change, with leftovers of a crash behind it
	endsInCommit                  // a commit, perhaps with leftovers of a crash behind it
	endsInPartial                 // a root that lacks changes, perhaps with leftovers of a crash behind it
	endsComplete                  // a root that holds every change, as the original needs it
)

// start is the place of a memtable's first commit in the journal. A seq of 0 means there is none.
// appender.starts has one for each memtable of the view.
type start struct {
	seq, block uint64
	before     uint64 // journal blocks written before it since the store was opened
}

// append submits everything that is ready in one append. It reports whether anything was.
func (t *Tree) append() bool {
	a := &t.appends
	if a.busy || t.refusal != nil || t.cfg.ReadOnly {
		return false
	}
	a.commit, a.step = t.logs() && t.active().Pending(), nil
	if t.flush.ready() && !(t.cramped && a.commit) { // on a full disk the smaller part goes first
		a.step = t.flush.step
	}
	if a.step == nil && !a.commit {
		return false
	}
	first := a.next
	a.pages, a.complete = a.pages[:0], false
	if a.step != nil {
		t.putStep(first)
	}
	if a.commit {
		t.putCommit(first)
	}
	a.answers = a.commit || a.step != nil && t.flush.committing()
	a.busy, a.since = true, t.now
	a.op = disk.Op{Kind: disk.Append, Block: first, Pages: a.pages}
	t.submit(&a.op)
	return true
}

// putStep adds the pages of a flush step, root last, to the next append.
func (t *Tree) putStep(first uint64) {
	a, f, size := &t.appends, &t.flush, t.cache.blockSize
	f.state = flushAppending
	a.rootID = newRootID()
	a.restart = a.restartFrom(f.last && f.table != nil)
	a.complete = !a.commit && a.restart.seq == 0
	reserve := 1                          // the seal
	rewritten := len(a.step.changes) == 0 // only the root is rewritten
	withRecord := t.logs() || !a.complete || a.end == endsInCommit || a.end == endsInPartial || rewritten
	if withRecord {
		reserve++
	}
	a.beforeRoot = uint64(reserve)
	a.step.number(first, reserve)
	a.pages = append(a.pages, a.step.pages...)
	root := len(a.pages) - 1
	if a.restart.seq == 0 {
		next := a.seq + 1
		if !t.logs() { // block numbers continue as if there were no record, see readRecord
			next = firstAfter(first + uint64(root))
		}
		a.restart = start{next, first + uint64(root) + 1, a.blocks}
	}
	page.PutRoot(a.pages[root], a.step.result.nodes, !a.complete)
	if withRecord {
		a.record = sized(a.record, size)
		a.pages[root-1] = a.record
		sum := page.Sum(page.Sum(0, a.pages[:root-reserve]...), a.pages[root])
		journal.PutFlush(a.record, journal.Block{Seq: a.restart.seq, Number: first + uint64(root) - 1, First: first, Previous: a.last}, a.restart.block, a.rootID, sum)
	}
	a.seal = sized(a.seal, size)
	at := root - reserve
	a.pages[at] = a.seal
	page.PutSeal(a.pages, at, first, a.last)
	if !withRecord {
		a.rootID = page.Identity(a.seal, a.pages[root])
	}
	t.clean.payDebt(a.step.replaced)
	if invariants {
		a.step.check(a.step.result.root, nil, nil)
	}
}

// newRootID returns a random root id, never 0. A client that resumes a backup after a restart uses
// it to tell whether the tree is still the same.
func newRootID() uint64 { return rand.Uint64() | 1 }

func sized(p []byte, size int) []byte {
	if p == nil {
		p = make([]byte, size)
	}
	return p
}

// restartFrom returns the place of the first commit that the step's tree lacks. Its seq is 0 if the
// tree lacks none. hasOldest says whether the tree holds every change of the oldest memtable.
func (a *appender) restartFrom(hasOldest bool) start {
	starts := a.starts
	if hasOldest {
		starts = starts[:len(starts)-1]
	}
	for _, s := range slices.Backward(starts) {
		if s.seq != 0 {
			return s
		}
	}
	return start{}
}

// putCommit adds the journal blocks of a commit to the next append.
func (t *Tree) putCommit(first uint64) {
	a, active := &t.appends, t.active()
	b := journal.Block{Seq: a.seq + 1, Number: first + uint64(len(a.pages)), First: first, Previous: a.last}
	a.journal.Begin(t.cache.blockSize)
	changes := 0
	active.EachPending(func(c memtable.Change) {
		changes++
		if c.Deleted {
			a.journal.Delete(c.Key)
		} else {
			a.journal.Set(c.Key, c.Value)
		}
	})
	if a.starts[0].seq == 0 {
		a.starts[0] = start{b.Seq, b.Number, a.blocks}
	}
	blocks := a.journal.Finish(b)
	if a.carried = 0; t.flush.carriedTo == active && active.Durable() < t.flush.carriedAt {
		a.carried = active.Undurable() + len(blocks)*t.cache.blockSize
	}
	a.pages = append(a.pages, blocks...)
	a.blocks += uint64(len(blocks))
	active.Append()
	t.writer.committing()
	t.noteCommit(changes)
}

// appended handles the result of an append.
func (t *Tree) appended(op *disk.Op) {
	a := &t.appends
	a.busy = false
	t.noteDisk(t.now - a.since)
	switch {
	case op.Err != nil:
		t.appendFailed(fmt.Errorf("append %d blocks at block %d: %w", len(a.pages), op.Block, op.Err))
		return
	case !op.OK:
		t.appendFailed(fmt.Errorf("append at block %d: refused: something else writes to the store", op.Block))
		return
	}
	if op.Next != op.Block+uint64(len(a.pages)) {
		t.clean.disable() // block numbers have gaps, so distances no longer measure garbage
	}
	a.next, a.last = op.Next, op.Block+uint64(len(a.pages))-1
	if a.starved {
		t.cfg.Log.Info("the disk has room again: changes are accepted")
		a.starved = false
	}
	switch {
	case a.complete:
		a.end = endsComplete
	case a.commit:
		a.end = endsInCommit
	default:
		a.end = endsInPartial
	}
	t.counts.written += uint64(len(a.pages))
	if a.step != nil {
		t.publishStep()
		if a.complete && !t.logs() {
			a.seq = a.restart.seq - 1
			if t.flush.committing() {
				t.changes.pageCommit(t.flush.table, a.seq)
			} else {
				t.changes.pageCommit(nil, a.seq)
			}
		}
	}
	if a.commit {
		a.seq++
		t.active().Extend(2 * a.carried) // each flush carries them again, so it must be worth it
		t.active().Commit()
		t.changes.commit(t.active(), t.active().Durable(), a.seq)
	}
	if a.answers {
		t.counts.commits++
		t.changed, t.clean.lastChange = t.now, a.next
		t.carriedWhy = t.flush.carriedWhy // if that is nil, the next flush tries again
	}
	if a.step != nil {
		t.flush.stepDurable()
	}
	t.limitCache()
	t.afterAppend()
	if a.answers {
		t.noteDurable()
		t.writer.committed()
	}
}

// publishStep makes the tree of a durable step the committed one.
func (t *Tree) publishStep() {
	a := &t.appends
	before := t.view.tree
	t.view.tree = a.step.result
	a.durable, t.rootID, t.beforeRoot = a.restart, a.rootID, a.beforeRoot
	a.step.publish(len(t.snapshotList) > 0)
	t.cache.node(before.root).pins--
	t.publishView()
}

// appendFailed discards everything that is not durable and makes the tree refuse changes: for a
// moment if the disk is full, until a restart after any other failure.
func (t *Tree) appendFailed(err error) {
	a := &t.appends
	full := errors.Is(err, disk.ErrNoSpace)
	t.cramped = full
	if a.commit && a.starts[0].seq == a.seq+1 {
		a.starts[0] = start{}
	}
	committing := t.flush.committing()
	t.flush.dropStep() // even if it was not in the append: changes carried for it may have been
	if full && !a.commit && !committing {
		t.flush.putOff(err)
		return // the journal may still have room for changes
	}
	t.refusal, t.retryAt = fmt.Errorf("%w: %w", ErrReadOnly, err), 0
	switch {
	case !full:
		t.cfg.Log.Error("store is read-only until it is opened again", "err", err)
	case !a.starved:
		t.cfg.Log.Error("disk is full: changes are refused until there is room", "retry every", noSpaceRetry, "err", err)
	}
	if a.starved = full; full {
		t.retryAt = t.now + noSpaceRetry
	}
	t.abandon(err)
	t.cfg.OnFault(t.refusal)
}

// abandon fails all requests that wait to become durable, and removes their changes from the
// memtables. Requests in the failed append get err, the others get the refusal.
func (t *Tree) abandon(err error) {
	t.active().Truncate()
	if t.flush.committing() {
		t.flush.state, t.flush.table = flushIdle, nil
		tables := t.view.tables
		t.view.tables = slices.Clone(tables[:1])
		t.appends.starts = t.appends.starts[:1]
		t.publishView()
		t.retire(tables[1])
	}
	t.writer.failed(err, t.refusal)
	t.flush.failWaiters(t.refusal)
}

// stepFailed discards a page commit that could not be built.
func (t *Tree) stepFailed(err error) {
	committing := t.flush.committing()
	t.flush.dropStep()
	if committing {
		t.cfg.Log.Error("a commit failed", "err", err)
		refusal := t.refusal
		t.refusal = err
		t.abandon(err)
		t.refusal = refusal
		return
	}
	t.flush.putOff(err)
}
