package tree

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"kivaloo/tree/memtable"
)

// Errors of requests that read a snapshot.
var (
	// ErrSnapshotGone means that the snapshot has been released, or that its lease has expired.
	ErrSnapshotGone = errors.New("snapshot is gone")
	// ErrTooManySnapshots means that no more snapshots can be leased now.
	ErrTooManySnapshots = errors.New("too many snapshots")
)

// Errors of Watches.
var (
	// ErrPositionGone means that changes after the position are no longer kept, or that another
	// store gave the position.
	ErrPositionGone = errors.New("position is gone")
	// ErrTooManyWatches means that no more Watches can wait now.
	ErrTooManyWatches = errors.New("too many watches")
)

// Snapshot is the committed state at one moment. It stays readable, because its blocks are not
// freed. Taking it freezes the memtable. After a flush the snapshot is only a root. Then it costs
// no memory, only the disk space of pages replaced since.
type Snapshot struct {
	name     string                // for log lines
	tree     version               // as in view; the tree's goroutine owns it
	view     atomic.Pointer[view]  // nil: dropped
	lost     atomic.Pointer[error] // why it had to be dropped; nil: it did not
	taken    time.Duration         // when
	complain time.Duration         // when to log next that it is still open
}

// Drop makes all reads of the snapshot fail, including those under way. It is safe for concurrent
// use and may be called more than once. Release must follow.
func (s *Snapshot) Drop() { s.view.Store(nil) }

// Dropped reports whether reads of s fail. It may be called on any goroutine.
func (s *Snapshot) Dropped() bool { return s.view.Load() == nil }

// TakeSnapshot calls got with a snapshot of what is committed: at once, or after the current
// commit. The caller must release the snapshot. The log names snapshots that stay open for long. It
// fails when too many memtables are frozen and cannot be flushed.
func (t *Tree) TakeSnapshot(name string, got func(*Snapshot, error)) {
	t.snapshotsWanted = append(t.snapshotsWanted, func(err error) {
		if err != nil {
			got(nil, err)
			return
		}
		got(t.snapshotNow(name), nil)
	})
	t.takeSnapshots()
}

// takeSnapshots takes the requested snapshots once the newest memtable is empty. Otherwise later
// changes would end up in a memtable of a snapshot. They fail if the memtable cannot be frozen.
func (t *Tree) takeSnapshots() {
	if len(t.snapshotsWanted) == 0 {
		return
	}
	var err error
	if t.logs() && !t.active().Empty() {
		if err = t.flush.failing(); err == nil || len(t.view.tables) <= maxFrozen {
			return
		}
	}
	wanted := t.snapshotsWanted
	t.snapshotsWanted = nil
	for _, take := range wanted {
		take(err)
	}
}

// TakeFlushed flushes, then calls got with a snapshot that is only a tree. It holds at least
// everything committed so far. It fails if the flush fails.
func (t *Tree) TakeFlushed(name string, got func(*Snapshot, error)) {
	t.whenFlushed(func(err error) {
		if err != nil {
			got(nil, err)
			return
		}
		got(t.snapshotOf(view{tree: t.view.tree}, name), nil)
	})
}

// snapshotNow returns a snapshot of the view. The newest memtable must be empty or not durable.
func (t *Tree) snapshotNow(name string) *Snapshot {
	v := view{tree: t.view.tree}
	for _, table := range t.view.tables {
		if table.Settled() && !table.Empty() {
			v.tables = append(v.tables, table)
		}
	}
	return t.snapshotOf(v, name)
}

func (t *Tree) snapshotOf(v view, name string) *Snapshot {
	s := &Snapshot{name: name, tree: v.tree, taken: t.now, complain: t.now + snapshotComplaint}
	s.view.Store(&v)
	t.cache.node(v.tree.root).pins++
	t.snapshotList = append(t.snapshotList, s)
	return s
}

