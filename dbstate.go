package kivaloo

import (
	"context"
	"fmt"
	"time"

	"kivaloo/disk"
	"kivaloo/tree"
)

// Stats describes a DB at one moment. Counts are since it was opened.
type Stats struct {
	BlockSize     int   // bytes in a block, which has one page
	Height        int   // of the tree: how many pages lead to a leaf
	Pages         int64 // of the tree
	DiskBytes     int64 // from the oldest block that is needed to the end; more than Pages take is garbage, or kept for snapshots
	StuckBytes    int64 // of DiskBytes, what cannot be reclaimed because an old page cannot be read
	CachedPages   int   // pages in memory
	CacheLimit    int   // pages that may be in memory
	Snapshots     int   // open ones
	Commits       int64 // each of one or more changes
	Written       int64 // blocks
	Read          int64 // pages
	Memtables     int   // those that hold changes: the journal has these, pages do not yet
	MemtableBytes int64 // memory that memtables take
	JournalBytes  int64 // of the journal that opening the store would replay now
	Flushes       int64 // memtables that have been written into pages
	ReadOnly      bool  // changes fail now, with ErrReadOnly: see there

	ScrubPasses   int64   // over the whole store that have ended: see Options.ScrubRate
	ScrubProgress float64 // of the pass under way, 0 to 1; 1 between passes
	ScrubBytes    int64   // that have been read for that
	DamagedBlocks int64   // that were found damaged, and have not been freed since
}

// Stats returns the state of the store; nothing when the DB has been closed.
func (db *DB) Stats() Stats {
	var s tree.Stats
	if db.on(func(t *tree.Tree) { s = t.Stats() }) != nil {
		return Stats{}
	}
	scrub := db.store.Scrubbed()
	return Stats{
		BlockSize: s.BlockSize, Height: s.Height, Pages: int64(s.Pages), DiskBytes: int64(s.Blocks) * int64(s.BlockSize),
		StuckBytes:  int64(s.Stuck) * int64(s.BlockSize),
		CachedPages: s.CachedPages, CacheLimit: s.CacheLimit, Snapshots: s.Snapshots,
		Commits: int64(s.Commits), Written: int64(s.Written), Read: int64(s.Read),
		ReadOnly:  db.readOnly || s.Refusal != nil,
		Memtables: s.Memtables, MemtableBytes: s.MemtableBytes, JournalBytes: s.Journal, Flushes: int64(s.Flushes),
		ScrubPasses: int64(scrub.Passes), ScrubProgress: scrub.Progress, ScrubBytes: int64(scrub.Bytes), DamagedBlocks: int64(scrub.Damaged),
	}
}

// Event is something that a DB does now and then, and that its users may feel: "cleaning" (old
// pages are rewritten, so that space can be freed), "flush" (a memtable is written into pages),
// "fsync stall" (the disk took long), "snapshot" (one was open, so that nothing was freed).
type Event struct {
	Kind    string
	Began   time.Time
	Took    time.Duration // up to now, if it is going on
	Ongoing bool
}

// Events returns the events that ended from number n on, the first being 0, and then those under
// way. With next as n, the next call returns later ones. The latest 1024 are kept.
func (db *DB) Events(n uint64) (events []Event, next uint64) {
	found, next := db.events.Since(n)
	for _, e := range found {
		events = append(events, Event(e))
	}
	return events, next
}

// Verify flushes, reads every page of the resulting tree from the disk, and checks everything that
// must hold. Changes go on meanwhile. The error is the first fault, a *CorruptionError, or an error
// of the disk.
func (db *DB) Verify(ctx context.Context) error {
	if _, err := db.verify(ctx); err != nil {
		return db.opError("verify", false, err)
	}
	return nil
}

// verify is Verify. It returns the number of pairs.
func (db *DB) verify(ctx context.Context) (pairs uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	at, root, err := db.flushed(ctx, "verify")
	if err != nil {
		return 0, err
	}
	defer db.release(at)
	report, err := db.checkTree(ctx, root)
	if err != nil {
		return 0, err
	}
	if len(report.Faults) == 0 {
		return report.Pairs, nil
	}
	first := report.Faults[0]
	err = first.Err
	if more := len(report.Faults) + report.More - 1; more > 0 {
		err = fmt.Errorf("%w (and %d more faults)", err, more)
	}
	return 0, &tree.BlockError{Block: first.Block, Err: fmt.Errorf("%s: %w", first.Path, err)}
}

// verifyCopy verifies a new store that must have this many pairs.
func (db *DB) verifyCopy(ctx context.Context, pairs uint64) error {
	n, err := db.verify(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("reading the new store again: %w", err)
	case n != pairs:
		return fmt.Errorf("%w: the new store was made of %d pairs, and has %d of them", disk.ErrCorrupt, pairs, n)
	}
	return nil
}

// checkTree reads every page under root. If the DB is closed meanwhile it returns ErrClosed, and
// Close waits for it.
func (db *DB) checkTree(ctx context.Context, root tree.Root) (*tree.Report, error) {
	db.using.RLock()
	if db.closed {
		db.using.RUnlock()
		return nil, ErrClosed
	}
	db.checks.Add(1)
	db.using.RUnlock()
	defer db.checks.Done()
	open := db.group.Context() // cancelled when the DB is closed
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(open, cancel)()
	report := tree.Check(ctx, db.store, root)
	switch {
	case open.Err() != nil:
		return nil, ErrClosed
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return report, nil
}

// flushed returns a snapshot of everything acknowledged, once all its pages are in the store, and
// its root.
func (db *DB) flushed(ctx context.Context, name string) (at *tree.Snapshot, root tree.Root, err error) {
	at, err = db.take(ctx, func(t *tree.Tree, got func(*tree.Snapshot, error)) { t.TakeFlushed(name, got) })
	if err == nil {
		err = db.on(func(t *tree.Tree) { root = t.Root(at) })
	}
	return at, root, err
}
