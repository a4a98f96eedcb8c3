package tree

import (
	"fmt"
	"math"
	"sync/atomic"

	"kivaloo/disk"
)

// cache holds pages in frames outside the Go heap. It is owned by the tree's
// goroutine; nothing in it is locked. Readers on other goroutines see pages, and keep frames from
// being used again.
//
// Invariants:
//  1. table maps the block of every clean and every reading frame, and of every fresh one that
//     has its number, to that frame; it holds nothing else.
//  2. A frame is evicted only while it is clean and has no pins. So what the table says
//     can be forgotten at any time, but never be wrong.
//  3. More frames than limit are in use only while all that were looked at were pinned or fresh, or so many are unsaved that
//     less than a part of limit would be left for what requests read.
type cache struct {
	blockSize int // bytes
	limit     int // pages
	inUse     int // frames that are not free
	unsaved   int // of those, fresh ones and saved ones
	leaves    *slab
	parents   *slab
	table     map[uint64]nodeID
	hand      nodeID // where the clock hand stands: a leaf or a parent frame
	serial    uint64 // of provisional block numbers

	touched uint64 // keeps loads that are only there to warm the caches from being optimised away

	readers *Readers // nil while there are none
	limbo   []freed  // frames that were freed, and that readers may still look at; oldest first
}

// freed is a frame in limbo.
type freed struct {
	id    nodeID
	epoch uint64 // the readers' at that time
}

func newCache(blockSize, pages int) (*cache, error) {
	c := &cache{
		blockSize: blockSize,
		limit:     pages,
		leaves:    newSlab(leafGeometry(blockSize), maxOvercommit*pages),
		parents:   newSlab(parentGeometry(blockSize), maxOvercommit*pages),
		table:     make(map[uint64]nodeID),
	}
	// Frame 0 of each slab never holds a page: id 0 is no node, and what is built
	// after memory ran out is written there, to be thrown away.
	for _, s := range []*slab{c.leaves, c.parents} {
		if _, err := s.alloc(); err != nil {
			c.close()
			return nil, err
		}
		s.at(0).block, s.at(0).born = noBlock, neverBorn
	}
	return c, nil
}

func (c *cache) close() {
	c.leaves.close()
	c.parents.close()
	c.table = nil
}

func (c *cache) node(id nodeID) *node {
	if id&parentBit != 0 {
		return c.parents.at(uint32(id &^ parentBit))
	}
	return c.leaves.at(uint32(id))
}

// alloc returns a frame for a page of the given height, evicting another page if
// the cache is full.
func (c *cache) alloc(height int) (nodeID, *node, error) {
	for tries := 0; c.inUse >= c.limit && c.inUse-c.unsaved > c.limit/readShare && tries < 2 && c.evict(); tries++ {
	}
	s, tag := c.leaves, nodeID(0)
	if height > 0 {
		s, tag = c.parents, parentBit
	}
	if len(s.free) == 0 && len(c.limbo) > 0 {
		c.reclaim()
	}
	i, err := s.alloc()
	if err != nil {
		return noNode, nil, err
	}
	c.inUse++
	nd := s.at(i)
	nd.forget()
	nd.stride, nd.height, nd.state = 1, uint8(height), frameReading
	nd.pins, nd.batch, nd.waiter, nd.written = 0, 0, 0, 0
	atomic.StoreUint32(&nd.used, 0)
	if height > 0 {
		c.setBounds(nd, nil, nil)
	}
	return nodeID(i) | tag, nd, nil
}

// free gives a frame back: at once, or when no reader can look at it any more.
func (c *cache) free(id nodeID) {
	nd := c.node(id)
	if nd.state == frameFree {
		return // a damaged store can have a page, an empty one, in two places
	}
	if !provisional(nd.block) && c.table[nd.block] == id {
		delete(c.table, nd.block)
	}
	nd.forget()
	c.setState(nd, frameFree)
	c.inUse--
	if c.readers != nil {
		c.limbo = append(c.limbo, freed{id, c.readers.epoch.Load()})
		return
	}
	c.reuse(id)
}

// forget makes nd no page, for all who look at it from now on.
func (nd *node) forget() {
	atomic.StoreUint64(&nd.born, neverBorn)
	nd.setBlock(noBlock)
}

// setState changes the state of a frame that is in use.
func (c *cache) setState(nd *node, to frameState) {
	c.unsaved += unsavedIn(to) - unsavedIn(nd.state)
	nd.state = to
}

func unsavedIn(s frameState) int {
	if s == frameFresh || s == frameSaved {
		return 1
	}
	return 0
}

// reclaim makes the frames in limbo that no reader can look at any more available.
func (c *cache) reclaim() {
	since := c.readers.oldest()
	n := 0
	for n < len(c.limbo) && c.limbo[n].epoch < since {
		c.reuse(c.limbo[n].id)
		n++
	}
	c.limbo = c.limbo[:copy(c.limbo, c.limbo[n:])]
}

