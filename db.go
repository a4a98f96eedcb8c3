package kivaloo

import (
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

const (
	// DefaultBlockSize is the block size of a new store, in bytes: the smallest that has room for keys and
	// values of 255 bytes.
	DefaultBlockSize = 2048

	// DefaultStorageCost suits a local SSD.
	DefaultStorageCost = 10000
)

// Options say how Open is to open a store. The zero value is good for most.
type Options struct {
	// BlockSize is the length of a page in bytes, 512 to 131072. 0 means what the store has, or
	// DefaultBlockSize for a new one. An existing store has to have it.
	BlockSize int
	// CacheBytes is how much memory pages, their indexes and memtables may take together. 0 means
	// 128 MiB. Open refuses less than 1024 pages.
	CacheBytes int
	// MaxKey and MaxValue are the longest key and value that are stored, in bytes. 0 means what
	// the block size allows, at most MaxLen.
	MaxKey, MaxValue int
	// StorageCost is the price of storing 1 GB for a month, divided by the price of a million I/Os. The higher it is, the
	// sooner space is reclaimed. 0 means DefaultStorageCost; a negative one means never.
	StorageCost float64
	// CommitDelay is how long a change may wait for others to share its commit. MinCommit is how many
	// waiting changes end that wait. Without them, all changes that arrive during one commit go into the
	// next.
	CommitDelay time.Duration
	MinCommit   int
	// JournalBytes is how many bytes of changes are collected in memory, and made durable by a journal,
	// before a flush writes them into pages. Opening a store that was not closed replays the journal. 0
	// means 64 MiB. With a negative one there is no journal: each commit writes its pages.
	JournalBytes int64
	// NoSync acknowledges changes before they are on the disk: a power cut can lose some, or damage the
	// whole store. A crash of the process alone does no harm.
	NoSync bool
	// ReadOnly opens an existing store without changing it. Several processes may do so at once.
	ReadOnly bool
	// Log gets reports of everything that is wrong with the store. nil: nobody does.
	Log *slog.Logger
}

// DB is a store in a directory, kept by this process. All methods may be called from any number of
// goroutines at once. Byte slices that are passed in may be reused once the method has returned; those
// returned belong to the caller, but for the pairs of a Range.
//
// Reads run on the calling goroutine, in memory, and do not wait for writes. A read sees every change
// that was acknowledged before it began. Changes that arrive while one commit is on its way to the disk
// share the next commit, so writing is fast with many goroutines at once.
//
// A context bounds the wait, not the change. A change that was under way when the context ended may yet
// take effect: OpError.Sent is true then.
type DB struct {
	dir     string
	log     *slog.Logger
	limits  Params
	events  *actors.Events
	store   *disk.Local
	tree    *tree.Tree // the actor's, until that has ended
	actor   *tree.Actor
	readers *tree.Readers
	group   *actors.Group

	using  sync.RWMutex   // held for reading by those who give the actor something, or join checks
	closed bool           // with using held for writing
	checks sync.WaitGroup // those who read the block store themselves

	closing  sync.Once
	closeErr error
}

var _ Store = (*DB)(nil)

// Open opens the store in dir, or makes a new one there, and the directory too if it is missing. The error
// wraps ErrLocked if another process has the store open.
func Open(dir string, o Options) (*DB, error) {
	db, err := open(nil, dir, o)
	if err != nil {
		return nil, &OpError{Op: "open", Addr: dir, Err: corruption(err)}
	}
	return db, nil
}

// open is Open of a directory in fsys, in which it must exist. A nil fsys means that dir is a path like any other.
func open(fsys disk.FS, dir string, o Options) (*DB, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	fresh := DefaultBlockSize
	if o.ReadOnly {
		fresh = 0
	}
	events := &actors.Events{}
	store, t, err := tree.OpenDir(dir, disk.Options{
		BlockSize: o.BlockSize,
		NoSync:    o.NoSync,
		ReadOnly:  o.ReadOnly,
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
		dir:     dir,
		log:     o.Log,
		events:  events,
		limits:  Params{MaxKey: t.MaxKey(), MaxValue: t.MaxValue()},
		store:   store,
		tree:    t,
		readers: t.Readers(),
		actor:   tree.NewActor(t, store),
		group:   actors.NewGroup(),
	}
	db.group.Go("tree", db.actor.Run)
	return db, nil
}

// treeConfig returns what the options say about the tree, and refuses what cannot be.
func (o *Options) treeConfig(blockSize int) (tree.Config, error) {
	cfg := tree.Config{
		CachePages:   o.CacheBytes / max(1, blockSize),
		MaxKey:       o.MaxKey,
		MaxValue:     o.MaxValue,
		StorageCost:  max(0, o.StorageCost),
		MaxSpread:    tree.DefaultMaxSpread,
		CommitDelay:  o.CommitDelay,
		MinCommit:    o.MinCommit,
		JournalBytes: max(0, o.JournalBytes),
		ReadOnly:     o.ReadOnly,
		AdoptBlank:   !o.ReadOnly,
		Log:          o.Log,
	}
	if o.MaxKey == 0 {
		cfg.MaxKey = -1
	}
	if o.MaxValue == 0 {
		cfg.MaxValue = -1
	}
	if o.StorageCost == 0 {
		cfg.StorageCost = DefaultStorageCost
	}
	if o.JournalBytes == 0 {
		cfg.JournalBytes = tree.DefaultJournalBytes
	}
	switch {
	case blockSize < disk.MinBlockSize || blockSize > disk.MaxBlockSize:
		return cfg, fmt.Errorf("block size %d is not within %d to %d", blockSize, disk.MinBlockSize, disk.MaxBlockSize)
	case o.CacheBytes != 0 && cfg.CachePages < tree.MinCachePages:
		return cfg, fmt.Errorf("a cache of %d bytes has %d pages of %d bytes: there must be at least %d",
			o.CacheBytes, cfg.CachePages, blockSize, tree.MinCachePages)
	case o.MaxKey < 0 || o.MaxValue < 0:
		return cfg, fmt.Errorf("MaxKey %d, MaxValue %d: negative", o.MaxKey, o.MaxValue)
	case o.CommitDelay < 0 || o.CommitDelay > time.Second:
		return cfg, fmt.Errorf("CommitDelay %v is not within 0 to 1s", o.CommitDelay)
	case o.MinCommit < 0:
		return cfg, fmt.Errorf("MinCommit %d is negative", o.MinCommit)
	}
	return cfg, cfg.Check(blockSize)
}

// Close ends the DB. Changes that are under way are finished; operations that come later fail with ErrClosed.
func (db *DB) Close() error {
	db.closing.Do(func() {
		db.using.Lock()
		db.closed = true
		db.using.Unlock()
		db.group.Stop()
		err := db.group.Wait()
		db.checks.Wait() // their contexts have ended with the group's
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

// on has do called on the tree's goroutine, and returns when that has been done.
func (db *DB) on(do func(*tree.Tree)) error {
	done := make(chan struct{})
	b := &tree.Batch{Client: nobody{}, Call: func(t *tree.Tree) {
		do(t)
		close(done)
	}}
	if err := db.push(b); err != nil {
		return err
	}
	<-done // the tree waits for nothing: it will not be long
	return nil
}

func (db *DB) opError(op string, sent bool, err error) error {
	return &OpError{Op: op, Addr: db.dir, Sent: sent, Err: corruption(err)}
}

// corruption returns err as what the tree's errors are to the user of this package.
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
