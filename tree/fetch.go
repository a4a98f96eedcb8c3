package tree

import (
	"fmt"
	"time"

	"kivaloo/disk"
	"kivaloo/tree/page"
)

// pager brings pages into the cache. Requests for the same page share one read.
type pager struct {
	cache  *cache
	submit func(*disk.Op)
	fault  func(block uint64, err error)

	now      time.Duration // of the step
	inFlight []*fetch      // indexed by Op.Tag; nil where free
	spare    []uint64      // free indexes of inFlight
	waiters  []waiter
	unused   uint32       // first free entry of waiters, plus 1
	underWay int          // reads submitted and not completed
	pages    uint64       // read since the store was opened
	doubtful disk.Stretch // blocks that do not fit their seal, see Root
	failed   failure
}

// fetch is one page being read.
type fetch struct {
	op     disk.Op
	since  time.Duration // when the page was requested
	id     nodeID
	want   wanted
	bounds [2 * page.MaxString]byte // memory of want.Lo and want.Hi
}

// wanted is a missing page: what its parent says about it, and where the parent is.
type wanted struct {
	page.Want
	gap gap
}

// waiter is a Get, or something else, that waits for a page.
type waiter struct {
	get   ref
	cost  int        // of a Get: pages it may bring in
	other pageWaiter // nil: a Get
	next  uint32     // next waiter for the same page, plus 1
}

// pageWaiter is notified when a page has arrived or cannot be read.
type pageWaiter interface {
	pageArrived(block uint64, id nodeID, err error)
}

// failure is a block that could not be read. It is kept while its waiters are notified. A new
// request for the block meanwhile gets the error at once, instead of another read.
type failure struct {
	block uint64
	err   error
}

// descend walks from root to the page of the given height that is responsible for key, and returns
// it. If a page on the way is not in memory, it returns noNode and what is known of that page. An
// error means that the tree is damaged.
func (c *cache) descend(root nodeID, key []byte, height int) (nodeID, wanted, error) {
	w := wanted{}
	for id := root; ; {
		nd := c.node(id)
		if int(nd.height) <= height {
			return id, w, nil
		}
		i := c.childFor(nd, key)
		c.narrow(&w, nd, i)
		kid, err := c.adopt(nd, i, &w.Want)
		if kid == noNode || err != nil {
			return noNode, w, err
		}
		id = kid
	}
}

// narrow makes w describe child i of nd. On entry w holds the bounds of nd.
func (c *cache) narrow(w *wanted, nd *node, i int) {
	w.Lo, w.Hi = c.kidBounds(nd, i, w.Lo, w.Hi)
	r := c.record(nd, i)
	w.Block, w.Oldest, w.Size, w.Height = r.Block, r.Oldest, r.Size, int(nd.height)-1
	w.gap = gap{nd, nd.block, i}
}

// adopt returns child i of a parent, or noNode if its page is not in memory. A damaged store may
// have two parents with the same child. So adopt checks a page that came in through another parent
// against what this one says.
func (c *cache) adopt(nd *node, i int, w *page.Want) (nodeID, error) {
	if id := c.child(nd, i); id != noNode {
		return id, nil
	}
	id := c.table[w.Block]
	if id == noNode || !c.node(id).is(w.Block) {
		return noNode, nil // not in memory, or being read
	}
	if kid := c.node(id); int(kid.height) != w.Height || kid.size != w.Size || kid.oldest != w.Oldest || kid.root || kid.bounds != boundsHash(w.Lo, w.Hi) {
		return noNode, &BlockError{w.Block, fmt.Errorf("%w: two pages refer to it, and one of them, block %d, must be wrong", disk.ErrCorrupt, nd.block)}
	}
	c.setChild(nd, i, id)
	return id, nil
}

// gap is the place of a missing page: child kid of a parent.
type gap struct {
	parent *node
	block  uint64 // block of parent
	kid    int
}

// want returns the page of the given height that is responsible for key. If a page on the way is
// not in memory, who waits for that page, and want returns noNode. It fails if that page cannot be
// read.
func (p *pager) want(root nodeID, key []byte, height int, who waiter) (nodeID, error) {
	id, w, err := p.cache.descend(root, key, height)
	if id == noNode && err == nil {
		err = p.fetch(w, who)
	}
	if err != nil {
		p.fault(w.Block, err)
	}
	return id, err
}

// wantAt is want for a leaf missing at a gap. It avoids the descent if the gap says enough.
func (p *pager) wantAt(root nodeID, key []byte, g gap, who waiter) (nodeID, error) {
	c, nd, i := p.cache, g.parent, g.kid
	if nd.block == g.block && nd.height == 1 && i > 0 && i < int(nd.keys) { // otherwise one of the bounds comes from the parent's parent
		var w wanted
		c.narrow(&w, nd, i)
		if _, ok := c.table[w.Block]; !ok {
			err := p.fetch(w, who)
			if err != nil {
				p.fault(w.Block, err)
			}
			return noNode, err
		}
	}
	return p.want(root, key, 0, who)
}