func (c *cache) reuse(id nodeID) {
	if invariants {
		poison(c.page(c.node(id)))
	}
	if id&parentBit != 0 {
		c.parents.free = append(c.parents.free, uint32(id&^parentBit))
		return
	}
	c.leaves.free = append(c.leaves.free, uint32(id))
}

// handSteps bounds how many frames one eviction looks at, so that a cache full of
// pinned pages grows instead of being searched over and over.
const handSteps = 4096

// handAhead is how many leaf frames before it comes to one the hand has it fetched: where most pages are fresh, it passes over
// many.
const handAhead = 8

// evict frees the first page the clock hand comes to that has not been used since it last passed.
func (c *cache) evict() bool {
	for range handSteps {
		id := c.advanceHand()
		if ahead := uint32(id) + handAhead; ahead < c.leaves.next {
			c.touched += uint64(c.leaves.at(ahead).state)
		}
		nd := c.node(id)
		switch {
		case nd.state != frameClean || nd.pins > 0:
		case atomic.LoadUint32(&nd.used) != 0:
			atomic.StoreUint32(&nd.used, 0)
		default:
			c.free(id)
			return true
		}
	}
	return false
}

// advanceHand moves the hand over all leaf frames, then all parent frames, and around.
func (c *cache) advanceHand() nodeID {
	next := c.hand + 1
	switch {
	case next&parentBit == 0 && uint32(next) >= c.leaves.next:
		next = parentBit
	case next&parentBit != 0 && uint32(next&^parentBit) >= c.parents.next:
		next = 0
	}
	c.hand = next
	return next
}

// child returns child i of a parent if its page is in memory and is what the parent says, or noNode.
func (c *cache) child(nd *node, i int) nodeID {
	hint := c.children(nd)[i]
	if c.node(hint).is(c.blockOf(nd, i)) { // of id 0, too, there is a frame
		return hint
	}
	want := c.wantChild(nd, i)
	id := c.find(hint, &want)
	if id != hint {
		c.setChild(nd, i, id)
	}
	return id
}

// wantChild returns what a parent says of child i. The bounds alias the parent's frame.
func (c *cache) wantChild(nd *node, i int) want {
	lo, hi := c.bounds(nd)
	lo, hi = c.kidBounds(nd, i, lo, hi)
	r := c.record(nd, i)
	return want{block: r.block, oldest: r.oldest, size: r.size, height: int(nd.height) - 1, lo: lo, hi: hi}
}

// find returns the frame that holds the page that w describes, or noNode if none does. hint is where it may be, known from a
// parent of which it was a child. Pages without a number are found only by it. Any other page in memory was checked
// against what some parent says, but not against w: two may name the same block, and one of them is wrong.
func (c *cache) find(hint nodeID, w *want) nodeID {
	if c.node(hint).is(w.block) {
		return hint
	}
	id := c.resident(w.block)
	if id == noNode || c.matches(w, c.node(id)) != nil {
		return noNode
	}
	return id
}

// matches returns an error if a page in memory is not what w says. The page by itself is good.
func (c *cache) matches(w *want, nd *node) error {
	switch {
	case nd.root:
		return fmt.Errorf("%w: root bit is true, want false", disk.ErrCorrupt)
	case int(nd.height) != w.height:
		return fmt.Errorf("%w: height %d, want %d", disk.ErrCorrupt, nd.height, w.height)
	case nd.size != w.size:
		return fmt.Errorf("%w: size %d, but its parent records %d", disk.ErrCorrupt, nd.size, w.size)
	case nd.oldest != w.oldest:
		return fmt.Errorf("%w: oldest leaf below it is %d, but its parent records %d", disk.ErrCorrupt, nd.oldest, w.oldest)
	}
	p := c.page(nd)
	h, err := parseHead(p)
	if err == nil {
		err = w.verifyKeys(p, layout{head: h})
	}
	if err == nil {
		err = w.verifyPrefix(h)
	}
	return err
}

// resident returns the frame that holds the page of a block, or noNode if none does.
func (c *cache) resident(block uint64) nodeID {
	if id, ok := c.table[block]; ok && c.node(id).block == block {
		return id
	}
	return noNode // not here, or still on the way
}

// provisional returns a block number for a page that has none yet.
func (c *cache) provisional() uint64 {
	c.serial++
	return c.lastBorn()
}

// lastBorn is the last number that provisional has returned.
func (c *cache) lastBorn() uint64 { return provisionalBit | c.serial&(math.MaxUint64>>1) }

// poison overwrites a page that nobody may read any more.
func poison(p []byte) {
	for i := range p {
		p[i] = 0xdb
	}
}
