package kivaloo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"kivaloo/actors"
	"kivaloo/disk"
	"kivaloo/tree"
)

// DB is a store in a directory, kept by this process. All methods may be called from any number of
// goroutines at once. Byte slices that are passed in may be reused once the method has returned;
// those returned belong to the caller, except for the pairs of a Scan with Borrow.
//
// Reads run on the calling goroutine, in memory, and do not wait for writes. A read sees every
// change that was acknowledged before it began. Changes that arrive while one commit is on its way
// to the disk share the next commit, so writing is fast with many goroutines at once.
//
// A context bounds the wait, not the change. A change that was under way when the context ended may
// yet take effect: OpError.Sent is true then.
type DB struct {
	dir      string
	log      *slog.Logger
	limits   Params
	readOnly bool // Options.ReadOnly
	events   *actors.Events
	store    *disk.Local
	tree     *tree.Tree // owned by the actor until that has ended
	actor    *tree.Actor
	readers  *tree.Readers
	group    *actors.Group

	using  sync.RWMutex   // held for reading while giving the actor something, or joining checks
	closed bool           // written with using held
	checks sync.WaitGroup // goroutines that read the block store themselves

	closing  sync.Once
	closeErr error
}

var _ Store = (*DB)(nil)

// Open opens the store in dir, or makes a new one there, and the directory too if it is missing. It
// works on Linux, macOS and FreeBSD; elsewhere the error wraps errors.ErrUnsupported. The error
// wraps ErrLocked if another process has the store open. It is an *OptionError if o has an invalid
// value.
func Open(dir string, o Options) (*DB, error) {
	db, err := open(nil, dir, o)
	if err != nil {
		return nil, dirError("open", dir, err)
	}
	return db, nil
}

// OpenMemory opens a new store that is kept in memory and is gone after Close: for tests, and for
// data that need not last. It is the same engine as Open's, with its cache, journal and pages, on a
// file system in memory. So it takes about twice the memory of its pairs. Durability has no meaning
// here. Options.ReadOnly is refused. The store is not scrubbed unless Options.ScrubRate says so.
func OpenMemory(o Options) (*DB, error) {
	if err := o.checkNew(); err != nil {
		return nil, err
	}
	o.ScrubRate = cmp.Or(o.ScrubRate, -1)
	db, err := open(&disk.MemFS{}, memoryName, o)
	if err != nil {
		return nil, dirError("open", memoryName, err)
	}
	return db, nil
}

// memoryName is the name of a store in memory in errors.
const memoryName = "memory"

// open is Open for a directory in fsys, where it must exist. A nil fsys means that dir is an
// ordinary path.
func open(fsys disk.FS, dir string, o Options) (*DB, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	scrub := max(0, cmp.Or(o.ScrubRate, DefaultScrubRate))
	fresh := DefaultBlockSize
	if o.ReadOnly {
		fresh = 0
	}
	events := &actors.Events{}
	store, t, err := tree.OpenDir(dir, disk.Options{
		BlockSize: o.BlockSize,
		NoSync:    o.NoSync,
		ReadOnly:  o.ReadOnly,
		ScrubRate: scrub,
		FS:        fsys,
		Log:       o.Log,
		OnSync:    func(took time.Duration) { disk.NoteStall(events, took) },
	}, fresh, o.treeConfig)
	switch {
	case errors.Is(err, tree.ErrUnknownBlockSize):
		return nil, fmt.Errorf("%w; if you know the block size, set Options.BlockSize", err)
	case err != nil:
		return nil, err
	}
	t.Note(events)
	db := &DB{
		dir:      dir,
		log:      o.Log,
		events:   events,
		readOnly: o.ReadOnly,
		limits:   Params{MaxKey: t.MaxKey(), MaxValue: t.MaxValue()},
		store:    store,
		tree:     t,
		readers:  t.Readers(),
		actor:    tree.NewActor(t, store),
		group:    actors.NewGroup(),
	}
	db.group.Go("tree", db.actor.Run)
	return db, nil
}

// Close closes the DB. It completes changes under way. Later operations fail with ErrClosed.
func (db *DB) Close() error {
	db.closing.Do(func() {
		db.using.Lock()
		db.closed = true
		db.using.Unlock()
		db.group.Stop()
		err := db.group.Wait()
		db.checks.Wait() // their contexts end with the group's
		db.readers.Close()
		db.tree.Close()
		if err = errors.Join(err, db.store.Close()); err != nil {
			db.closeErr = db.opError("close", false, err)
		}
	})
	return db.closeErr
}

// Params returns the limits of the store.
func (db *DB) Params(ctx context.Context) (Params, error) {
	if err := ctx.Err(); err != nil {
		return Params{}, db.opError("params", false, err)
	}
	db.using.RLock()
	defer db.using.RUnlock()
	if db.closed {
		return Params{}, db.opError("params", false, ErrClosed)
	}
	return db.limits, nil
}

// push gives the actor a chain of requests.
func (db *DB) push(b *tree.Batch) error {
	db.using.RLock()
	defer db.using.RUnlock()
	if db.closed {
		return ErrClosed
	}
	db.actor.Requests().PushOne(b)
	return nil
}

// on runs do on the tree's goroutine and waits for it.
func (db *DB) on(do func(*tree.Tree)) error {
	done := make(chan struct{})
	b := &tree.Batch{Client: tree.Nobody{}, Call: func(t *tree.Tree) {
		do(t)
		close(done)
	}}
	if err := db.push(b); err != nil {
		return err
	}
	<-done // the tree does not block, so this is short
	return nil
}

// dirError returns the error of an operation on a directory that is not open.
func dirError(op, dir string, err error) error {
	if option := (*OptionError)(nil); errors.As(err, &option) {
		return option
	}
	return &OpError{Op: op, Addr: dir, Err: corruption(err)}
}

func (db *DB) opError(op string, sent bool, err error) error {
	return &OpError{Op: op, Addr: db.dir, Sent: sent, Err: corruption(err)}
}

// corruption converts the tree's errors to those of this package.
func corruption(err error) error {
	var block *tree.BlockError
	switch {
	case errors.As(err, &block) && errors.Is(err, disk.ErrCorrupt):
		return &CorruptionError{Block: block.Block, Err: block.Err}
	case errors.Is(err, tree.ErrSnapshotGone), errors.Is(err, tree.ErrStopped), errors.Is(err, disk.ErrClosed):
		return ErrClosed
	}
	return err
}