// fetch makes who wait for a page that is not in memory, and starts reading the page if no read is
// under way. It fails if the page has just proved unreadable.
func (p *pager) fetch(want wanted, who waiter) error {
	if p.failed.err != nil && p.failed.block == want.Block {
		return p.failed.err
	}
	id, ok := p.cache.table[want.Block]
	if !ok {
		var err error
		if id, err = p.start(want); err != nil {
			return err
		}
	}
	nd := p.cache.node(id)
	nd.waiter = p.addWaiter(who, nd.waiter)
	return nil
}

func (p *pager) start(want wanted) (nodeID, error) {
	f := p.newFetch()
	n := copy(f.bounds[:], want.Lo) // copied before the page that holds them can be evicted
	want.Lo = f.bounds[:n]
	if want.Hi != nil {
		want.Hi = f.bounds[n : n+copy(f.bounds[n:], want.Hi)]
	}
	id, nd, err := p.cache.alloc(want.Height)
	if err != nil {
		p.spare = append(p.spare, f.op.Tag)
		return noNode, err
	}
	p.cache.table[want.Block] = id
	f.id, f.want, f.since = id, want, p.now
	f.op = disk.Op{Kind: disk.Read, Block: want.Block, Buf: p.cache.page(nd), Tag: f.op.Tag}
	p.submit(&f.op)
	p.underWay++
	return id, nil
}

// newFetch returns an unused fetch. The tag of its op is its index in inFlight.
func (p *pager) newFetch() *fetch {
	if n := len(p.spare); n > 0 {
		f := p.inFlight[p.spare[n-1]]
		p.spare = p.spare[:n-1]
		return f
	}
	f := &fetch{}
	f.op.Tag = uint64(len(p.inFlight))
	p.inFlight = append(p.inFlight, f)
	return f
}

// addWaiter puts who in front of the list that begins at first, and returns the new head.
func (p *pager) addWaiter(who waiter, first uint32) uint32 {
	who.next = first
	if p.unused == 0 {
		p.waiters = append(p.waiters, who)
		return uint32(len(p.waiters))
	}
	slot := p.unused
	p.unused = p.waiters[slot-1].next
	p.waiters[slot-1] = who
	return slot
}

// arrived takes a completed read and calls tell for each waiter. It returns how long the read took.
func (p *pager) arrived(op *disk.Op, tell func(who waiter, id nodeID, err error)) time.Duration {
	f := p.inFlight[op.Tag]
	p.spare = append(p.spare, op.Tag)
	p.underWay--
	p.pages++
	block, id := f.want.Block, f.id
	nd := p.cache.node(id)
	slot := nd.waiter
	if err := p.admit(f, nd); err != nil {
		delete(p.cache.table, block)
		p.cache.free(id)
		p.failed = failure{block, err}
	} else {
		// The first waiter may fetch other pages at once. In a small cache that must not evict this
		// page before the other waiters have been told.
		nd.pins++
		defer func() { nd.pins-- }()
	}
	for slot != 0 {
		w := &p.waiters[slot-1]
		who, next := *w, w.next
		*w = waiter{next: p.unused}
		p.unused = slot
		slot = next
		if who.other != nil {
			who.other.pageArrived(block, id, p.failed.err)
		} else {
			tell(who, id, p.failed.err)
		}
	}
	p.failed = failure{}
	return p.now - f.since
}

// admit checks the page of f and adds it to the cache.
func (p *pager) admit(f *fetch, nd *node) error {
	var l page.Layout
	err := f.op.Err
	switch {
	case err != nil:
	case !f.op.OK:
		// If the page is no longer part of the tree, it may have been freed meanwhile. Its waiters
		// start again, and may or may not come to the same block.
		err = fmt.Errorf("%w: the tree refers to it, but it does not exist", disk.ErrCorrupt)
	case p.doubtful.Has(f.want.Block):
		err = disk.ErrDoubtful
	default:
		l, err = f.want.Verify(p.cache.page(nd))
	}
	if err != nil {
		return &BlockError{f.want.Block, err}
	}
	p.cache.index(nd, l)
	nd.oldest, nd.bounds = f.want.Oldest, boundsHash(f.want.Lo, f.want.Hi)
	nd.state = frameClean
	nd.waiter = 0
	nd.use()
	nd.setBlock(f.want.Block)
	if g := f.want.gap; g.parent.is(g.block) {
		p.cache.setChild(g.parent, g.kid, f.id)
	}
	return nil
}
