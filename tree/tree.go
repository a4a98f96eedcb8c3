package tree

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"kivaloo/actors"
	"kivaloo/disk"
)

// Config says how a tree is to behave. The zero value of a field means its default.
type Config struct {
	CachePages   int           // pages held in memory; default DefaultCacheBytes worth
	MaxKey       int           // longest key that is accepted, bytes; negative: the default of the block size
	MaxValue     int           // longest value that is accepted, bytes; negative: the default of the block size
	StorageCost  float64       // cost of a GB-month of storage over that of 10^6 I/Os; 0: no cleaning
	MaxSpread    float64       // see cleaner; 0: no such limit
	CommitDelay  time.Duration // how long the first request of a batch waits for others
	JournalBytes int64         // how long the journal may become; 0: there is none, each batch writes its pages
	MinCommit    int           // so many waiting requests start a batch at once; 0: no such number
	ReadOnly     bool          // nothing is changed; the store may be open for reading only
	AdoptBlank   bool          // take a few blocks of zeros for what a power cut left of the first append; the original refuses them
	Log          *slog.Logger  // default: nothing is logged

	// OnFault is told, on the tree's goroutine, of each thing that is wrong with the
	// store. The tree goes on with what it can still do.
	OnFault func(error)
}

// Errors that requests fail with, besides those of package disk.
var (
	// ErrReadOnly: the change was not made, because nothing can be made durable now.
	ErrReadOnly = errors.New("read-only")
	// ErrStopped: the change was not made, because the store is being closed.
	ErrStopped = errors.New("stopped")
)

// DefaultMaxLengths returns the original's default limits for keys and
// values, in bytes, at a block size.
func DefaultMaxLengths(blockSize int) (key, value int) {
	switch {
	case blockSize < 1024:
		return 64, 96
	case blockSize < 2048:
		return 128, 192
	}
	return MaxStringBytes, MaxStringBytes
}

// CheckMaxLengths refuses limits at which a page could not hold enough pairs or children for the
// tree to work. The rules are the original's.
func CheckMaxLengths(blockSize, key, value int) error {
	switch {
	case key < 0 || key > MaxStringBytes || value < 0 || value > MaxStringBytes:
		return fmt.Errorf("longest key %d and value %d must be within 0 to %d bytes", key, value, MaxStringBytes)
	case key+value+2 > blockSize/3:
		return fmt.Errorf("longest key %d and value %d together take more than a third of a block of %d bytes", key, value, blockSize)
	case 3*key+3+80+10 > 2*blockSize/3:
		return fmt.Errorf("longest key %d is too much for a block of %d bytes", key, blockSize)
	}
	return nil
}

// Check returns what is wrong with cfg for blocks of that size, in bytes; nil if Open will take it.
func (cfg Config) Check(blockSize int) error {
	_, err := cfg.withDefaults(blockSize)
	return err
}

// withDefaults fills in what cfg leaves open and checks the rest.
func (cfg Config) withDefaults(blockSize int) (Config, error) {
	key, value := DefaultMaxLengths(blockSize)
	if cfg.MaxKey < 0 {
		cfg.MaxKey = key
	}
	if cfg.MaxValue < 0 {
		cfg.MaxValue = value
	}
	if err := CheckMaxLengths(blockSize, cfg.MaxKey, cfg.MaxValue); err != nil {
		return cfg, err
	}
	if cfg.CachePages == 0 {
		cfg.CachePages = DefaultCacheBytes / blockSize
	}
	if cfg.CachePages < MinCachePages || cfg.CachePages > MaxCachePages {
		return cfg, fmt.Errorf("a cache of %d pages of %d bytes is not within %d to %d pages",
			cfg.CachePages, blockSize, MinCachePages, MaxCachePages)
	}
	if cfg.JournalBytes < 0 {
		return cfg, fmt.Errorf("a journal of %d bytes cannot be", cfg.JournalBytes)
	}
	if !(cfg.StorageCost >= 0) {
		return cfg, fmt.Errorf("storage cost %v is not 0 or more", cfg.StorageCost)
	}
	cfg.StorageCost = min(cfg.StorageCost, math.MaxFloat64) // infinity times no garbage would be no number
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.OnFault == nil {
		cfg.OnFault = func(error) {}
	}
	return cfg, nil
}

