package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"kivaloo/actors"
	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/wire/wiretest"
)

// life is a store from its opening to a cut.
type life struct {
	*simulation
	fsys *simfs.FS
	past *history
	cuts int // number of cuts that led to it

	every   int // the states of one in this many moments are tried
	changes int // changes of fsys at the last of these moments
	endAt   int // calls until it ends; 0: it has ended
	after   *simfs.FS
	left    *history // what after may hold
	broken  bool     // a call may fail
	damaged bool     // an error may say that the store is damaged
	reports int      // errors that said so
	kill    bool     // it ends with a kill
	where   string   // phase of opening
	there   uint64   // blocks at the opening

	tree     *Tree
	store    *disk.Inline
	now      time.Duration
	wake     time.Duration
	held     []*disk.Op // not carried out
	finished []*disk.Op // carried out, but the tree was not told
	done     *disk.Completions
	clients  []*connection
	taken    []takenView
	deleting bool // a DeleteRange is under way
	sent     uint64
	answers  uint64
}

// takenView is a snapshot and the connection that reads it.
type takenView struct {
	*Snapshot
	*connection
}

// spend opens the store, uses it until it ends at some call, and returns the remaining state.
func (l *life) spend() (after *simfs.FS, past *history) {
	l.endAt = 1 + l.rng.IntN([]int{60, 400, 2000}[l.rng.IntN(3)])
	l.kill = l.rng.IntN(3) == 0
	l.spoil()
	if l.open() {
		defer l.close()
		for turns := 0; l.after == nil && turns < 400; turns++ {
			l.turn()
			if l.rng.IntN(60) == 0 && l.after == nil {
				l.stop()
				break
			}
		}
	}
	l.fsys.SetHook(nil)
	if l.after == nil {
		l.end()
	}
	return l.after, l.left
}

// end records what would be left if the life ended now.
func (l *life) end() {
	l.left = l.past.clone()
	if l.kill {
		l.after = l.fsys.Kill()
	} else {
		l.after = l.fsys.Left(simfs.Mood(l.rng))
	}
}

// try opens a state that a cut has left, checks its content, and uses it a little.
func (l *life) try() {
	if !l.open() {
		return
	}
	defer l.close()
	var batches []*Batch
	for range 2 {
		batches = append(batches, l.batch(l.client(), 1+l.rng.IntN(4)))
	}
	l.step(nil, batches...)
	l.settle()
	if n := len(l.past.pending); n > 0 {
		l.pass(2 * flushIdleAfter)
	}
	if n := len(l.past.pending); n > 0 {
		l.fatalf("%d new changes are not acknowledged", n)
	}
	if l.rng.IntN(6) > 0 {
		return
	}
	if held := l.all(); !maps.Equal(held, l.past.pairs) {
		l.fatalf("it does not hold new changes: %s", l.past.differences(held))
	}
	if l.rng.IntN(2) == 0 {
		l.stop()
		l.fsys.SetHook(nil)
		l.close()
		again := &life{simulation: l.simulation, fsys: l.fsys.Left(func(simfs.Question) int { return 0 }), past: l.past, cuts: maxCuts}
		if !again.open() {
			l.fatalf("cannot be opened after a clean stop")
		}
		again.close()
	}
}

// open opens the store, compares its content with what it may hold, and checks each page.
func (l *life) open() bool {
	l.fsys.SetHook(l.hook)
	l.where = "while the store is opened"
	o := disk.Options{FS: l.fsys, Log: quiet}
	if !l.detect {
		o.BlockSize = cmp.Or(l.past.blockSize, l.blockSize)
	}
	inline := func(dir string, o disk.Options) (*disk.Inline, error) {
		s, err := disk.OpenInline(dir, o)
		if err == nil {
			l.where, l.there = "while the tree is opened", s.Info().Next
		}
		return s, err
	}
	var err error
	before := l.fsys.Sum()
	open := func() {
		l.store, l.tree, err = openWith(inline, storeDir, o, l.blockSize, func(int) (Config, error) { return l.cfg, nil })
	}
	if open(); errors.Is(err, ErrUnknownBlockSize) && l.past.blockSize > 0 {
		l.count.unknown.Add(1)
		o.BlockSize = l.past.blockSize // as the error asks the user to do
		open()
	}
	l.where = ""
	switch {
	case err != nil && l.past.blockSize == 0 && l.fsys.Sum() == before: // the files might be somebody else's, and nothing was ever stored
		l.after, l.left = simfs.New(storeDir), newHistory(model{})
		return false
	case err != nil && !l.broken:
		l.fatalf("cannot be opened: %v", err)
	case err != nil:
		l.failed(err)
		return false
	}
	l.done = disk.NewCompletions(actors.NewDoorbell(func() {}))
	l.clients = []*connection{{l: l}, {l: l}, {l: l}}
	held := l.all()
	if l.reports > 0 { // held lacks what could not be read
		l.close()
		return false
	}
	if !l.past.mayHold(held) {
		l.fatalf("after the cut it holds %d pairs that are none of the states that it may have: %s", len(held), l.past.differences(held))
	}
	watcher := l.past.watcher.clone() // other lives share it
	l.past = newHistory(held)
	l.past.blockSize, l.past.watcher = l.store.Info().BlockSize, watcher
	l.resume()
	root, err := FindRoot(l.store, quiet)
	if err != nil {
		l.fatalf("%v", err)
	}
	report := Check(context.Background(), l.store, root)
	for _, f := range report.Faults[len(root.Skipped):] { // a crash may leave blocks that are skipped
		l.failed(f.Err)
	}
	return true
}

