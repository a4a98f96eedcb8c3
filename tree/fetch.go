package tree

import (
	"fmt"
	"time"

	"kivaloo/disk"
)

// fetch is one page on its way in.
type fetch struct {
	op     disk.Op
	since  time.Duration // when the page was asked for
	id     nodeID
	want   want
	bounds [2 * MaxStringBytes]byte // what want.lo and want.hi point to
}

// waiter is one of those who wait for a page: one of get, scan, write and leaf.
type waiter struct {
	get   ref
	scan  *rangeRun
	write *write
	leaf  *oldLeaf
	cost  int    // of a get, to be taken back from reader.cost
	next  uint32 // of those who wait for the same page, plus 1
}

// lost is a page that could not be had as a parent describes it. Another parent may describe it otherwise.
type lost struct {
	want want
	err  error
}

// missing returns what is known of the first page on the way from root to key that is
// not in memory, or not what its parent says, and whether there is one.
func (t *Tree) missing(root nodeID, key []byte) (want, bool) {
	c := t.cache
	for id := root; ; {
		nd := c.node(id)
		if nd.height == 0 {
			return want{}, false
		}
		i := c.childFor(nd, key)
		if id = c.child(nd, i); id == noNode {
			return c.wantChild(nd, i), true
		}
	}
}

// fetch makes who wait for the page at which the way from root to key ends, and
// asks for the page if that has not been done. It fails if the page has just turned
// out not to be had.
func (t *Tree) fetch(root nodeID, key []byte, who waiter) error {
	want, _ := t.missing(root, key) // the caller has just found it missing
	return t.fetchWanted(want, who)
}

// gap is where a page is missing: child kid of a parent.
type gap struct {
	parent *node
	block  uint64 // of parent
	kid    int
}

// fetchWanted is fetch when it is known what is missing.
func (t *Tree) fetchWanted(want want, who waiter) error {
	if t.reads.lost.err != nil && t.reads.lost.want.same(&want) {
		t.fault(want.block, t.reads.lost.err)
		return t.reads.lost.err
	}
	id, ok := t.cache.table[want.block]
	if !ok {
		var err error
		if id, err = t.startFetch(want); err != nil {
			return err
		}
	}
	nd := t.cache.node(id)
	if nd.state != frameReading { // it is here, so it was not found because it is not what is wanted
		err := error(&BlockError{want.block, t.cache.matches(&want, nd)})
		t.fault(want.block, err)
		return err
	}
	t.tally.misses++
	nd.waiter = t.addWaiter(who, nd.waiter)
	return nil
}

func (t *Tree) startFetch(want want) (nodeID, error) {
	f := t.newFetch()
	n := copy(f.bounds[:], want.lo) // before the page that they are in can be evicted
	want.lo = f.bounds[:n]
	if want.hi != nil {
		want.hi = f.bounds[n : n+copy(f.bounds[n:], want.hi)]
	}
	id, nd, err := t.cache.alloc(want.height)
	if err != nil {
		t.reads.spare = append(t.reads.spare, f.op.Tag)
		return noNode, err
	}
	t.cache.table[want.block] = id
	f.id, f.want, f.since = id, want, t.now
	f.op = disk.Op{Kind: disk.Read, Block: want.block, Buf: t.cache.page(nd), Tag: f.op.Tag}
	t.submit(&f.op)
	t.reads.underWay++
	return id, nil
}

// newFetch returns an unused fetch whose op's tag is its place in inFlight.
func (t *Tree) newFetch() *fetch {
	r := &t.reads
	if n := len(r.spare); n > 0 {
		f := r.inFlight[r.spare[n-1]]
		r.spare = r.spare[:n-1]
		return f
	}
	f := &fetch{}
	f.op.Tag = uint64(len(r.inFlight))
	r.inFlight = append(r.inFlight, f)
	return f
}

// addWaiter puts who before the waiters from first on and returns the new first.
func (t *Tree) addWaiter(who waiter, first uint32) uint32 {
	r := &t.reads
	who.next = first
	if r.unused == 0 {
		r.waiters = append(r.waiters, who)
		return uint32(len(r.waiters))
	}
	slot := r.unused
	r.unused = r.waiters[slot-1].next
	r.waiters[slot-1] = who
	return slot
}

// arrived takes in a page that has been read, and goes on with those who wait for it; but Gets from the committed tree
// it leaves to getAgain.
func (t *Tree) arrived(op *disk.Op) {
	r := &t.reads
	f := r.inFlight[op.Tag]
	r.underWay--
	t.counts.read++
	t.wasOut(f.since)
	nd := t.cache.node(f.id)
	slot := nd.waiter
	if err := t.takeIn(f, nd); err != nil {
		delete(t.cache.table, f.want.block)
		t.cache.free(f.id)
		r.lost = lost{f.want, err}
	}
	for slot != 0 {
		w := &r.waiters[slot-1]
		who, next := *w, w.next
		*w = waiter{next: r.unused}
		r.unused = slot
		slot = next
		switch {
		case who.write != nil:
			t.pageCameForWrite(who.write, f.id, r.lost)
		case who.scan != nil:
			t.rangePageCame(who.scan)
		case who.leaf != nil:
			t.cleanPageCame(who.leaf, f.id, r.lost.err)
		case who.get.request().At != nil:
			r.cost -= who.cost
			t.getAt(who.get)
		case r.lost.err != nil:
			r.cost -= who.cost
			t.getMany([]ref{who.get})
		default:
			r.cost -= who.cost
			r.again = append(r.again, who.get)
		}
	}
	r.lost = lost{}
	r.spare = append(r.spare, op.Tag) // f may be used again
}

// getAgain goes on with the Gets whose pages have come, many at a time.
func (t *Tree) getAgain() {
	for again := t.reads.again; len(again) > 0; {
		n := min(len(again), getGroup)
		t.getMany(again[:n])
		again = again[n:]
	}
	clear(t.reads.again)
	t.reads.again = t.reads.again[:0]
}

// takeIn checks the page that f has brought and makes it part of the cache.
func (t *Tree) takeIn(f *fetch, nd *node) error {
	var l layout
	err := f.op.Err
	switch {
	case err != nil:
	case !f.op.OK:
		// If it is not part of the tree any more, it may have been freed meanwhile. Those who wait
		// find out: they start anew, and come to the same block again or not.
		err = fmt.Errorf("%w: the tree refers to it, but it does not exist", disk.ErrCorrupt)
	default:
		l, err = f.want.verify(t.cache.page(nd))
	}
	if err != nil {
		return &BlockError{f.want.block, err}
	}
	t.cache.index(nd, l)
	nd.oldest = f.want.oldest
	nd.state = frameClean
	nd.waiter = 0
	if l.height > 0 {
		t.cache.setBounds(nd, f.want.lo, f.want.hi)
	}
	nd.use()
	nd.setBlock(f.want.block)
	return nil
}
