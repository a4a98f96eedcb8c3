package tree

import (
	"bytes"

	"kivaloo/tree/page"
)

// pageCommit builds the pages that take a tree to the next one: the pages that changes touch, and
// all above them. Pages are written in no other way:
//
//	gather    bring every page that the changes touch into memory, and pin it
//	build     make the new pages, bottom-up, in frames of their own
//	number    assign block numbers, children before parents, the root last
//	[append]  the pages become durable
//	publish   swap in the root; release the frames of the old pages
//
// The base tree never changes, so a pageCommit can be dropped at any time before publish.
type pageCommit struct {
	cache   *cache
	pager   *pager
	base    version
	given   []change // in key order, one for each key
	sweep   sweep
	changes []change // the changes of given that this commit makes, and touches of old leaves, in key order
	cut     bool     // some of given, or some old leaves, are left for another commit
	result  version

	waiting int              // pages requested and not arrived
	bad     map[uint64]error // blocks that could not be read
	leftOut []change         // changes whose leaf could not be read
	why     error            // why the last of them was left out
	err     error            // why the commit as a whole failed
	dropped bool             // the commit was given up; pages may still arrive for it

	pinned   []nodeID // pages of base that must stay in memory
	fresh    []nodeID // frames of the new pages
	replaced []nodeID // frames that are obsolete once the result is committed
	pages    [][]byte // the new pages, in block order
	numbered []nodeID // their frames

	// Used while the tree is being built:
	levels    []*level // by height
	pairs     []pair   // pairs of the current leaf
	added     int      // number of pages in result minus number in base
	ascending bool     // the last subtree only grew at its right end
}

// change is the outcome of a page commit for one key.
type change struct {
	key    []byte
	value  []byte
	action action
}

type action uint8

const (
	put    action = iota // the key gets the value
	remove               // the key is deleted if it is there
	touch                // only the leaf of the key is moved
)

// level is the scratch space for one height while a tree is being built.
type level struct {
	arena []branch // children of all parents of this height
	parts []branch // what replaces the last subtree of this height

	changed []branch // what replaces the changed children of the current parent
	changes []kidChange
}

// kidChange is a changed child of a parent. The branches that replace it end before end in
// level.changed. They begin where those of the kidChange before it end.
type kidChange struct {
	kid, end int
}

// branch is a subtree of the tree being built. It is one of three:
//
//   - a clean page of the base tree, which stays (kids nil, fresh false)
//   - a fresh page already written into a frame (kids nil, fresh true, id set)
//   - a fresh parent whose page is not written yet, so that it can still be merged (kids set)
type branch struct {
	sep   []byte     // separator to its left; unused for the first child of a parent
	rec   page.Child // the record for its parent; of a fresh branch only the size is known
	id    nodeID     // its page; of a clean branch only a hint, as in node, until hold is called
	kids  []branch
	fresh bool
}

// pair is a key and its value. Both alias a page or a change.
type pair struct{ key, value []byte }

func (p pair) size() int { return 2 + len(p.key) + len(p.value) }

// begin starts a page commit on a tree. The caller keeps the changes; their strings must not change
// until the commit ends.
func (w *pageCommit) begin(base version, changes []change, old sweep) {
	w.base, w.given, w.sweep = base, changes, old
	w.result, w.err, w.bad = version{}, nil, nil
}

// prepare gathers and builds. It returns false while it waits for pages. The caller calls it again
// when they have arrived. After it has returned true, w.err says whether it failed.
func (w *pageCommit) prepare(maxLeaves int) bool {
	if w.waiting > 0 {
		return false
	}
	return w.gather(maxLeaves) && w.build()
}

// pageArrived is called when a page requested by w has arrived or cannot be read.
func (w *pageCommit) pageArrived(block uint64, id nodeID, err error) {
	w.waiting--
	switch {
	case w.dropped:
	case err == nil: // pinned, because a small cache could evict it before it is used
		w.pin(id)
	default:
		if w.bad == nil {
			w.bad = make(map[uint64]error)
		}
		w.bad[block] = err
	}
}

