package s3

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"kivaloo/actors"
	"kivaloo/disk"
)

// Options say how to use a store in a bucket. The zero Options open one that exists.
type Options struct {
	BlockSize    int           // of the store, in bytes; 0: as its settings say
	NewBlockSize int           // for a store that is new; 0: it must not be
	Readers      int           // reads under way at once; 0: DefaultReaders
	LookEvery    time.Duration // how often to check that this is still the writer; 0: DefaultLookEvery, negative: never
	Writer       string        // who this is, for others' errors; "": host and process
	Log          *slog.Logger  // nil: slog.Default()
}

// Errors that callers tell apart.
var (
	// ErrFenced: another process has claimed the store, so this one can append no more.
	ErrFenced = errors.New("another process has become the writer")
	// ErrEmpty: there is no store.
	ErrEmpty = errors.New("there is no store")
	// ErrBlockSizeNeeded: the store does not say how large its blocks are.
	ErrBlockSizeNeeded = errors.New("the block size must be given")
)

// Store is a store in a bucket.
type Store struct {
	o       Options
	r       *retrier
	counted *counted
	prefix  string // of IDs: no other Store has it
	lastID  atomic.Uint64
	since   time.Time
	claimed claimed

	workers *actors.Group // the appender and the readers
	others  *actors.Group // the janitor, the look-out, and what reads ahead: a stop cuts them off
	reads   chan *disk.Op // chains
	appends chan *disk.Op // at most one
	untidy  chan struct{} // rings the janitor
	lost    chan struct{} // closed once the store has failed
	whole   whole

	mu        sync.Mutex
	next      uint64 // object that the next append makes
	last      uint64 // block, or disk.NoBlock
	appending bool
	failed    error  // why nothing can be appended any more; nil while it can
	goal      uint64 // all objects before it are unneeded

	stopping sync.Once
	overdue  *time.Timer // from Stopping on: ends what is under way
	closing  sync.Once
	closeErr error
}

var _ disk.Store = (*Store)(nil)

// open claims a store in a bucket and starts it. ctx bounds the claim.
func open(ctx context.Context, b bucket, o Options) (*Store, error) {
	o.Readers = cmp.Or(o.Readers, DefaultReaders)
	o.LookEvery = cmp.Or(o.LookEvery, DefaultLookEvery)
	o.Writer = cmp.Or(o.Writer, thisProcess())
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Readers < 1 || o.Readers > MaxReaders {
		return nil, fmt.Errorf("%d readers are not between 1 and %d", o.Readers, MaxReaders)
	}
	for _, size := range []int{o.BlockSize, o.NewBlockSize} {
		if size != 0 && (size < disk.MinBlockSize || size > disk.MaxBlockSize) {
			return nil, fmt.Errorf("block size %d is not between %d and %d", size, disk.MinBlockSize, disk.MaxBlockSize)
		}
	}
	c := &counted{bucket: b}
	s := &Store{
		o:       o,
		counted: c,
		r:       &retrier{c, o.Log},
		prefix:  newPrefix(),
		since:   time.Now().UTC().Truncate(time.Millisecond),
		workers: actors.NewGroup(),
		others:  actors.NewGroup(),
		reads:   make(chan *disk.Op, readQueueOps),
		appends: make(chan *disk.Op, 1),
		untidy:  make(chan struct{}, 1),
		lost:    make(chan struct{}),
	}
	var err error
	if s.claimed, err = s.claim(ctx); err != nil {
		return nil, err
	}
	s.next, s.last, s.goal = s.claimed.fence+1, s.claimed.last, s.claimed.deleted
	s.whole.s = s
	s.workers.Go("s3 appender", s.runAppender)
	for i := range o.Readers {
		s.workers.Go(fmt.Sprintf("s3 reader %d", i), s.runReader)
	}
	s.others.Go("s3 janitor", s.runJanitor)
	s.others.Go("s3 look-out", s.look)
	return s, nil
}

