package tree

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// Errors of requests that read a snapshot.
var (
	// ErrSnapshotGone: the snapshot has been released, or its lease has run out.
	ErrSnapshotGone = errors.New("snapshot is gone")
	// ErrTooManySnapshots: no more can be leased at this moment.
	ErrTooManySnapshots = errors.New("too many snapshots")
)

// Snapshot is a committed tree that stays readable while later ones take its place: its blocks are not freed, its
// root stays in memory, and so does what has not been saved of it. It costs the space of what is replaced meanwhile.
type Snapshot struct {
	name     string // for the log
	version  version
	taken    time.Duration // when
	released atomic.Bool
	complain time.Duration // when the log is told next that it is still there
}

// Drop makes all reads of the snapshot fail from now on, those under way included. It may be called from any
// goroutine, any number of times; Release has to follow.
func (s *Snapshot) Drop() { s.released.Store(true) }

// TakeSnapshot calls got with a snapshot of the committed tree: at once, or when batches are done that are under way. It is to be
// released; the log names those that are not for long.
func (t *Tree) TakeSnapshot(name string, got func(*Snapshot)) {
	t.whenStill(func() { got(t.snapshotOf(t.committed, name)) })
}

// TakeSaved calls got with a snapshot of all that is committed now, or more, of which all pages are in the store: when they
// are there. It is like one from TakeSnapshot. With an error there is none.
func (t *Tree) TakeSaved(name string, got func(*Snapshot, error)) {
	t.whenSaved(func(err error) {
		if err != nil {
			got(nil, err)
			return
		}
		got(t.snapshotOf(t.checkpoint.saved, name), nil)
	})
}

func (t *Tree) snapshotOf(v version, name string) *Snapshot {
	s := &Snapshot{name: name, version: v, taken: t.now, complain: t.now + snapshotComplaint}
	t.cache.node(s.version.root).pins++
	t.snapshots = append(t.snapshots, s)
	slices.SortStableFunc(t.snapshots, func(a, b *Snapshot) int { return cmp.Compare(t.born(&a.version), t.born(&b.version)) })
	return s
}

// Release gives a snapshot up.
func (t *Tree) Release(s *Snapshot) {
	i := slices.Index(t.snapshots, s)
	if i < 0 {
		return
	}
	s.Drop()
	t.snapshots = slices.Delete(t.snapshots, i, i+1)
	t.events.Mark(EventSnapshot, t.now-s.taken)
	t.cache.node(s.version.root).pins-- // the clock hand takes it, or the next commit
	t.reviewHeld()
}

// checkSnapshots tells the log of snapshots that may have been forgotten.
func (t *Tree) checkSnapshots() {
	for _, s := range t.snapshots {
		if t.now >= s.complain {
			t.cfg.Log.Warn("a snapshot has been open for long, and keeps disk space from being freed",
				"snapshot", s.name, "blocks", t.next-t.cache.node(s.version.root).oldest)
			s.complain = t.now + snapshotComplaint
		}
	}
}

// Root returns what Check needs to know of a snapshot that was taken by TakeSaved.
func (t *Tree) Root(s *Snapshot) Root {
	root := t.cache.node(s.version.root)
	page := t.cache.page(root)
	return Root{
		Block: root.block, Oldest: root.oldest, Nodes: s.version.nodes, Height: s.version.height,
		Page: slices.Clone(page),
	}
}

// oldestNeeded returns the first block that a restart or a snapshot needs.
func (t *Tree) oldestNeeded() uint64 {
	oldest := t.oldestOfRestart()
	for _, s := range t.snapshots {
		oldest = min(oldest, t.cache.node(s.version.root).oldest)
	}
	return oldest
}

// seen returns the tree that a request that changes nothing is to see.
func (t *Tree) seen(r *Request) (*version, error) {
	switch {
	case r.At == nil:
		return &t.committed, nil
	case r.At.released.Load():
		return nil, ErrSnapshotGone
	}
	return &r.At.version, nil
}

// lease is a snapshot that clients elsewhere read in several requests. Nobody can be relied on to give it
// up, so it ends by itself.
type lease struct {
	snapshot *Snapshot
	users    int           // Backups that have begun and not come to their end
	busy     int           // requests that are being carried out
	until    time.Duration // it may end then
}

