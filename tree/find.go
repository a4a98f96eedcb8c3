package tree

import "sync/atomic"

// reader is the part of a tree that serves requests that change nothing.
type reader struct {
	queue    []ref    // not yet started, in the order they came
	cost     int      // pages that the requests that wait for pages may need
	underWay int      // reads submitted and not back
	toSave   int      // requests that wait for a checkpoint
	inFlight []*fetch // by Op.Tag; nil where free
	spare    []uint64 // free places in inFlight
	waiters  []waiter
	unused   uint32 // first free one of waiters, plus 1
	again    []ref  // Gets whose page has come in this step
	lost     lost
	touched  uint64 // keeps loads that are only there to warm the caches from being optimised away
}

// runReads starts the requests that are waiting, in order. Those that find their
// pages in memory are answered at once; the others are bounded by the pages that
// they may bring in: a quarter of the cache, as in the original.
func (t *Tree) runReads() {
	q := t.reads.queue
	for len(q) > 0 && t.reads.cost < t.cache.limit/4 {
		n := 0
		for n < len(q) && n < getGroup && q[n].request().Op == Get && q[n].request().At == nil {
			n++
		}
		if n == 0 {
			t.runRead(q[0])
			n = 1
		} else {
			t.tally.hits += uint64(t.getMany(q[:n]))
		}
		q = q[n:]
	}
	n := copy(t.reads.queue, q)
	clear(t.reads.queue[n:])
	t.reads.queue = t.reads.queue[:n]
}

// runRead starts one request that cannot be started together with others.
func (t *Tree) runRead(r ref) {
	switch r.request().Op {
	case Get:
		if t.getAt(r) {
			t.tally.hits++
		}
	case Backup:
		t.runBackup(r)
	default:
		t.runRange(&rangeRun{ref: r})
	}
}

// getAt answers a Get from a snapshot. It returns false if that has to wait for a page.
func (t *Tree) getAt(r ref) bool {
	key := r.request().Key
	v, err := t.seen(r.request())
	if err != nil {
		t.fail(r, err)
		return false
	}
	c := t.cache
	nd := c.node(v.root)
	for nd.height > 0 {
		id := c.child(nd, c.childFor(nd, key))
		if id == noNode {
			t.waitForGet(r, v)
			return false
		}
		nd = c.node(id)
		nd.use()
	}
	value, found := c.lookup(nd, key)
	r.b.Client.Value(r.request(), value, found)
	t.answered(r, outcomeOf(found))
	return true
}

// getMany answers up to getGroup Gets from the committed tree. They go down level by level
// together, in passes that each do little per Get before they look at new memory: so the processor
// waits for the memory of many Gets at a time instead of for one after the other. It returns how many it has answered: the others wait for pages.
func (t *Tree) getMany(refs []ref) (hits int) {
	var at [getGroup]*node // where each Get stands; nil where its page is not in memory
	root := t.cache.node(t.committed.root)
	for i := range refs {
		at[i] = root
	}
	var gaps [getGroup]gap
	for range t.committed.height {
		t.descend(refs, &at, &gaps)
	}
	var slots [getGroup]slot
	t.locateSlots(refs, &at, &slots)
	for i, r := range refs {
		if at[i] == nil {
			continue
		}
		hits++
		value, found := t.cache.valueIn(at[i], r.request().Key, slots[i])
		r.b.Client.Value(r.request(), value, found)
		t.answered(r, outcomeOf(found))
	}
	if hits == len(refs) {
		return hits
	}
	// Last, because fetching a page can evict one that has just been found.
	for i, r := range refs {
		if at[i] == nil {
			t.waitForGetAt(r, gaps[i])
		}
	}
	return hits
}

// descend takes Gets from parents to their children, or notes where those are missing.
func (t *Tree) descend(refs []ref, at *[getGroup]*node, gaps *[getGroup]gap) {
	c := t.cache
	var ids [getGroup]nodeID
	var blocks [getGroup]uint64
	for i, r := range refs {
		if at[i] == nil {
			continue
		}
		n := c.childFor(at[i], r.request().Key)
		ids[i], blocks[i] = c.children(at[i])[n], c.blockOf(at[i], n)
		gaps[i] = gap{at[i], at[i].block, n}
	}
	touched := uint64(0)
	for i := range refs {
		if at[i] != nil {
			at[i] = c.node(ids[i]) // of id 0, too, there is a frame
			touched += at[i].block
		}
	}
	for i := range refs {
		if at[i] == nil {
			continue
		}
		if !at[i].is(blocks[i]) {
			id := c.child(gaps[i].parent, gaps[i].kid)
			if id == noNode {
				at[i] = nil
				continue
			}
			at[i] = c.node(id)
		}
		at[i].use()
		touched += at[i].middleHead()
	}
	t.reads.touched = touched
}

// slot is where in a leaf a key is, if it is there.
type slot struct {
	number     int // of the index entry; -1: the key is not there, -2: there is no telling
	key, value int // offsets in the page
}

const (
	slotNone    = -1
	slotUnknown = -2
)

// locateSlots finds the slots of Gets that stand at their leaves, and touches the key and the value.
func (t *Tree) locateSlots(refs []ref, at *[getGroup]*node, slots *[getGroup]slot) {
	c := t.cache
	for i, r := range refs {
		if at[i] != nil {
			slots[i].number = at[i].slotOf(r.request().Key)
		}
	}
	for i := range refs {
		if s := &slots[i]; at[i] != nil && s.number >= 0 {
			s.key, s.value = int(c.keyOffsets(at[i])[s.number]), int(c.valueOffsets(at[i])[s.number])
		}
	}
	touched := 0
	for i := range refs {
		if s := &slots[i]; at[i] != nil && s.number >= 0 {
			p := c.page(at[i])
			touched += int(p[s.key]) + int(p[s.value])
		}
	}
	t.reads.touched += uint64(touched)
}

// use tells the clock hand that the page is wanted.
func (nd *node) use() {
	if atomic.LoadUint32(&nd.used) == 0 { // most often it is; the line stays clean
		atomic.StoreUint32(&nd.used, 1)
	}
}

// waitForGet has the page fetched at which a Get stands in v.
func (t *Tree) waitForGet(r ref, v *version) {
	cost := v.height + 1
	err := t.fetch(v.root, r.request().Key, waiter{get: r, cost: cost})
	t.waitsForPage(r, cost, err)
}

// waitForGetAt is waitForGet in the committed tree, with what is known of where the Get stands.
func (t *Tree) waitForGetAt(r ref, g gap) {
	if g.parent.block != g.block { // it has been evicted meanwhile
		t.waitForGet(r, &t.committed)
		return
	}
	cost := t.committed.height + 1
	t.waitsForPage(r, cost, t.fetchWanted(t.cache.wantChild(g.parent, g.kid), waiter{get: r, cost: cost}))
}

// waitsForPage counts a Get among those that wait, unless its page cannot be had.
func (t *Tree) waitsForPage(r ref, cost int, err error) {
	if err != nil {
		t.fail(r, err)
		return
	}
	t.reads.cost += cost
}
