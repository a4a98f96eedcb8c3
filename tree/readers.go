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

// Readers lets any goroutine read pages that are in memory, without asking the tree's.
//
// No page and no change that a reader can see ever changes. All that is needed is to keep the
// memory from being used for something else while somebody looks at it. Time is counted in epochs.
// A reader notes in a slot the epoch in which it came, and clears that when it leaves; it must not
// keep anything that it has seen. What the tree has freed is used again when all who came in the
// epoch in which it was freed, or before, have left:
//
//	reader   slot = epoch          view, child, child ...      slot = 0
//	tree           publish view 8; free old frames (epoch 41)  -> limbo; epoch 42; any slot <= 41? ... use again
//
// Whoever comes after the tree has looked at the slots comes after the freeing too: it finds a view
// in which the frame does not occur, or, by a child hint, a frame that is no longer the page of
// that block.
//
// Invariants:
//  1. view is what is committed; the root of its tree is in memory.
//  2. A frame is in limbo, or is used again, only after it has lost its block.
//  3. epoch is never 0, and does not fall.
type Readers struct {
	cache  *cache
	view   atomic.Pointer[view]
	epoch  atomic.Uint64
	closed atomic.Bool
	slots  [readerSlots]readerSlot
	free   sync.Pool     // of *place
	next   atomic.Uint32 // slot that the next place begins with

	metrics atomic.Pointer[Metrics] // nil: nothing is measured
}

// readerSlot is the place of one reader, alone on its cache lines.
type readerSlot struct {
	since   atomic.Uint64 // epoch; 0: not taken
	touched uint64        // keeps loads that are only there to warm the caches from being optimised away
	_       [112]byte
}

// place is what a goroutine on this processor reads with: where it best looks for a slot, and
// scratch.
type place struct {
	start   int
	overlay memtable.Cursor
}

// Readers has the tree keep memory from reuse for readers on other goroutines, from now on. It is
// called once, before the first step.
func (t *Tree) Readers() *Readers {
	r := &Readers{cache: t.cache}
	r.epoch.Store(1)
	r.free.New = func() any { return &place{start: int(r.next.Add(1)) % readerSlots} }
	r.metrics.Store(t.metrics)
	t.cache.readers = r
	t.publishView()
	return r
}

// Close keeps readers out from now on, and waits for those that are there.
func (r *Readers) Close() {
	r.closed.Store(true)
	for r.oldest() != math.MaxUint64 {
		runtime.Gosched() // their stays are short
	}
}

// oldest returns the earliest epoch in which a reader came that is still there, or the greatest
// number, and begins a new epoch.
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

// reading is a stay of one reader.
type reading struct {
	slot  *readerSlot
	place *place
}

// enter begins to read. It returns false when there are too many readers at this moment, or no more
// are let in.
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

// letOthersRun is called just outside of a stay. In test builds it sometimes waits there, so that the
// tree reuses memory meanwhile: a reader that looks at memory outside of its stay is found.
func letOthersRun() {
	if invariants && rand.IntN(64) == 0 {
		time.Sleep(time.Millisecond)
	}
}

// seen returns what a reader sees, which has entered; nil if it is a snapshot that has been
// released.
func (r *Readers) seen(at *Snapshot) *view {
	if at == nil {
		return r.view.Load()
	}
	return at.view.Load()
}

// Get appends the value of key to dst, as it is committed or, if at is not nil, in a snapshot. ok
// is false if the tree has to be asked: a page is not in memory, or the snapshot has been released.
// It may be called from any goroutine.
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

// peek returns child i of a parent, if a hint leads to its page. It touches the index of the child,
// so that what a search will need of it comes all at once.
func (c *cache) peek(nd *node, i int, touched *uint64) *node {
	id := nodeID(atomic.LoadUint32((*uint32)(&c.children(nd)[i])))
	if id == noNode {
		return nil
	}
	kid := c.node(id)
	if !raceEnabled { // it may be another page by now, which is being built
		*touched += kid.touchIndex()
	}
	if !kid.is(c.blockOf(nd, i)) {
		return nil
	}
	return kid
}

// Piece is part of a Range: keys and values in two sequences of strings, as they are in a leaf,
// each a byte of length and the bytes.
type Piece struct {
	Keys, Values []byte
	N            int    // pairs
	Last         bool   // there is no more
	Next         []byte // where the rest begins or, in reverse, ends, unless Last
}

// Scan puts what q, a Scan, asks for into p, whose memory it uses. It stops after q.Max bytes, but
// not before the first pair, and where a page is not in memory. It returns false if there is
// nothing new, and the tree has to be asked: then Last and Next are as they were. Otherwise it is
// like Get. q.Key or q.End may be p.Next.
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
		return false // the tree fetches the page, and says what is wrong
	}
	p.N, p.Last = s.count, s.stop == scanComplete
	p.Next = append(p.Next[:0], next...) // the last look at the bounds
	return true
}

// All returns the pairs of p in the order of the Scan. If that was for keys only, the values are
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