// pin keeps a page in memory until w ends. A page may be pinned several times.
func (w *pageCommit) pin(id nodeID) {
	w.cache.node(id).pins++
	w.pinned = append(w.pinned, id)
}

// want returns the page of the base tree at the given height that key belongs to. If a page on the
// way is not in memory, w waits for the first such page, and want returns noNode. It fails if that
// page cannot be read.
func (w *pageCommit) want(key []byte, height int) (nodeID, error) {
	id, want, err := w.cache.descend(w.base.root, key, height)
	if id != noNode {
		return id, nil
	}
	if err == nil {
		err = w.bad[want.Block]
	}
	if err == nil {
		err = w.pager.fetch(want, waiter{other: w})
	}
	if err != nil {
		w.pager.fault(want.Block, err)
		return noNode, err
	}
	w.waiting++
	return noNode, nil
}

// gather finds the leaves that the changes belong to, and old leaves between them. It pins them and
// their parents, and fetches those that are not in memory. It stops after maxLeaves leaves, and
// leaves out changes whose leaf cannot be read. It returns false while it waits for pages.
func (w *pageCommit) gather(maxLeaves int) bool {
	w.changes, w.leftOut, w.cut = w.changes[:0], w.leftOut[:0], false
	g := gathering{pageCommit: w, old: w.sweep, leaves: maxLeaves}
	g.walk(w.base.root, w.given, nil)
	return w.waiting == 0
}

// gathering is one walk of gather.
type gathering struct {
	*pageCommit
	old    sweep // the old leaves not gathered yet
	leaves int   // how many more leaves to take
}

// walk gathers the leaves below a page that changes belong to, and old leaves. lo is the lower
// bound of the page.
func (g *gathering) walk(id nodeID, changes []change, lo []byte) {
	c := g.cache
	nd := c.node(id)
	g.pin(id)
	nd.use()
	if nd.height == 0 {
		g.takeLeaf(nd, changes, lo)
		return
	}
	for i := 0; ; i++ {
		if i = g.next(nd, i, changes); i > int(nd.keys) {
			return
		}
		if g.leaves <= 0 {
			g.cut = true
			return
		}
		mine := changes
		if i < int(nd.keys) {
			mine = changes[:countBefore(changes, c.key(nd, i))]
		}
		if i > 0 {
			lo = c.key(nd, i-1)
		}
		g.child(nd, i, mine, lo)
		changes = changes[len(mine):]
	}
}

// next returns the first child, starting at i, that has changes or old leaves.
func (g *gathering) next(nd *node, i int, changes []change) int {
	c, end := g.cache, int(nd.keys)+1
	if len(changes) > 0 {
		end = c.childFor(nd, changes[0].key)
	}
	if nd.oldest >= g.old.before {
		return end
	}
	last := end
	if len(changes) == 0 && g.old.to != nil {
		last = c.childFor(nd, g.old.to) + 1
	}
	for ; i < last; i++ {
		if g.old.takes(c.record(nd, i)) {
			return i
		}
	}
	return end
}

// takeLeaf adds the changes of a leaf. An old leaf without changes gets a touch.
func (g *gathering) takeLeaf(nd *node, changes []change, lo []byte) {
	if len(changes) == 0 && g.old.takes(page.Child{Block: nd.block, Oldest: nd.oldest}) {
		g.old.moves--
		g.changes = append(g.changes, change{key: lo, action: touch})
	}
	g.leaves--
	g.changes = append(g.changes, changes...)
}

// child gathers leaves below child i of a parent, or the child itself if it is a leaf.
func (g *gathering) child(nd *node, i int, changes []change, lo []byte) {
	id, err := g.cache.child(nd, i), error(nil)
	if id == noNode {
		id, err = g.want(lo, int(nd.height)-1)
	}
	switch {
	case err != nil && len(changes) == 0:
		g.old.clean.unreadable(g.cache.record(nd, i))
	case err != nil:
		g.leftOut, g.why = append(g.leftOut, changes...), err
		g.leaves--
	case id == noNode: // being read
		g.leaves--
		if len(changes) == 0 && nd.height == 1 {
			g.old.moves--
		}
	default:
		g.walk(id, changes, lo)
	}
}

