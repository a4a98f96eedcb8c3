package tree

import (
	"sync/atomic"

	"kivaloo/tree/memtable"
)

// reader answers the requests that change nothing.
type reader struct {
	t       *Tree
	cache   *cache
	pager   *pager
	replies *replies
	view    *view // what is committed

	queue    []ref  // not yet started, in order of arrival
	cost     int    // pages that the waiting requests may bring in
	again    []ref  // Gets whose page arrived in this step
	pairs    []byte // scratch: the pairs of one Range
	overlay  memtable.Cursor
	next     []byte // where the last incomplete Range or Scan ended: the next one may continue there
	nextDown bool   // that one was in reverse
	touched  uint64 // keeps the compiler from removing loads that only warm the processor's caches
}

// ref is one request of a Batch.
type ref struct {
	b *Batch
	i int32
}

func (r ref) request() *Request { return &r.b.Requests[r.i] }

// run starts the waiting requests in order. It answers those whose pages are in memory at once. It
// limits the others by the pages that they may bring in: a quarter of the cache, as in the
// original.
func (rd *reader) run() {
	q := rd.queue
	for len(q) > 0 && rd.cost < rd.cache.limit/4 {
		n := 0
		for n < len(q) && n < getGroup && q[n].request().isGet() {
			n++
		}
		if n > 0 {
			rd.replies.tally.hits += uint64(rd.getMany(q[:n]))
		} else {
			rd.runOther(q[0])
		}
		q = q[max(n, 1):]
	}
	n := copy(rd.queue, q)
	clear(rd.queue[n:])
	rd.queue = rd.queue[:n]
}

// isGet reports whether a request is a Get of committed data, not from a snapshot.
func (q *Request) isGet() bool { return q.Op == Get && q.At == nil && q.Snapshot == 0 }

// runOther starts any request that isGet excludes.
func (rd *reader) runOther(r ref) {
	t := rd.t
	switch q := r.request(); {
	case q.Op == TakeLease:
		t.runTakeLease(r)
	case q.Op == ReleaseLease:
		t.runReleaseLease(r)
	case q.Op == Watch:
		t.runWatch(r)
	case q.Snapshot != 0 && q.At == nil:
		l, err := t.lease(q.Snapshot)
		t.runLeased(r, l, err)
	case q.Op == Get:
		rd.startGetAt(r)
	default:
		rd.runRange(&rangeRun{reader: rd, ref: r})
	}
}

// startGetAt starts a Get from a snapshot.
func (rd *reader) startGetAt(r ref) {
	if rd.getAt(r) {
		rd.replies.tally.hits++
	}
}

// seen returns the view that a request reads.
func (rd *reader) seen(r *Request) (*view, error) {
	if r.At == nil {
		return rd.view, nil
	}
	if v := r.At.view.Load(); v != nil {
		return v, nil
	}
	return nil, r.At.gone()
}

// getAt answers a Get from a snapshot. It returns false if the Get has to wait for a page.
func (rd *reader) getAt(r ref) bool {
	key := r.request().Key
	v, err := rd.seen(r.request())
	if err != nil {
		rd.replies.fail(r, err)
		return true
	}
	if len(v.tables) > 0 {
		if value, found := v.get(v.tables[0].Hash(key), key); found != memtable.Unknown {
			rd.replies.value(r, value, found == memtable.Present)
			return true
		}
	}
	cost := v.tree.height + 1
	id, err := rd.pager.want(v.tree.root, key, 0, waiter{get: r, cost: cost})
	switch {
	case err != nil:
		rd.replies.fail(r, err)
		return true
	case id == noNode:
		rd.replies.tally.misses++
		rd.cost += cost
		return false
	}
	nd := rd.cache.node(id)
	nd.use()
	value, found := rd.cache.lookup(nd, key)
	rd.replies.value(r, value, found)
	return true
}

// arrived continues a Get after its page has arrived or proved unreadable. A leaf answers it at
// once: no memtable had the key when the Get started, so the leaf has what was committed then.
func (rd *reader) arrived(who waiter, id nodeID, err error) {
	rd.cost -= who.cost
	req := who.get.request()
	switch nd := rd.cache.node(id); {
	case err == nil && nd.height == 0:
		value, found := rd.cache.lookup(nd, req.Key)
		rd.replies.value(who.get, value, found)
	case err == nil:
		rd.again = append(rd.again, who.get)
	case req.At != nil:
		rd.getAt(who.get)
	default:
		rd.getMany([]ref{who.get}) // the tree may no longer have that page; if it has, this fails
	}
}