// flushedUnder replaces the oldest memtable of a snapshot by the tree it was flushed into. An err
// means that some of its changes are not in the tree. Then the snapshot is lost.
func (t *Tree) flushedUnder(s *Snapshot, table *memtable.Table, err error) {
	v := s.view.Load()
	if v == nil || len(v.tables) == 0 || v.tables[len(v.tables)-1] != table {
		return
	}
	if err != nil {
		err = fmt.Errorf("snapshot is lost: %w", err)
		s.lost.Store(&err)
		s.Drop()
		t.cfg.Log.Error("a snapshot is lost", "snapshot", s.name, "err", err)
		return
	}
	next := &view{tree: t.view.tree, tables: v.tables[:len(v.tables)-1]}
	if s.view.CompareAndSwap(v, next) { // otherwise it was dropped meanwhile
		t.cache.node(s.tree.root).pins--
		s.tree = next.tree
		t.cache.node(s.tree.root).pins++
	}
}

// gone returns the error for requests that read a dropped snapshot.
func (s *Snapshot) gone() error {
	if err := s.lost.Load(); err != nil {
		return *err
	}
	return ErrSnapshotGone
}

// Release releases a snapshot.
func (t *Tree) Release(s *Snapshot) {
	i := slices.Index(t.snapshotList, s)
	if i < 0 {
		return
	}
	s.Drop()
	t.snapshotList = slices.Delete(t.snapshotList, i, i+1)
	t.events.Mark(EventSnapshot, t.now-s.taken)
	t.cache.node(s.tree.root).pins-- // the page can be evicted now
}

// checkSnapshots logs snapshots that have been open for long and may have been forgotten.
func (t *Tree) checkSnapshots() {
	for _, s := range t.snapshotList {
		if t.now >= s.complain {
			t.cfg.Log.Warn("a snapshot has been open for a long time, and keeps disk space from being freed",
				"snapshot", s.name, "blocks", t.appends.next-t.cache.node(s.tree.root).oldest)
			s.complain = t.now + snapshotComplaint
		}
	}
}

// Root returns what Check needs for a snapshot taken by TakeFlushed.
func (t *Tree) Root(s *Snapshot) Root {
	root := t.cache.node(s.tree.root)
	return Root{
		Block: root.block, Oldest: root.oldest, Nodes: s.tree.nodes, Height: s.tree.height,
		Page: slices.Clone(t.cache.page(root)),
	}
}

// oldestNeeded returns the first block that a restart or a snapshot needs.
func (t *Tree) oldestNeeded() uint64 {
	oldest := t.oldestOfRestart()
	for _, s := range t.snapshotList {
		oldest = min(oldest, t.cache.node(s.tree.root).oldest)
	}
	return oldest
}

// lease is a snapshot that remote clients read with several requests. Clients may vanish, so the
// lease expires.
type lease struct {
	id       uint64 // how clients name it
	snapshot *Snapshot
	users    int           // TakeLeases without a ReleaseLease
	busy     int           // requests that are reading it
	until    time.Duration // when it expires
}

// lease returns the lease with the id in a request. After a restart, or after the lease has ended,
// it creates the lease again if nothing has been committed since.
func (t *Tree) lease(id uint64) (*lease, error) {
	if l := t.leases[id]; l != nil {
		return l, nil
	}
	if id != t.rootID || slices.ContainsFunc(t.view.tables, func(m *memtable.Table) bool { return !m.Empty() }) {
		return nil, ErrSnapshotGone
	}
	l, err := t.newLease(id, t.snapshotOf(view{tree: t.view.tree}, "lease"))
	if err == nil {
		l.users = 1
	}
	return l, err
}

func (t *Tree) newLease(id uint64, s *Snapshot) (*lease, error) {
	if len(t.leases) >= maxLeases {
		t.Release(s)
		return nil, fmt.Errorf("%w: %d are open, which is the limit; one that is not used ends within %v", ErrTooManySnapshots, maxLeases, leaseTime)
	}
	l := &lease{id: id, snapshot: s, until: t.now + leaseTime}
	t.leases[id] = l
	return l, nil
}

// newestLease calls got with a lease of what is committed. Its snapshot is a tree that holds
// everything, so that it can be found again after a restart. If nothing can be flushed, it also has
// memtables, and cannot be found again.
func (t *Tree) newestLease(got func(*lease, error)) {
	t.whenFlushed(func(err error) {
		if err != nil {
			t.TakeSnapshot("lease", func(s *Snapshot, err error) {
				var l *lease
				if err == nil {
					l, err = t.newLease(newRootID(), s)
				}
				got(l, err)
			})
			return
		}
		l := t.leases[t.rootID]
		if l == nil {
			l, err = t.newLease(t.rootID, t.snapshotOf(view{tree: t.view.tree}, "lease"))
		}
		got(l, err)
	})
}

