package tree

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math"
	"slices"
	"time"

	"kivaloo/actors"
	"kivaloo/disk"
	"kivaloo/tree/memtable"
	"kivaloo/tree/page"
)

// Config configures a tree. The zero value of a field means its default.
type Config struct {
	CachePages   int           // memory for pages, their indexes and memtables, in pages; default DefaultCacheBytes
	MaxKey       int           // longest accepted key, in bytes; negative: the default for the block size
	MaxValue     int           // longest accepted value, in bytes; negative: the default for the block size
	StorageCost  float64       // cost of a GB-month of storage relative to 10^6 I/Os; 0: no cleaning
	MaxSpread    float64       // see cleaner; 0: no limit
	CommitDelay  time.Duration // how long the first request of a commit waits for others
	JournalBytes int64         // bytes of changes in a memtable before its flush; 0: no journal, each commit writes its pages
	MinCommit    int           // commit as soon as this many requests are waiting; 0: no minimum
	ReadOnly     bool          // allows no changes; the store may be open for reading only
	// AdoptBlank treats a few blocks of zeros as the remains of the first append after a power cut,
	// and a store that has given numbers away but has no blocks as a new one. So Open makes a tree
	// there. The original refuses such stores.
	AdoptBlank bool
	Log        *slog.Logger // default: no log

	stepBytes     int // bytes of a flush in one append; default flushStepBytes
	memtableBytes int // limit of a memtable; default: see memtableBytes

	// OnFault is called on the tree's goroutine for each fault of the store. The tree continues as
	// far as it can.
	OnFault func(error)
}

// Errors of requests, besides those of package disk.
var (
	// ErrReadOnly means that the change was not made, because nothing can be made durable now.
	ErrReadOnly = errors.New("read-only")
	// ErrStopped means that the change was not made, because the store is being closed.
	ErrStopped = errors.New("stopped")
)

// DefaultMaxLengths returns the original's default limits for keys and values, in bytes, for a
// block size.
func DefaultMaxLengths(blockSize int) (key, value int) {
	switch {
	case blockSize < 1024:
		return 64, 96
	case blockSize < 2048:
		return 128, 192
	}
	return page.MaxString, page.MaxString
}

// CheckMaxLengths returns an error if a page could not hold enough pairs or children for the tree
// to work. The rules are the original's.
func CheckMaxLengths(blockSize, key, value int) error {
	switch {
	case key < 0 || key > page.MaxString || value < 0 || value > page.MaxString:
		return fmt.Errorf("longest key %d and value %d must be within 0 to %d bytes", key, value, page.MaxString)
	case key+value+2 > blockSize/3:
		return fmt.Errorf("longest key %d and value %d together take more than a third of a block of %d bytes", key, value, blockSize)
	case 3*key+3+80+10 > 2*blockSize/3:
		return fmt.Errorf("longest key %d is too long for a block of %d bytes", key, blockSize)
	}
	return nil
}

// Check returns an error if Open would refuse cfg for blocks of this size, in bytes.
func (cfg Config) Check(blockSize int) error {
	_, err := cfg.withDefaults(blockSize)
	return err
}

// withDefaults fills in the defaults of cfg and checks the other fields.
func (cfg Config) withDefaults(blockSize int) (Config, error) {
	cfg.stepBytes = cmp.Or(cfg.stepBytes, flushStepBytes)
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
		return cfg, fmt.Errorf("cache of %d pages of %d bytes: want %d to %d pages",
			cfg.CachePages, blockSize, MinCachePages, MaxCachePages)
	}
	if cfg.JournalBytes < 0 {
		return cfg, fmt.Errorf("journal size %d is negative", cfg.JournalBytes)
	}
	if !(cfg.StorageCost >= 0) {
		return cfg, fmt.Errorf("storage cost %v is not 0 or more", cfg.StorageCost)
	}
	cfg.StorageCost = min(cfg.StorageCost, math.MaxFloat64) // infinity times no garbage would be NaN
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.OnFault == nil {
		cfg.OnFault = func(error) {}
	}
	return cfg, nil
}