// goOn continues the Gets whose pages have arrived, many at a time.
func (rd *reader) goOn() {
	for again := rd.again; len(again) > 0; {
		n := 0
		for n < len(again) && n < getGroup && again[n].request().At == nil {
			n++
		}
		if n == 0 {
			rd.getAt(again[0])
		} else {
			rd.getMany(again[:n])
		}
		again = again[max(n, 1):]
	}
	clear(rd.again)
	rd.again = rd.again[:0]
}

// getMany answers up to getGroup Gets of committed data. They descend together, level by level.
// Each pass does little per Get before it touches new memory, so that the cache misses of many Gets
// overlap. It returns how many it answered; the others wait for pages.
func (rd *reader) getMany(refs []ref) (hits int) {
	var rest [getGroup]ref
	refs, hits = rd.getFromTables(refs, rest[:0])
	if len(refs) == 0 {
		return hits
	}
	var at [getGroup]*node // the node each Get has reached; nil if its page is not in memory
	root := rd.cache.node(rd.view.tree.root)
	for i := range refs {
		at[i] = root
	}
	var gaps [getGroup]gap
	for range rd.view.tree.height {
		rd.descend(refs, &at, &gaps)
	}
	var slots [getGroup]slot
	rd.locateSlots(refs, &at, &slots)
	missed := 0
	for i, r := range refs {
		if at[i] == nil {
			missed++
			continue
		}
		value, found := rd.cache.valueIn(at[i], r.request().Key, slots[i])
		rd.replies.value(r, value, found)
	}
	if missed == 0 {
		return hits + len(refs)
	}
	// This comes last, because fetching a page can evict one that was just found.
	for i, r := range refs {
		if at[i] == nil {
			rd.waitForPage(r, gaps[i])
		}
	}
	return hits + len(refs) - missed
}

// getFromTables answers the Gets whose keys are in a memtable, and returns the others in rest.
func (rd *reader) getFromTables(refs []ref, rest []ref) ([]ref, int) {
	tables := rd.view.tables
	for len(tables) > 0 && tables[0].Empty() {
		tables = tables[1:]
	}
	if len(tables) == 0 {
		return refs, 0
	}
	var hashes [getGroup]uint64
	touched := uint64(0)
	for i, r := range refs {
		hashes[i] = tables[0].Hash(r.request().Key)
		for _, t := range tables {
			touched += t.Touch(hashes[i])
		}
	}
	rd.touched += touched
	for i, r := range refs {
		value, found := rd.view.get(hashes[i], r.request().Key)
		if found == memtable.Unknown {
			rest = append(rest, r)
			continue
		}
		rd.replies.value(r, value, found == memtable.Present)
	}
	return rest, len(refs) - len(rest)
}

// descend moves Gets from parents to their children, and records where children are missing.
func (rd *reader) descend(refs []ref, at *[getGroup]*node, gaps *[getGroup]gap) {
	c := rd.cache
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
			at[i] = c.node(ids[i]) // id 0 has a frame too
			touched += at[i].block
		}
	}
	for i := range refs {
		if at[i] == nil {
			continue
		}
		if !at[i].is(blocks[i]) {
			at[i] = nil
			continue
		}
		at[i].use()
		touched += at[i].middleHead()
	}
	rd.touched += touched
}

// slot is the place of a key in a leaf.
type slot struct {
	number     int // index entry; -1: the key is absent, -2: unknown
	key, value int // offsets in the page
}

const (
	slotNone    = -1
	slotUnknown = -2
)

// locateSlots finds the slots of Gets that have reached their leaves, and touches key and value.
func (rd *reader) locateSlots(refs []ref, at *[getGroup]*node, slots *[getGroup]slot) {
	c := rd.cache
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
	rd.touched += uint64(touched)
}

// use protects a page from eviction until the clock hand has passed it.
func (nd *node) use() {
	if atomic.LoadUint32(&nd.used) == 0 { // usually it is set already; then the cache line stays clean
		atomic.StoreUint32(&nd.used, 1)
	}
}

// waitForPage makes a Get wait for the page missing at g. It answers the Get if the page is in
// memory after all.
func (rd *reader) waitForPage(r ref, g gap) {
	key, cost := r.request().Key, rd.view.tree.height+1
	id, err := rd.pager.wantAt(rd.view.tree.root, key, g, waiter{get: r, cost: cost})
	switch {
	case err != nil:
		rd.replies.fail(r, err)
	case id == noNode:
		rd.replies.tally.misses++
		rd.cost += cost
	default:
		value, found := rd.cache.lookup(rd.cache.node(id), key)
		rd.replies.value(r, value, found)
	}
}