func (t *Tree) runTakeLease(r ref) {
	t.newestLease(func(l *lease, err error) {
		if err != nil {
			t.replies.fail(r, err)
			return
		}
		l.users++
		l.until = t.now + leaseTime
		r.request().Snapshot = l.id
		r.b.Client.Done(r.request(), true)
		t.replies.answered(r, StatusOK)
	})
}

func (t *Tree) runReleaseLease(r ref) {
	l := t.leases[r.request().Snapshot]
	if l != nil {
		if l.users--; l.users <= 0 {
			t.endLease(l)
		}
	}
	r.b.Client.Done(r.request(), l != nil)
	t.replies.answered(r, outcomeOf(l != nil))
}

// runLeased carries out a request that reads a lease.
func (t *Tree) runLeased(r ref, l *lease, err error) {
	if err != nil {
		t.replies.fail(r, err)
		return
	}
	req := r.request()
	req.Snapshot, req.At = l.id, l.snapshot
	if req.Op == Get {
		l.until = t.now + leaseTime
		t.reader.startGetAt(r)
		return
	}
	l.busy++
	t.reader.runRange(&rangeRun{reader: &t.reader, ref: r, answered: func() { t.leaseRead(l) }})
}

// leaseRead records the answer to a request that read l.
func (t *Tree) leaseRead(l *lease) {
	l.busy--
	l.until = t.now + leaseTime
	if l.users <= 0 {
		t.endLease(l)
	}
}

// endLeases ends leases that have expired.
func (t *Tree) endLeases() {
	for _, l := range t.leases {
		if t.now >= l.until {
			t.endLease(l)
		}
	}
}

func (t *Tree) endLease(l *lease) {
	if l.busy > 0 {
		return
	}
	delete(t.leases, l.id)
	t.Release(l.snapshot)
}

// Stats describes a tree at one moment. Counters start when it is opened.
type Stats struct {
	BlockSize     int    // bytes
	Height        int    // of the tree; 0 is a single leaf
	Pages         uint64 // of the tree
	Blocks        uint64 // from the oldest leaf, or the oldest block that a snapshot needs, to the end of the store
	Stuck         uint64 // garbage within Blocks that cannot be freed because the oldest leaf cannot be read
	CachedPages   int    // pages in memory
	CacheLimit    int    // pages
	Snapshots     int
	Commits       uint64 // commits that changed something
	Written       uint64 // blocks written
	Read          uint64 // pages read
	Memtables     int    // memtables with changes
	MemtableBytes int64  // memory of the memtables
	Journal       int64  // bytes of the journal that a restart would replay
	Flushes       uint64 // flushes of memtables completed
	Refusal       error  // why nothing can be made durable now, or nil
	PutOff        error  // why no memtable can be flushed now although changes are accepted, or nil
	Room          uint64 // blocks that still fit on the disk, as of the last append; 0: not known
}

// Stats returns the state of the tree.
func (t *Tree) Stats() Stats {
	s := Stats{
		BlockSize: t.cache.blockSize, Height: t.view.tree.height, Pages: t.view.tree.nodes, Blocks: t.appends.next - t.oldestNeeded(),
		CachedPages: t.cache.inUse, CacheLimit: t.cache.limit, Snapshots: len(t.snapshotList),
		Commits: t.counts.commits, Written: t.counts.written, Read: t.pager.pages,
		Journal: t.journalBytes(), Flushes: t.counts.flushes, Refusal: cmp.Or(t.refusal, t.space.refusal),
		Room: t.space.room,
	}
	if t.refusal == nil {
		s.PutOff = t.flush.failing()
	}
	s.Stuck = t.clean.stuckBlocks()
	for _, table := range t.view.tables {
		if !table.Empty() {
			s.Memtables++
		}
		s.MemtableBytes += int64(table.Bytes())
	}
	return s
}

// BlockError adds the number of a block to an error.
type BlockError struct {
	Block uint64
	Err   error
}

func (e *BlockError) Error() string { return fmt.Sprintf("page at block %d: %v", e.Block, e.Err) }

func (e *BlockError) Unwrap() error { return e.Err }