// resume lets the watcher continue where it was in the previous life.
func (l *life) resume() {
	w := &l.past.watcher
	if w.position == 0 {
		w.begin(l.tree, l.past.pairs)
		return
	}
	for {
		answers := l.answers
		l.step(nil, &Batch{Client: &connection{l: l}, Requests: []Request{w.request(0)}})
		switch {
		case w.position == 0:
			w.begin(l.tree, l.past.pairs)
			return
		case l.answers == answers:
			l.fatalf("a Watch is not answered")
		case w.position == l.tree.changes.last+1:
			l.count.resumed.Add(1)
			return
		}
	}
}

// watch sometimes sends a Watch.
func (l *life) watch() {
	w := &l.past.watcher
	switch {
	case w.position == 0:
		w.begin(l.tree, l.past.pairs)
	case !w.waits && l.rng.IntN(3) == 0:
		w.waits = true
		w.max = uint32(l.rng.IntN(1 + l.rng.IntN(5000)))
		l.step(nil, &Batch{Client: &connection{l: l}, Requests: []Request{w.request(time.Duration(l.rng.IntN(3)) * time.Second)}})
	}
}

func (l *life) close() {
	if l.tree != nil {
		l.fsys.SetHook(nil)
		l.tree.Close()
		l.store.Close()
		l.tree, l.store = nil, nil
	}
}

// hook sees every call on the file system.
func (l *life) hook(call simfs.Call) error {
	if l.where == "while the tree is opened" && l.there > maxBlankBlocks && slices.Contains(changing, call.Op) && strings.HasPrefix(call.Name, "blks_") {
		l.fatalf("recovery calls %s of %s", call.Op, call.Name)
	}
	l.cut(call)
	if l.endAt > 0 {
		if l.endAt--; l.endAt == 0 {
			l.end()
		}
	}
	return nil
}

// cut tries states that a cut at this moment can leave.
func (l *life) cut(call simfs.Call) {
	now := l.fsys.Changes()
	if l.cuts == maxCuts || now == l.changes || l.every == 0 || l.after != nil || len(l.seen) > statesOfSeed {
		return
	}
	l.changes = now
	if l.rng.IntN(l.every) > 0 {
		return
	}
	l.note(call)
	if l.cuts > 0 {
		l.tryState(l.fsys.Left(simfs.Mood(l.rng)))
		return
	}
	if all := l.fsys.Outcomes(outcomesTried); all != nil {
		l.count.whole.Add(1)
		for _, answers := range all {
			l.tryState(l.fsys.Left(simfs.Answers(answers)))
		}
	} else {
		for _, edge := range []int{0, 1, 2} { // nothing, everything, rubbish
			l.tryState(l.fsys.Left(func(q simfs.Question) int { return min(edge, q.Answers-1) }))
			l.tryState(l.fsys.Left(func(q simfs.Question) int {
				if q.About == simfs.Sector {
					return min(edge, q.Answers-1)
				}
				return 1
			}))
		}
		for range statesSampled {
			l.tryState(l.fsys.Left(simfs.Mood(l.rng)))
		}
	}
	l.tryState(l.fsys.Kill())
}

// tryState tries a state unless it was tried before.
func (l *life) tryState(left *simfs.FS) {
	id := [2]uint64{left.Sum(), l.past.sum<<8 | uint64(len(l.past.pending))}
	if l.seen[id] {
		return
	}
	l.seen[id] = true
	l.count.states.Add(1)
	if l.cuts > 0 {
		l.count.deep.Add(1)
	}
	next := &life{simulation: l.simulation, fsys: left, past: l.past, cuts: l.cuts + 1, every: 60}
	next.fsys.SetCapacity(-1)
	next.try()
}