// countBefore returns how many of changes have keys less than key.
func countBefore(changes []change, key []byte) int {
	if len(changes) == 0 || bytes.Compare(changes[0].key, key) >= 0 {
		return 0
	}
	// Usually it is one, or few, so gallop.
	step, n := 1, 1
	for n+step <= len(changes) && bytes.Compare(changes[n+step-1].key, key) < 0 {
		n += step
		step *= 2
	}
	for ; step > 0; step /= 2 {
		if n+step <= len(changes) && bytes.Compare(changes[n+step-1].key, key) < 0 {
			n += step
		}
	}
	return n
}

// build makes the pages and stores the new tree in w.result. It returns false when a merge needs
// pages that are not in memory. Then it has requested them and dropped the pages built so far.
func (w *pageCommit) build() bool {
	w.startBuild()
	parts := w.rebuild(w.base.root, w.changes, nil, nil, w.cache.blockSize-page.RootExtra)
	height := w.base.height
	ascending := w.ascending
	for len(parts) > 1 {
		height++
		kids := append([]branch(nil), parts...)
		parts = w.splitParent(kids, w.cache.blockSize-page.RootExtra, ascending, parts[:0:0])
		w.added += len(parts)
	}
	root, height := w.pruneRoot(parts[0], height)
	w.result = version{
		root:   w.finish(root, height, nil, nil, true),
		nodes:  uint64(int64(w.base.nodes) + int64(w.added)),
		height: height,
	}
	if w.waiting == 0 && w.err == nil {
		return true
	}
	w.freeFresh()
	return w.waiting == 0
}

func (w *pageCommit) level(height int) *level {
	for len(w.levels) <= height {
		w.levels = append(w.levels, &level{})
	}
	return w.levels[height]
}

func (w *pageCommit) startBuild() {
	w.fresh, w.replaced, w.err = w.fresh[:0], w.replaced[:0], nil
	w.added = 0
	for _, l := range w.levels {
		clear(l.arena)
		clear(l.changed)
		l.arena, l.parts, l.changed = l.arena[:0], l.parts[:0], l.changed[:0]
	}
}

// replace records that the page in id is not part of the result.
func (w *pageCommit) replace(id nodeID) { w.replaced = append(w.replaced, id) }

// freeFresh frees the pages built so far.
func (w *pageCommit) freeFresh() {
	for _, id := range w.fresh {
		w.cache.free(id)
	}
	w.fresh, w.replaced, w.result = w.fresh[:0], w.replaced[:0], version{}
}

// drop undoes the commit. The base tree has not changed.
func (w *pageCommit) drop() {
	w.freeFresh()
	w.end()
}

// end releases everything that w holds. w can be used again unless pages are still on their way to
// it.
func (w *pageCommit) end() {
	for _, id := range w.pinned {
		w.cache.node(id).pins--
	}
	w.pinned = w.pinned[:0]
	clear(w.pairs)
	clear(w.pages)
	w.pairs, w.pages, w.numbered, w.fresh, w.replaced = w.pairs[:0], w.pages[:0], w.numbered[:0], w.fresh[:0], w.replaced[:0]
	clear(w.changes)
	w.changes, w.given = w.changes[:0], nil
	w.dropped = w.waiting > 0
}

