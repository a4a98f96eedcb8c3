package tree

import (
	"iter"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
)

// Readers lets any goroutine read pages that are in memory, without asking the tree's.
//
// Pages do not change, but for values that are written over: see overwrite.go. So what there is to do is to keep a frame from
// being used for another page while somebody looks at it. Time is counted in epochs. A reader notes in a slot the epoch in which it came, and
// clears that when it leaves; it must not keep anything that it has seen. A frame that the tree has freed is used
// again when all who came in the epoch in which it was freed, or before, have left:
//
//	reader   slot = epoch          view, child, child ...      slot = 0
//	tree           publish view 8; free old frames (epoch 41)  -> limbo; epoch 42; any slot <= 41? ... use again
//
// One who comes after the tree has looked at the slots comes after the freeing too: it finds a view in which the
// frame does not occur, or, by a child hint, a frame that is no longer the page of that block.
//
// Invariants:
//  1. view is a committed tree; its root is in memory.
//  2. A frame is in limbo, or is used again, only after it has lost its block.
//  3. epoch is never 0, and does not fall.
type Readers struct {
	cache  *cache
	view   atomic.Pointer[version]
	epoch  atomic.Uint64
	writes atomic.Uint64 // odd while values are overwritten; see overwrite.go
	closed atomic.Bool
	slots  [readerSlots]readerSlot
	free   sync.Pool     // of *int: where a goroutine on this processor best looks for a slot
	next   atomic.Uint32 // slot that the next one in free begins with
}

// readerSlot is the place of one reader, alone on its cache lines.
type readerSlot struct {
	since   atomic.Uint64 // epoch; 0: not taken
	touched uint64        // keeps loads that are only there to warm the caches from being optimised away
	_       [112]byte
}

// Readers has the tree keep frames from reuse for readers on other goroutines, from now on. It is called
// once, before the first step.
func (t *Tree) Readers() *Readers {
	r := &Readers{cache: t.cache}
	r.epoch.Store(1)
	r.free.New = func() any {
		start := int(r.next.Add(1)) % readerSlots
		return &start
	}
	v := t.committed
	r.view.Store(&v)
	t.cache.readers = r
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
	start *int
}

// enter begins to read. It returns false when there are too many readers at this moment, or no more
// are let in.
func (r *Readers) enter() (reading, bool) {
	start := r.free.Get().(*int)
	for i := range readerSlots {
		n := (*start + i) % readerSlots
		s := &r.slots[n]
		if s.since.Load() != 0 || !s.since.CompareAndSwap(0, r.epoch.Load()) {
			continue
		}
		if r.closed.Load() {
			s.since.Store(0)
			break
		}
		*start = n
		return reading{s, start}, true
	}
	r.free.Put(start)
	return reading{}, false
}

func (r *Readers) leave(in reading) {
	in.slot.since.Store(0)
	r.free.Put(in.start)
}

// seen returns the tree that a reader sees, which has entered; nil if it is a snapshot that has been
// released.
func (r *Readers) seen(at *Snapshot) *version {
	switch {
	case at == nil:
		return r.view.Load()
	case at.released.Load():
		return nil
	}
	return &at.version
}

// Get appends the value of key to dst, as it is in the committed tree or, if at is not nil, in a
// snapshot. ok is false if the tree has to be asked: a page is not in memory, or the snapshot has been
// released. It may be called from any goroutine.
func (r *Readers) Get(at *Snapshot, dst, key []byte) (value []byte, found, ok bool) {
	in, ok := r.enter()
	if !ok {
		return dst, false, false
	}
	defer r.leave(in)
	for range rereads {
		before := r.writes.Load()
		value, found, ok = r.get(in, at, dst, key)
		if !ok || at != nil || before&1 == 0 && r.writes.Load() == before {
			return value, found, ok
		}
		runtime.Gosched()
	}
	return dst, false, false
}

// get is Get, but for values that are overwritten meanwhile.
func (r *Readers) get(in reading, at *Snapshot, dst, key []byte) (value []byte, found, ok bool) {
	v := r.seen(at)
	if v == nil {
		return dst, false, false
	}
	c := r.cache
	nd := c.node(v.root)
	for nd.height > 0 {
		if nd = c.peek(nd, c.childFor(nd, key), &in.slot.touched); nd == nil {
			return dst, false, false
		}
		nd.use()
	}
	value, found = c.valueIn(nd, key, c.locate(nd, key))
	return append(dst, value...), found, true
}

// peek returns child i of a parent, if its page is in memory and can be found without the table. It
// touches its index, so that what a search will need of it comes all at once.
func (c *cache) peek(nd *node, i int, touched *uint64) *node {
	id := nodeID(atomic.LoadUint32((*uint32)(&c.children(nd)[i])))
	if id == noNode {
		return nil
	}
	kid := c.node(id)
	*touched += kid.touchIndex()
	if !kid.is(c.blockOf(nd, i)) {
		return nil
	}
	return kid
}

// Piece is part of a Range: keys and values in two sequences of strings, as they are in a leaf, each a byte
// of length and the bytes.
type Piece struct {
	Keys, Values []byte
	Last         bool   // there is no more
	Next         []byte // where the rest begins, unless Last
}

// Range puts pairs from start on, and before end if that is not empty, into p, of which it uses the memory. It
// stops after limit bytes, but not before the first pair, and where a page is not in memory. It returns false if there
// is nothing new, and the tree has to be asked: then Last and Next are as they were. Otherwise it is like Get.
func (r *Readers) Range(at *Snapshot, p *Piece, start, end []byte, limit int) bool {
	in, ok := r.enter()
	if !ok {
		return false
	}
	defer r.leave(in)
	for range rereads {
		before := r.writes.Load()
		v := r.seen(at)
		if v == nil {
			return false
		}
		s := scan{cache: r.cache, start: start, end: end, limit: limit, split: true, pairs: p.Keys[:0], values: p.Values[:0], reader: true}
		s.walk(r.cache.node(v.root), nil)
		p.Keys, p.Values = s.pairs, s.values
		if at != nil || before&1 == 0 && r.writes.Load() == before {
			return s.finish(p)
		}
		runtime.Gosched()
	}
	return false
}

// finish says in p how a reader's scan has ended. It returns false if the tree has to be asked.
func (s *scan) finish(p *Piece) bool {
	next, err := s.rest()
	if err != nil || s.stop == scanMissing && s.next == nil {
		return false // the tree fetches the page, and says what is wrong
	}
	p.Last = s.stop == scanComplete
	p.Next = append(p.Next[:0], next...)
	return true
}

// All returns the pairs of p.
func (p *Piece) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		keys, values := p.Keys, p.Values
		for k, v := 0, 0; k < len(keys); {
			keyEnd, valueEnd := k+1+int(keys[k]), v+1+int(values[v])
			if !yield(keys[k+1:keyEnd:keyEnd], values[v+1:valueEnd:valueEnd]) {
				return
			}
			k, v = keyEnd, valueEnd
		}
	}
}