// note counts the situation of a cut.
func (l *life) note(call simfs.Call) {
	seen := &l.count.situations
	seen.note(l.where, l.tree)
	if l.where == "" && len(l.tree.snapshotList) > 0 {
		seen.note("with a snapshot", nil)
	}
	if l.where == "" && !l.tree.logs() && l.tree.appends.busy {
		seen.note("without a journal", nil)
	}
	if l.cuts > 0 {
		seen.note(fmt.Sprintf("after %d cuts in a row", l.cuts), nil)
	}
	if call.Op == simfs.Remove && strings.HasPrefix(call.Name, "blks_") {
		seen.note("while a file is freed", nil)
	}
}

// spoil sometimes makes the disk run full, or fail, at some moment of the new life.
func (l *life) spoil() {
	l.fsys.SetCapacity(-1)
	l.broken = true
	switch l.rng.IntN(6) {
	case 0:
		l.fsys.SetRoom(l.rng.Int64N(40 * int64(l.blockSize)))
	case 1:
		l.fsys.Fail(simfs.Write, 1+l.rng.IntN(20), syscall.EIO)
	case 2:
		l.fsys.Fail(simfs.Sync, 1+l.rng.IntN(20), syscall.EIO)
	default:
		l.broken = false
	}
}

// failed accepts an error that may only occur when something was broken.
func (l *life) failed(err error) {
	corrupt := errors.Is(err, disk.ErrCorrupt)
	if err != nil && !l.broken || corrupt && !l.damaged {
		l.fatalf("%v", err)
	}
	if corrupt {
		l.reports++
	}
}

func (l *life) fatalf(format string, args ...any) {
	l.t.Helper()
	l.t.Fatalf("blocks of %d bytes, journal %d, memtable %d, step %d, %d cuts: %s", l.blockSize, l.cfg.JournalBytes, l.cfg.memtableBytes,
		l.cfg.stepBytes, l.cuts, fmt.Sprintf(format, args...))
}

func (l *life) client() *connection { return l.clients[l.rng.IntN(len(l.clients))] }

// turn lets some requests arrive, some time pass, and some operations be carried out or complete.
func (l *life) turn() {
	switch l.rng.IntN(12) {
	case 0:
		l.now += 2 * flushIdleAfter
	case 1:
		l.now = max(l.now, l.wake)
	default:
		l.now += time.Duration(l.rng.IntN(50)) * time.Millisecond
	}
	var batches []*Batch
	if l.rng.IntN(20) == 0 && len(l.past.pending) == 0 && !l.deleting {
		batches = append(batches, l.deleteRange())
	}
	for n := l.rng.IntN(4); n > 0 && len(l.past.pending) < 100 && !l.deleting; n-- {
		batches = append(batches, l.batch(l.client(), 1+l.rng.IntN(20)))
	}
	l.step(nil, batches...)
	l.reconnect()
	l.watch()
	l.snapshots()
	for range l.rng.IntN(8) {
		if l.after != nil {
			return
		}
		l.goOn(l.rng.IntN(1 + len(l.held) + len(l.finished)))
	}
}

// goOn carries out one operation, or tells the tree about one that was carried out.
func (l *life) goOn(i int) {
	switch {
	case i < len(l.held):
		op := l.held[i]
		l.held = slices.Delete(l.held, i, i+1)
		op.Done = l.done
		l.store.Submit(op, op)
		l.finished = append(l.finished, l.done.Drain())
	case i < len(l.held)+len(l.finished):
		i -= len(l.held)
		op := l.finished[i]
		l.finished = slices.Delete(l.finished, i, i+1)
		l.step(op)
	}
}

// settle lets everything finish that needs no time.
func (l *life) settle() {
	for len(l.held)+len(l.finished) > 0 {
		l.goOn(0)
	}
}

// pass lets time pass.
func (l *life) pass(d time.Duration) {
	for end := l.now + d; l.now < end; {
		l.now = min(end, max(l.wake, l.now+time.Millisecond))
		l.step(nil)
		l.settle()
	}
}

func (l *life) step(done *disk.Op, batches ...*Batch) {
	in := Inputs{Now: l.now, Done: done}
	for i, b := range batches {
		if i == 0 {
			in.Requests = b
		} else {
			batches[i-1].SetNext(b)
		}
	}
	out := l.tree.Step(in)
	l.wake = out.Wake
	for op := out.First; op != nil; {
		next := op.Link.Next()
		op.SetNext(nil)
		l.held = append(l.held, op)
		op = next
	}
}