// rebuild applies changes to the subtree of id, whose bounds are lo and hi. It returns the branches
// that replace the subtree: more than one if it was split. A page may take up to limit bytes. The
// result is valid until the next call for the same height.
func (w *pageCommit) rebuild(id nodeID, changes []change, lo, hi []byte, limit int) []branch {
	w.replace(id)
	nd := w.cache.node(id)
	if nd.height == 0 {
		return w.rebuildLeaf(nd, changes, lo, hi, limit)
	}
	level := w.level(int(nd.height))
	ascending := w.rebuildKids(nd, changes, lo, hi)
	if w.canPatch(nd, level) {
		level.parts = append(level.parts[:0], w.patchParent(nd, level, lo, hi))
	} else {
		kids := w.mergeKids(w.gatherKids(nd, level, lo), int(nd.height), lo, hi)
		level.parts = w.splitParent(kids, limit, ascending, level.parts[:0])
	}
	w.ascending = ascending
	w.added += len(level.parts) - 1
	return level.parts
}

// rebuildKids rebuilds the children of nd that have changes, and stores the results in the level of
// nd. It reports whether all growth was at the right end.
func (w *pageCommit) rebuildKids(nd *node, changes []change, lo, hi []byte) (ascending bool) {
	c, level := w.cache, w.level(int(nd.height))
	level.changed, level.changes = level.changed[:0], level.changes[:0]
	ascending = true
	for n := int(nd.keys); len(changes) > 0; {
		i := c.childFor(nd, changes[0].key)
		childLo, childHi := c.kidBounds(nd, i, lo, hi)
		mine := changes
		if childHi != nil {
			mine = changes[:countBefore(changes, childHi)]
		}
		parts := w.rebuild(c.child(nd, i), mine, childLo, childHi, c.blockSize)
		parts[0].sep = childLo
		level.changed = append(level.changed, parts...)
		level.changes = append(level.changes, kidChange{i, len(level.changed)})
		ascending = ascending && w.ascending && i == n
		changes = changes[len(mine):]
	}
	return ascending
}

// gatherKids returns all children of a parent, changed and unchanged.
func (w *pageCommit) gatherKids(nd *node, level *level, lo []byte) []branch {
	c := w.cache
	start, hints := len(level.arena), c.children(nd)
	from, changes := 0, level.changes
	for i := range int(nd.keys) + 1 {
		if len(changes) > 0 && changes[0].kid == i {
			level.arena = append(level.arena, level.changed[from:changes[0].end]...)
			from, changes = changes[0].end, changes[1:]
			continue
		}
		sep := lo
		if i > 0 {
			sep = c.key(nd, i-1)
		}
		level.arena = append(level.arena, branch{sep: sep, rec: c.record(nd, i), id: hints[i]})
	}
	return level.arena[start:len(level.arena):len(level.arena)]
}

// rebuildLeaf merges a leaf with its changes into one or more new leaves.
func (w *pageCommit) rebuildLeaf(nd *node, changes []change, lo, hi []byte, limit int) []branch {
	c := w.cache
	if part, ok := w.patchLeaf(nd, changes, lo); ok {
		level := w.level(0)
		level.parts = append(level.parts[:0], part)
		return level.parts
	}
	w.pairs = w.pairs[:0]
	size := page.LeafBase
	add := func(p pair) {
		w.pairs = append(w.pairs, p)
		size += p.size()
	}
	p := c.page(nd)
	keyAt, valueAt, left := int(nd.first), int(nd.second), int(nd.keys)
	next := func() pair {
		key, value := page.String(p, keyAt), page.String(p, valueAt)
		keyAt += 1 + len(key)
		valueAt += 1 + len(value)
		left--
		return pair{key, value}
	}
	w.ascending = true // until a change comes before the end of the old pairs
	for _, ch := range changes {
		if ch.action == touch {
			continue
		}
		order := 1
		for left > 0 {
			if order = bytes.Compare(page.String(p, keyAt), ch.key); order >= 0 {
				break
			}
			add(next())
		}
		if ch.action == put {
			add(pair{ch.key, ch.value})
		}
		if left > 0 {
			w.ascending = false
			if order == 0 {
				next() // skip the pair: it was replaced or deleted
			}
		}
	}
	for left > 0 {
		add(next())
	}
	return w.splitLeaf(size, lo, hi, limit)
}