func newPrefix() string {
	var id [12]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

func thisProcess() string {
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown host"
	}
	return fmt.Sprintf("%s, process %d", host, os.Getpid())
}

// putter returns who puts the next object.
func (s *Store) putter() putter {
	return putter{
		id:     fmt.Sprintf("%s-%d", s.prefix, s.lastID.Add(1)),
		writer: fmt.Sprintf("%s, since %s", s.o.Writer, s.since.Format(time.RFC3339)),
	}
}

// Info implements disk.Store.
func (s *Store) Info() disk.Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return disk.Info{BlockSize: s.claimed.BlockSize, Next: firstBlock(s.next), Last: s.last}
}

// Counts returns what requests have cost since the store was opened, the claim included.
func (s *Store) Counts() disk.RequestCounts { return s.counted.counts() }

// Lost is closed when nothing can be appended any more, although Close was not called.
func (s *Store) Lost() <-chan struct{} { return s.lost }

// Err returns why nothing can be appended any more, or nil. It wraps ErrFenced if another process
// has become the writer.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// fail makes the store read-only.
func (s *Store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
		close(s.lost)
		s.o.Log.Error("the store can no longer be written", "err", err)
	}
}

func (s *Store) isNext(n uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next == n && !s.appending
}

// fencedBy is the error of a writer that has met an object which another put.
func fencedBy(n uint64, by putter) error {
	who := by.writer
	if who == "" {
		who = "a program that does not say who it is"
	}
	return fmt.Errorf("%w: object %d was put by %s", ErrFenced, n, who)
}

// Submit implements disk.Store.
func (s *Store) Submit(first, last *disk.Op) {
	last.SetNext(nil)
	for op := first; op != nil; {
		end := op
		if op.Kind == disk.Read {
			end = s.endOfRun(op)
		}
		next := end.Link.Next()
		end.SetNext(nil)
		s.submit(op)
		op = next
	}
}

// endOfRun returns the last of the reads of blocks that follow each other, beginning with first.
func (s *Store) endOfRun(first *disk.Op) *disk.Op {
	end := first
	for n := 2; n*s.claimed.BlockSize <= readTogetherBytes; n++ {
		next := end.Link.Next()
		if next == nil || next.Kind != disk.Read || next.Done != first.Done || next.AsIs != first.AsIs || next.Block != end.Block+1 {
			break
		}
		end = next
	}
	return end
}

// submit starts one operation, or a chain of reads.
func (s *Store) submit(op *disk.Op) {
	switch op.Kind {
	case disk.Read:
		s.reads <- op
	case disk.Append:
		op.OK, op.Err = false, nil
		if s.accept(op) {
			s.appends <- op
		} else {
			op.Done.PushOne(op)
		}
	case disk.Free:
		op.OK, op.Err, op.Next, op.After, op.Room = true, nil, 0, 0, 0
		n, _ := objectOf(op.Block)
		s.mu.Lock()
		// A caller may free what it has never appended. The last object stays: the next claim finds
		// the end by it.
		s.goal = max(s.goal, min(n, s.next-1))
		s.mu.Unlock()
		op.Done.PushOne(op)
		s.ring()
	}
}

func (s *Store) ring() {
	select {
	case s.untidy <- struct{}{}:
	default:
	}
}

// Stopping says that Close will be called. What S3 has not answered closeTime later fails, so that
// whoever waits for it can come to call Close.
func (s *Store) Stopping() {
	s.stopping.Do(func() { s.overdue = time.AfterFunc(closeTime, s.workers.Stop) })
}

// Close implements disk.Store. An append that S3 does not take in time fails.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.Stopping()
		close(s.reads)
		close(s.appends)
		s.closeErr = s.workers.Wait()
		s.overdue.Stop()
		s.others.Stop()
		s.closeErr = errors.Join(s.closeErr, s.others.Wait())
		s.whole.wait()
	})
	return s.closeErr
}