// batch returns requests of a client. Some of them must be made together.
func (l *life) batch(c *connection, n int) *Batch {
	key := func() []byte { return fmt.Appendf(nil, "%04d", l.rng.IntN(l.keys)) }
	b := &Batch{Client: c, Requests: make([]Request, n), Atomic: l.rng.IntN(4) == 0}
	for i := range b.Requests {
		q := &b.Requests[i]
		switch {
		case !b.Atomic && l.rng.IntN(6) == 0:
			*q = Request{Op: Get, Key: key()}
		case !b.Atomic && l.rng.IntN(12) == 0:
			*q = Request{Op: Range, Key: key(), Max: uint32(l.rng.IntN(3000))}
		case !b.Atomic && l.rng.IntN(12) == 0:
			*q = randomScan(l.rng, key, 3000)
		default:
			*q = randomRequest(l.rng, l.past.pairs, key, 60)
			c := sentChange{q: q}
			if b.Atomic {
				c.batch = b
			}
			l.past.pending = append(l.past.pending, c)
		}
		l.sent++
		q.ID = l.sent
	}
	return b
}

// deleteRange returns a DeleteRange. Until it is answered there are no other changes, so that it is
// clear what it deletes.
func (l *life) deleteRange() *Batch {
	key := func() []byte { return fmt.Appendf(nil, "%04d", l.rng.IntN(l.keys)) }
	q := Request{Op: DeleteRange, Key: key(), End: key(), Limit: uint32(1 + l.rng.IntN(l.keys))}
	keys := wiretest.Model(l.past.pairs).Between(string(q.Key), string(q.End))
	deletes := &Batch{}
	for _, k := range keys[:min(len(keys), int(q.Limit))] {
		deletes.Requests = append(deletes.Requests, Request{Op: Delete, Key: []byte(k)})
	}
	for i := range deletes.Requests {
		l.past.pending = append(l.past.pending, sentChange{q: &deletes.Requests[i], batch: deletes})
	}
	l.deleting = true
	return &Batch{Client: l.client(), Requests: []Request{q}}
}

// reconnect sometimes replaces a client by another.
func (l *life) reconnect() {
	if l.rng.IntN(30) == 0 {
		i := l.rng.IntN(len(l.clients))
		l.clients[i].abandoned = true
		l.clients[i] = &connection{l: l}
	}
}

// snapshots takes some snapshots, reads them and releases them.
func (l *life) snapshots() {
	if len(l.taken) < 3 && l.rng.IntN(20) == 0 {
		l.tree.TakeSnapshot("test", func(s *Snapshot, err error) {
			if l.failed(err); err != nil {
				return
			}
			l.taken = append(l.taken, takenView{s, &connection{l: l, at: maps.Clone(l.past.pairs)}})
		})
	}
	for i := len(l.taken) - 1; i >= 0; i-- {
		s := l.taken[i]
		switch l.rng.IntN(12) {
		case 0:
			l.step(nil, &Batch{Client: s.connection, Requests: []Request{{Op: Range, Max: MaxRangePairBytes, At: s.Snapshot}}})
		case 1:
			l.tree.Release(s.Snapshot)
			l.taken = slices.Delete(l.taken, i, i+1)
		}
	}
}

// all returns all pairs.
func (l *life) all() model {
	c := &connection{l: l, read: model{}}
	for {
		answers := l.answers
		l.step(nil, &Batch{Client: c, Requests: []Request{{Op: Range, Key: []byte(c.next), Max: MaxRangePairBytes}}})
		if l.settle(); l.answers == answers {
			l.fatalf("a range is not answered")
		}
		if c.next == "" || c.failed != nil {
			return c.read
		}
	}
}

// stop brings the tree to rest. Unless it is cut off, the last block is then a root, and there is
// nothing to replay.
func (l *life) stop() {
	if err := l.rest(); l.after != nil || err != nil {
		l.failed(err)
		return
	}
	root, err := FindRoot(l.store, quiet)
	if err != nil || root.Block != l.store.Info().Next-1 {
		l.fatalf("after a stop the root is block %d of %d: %v", root.Block, l.store.Info().Next, err)
	}
}

// rest is stop without checking the remaining state. The error says what could not be flushed.
func (l *life) rest() error {
	for _, s := range l.taken {
		l.tree.Release(s.Snapshot)
	}
	l.taken = nil
	l.tree.Stop()
	for wakes := 0; l.tree.Busy(); wakes++ {
		if wakes > 1000 {
			l.fatalf("does not come to rest: %s", restState(l.tree))
		}
		l.now += tickEvery
		l.step(nil)
		l.settle()
	}
	return l.tree.Unflushed()
}
