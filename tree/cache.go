package tree

import (
	"sync/atomic"

	"kivaloo/disk"
)

// cache holds pages in frames outside the Go heap. The tree's goroutine owns it, so nothing is
// locked. Readers on other goroutines look at pages, and delay the reuse of freed frames.
//
// Invariants:
//  1. table maps the block of every clean and every reading frame to that frame, and nothing else.
//  2. Only clean frames without pins are evicted. So an entry of table may disappear at any time,
//     but is never wrong.
//  3. inUse exceeds limit only while every frame that eviction looked at was pinned.
type cache struct {
	blockSize int // bytes
	limit     int // pages
	inUse     int // frames that are not free
	leaves    *slab
	parents   *slab
	table     map[uint64]nodeID
	pause     int    // allocations left before eviction is tried again
	hand      nodeID // where the clock hand stands: a leaf or a parent frame

	touched uint64 // keeps the compiler from removing loads that only warm the processor's caches

	readers *Readers // nil if there are none
	limbo   []freed  // freed frames that readers may still look at; oldest first
}

// freed is a frame in limbo.
type freed struct {
	id    nodeID
	epoch uint64 // the readers' epoch when it was freed
}

func newCache(blockSize, pages int) (*cache, error) {
	c := &cache{
		blockSize: blockSize,
		limit:     pages,
		leaves:    newSlab(leafGeometry(blockSize), maxOvercommit*pages),
		parents:   newSlab(parentGeometry(blockSize), maxOvercommit*pages),
		table:     make(map[uint64]nodeID),
	}
	// Frame 0 of each slab never holds a page, because id 0 means "no node". A build that has run
	// out of memory writes its page there, and discards it.
	for _, s := range []*slab{c.leaves, c.parents} {
		if _, err := s.alloc(); err != nil {
			c.close()
			return nil, err
		}
		s.at(0).block = noBlock
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

// alloc returns a frame for a page of the given height. It evicts another page if the cache is
// full.
func (c *cache) alloc(height int) (nodeID, *node, error) {
	c.makeRoom()
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
	nd.setBlock(noBlock)
	nd.stride, nd.height, nd.state = 1, uint8(height), frameReading
	nd.pins, nd.waiter = 0, 0
	atomic.StoreUint32(&nd.used, 0)
	return nodeID(i) | tag, nd, nil
}

// free returns a frame for reuse: at once, or when no reader can look at it any more.
func (c *cache) free(id nodeID) {
	nd := c.node(id)
	if nd.block != noBlock && c.table[nd.block] == id {
		delete(c.table, nd.block)
	}
	nd.setBlock(noBlock)
	nd.state = frameFree
	c.inUse--
	if c.readers != nil {
		c.limbo = append(c.limbo, freed{id, c.readers.epoch.Load()})
		return
	}
	c.reuse(id)
}

// reclaim makes frames in limbo available once no reader can look at them.
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

// makeRoom evicts up to two pages if the cache is full. If every page is pinned, the cache grows,
// and makeRoom skips the next allocations before it tries again.
func (c *cache) makeRoom() {
	if c.pause > 0 {
		c.pause--
		return
	}
	for tries := 0; c.inUse >= c.limit && tries < 2; tries++ {
		if !c.evict() {
			c.pause = handSteps / 64
			return
		}
	}
}

// handSteps bounds how many frames one eviction looks at. Without it, a cache full of pinned pages
// would be searched again and again.
const handSteps = 4096

// handAhead is how many frames ahead of the clock hand are prefetched.
const handAhead = 8

// evict frees the first page that has not been used since the clock hand last passed it.
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

// advanceHand moves the hand over all leaf frames, then all parent frames, then starts again.
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

// child returns child i of a parent if the hint still names its page. Otherwise it returns noNode,
// and descend has to search for the page.
func (c *cache) child(nd *node, i int) nodeID {
	if hint := c.children(nd)[i]; c.node(hint).is(c.blockOf(nd, i)) { // id 0 has a frame too
		return hint
	}
	return noNode
}

// poisoned is the content of a page that nobody may read, in builds with invariants.
var poisoned = [disk.MaxBlockSize]byte{0: 0xdb, 1: 0xdb, 8: 0xdb, disk.MaxBlockSize - 1: 0xdb}

// poison overwrites a page that nobody may read any more.
func poison(p []byte) {
	copy(p, poisoned[:])
}