// version is one whole tree: what a commit makes.
type version struct {
	root   nodeID
	nodes  uint64 // pages, root included
	height int
	next   uint64 // replaying the journal from this block on makes what came after it
	logged uint64 // blocks of the journal that went into it, since the store was opened
}

// Tree is the store's state machine. It has no goroutine and no clock of
// its own: Step is told what happened and says what is to be done. It must not be
// used from two goroutines at once.
//
// Invariants:
//  1. committed is a tree of which all changes are durable. Gets and Ranges see it and no other.
//  2. tip is committed, or the tree that the append under way will make durable.
//  3. At most one append is under way; at most one batch is being built, on tip.
//  4. A modifying request is answered only after the tree in which its effect can be seen is committed.
type Tree struct {
	cfg   Config
	cache *cache
	now   time.Duration // of the step, since any fixed moment
	next  uint64        // block number for the next append

	committed version
	tip       version

	reads      reader
	writes     writer
	appends    appender
	checkpoint checkpointer
	clean      cleaner
	torn       bool // the last block is no root, and is to be one
	replaying  bool // the batches at hand are from the journal

	snapshots []*Snapshot       // oldest first
	leases    map[uint64]*lease // by id
	counts    struct{ commits, written, read, checkpoints uint64 }
	tally     tally
	metrics   *Metrics       // nil: nothing is measured
	events    *actors.Events // nil: nobody wants to know

	touched   []Client // clients with answers in this step
	first     *disk.Op // operations to be submitted after this step
	last      *disk.Op
	waitStill []func()                         // see whenStill
	late      func() (*disk.Op, time.Duration) // Inputs.Late
	deferred  *disk.Op                         // operations that have come back during the step
	faults    map[uint64]bool                  // blocks already reported
	pairs     []byte                           // scratch: the pairs of one Range
}

// Inputs is what has happened since the last step.
type Inputs struct {
	Now      time.Duration // monotonic, since any fixed moment; never goes back
	Requests *Batch        // chain, oldest first
	Done     *disk.Op      // chain of operations that have come back

	// Late returns a chain of those that have come back since, and what Now is then, or nil. If it is not nil, a step that takes
	// long asks it now and then, so that nobody waits for the answer to a change that has become durable meanwhile.
	Late func() (*disk.Op, time.Duration)
}

// Effects is what is to be done after a step.
type Effects struct {
	First, Last *disk.Op      // operations to submit, chained; nil for none
	Wake        time.Duration // when the next step is due at the latest
}

// Step takes in what has happened, does all that can be done now, and says what the
// world outside has to do. Answers are given during the call.
func (t *Tree) Step(in Inputs) Effects {
	t.now, t.late = in.Now, in.Late
	t.finishAll(in.Done)
	for b := in.Requests; b != nil; {
		next := b.Next()
		b.SetNext(nil)
		t.accept(b)
		b = next
	}
	t.tick()
	t.sweep()
	t.runReads()
	t.advance()
	for t.deferred != nil {
		done := t.deferred
		t.deferred = nil
		t.finishAll(done)
		t.advance()
	}
	t.publishTally()
	t.flush()

	out := Effects{First: t.first, Last: t.last, Wake: t.wake()}
	t.first, t.last = nil, nil
	return out
}

// accept queues the requests of b.
func (t *Tree) accept(b *Batch) {
	t.tookIn(b)
	if b.Call != nil {
		b.Call(t)
	}
	b.unanswered = len(b.Requests)
	if b.unanswered == 0 {
		b.Client.Release(b)
		return
	}
	for i := range b.Requests {
		r := ref{b, int32(i)}
		if !b.Requests[i].Op.Modifies() {
			t.reads.queue = append(t.reads.queue, r)
			continue
		}
		t.writes.queue = append(t.writes.queue, r)
		if t.cfg.MinCommit > 0 {
			t.advance() // a batch starts with the request that makes it long enough
		}
	}
}