// Tree is the state machine of a store. It has no goroutine and no clock: Step takes events and
// returns what to do. It is not safe for concurrent use.
//
// Invariants:
//  1. Gets and Ranges see view, and nothing that is not durable.
//  2. At most one append is under way.
//  3. A modifying request is answered only after its effect, and everything it depended on, is
//     durable and in view.
type Tree struct {
	cfg   Config
	cache *cache
	now   time.Duration // time of the step, since a fixed moment

	view    view // what is committed
	reader  reader
	writer  writer
	flush   flusher
	appends appender
	clean   cleaner
	space   space
	pager   pager
	replies replies

	snapshotList    []*Snapshot       // oldest first
	snapshotsWanted []func(error)     // called when a snapshot can be taken, or taking it has failed
	leases          map[uint64]*lease // by id
	changes         changeLog
	watches         watchList
	beforeRoot      uint64 // blocks before that root that belong to it: seal and flush record
	rootID          uint64 // id of the root of view.tree; it survives a restart if there is a flush record or a seal

	pool       memtable.Pool
	seed       maphash.Seed
	changed    time.Duration // time of the last commit
	refusal    error         // why changes are refused
	retryAt    time.Duration // when to try again nevertheless; 0: never
	cramped    bool          // the last append failed because the disk was full
	stopping   bool
	carriedWhy error // why the last flush had to carry changes over; nil again after a commit

	counts  struct{ commits, written, flushes uint64 }
	metrics *Metrics       // nil: no metrics
	events  *actors.Events // nil: no events
	faults  map[uint64]bool
	limbo   []freedTable // dropped memtables that readers may still use
	spare   []*pageCommit
	first   *disk.Op // operations to submit after this step
	last    *disk.Op
}

// Inputs is what has happened since the last step.
type Inputs struct {
	Now      time.Duration // monotonic, since a fixed moment; never decreases
	Requests *Batch        // chain, oldest first
	Done     *disk.Op      // chain of completed operations
}

// Effects is what the caller must do after a step.
type Effects struct {
	First, Last *disk.Op      // chain of operations to submit; nil for none
	Wake        time.Duration // latest time of the next step
}

// Step processes what has happened, as far as it can now, and returns what the caller must do. It
// calls the clients with their answers.
func (t *Tree) Step(in Inputs) Effects {
	t.now, t.pager.now = in.Now, in.Now
	t.takeBack(in.Done)
	for b := in.Requests; b != nil; {
		next := b.Next()
		b.SetNext(nil)
		t.accept(b)
		b = next
	}
	t.tick()
	t.reader.run()
	t.advance()
	t.runWatches()
	t.publishTally()
	t.replies.flush()

	out := Effects{First: t.first, Last: t.last, Wake: t.wake()}
	t.first, t.last = nil, nil
	if invariants {
		t.checkProgress()
	}
	return out
}

// checkProgress panics if changes wait although nothing is under way that could end their wait.
func (t *Tree) checkProgress() {
	w := &t.writer
	ready := w.expired || t.cfg.MinCommit > 0 && len(w.queue) >= t.cfg.MinCommit
	underWay := t.appends.busy || t.clean.freeing || t.pager.underWay > 0 || t.flush.state == flushSorting
	if len(w.queue) > 0 && ready && !underWay {
		panic(fmt.Sprintf("%d changes wait for nothing", len(w.queue)))
	}
}

// accept queues the requests of b.
func (t *Tree) accept(b *Batch) {
	t.noteQueued(b)
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
			t.reader.queue = append(t.reader.queue, r)
			continue
		}
		t.writer.queue = append(t.writer.queue, r)
		if t.cfg.MinCommit > 0 && !b.Atomic {
			t.advance() // a commit starts as soon as it has enough requests
		}
	}
}

// advance moves writes as far as they can go now.
func (t *Tree) advance() {
	for {
		t.writer.decide()
		froze := t.freeze()
		appended := t.append()
		t.flush.advance() // builds the next step while the append is under way
		if appended || froze || t.append() {
			continue
		}
		t.writer.answerSettled()
		if !t.writer.findRange() {
			break
		}
	}
	t.takeSnapshots()
}

// active returns the memtable that takes changes.
func (t *Tree) active() *memtable.Table { return t.view.tables[0] }

// logs reports whether the journal makes commits durable.
func (t *Tree) logs() bool { return t.cfg.JournalBytes > 0 }

// holdsChanges reports whether changes must wait because the newest memtable will be frozen at the
// end of the current commit.
func (t *Tree) holdsChanges() bool {
	return t.foldsFirst() || t.logs() && t.freezeWanted() && len(t.view.tables) <= maxFrozen
}

// foldsFirst reports whether a store without a journal still has to flush changes that Open
// replayed from one. No commit may come before that flush, because its root would not say what to
// replay.
func (t *Tree) foldsFirst() bool {
	n := len(t.view.tables)
	return !t.logs() && n > 1 && t.view.tables[n-1].Settled()
}

// full reports whether the newest memtable should take no more changes. It has reached its limit,
// or its journal has: that takes at least a block for each commit, however small.
func (t *Tree) full() bool {
	a, active := &t.appends, t.active()
	return active.Full() || a.starts[0].seq != 0 && int64(a.blocks-a.starts[0].before)*int64(t.cache.blockSize) >= int64(active.Limit())
}

