package tree

import (
	"iter"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"kivaloo/tree/memtable"
)

// Readers lets any goroutine read pages in memory without asking the tree's goroutine.
//
// No page and no change that a reader can see ever changes. The only thing to prevent is that
// memory is reused while a reader looks at it. Time is counted in epochs. A reader stores the
// current epoch in a slot when it enters, and clears the slot when it leaves. It must not keep
// references. What the tree frees in an epoch is reused once every reader that entered in that
// epoch, or earlier, has left:
//
//	reader   slot = epoch          view, child, child ...      slot = 0
//	tree           publish view 8; free old frames (epoch 41)
//	               -> limbo; epoch 42; any slot <= 41? ... reuse
//
// A reader that enters after the tree has looked at the slots also enters after the freeing. It
// finds a view without the frame. If a child hint leads it to the frame, that is no longer the page
// of the block.
//
// Invariants:
// 1. view is what is committed. The root of its tree is in memory.
// 2. A frame is in limbo, or is reused, only after it has lost its block.
// 3. epoch is never 0, and never decreases.
type Readers struct {
	cache  *cache
	view   atomic.Pointer[view]
	epoch  atomic.Uint64
	closed atomic.Bool
	slots  [readerSlots]readerSlot
	free   sync.Pool     // of *place
	next   atomic.Uint32 // slot where the next place begins its search

	metrics atomic.Pointer[Metrics] // nil: no metrics
}

// readerSlot belongs to one reader. It fills its cache lines alone.
type readerSlot struct {
	since   atomic.Uint64 // epoch; 0: free
	touched uint64        // keeps the compiler from removing loads that only warm the processor's caches
	_       [112]byte
}

// place is what a goroutine on this processor needs to read: where to look for a slot first, and
// scratch space.
type place struct {
	start   int
	overlay memtable.Cursor
}

// Readers makes the tree protect its memory for readers on other goroutines. Call it once, before
// the first step.
func (t *Tree) Readers() *Readers {
	r := &Readers{cache: t.cache}
	r.epoch.Store(1)
	r.free.New = func() any { return &place{start: int(r.next.Add(1)) % readerSlots} }
	r.metrics.Store(t.metrics)
	t.cache.readers = r
	t.publishView()
	return r
}

// Close lets no more readers in, and waits for those inside to leave.
func (r *Readers) Close() {
	r.closed.Store(true)
	for r.oldest() != math.MaxUint64 {
		runtime.Gosched() // readers stay only briefly
	}
}

// oldest starts a new epoch. It returns the earliest epoch of a reader still inside, or MaxUint64.
func (r *Readers) oldest() uint64 {
	r.epoch.Add(1)
	oldest := uint64(math.MaxUint64)
	for i := range r.slots {
		if since := r.slots[i].since.Load(); since != 0 {
			oldest = min(oldest, since)
		}
	}
	return oldest
}

// reading is the visit of one reader.
type reading struct {
	slot  *readerSlot
	place *place
}

// enter begins a visit. It returns false when there are too many readers at the moment, or Readers
// is closed.
func (r *Readers) enter() (reading, bool) {
	letOthersRun()
	p := r.free.Get().(*place)
	for i := range readerSlots {
		n := (p.start + i) % readerSlots
		s := &r.slots[n]
		if s.since.Load() != 0 || !s.since.CompareAndSwap(0, r.epoch.Load()) {
			continue
		}
		if r.closed.Load() {
			s.since.Store(0)
			break
		}
		p.start = n
		return reading{s, p}, true
	}
	r.free.Put(p)
	return reading{}, false
}

func (r *Readers) leave(in reading) {
	in.place.overlay.Reset()
	in.slot.since.Store(0)
	r.free.Put(in.place)
	letOthersRun()
}

// letOthersRun is called just outside a visit. In test builds it sometimes sleeps, so that the tree
// reuses memory meanwhile. That exposes readers that use memory outside their visit.
func letOthersRun() {
	if invariants && rand.IntN(64) == 0 {
		time.Sleep(time.Millisecond)
	}
}

// seen returns the view that a reader sees. The reader must have entered. It is nil for a released
// snapshot.
func (r *Readers) seen(at *Snapshot) *view {
	if at == nil {
		return r.view.Load()
	}
	return at.view.Load()
}