// submit adds an operation to the effects of this step.
func (t *Tree) submit(op *disk.Op) {
	if t.last == nil {
		t.first = op
	} else {
		t.last.SetNext(op)
	}
	t.last = op
}

// finishAll takes back a chain of operations.
func (t *Tree) finishAll(ops *disk.Op) {
	for op := ops; op != nil; {
		next := op.Link.Next()
		op.SetNext(nil)
		t.finished(op)
		op = next
	}
	t.getAgain()
}

// lookUp is called now and then while a batch is built. It takes in an append that has come back, and answers the batch in
// it: the one that is built, on the tree which that leaves, is not touched by it. All else is left for the end of the step.
func (t *Tree) lookUp() {
	if t.late == nil || t.writes.syncing == nil {
		return
	}
	op, now := t.late()
	if op != nil {
		t.now = now
	}
	for op != nil {
		next := op.Link.Next()
		op.SetNext(nil)
		if op.Kind == disk.Append && op.Err == nil && op.OK {
			t.appended(op)
			t.flush()
		} else {
			op.SetNext(t.deferred)
			t.deferred = op
		}
		op = next
	}
}

// finished takes back an operation.
func (t *Tree) finished(op *disk.Op) {
	switch op.Kind {
	case disk.Read:
		t.arrived(op)
	case disk.Append:
		t.appended(op)
	case disk.Free:
		t.freed(op)
	}
}

// answered notes that one request of r.b has had its answer.
func (t *Tree) answered(r ref, s Status) {
	t.tally.requests[r.request().Op][s]++
	c := r.b.Client
	if n := len(t.touched); n == 0 || t.touched[n-1] != c {
		t.touched = append(t.touched, c)
	}
	if r.b.unanswered--; r.b.unanswered == 0 {
		c.Release(r.b)
	}
}

// flush ends the step for the clients that had answers.
func (t *Tree) flush() {
	for i, c := range t.touched {
		c.Flush()
		t.touched[i] = nil
	}
	t.touched = t.touched[:0]
}

// fail answers a request that could not be carried out.
func (t *Tree) fail(r ref, err error) {
	r.b.Client.Failed(r.request(), err)
	t.answered(r, StatusFailed)
}

// fault reports something wrong with a block, once.
func (t *Tree) fault(block uint64, err error) {
	if t.faults[block] {
		return
	}
	if len(t.faults) >= maxFaults {
		clear(t.faults)
	}
	t.faults[block] = true
	t.cfg.Log.Error("damaged store", "block", block, "err", err)
	t.cfg.OnFault(err)
}

// wake is when the next step is due even if nothing happens.
func (t *Tree) wake() time.Duration {
	at := t.clean.nextTick
	if t.writes.timing {
		at = min(at, t.writes.deadline)
	}
	switch cp := &t.checkpoint; {
	case cp.sweeping:
		at = t.now
	case t.idle() && !cp.running && t.writes.refusal == nil && !t.cfg.ReadOnly && !t.isSaved(&t.committed):
		at = min(at, cp.changed+checkpointIdle)
	}
	return at
}

// MaxKey and MaxValue are the longest key and value, in bytes, that may be stored.
func (t *Tree) MaxKey() int   { return t.cfg.MaxKey }
func (t *Tree) MaxValue() int { return t.cfg.MaxValue }

// BlockSize is the length of a page in bytes.
func (t *Tree) BlockSize() int { return t.cache.blockSize }

// Busy reports whether requests are waiting or operations under way.
func (t *Tree) Busy() bool {
	return t.writes.building != nil || t.writes.syncing != nil || len(t.writes.queue) > 0 ||
		len(t.reads.queue) > 0 || t.reads.underWay > 0 || t.reads.toSave > 0 || t.clean.freeing || t.appends.busy ||
		len(t.checkpoint.waiting) > 0 || len(t.waitStill) > 0 || t.stillToSave()
}

// stillToSave reports whether Stop has been called and has not come to its end.
func (t *Tree) stillToSave() bool {
	return t.checkpoint.stopping && t.writes.refusal == nil && !t.flushed()
}

// Close gives the memory of the page cache back. Nothing may be under way.
func (t *Tree) Close() { t.cache.close() }