// commitFull reports whether the newest memtable takes no more changes for now. Without a journal
// it is one commit, and all pages that it touches must be in memory together: as in the original,
// up to a quarter of the cache.
func (t *Tree) commitFull() bool {
	return t.full() || !t.logs() && t.active().Len() >= t.commitLimit()
}

// commitLimit returns the most changes in a commit without a journal.
func (t *Tree) commitLimit() int { return max(1, t.cfg.CachePages/4/(t.view.tree.height+1)) }

// freezeWanted reports whether the newest memtable should be frozen.
func (t *Tree) freezeWanted() bool {
	return !t.active().Empty() && (len(t.snapshotsWanted) > 0 || t.flush.wanted())
}

// freeze freezes the newest memtable if it should be flushed, and puts an empty one in front of it.
// It reports whether it did. With a journal it freezes between two commits, so the memtable holds
// whole commits. Without one the memtable is one commit.
func (t *Tree) freeze() bool {
	active := t.active()
	switch {
	case !t.logs():
		if !active.Pending() || len(t.view.tables) > 1 || t.appends.busy || t.writer.head != noBlock && !t.commitFull() {
			return false
		}
		t.writer.committing()
		t.noteCommit(active.Len())
	case !t.freezeWanted() || !active.Settled() || len(t.view.tables) > maxFrozen:
		return false
	}
	table, err := t.pool.New(t.memtableBytes(), t.seed)
	if err != nil {
		t.cfg.Log.Error("no memory for a memtable", "err", err) // the old one takes more; memory may become free
		return false
	}
	active.Freeze()
	t.view.tables = append([]*memtable.Table{table}, t.view.tables...) // views never change
	t.appends.starts = append([]start{{}}, t.appends.starts...)
	t.publishView()
	return true
}

// dropTable removes the oldest memtable from the view. Its changes are in pages, or were carried
// over because of err.
func (t *Tree) dropTable(table *memtable.Table, err error) {
	n := len(t.view.tables) - 1
	t.view.tables = slices.Clone(t.view.tables[:n])
	t.appends.starts = t.appends.starts[:n]
	for _, s := range t.snapshotList {
		t.flushedUnder(s, table, err)
	}
	t.changes.drop(table)
	t.publishView()
	t.retire(table)
}

// retire frees a memtable as soon as no reader can use it.
func (t *Tree) retire(table *memtable.Table) {
	if t.cache.readers == nil {
		table.Free()
		return
	}
	t.limbo = append(t.limbo, freedTable{table, t.cache.readers.epoch.Load()})
	t.freeTables()
}

// freedTable is a memtable, and the epoch in which it was dropped.
type freedTable struct {
	table *memtable.Table
	epoch uint64
}

// freeTables frees dropped memtables that no reader can use.
func (t *Tree) freeTables() {
	if len(t.limbo) == 0 {
		return
	}
	since := t.cache.readers.oldest()
	t.limbo = slices.DeleteFunc(t.limbo, func(f freedTable) bool {
		if f.epoch >= since {
			return false
		}
		f.table.Free()
		return true
	})
}

// publishView shows what is committed to readers on other goroutines.
func (t *Tree) publishView() {
	t.limitCache()
	if r := t.cache.readers; r != nil {
		v := t.view
		r.view.Store(&v)
	}
}

// memtableBytes returns the limit of the next memtable. It is small for a small tree, so that the
// journal does not take more space than the tree.
func (t *Tree) memtableBytes() int {
	if t.cfg.memtableBytes > 0 {
		return t.cfg.memtableBytes
	}
	tree := int64(t.view.tree.nodes) * int64(t.cache.blockSize)
	limit := min(max(t.cfg.JournalBytes, minMemtableBytes), max(minMemtableBytes, tree/8, tree/2-smallTreeBytes))
	return int(min(limit, t.memory()/memtableMemoryShare, maxMemtableBytes))
}

// memory returns how many bytes pages, their indexes and memtables may use together.
func (t *Tree) memory() int64 { return int64(t.cfg.CachePages) * int64(t.cache.blockSize) }

// limitCache gives pages the memory that memtables do not use. Frames never return memory to the
// system, so it always reserves room for one memtable, even an empty one.
func (t *Tree) limitCache() {
	tables := 0
	for _, table := range t.view.tables {
		tables += table.Bytes()
	}
	left := t.memory() - int64(t.changes.kept) - int64(max(tables+t.pool.Bytes(), t.memtableBytes()))
	frame := int64(t.cache.leaves.geo.frame)
	t.cache.limit = int(max(left/frame, t.memory()/frame/minCacheShare))
}