// Get appends the value of key to dst. It reads what is committed, or a snapshot if at is not nil.
// If ok is false the caller must ask the tree: a page is not in memory, or the snapshot has been
// released. Get is safe for concurrent use.
func (r *Readers) Get(at *Snapshot, dst, key []byte) (value []byte, found, ok bool) {
	in, ok := r.enter()
	if !ok {
		return dst, false, false
	}
	defer r.leave(in)
	v := r.seen(at)
	if v == nil {
		return dst, false, false
	}
	for i, hash := 0, uint64(0); i < len(v.tables); i++ {
		if i == 0 {
			hash = v.tables[0].Hash(key)
		}
		t := v.tables[i]
		if value, found := t.Get(hash, key, t.Durable()); found != memtable.Unknown {
			return append(dst, value...), found == memtable.Present, true
		}
	}
	c := r.cache
	nd := c.node(v.tree.root)
	for nd.height > 0 {
		if nd = c.peek(nd, c.childFor(nd, key), &in.slot.touched); nd == nil {
			return dst, false, false
		}
		nd.use()
	}
	value, found = c.valueIn(nd, key, c.locate(nd, key))
	return append(dst, value...), found, true
}

// Count adds Gets that were answered without the tree to its Metrics.
func (r *Readers) Count(found, absent int) {
	if m := r.metrics.Load(); m != nil {
		m.requests[Get][StatusOK].Add(uint64(found))
		m.requests[Get][StatusNotDone].Add(uint64(absent))
		m.hits.Add(uint64(found + absent))
	}
}

// peek returns child i of a parent if a hint leads to its page. It prefetches the child's index, so
// that everything a search needs arrives at once.
func (c *cache) peek(nd *node, i int, touched *uint64) *node {
	id := nodeID(atomic.LoadUint32((*uint32)(&c.children(nd)[i])))
	if id == noNode {
		return nil
	}
	kid := c.node(id)
	if !raceEnabled { // the frame may have another page by now, which is being built
		*touched += kid.touchIndex()
	}
	if !kid.is(c.blockOf(nd, i)) {
		return nil
	}
	return kid
}

// Piece is part of a Range. Keys and values are two sequences of strings, as in a leaf. Each string
// is a length byte followed by its bytes.
type Piece struct {
	Keys, Values []byte
	N            int    // pairs
	Last         bool   // nothing is left
	Next         []byte // where the rest begins (in reverse: ends), unless Last
}

// Scan puts the result of q, a Scan, into p, whose memory it reuses. It stops after q.Max bytes,
// but always returns one pair, and at a page that is not in memory. If it finds nothing new it
// returns false and leaves Last and Next alone; the caller must ask the tree. Otherwise it is like
// Get. q.Key or q.End may be p.Next.
func (r *Readers) Scan(q *Request, p *Piece) bool {
	in, ok := r.enter()
	if !ok {
		return false
	}
	defer r.leave(in)
	v := r.seen(q.At)
	if v == nil {
		return false
	}
	s := newScan(r.cache, q)
	s.split, s.pairs, s.values = true, p.Keys[:0], p.Values[:0]
	s.run(v, &in.place.overlay)
	p.Keys, p.Values = s.pairs, s.values
	next, err := s.rest()
	if err != nil || s.stop == scanMissing && s.next == nil {
		return false // the tree fetches the page and reports the error
	}
	p.N, p.Last = s.count, s.stop == scanComplete
	p.Next = append(p.Next[:0], next...) // the bounds are not used after this
	return true
}

// All returns the pairs of p in the order of the Scan. After a Scan for keys only, the values are
// nil.
func (p *Piece) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		keys, values := p.Keys, p.Values
		for k, v := 0, 0; k < len(keys); {
			keyEnd, valueEnd := k+1+int(keys[k]), v
			var value []byte
			if v < len(values) {
				valueEnd += 1 + int(values[v])
				value = values[v+1 : valueEnd : valueEnd]
			}
			if !yield(keys[k+1:keyEnd:keyEnd], value) {
				return
			}
			k, v = keyEnd, valueEnd
		}
	}
}
