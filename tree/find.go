package tree

// reader is the part of a tree that serves requests that change nothing.
type reader struct {
	queue    []ref    // not yet started, in the order they came
	cost     int      // pages that the requests that wait for pages may need
	underWay int      // reads submitted and not back
	inFlight []*fetch // by Op.Tag; nil where free
	spare    []uint64 // free places in inFlight
	waiters  []waiter
	unused   uint32 // first free one of waiters, plus 1
	again    []ref  // scratch: Gets whose page has come
	lost     lost
}

// runReads starts the requests that are waiting, in order. Those that find their
// pages in memory are answered at once; the others are bounded by the pages that
// they may bring in: a quarter of the cache, as in the original.
func (t *Tree) runReads() {
	q := t.reads.queue
	for len(q) > 0 && t.reads.cost < t.cache.limit/4 {
		n := 0
		for n < len(q) && n < getGroup && q[n].request().Op == Get {
			n++
		}
		if n == 0 {
			t.runRange(&rangeRun{ref: q[0]})
			n = 1
		} else {
			t.getMany(q[:n])
		}
		q = q[n:]
	}
	n := copy(t.reads.queue, q)
	clear(t.reads.queue[n:])
	t.reads.queue = t.reads.queue[:n]
}

// getMany answers up to getGroup Gets from the committed tree. They go down level by level
// together: the processor waits for the memory of many of them at a time.
func (t *Tree) getMany(refs []ref) {
	c := t.cache
	var ids [getGroup]nodeID
	for i := range refs {
		ids[i] = t.committed.root
	}
	for range t.committed.height {
		for i := range refs {
			if ids[i] == noNode {
				continue
			}
			nd := c.node(ids[i])
			nd.use()
			ids[i] = c.child(nd, c.childFor(nd, refs[i].request().Key))
		}
	}
	misses := 0
	for i, r := range refs {
		if ids[i] == noNode {
			misses++
			continue
		}
		nd := c.node(ids[i])
		nd.use()
		value, found := c.lookup(nd, r.request().Key)
		r.b.Client.Value(r.request(), value, found)
		t.answered(r)
	}
	if misses == 0 {
		return
	}
	// Last, because fetching a page can evict one that has just been found.
	for i, r := range refs {
		if ids[i] == noNode {
			t.waitForGet(r)
		}
	}
}

// use tells the clock hand that the page is wanted.
func (nd *node) use() {
	if !nd.used { // most often it is; the line stays clean
		nd.used = true
	}
}

// waitForGet has the page fetched at which a Get stands.
func (t *Tree) waitForGet(r ref) {
	cost := t.committed.height + 1
	if err := t.fetch(t.committed.root, r.request().Key, waiter{get: r, cost: cost}); err != nil {
		t.fail(r, err)
		return
	}
	t.reads.cost += cost
}