// The id of a lease is one more than the block of the root: so it means the same tree after a restart, and is never 0.
func (t *Tree) leaseID(v *version) uint64 { return t.cache.node(v.root).block + 1 }

// lease returns the lease that a Backup asks for, or makes it.
func (t *Tree) lease(id uint64) (*lease, error) {
	isNew := id == 0
	if isNew {
		id = t.leaseID(&t.checkpoint.saved)
	}
	l := t.leases[id]
	switch {
	case l != nil:
	case id != t.leaseID(&t.checkpoint.saved):
		return nil, ErrSnapshotGone
	case len(t.leases) >= maxLeases:
		return nil, fmt.Errorf("%w: there are %d already", ErrTooManySnapshots, len(t.leases))
	default:
		l = &lease{snapshot: t.snapshotOf(t.checkpoint.saved, "backup"), users: 1}
		t.leases[id] = l
		return l, nil
	}
	if isNew {
		l.users++
	}
	return l, nil
}

// runBackup carries out a Backup: a Range over a snapshot that stays for the next one. It is of a tree that has been saved,
// so that it can be found again after a restart.
func (t *Tree) runBackup(r ref) {
	if r.request().Snapshot != 0 {
		t.runLeased(r)
		return
	}
	t.reads.toSave++
	t.whenSaved(func(err error) {
		t.reads.toSave--
		if err != nil {
			t.fail(r, err)
			return
		}
		t.runLeased(r)
	})
}

func (t *Tree) runLeased(r ref) {
	req := r.request()
	l, err := t.lease(req.Snapshot)
	if err != nil {
		t.fail(r, err)
		return
	}
	l.busy++
	req.Snapshot, req.At = t.leaseID(&l.snapshot.version), l.snapshot
	t.runRange(&rangeRun{ref: r, lease: l})
}

// backedUp notes that a request that l was for is answered, and whether that was the last one.
func (t *Tree) backedUp(l *lease, last bool) {
	l.busy--
	l.until = t.now + leaseTime
	if last {
		l.users--
	}
	if l.users <= 0 {
		t.endLease(l)
	}
}

// endLeases ends those that nobody has used for long.
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
	delete(t.leases, t.leaseID(&l.snapshot.version))
	t.Release(l.snapshot)
}

// Stats describes a tree at one moment. Counts are since it was opened.
type Stats struct {
	BlockSize   int    // bytes
	Height      int    // of the tree; 0 is a single leaf
	Pages       uint64 // of the tree
	Blocks      uint64 // from the oldest leaf, or what a snapshot needs, to the end of the store
	Stuck       uint64 // of these, blocks that cannot be reclaimed because the first page in them cannot be read
	CachedPages int    // pages in memory
	CacheLimit  int    // pages
	Snapshots   int
	Commits     uint64 // batches that have changed something
	Written     uint64 // blocks
	Read        uint64 // pages
	Unsaved     int    // pages in memory that are not in the store
	Journal     int64  // bytes of the journal that a restart would replay
	Checkpoints uint64 // that came to their end
	Refusal     error  // why nothing can be made durable now, or nil
}

// Stats returns the state of the tree.
func (t *Tree) Stats() Stats {
	stuck := uint64(0)
	if t.clean.stuck != nil {
		stuck = t.next - t.clean.stuck.oldest
	}
	return Stats{
		Stuck:     stuck,
		BlockSize: t.cache.blockSize, Height: t.committed.height, Pages: t.committed.nodes, Blocks: t.next - t.oldestNeeded(),
		CachedPages: t.cache.inUse, CacheLimit: t.cache.limit, Snapshots: len(t.snapshots),
		Commits: t.counts.commits, Written: t.counts.written, Read: t.counts.read,
		Unsaved: t.cache.unsaved, Journal: t.journalBytes(), Checkpoints: t.counts.checkpoints,
		Refusal: t.writes.refusal,
	}
}

// BlockError says which block something is wrong with.
type BlockError struct {
	Block uint64
	Err   error
}

func (e *BlockError) Error() string { return fmt.Sprintf("page at block %d: %v", e.Block, e.Err) }

func (e *BlockError) Unwrap() error { return e.Err }