// idleSince returns the time since the last commit, or 0 if anything waits for one.
func (t *Tree) idleSince() time.Duration {
	if len(t.writer.queue)+len(t.writer.waiting) > 0 || t.active().Pending() || t.appends.busy {
		return 0
	}
	return t.now - t.changed
}

// rootDue reports whether to rewrite the root although there is nothing to flush. That makes it the
// last block, where the original looks for it.
func (t *Tree) rootDue() bool {
	return t.appends.end != endsComplete && t.active().Empty() && (t.stopping || t.logs() && t.idleSince() >= flushIdleAfter)
}

// writable returns why changes cannot be made durable, or nil. From time to time after a full disk,
// it lets an append try again.
func (t *Tree) writable() error {
	if t.refusal != nil && t.retryAt > 0 && t.now >= t.retryAt {
		t.refusal = nil
	}
	return t.refusal
}

// newPageCommit returns a page commit that has not begun.
func (t *Tree) newPageCommit() *pageCommit {
	if n := len(t.spare); n > 0 {
		w := t.spare[n-1]
		t.spare = t.spare[:n-1]
		return w
	}
	return &pageCommit{cache: t.cache, pager: &t.pager}
}

// spareCommit keeps a finished page commit for reuse, unless pages are still on their way to it.
func (t *Tree) spareCommit(w *pageCommit) {
	if !w.dropped {
		t.spare = append(t.spare, w)
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

// takeBack processes completed operations.
func (t *Tree) takeBack(ops *disk.Op) {
	for op := ops; op != nil; {
		next := op.Link.Next()
		op.SetNext(nil)
		switch op.Kind {
		case disk.Read:
			t.noteDisk(t.pager.arrived(op, t.reader.arrived))
		case disk.Append:
			t.appended(op)
			t.space.learn(op)
		case disk.Free:
			t.freed(op)
		}
		op = next
	}
	t.reader.goOn()
}

// fault reports a fault of a block, once.
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

// wake returns when the next step is due even if nothing happens.
func (t *Tree) wake() time.Duration {
	at := min(t.clean.nextTick, t.watches.due(t.now))
	if t.writer.timing {
		at = min(at, t.writer.deadline)
	}
	if t.refusal != nil || t.cfg.ReadOnly {
		return at
	}
	if t.now < t.flush.notBefore {
		return min(at, t.flush.notBefore)
	}
	if t.flush.state == flushSorting {
		return t.now
	}
	if t.logs() && (!t.active().Empty() && t.carriedWhy == nil || t.appends.end != endsComplete) && t.idleSince() > 0 {
		at = min(at, t.changed+flushIdleAfter)
	}
	return at
}

// Stop makes the tree flush as soon as nothing else is left to do. After that the directory is as
// the original would have left it. After a full disk, Stop tries once more.
func (t *Tree) Stop() {
	if !t.stopping {
		t.flush.notBefore, t.carriedWhy = 0, nil
		if t.retryAt > 0 {
			t.refusal, t.retryAt = nil, 0
		}
	}
	t.stopping = true
}

// flushed reports whether the last block is a root that holds every change.
func (t *Tree) flushed() bool { return t.cfg.ReadOnly || t.appends.end == endsComplete }

// Unflushed returns an error if the last flush of a stopped tree could not be completed. The tree
// must not be busy.
func (t *Tree) Unflushed() error {
	if t.flushed() {
		return nil
	}
	return fmt.Errorf("the last flush failed; the journal holds its changes, and the next start replays them: %w",
		cmp.Or(t.refusal, t.carriedWhy, t.flush.why))
}

// Busy reports whether requests are waiting or operations are under way.
func (t *Tree) Busy() bool {
	return t.appends.busy || len(t.writer.queue)+len(t.writer.waiting) > 0 || len(t.reader.queue) > 0 ||
		t.pager.underWay > 0 || t.clean.freeing || len(t.flush.waiters)+len(t.snapshotsWanted) > 0 ||
		t.stopping && t.carriedWhy == nil && !t.flushed() && t.flush.failing() == nil
}

// MaxKey and MaxValue return the longest key and value, in bytes, that can be stored.
func (t *Tree) MaxKey() int   { return t.cfg.MaxKey }
func (t *Tree) MaxValue() int { return t.cfg.MaxValue }

// BlockSize returns the length of a page in bytes.
func (t *Tree) BlockSize() int { return t.cache.blockSize }

// Close releases all memory. Nothing may be under way, and Readers must be closed.
func (t *Tree) Close() {
	t.cache.close()
	for _, table := range t.view.tables {
		table.Free()
	}
	for _, f := range t.limbo {
		f.table.Free()
	}
	t.view.tables, t.limbo = nil, nil
	t.pool.Free()
}
