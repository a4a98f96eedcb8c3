package tree

import (
	"errors"
	"hash/maphash"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"kivaloo/tree/keys"
	"kivaloo/tree/offheap"
	"kivaloo/tree/page"
)

// nodeID identifies a frame. 0 means no frame. The top bit selects the slab.
type nodeID uint32

const (
	noNode    nodeID = 0
	parentBit nodeID = 1 << 31
)

// noBlock is the block number of a frame without a page, and of a page that is being built.
const noBlock = ^uint64(0)

// node is the header of a frame: what is known about the page in it. It lives outside the Go heap,
// so it holds no pointers. It is followed by the index of the page and the page itself:
//
//	leaf:   node | heads | key offsets | value offsets | page
//	parent: node | heads | key offsets | children      | child blocks | page
//
// The index has an entry for every stride-th key: the offset of the key, and its head. The head is
// the first 8 bytes after the prefix that all keys of the page share. The stride is 1 unless a leaf
// has more keys than its frame has index entries.
//
// Invariants:
//  1. A node with a block number was verified, or was built here. Its page and its index never
//     change, except for children, which are hints.
//  2. children[i] names a frame that holds, or once held, child i. It still holds it if and only
//     if that frame's block is the one in blocks[i].
//  3. A page being built has no block number. Only its builder knows the frame.
//
// The tree's goroutine owns all of it. Readers may look at a node at any time, so block, used and
// the children are accessed atomically. Everything else is written before block is.
type node struct {
	block  uint64
	oldest uint64 // lowest block of any leaf below; of a leaf, its own
	size   uint32 // bytes of the page without its padding
	keys   uint32
	second uint32 // offset of the first value, or of the first child record
	pins   uint32 // number of reasons not to evict it
	waiter uint32 // first waiter for the page while it is being read, plus 1
	used   uint32 // 1: used since the clock hand last passed
	first  uint16 // offset of the first key in the page
	stride uint16
	common uint8 // length of the prefix that all keys share
	height uint8
	state  frameState
	root   bool
	bounds uint64 // hash of the bounds of its keys
	_      [8]byte
}

const nodeBytes = 64

var _ [nodeBytes]byte = [unsafe.Sizeof(node{})]byte{}

type frameState uint8

const (
	frameFree     frameState = iota
	frameReading             // its page is being read
	frameBuilding            // its page is being built, or its append is not complete
	frameClean               // its page is durable in the store
)

// geometry holds the offsets of the parts of a frame, in bytes from its start.
type geometry struct {
	samples int     // capacity of the index, in entries
	keys    uintptr // offset of the key offsets
	second  uintptr // offset of the value offsets or children
	blocks  uintptr // offset of the child blocks
	page    uintptr
	frame   uintptr // length of a frame
}

func leafGeometry(blockSize int) geometry {
	// This is enough for one entry per pair of 40+40 bytes. With 2048-byte blocks no byte of a
	// frame is wasted.
	samples := max(minSamples, (blockSize-page.LeafBase)/82)
	return newGeometry(samples, samples, 0, blockSize)
}

func parentGeometry(blockSize int) geometry {
	samples := (blockSize-page.ParentBase)/page.MinSeparated + 2
	return newGeometry(samples, samples+1, samples+1, blockSize)
}

func newGeometry(samples, second, blocks, blockSize int) geometry {
	g := geometry{samples: samples}
	g.keys = nodeBytes + 8*uintptr(samples)
	g.second = g.keys + 4*uintptr(samples)
	g.blocks = (g.second + 4*uintptr(second) + 7) &^ 7
	g.page = g.blocks + 8*uintptr(blocks)
	g.frame = (g.page + uintptr(blockSize) + 63) &^ 63
	return g
}

// slab hands out frames of one kind. It grows by whole segments, and returns memory to the system
// only when it is closed.
type slab struct {
	geo      geometry
	shift    uint             // log2 of frames per segment
	segments []unsafe.Pointer // never reallocated, because Readers use it while it is filled; nil where there is none yet
	memory   []offheap.Memory
	free     []uint32 // frames to reuse, last in first out
	next     uint32   // frames from here on were never used
}

// segmentBytes is the most that a slab grows by at once.
const segmentBytes = 8 * offheap.SegmentBytes

// newSlab returns a slab for at least this many frames.
func newSlab(geo geometry, frames int) *slab {
	perSegment := max(1, segmentBytes/int(geo.frame))
	s := &slab{geo: geo, shift: uint(bits.Len(uint(perSegment)) - 1)}
	s.segments = make([]unsafe.Pointer, frames>>s.shift+1)
	return s
}

// ErrCacheFull means that a commit is too large for the cache, or that readers keep too many pages.
var ErrCacheFull = errors.New("all of the page cache is in use")

// alloc returns the number of an unused frame.
func (s *slab) alloc() (uint32, error) {
	if n := len(s.free); n > 0 {
		i := s.free[n-1]
		s.free = s.free[:n-1]
		return i, nil
	}
	if int(s.next>>s.shift) == len(s.memory) {
		if len(s.memory) == len(s.segments) {
			return 0, ErrCacheFull
		}
		m, err := offheap.Alloc(int(s.geo.frame) << s.shift)
		if err != nil {
			return 0, err
		}
		s.segments[len(s.memory)] = m.Base()
		s.memory = append(s.memory, m)
	}
	s.next++
	return s.next - 1, nil
}

func (s *slab) at(i uint32) *node {
	within := uintptr(i) & (1<<s.shift - 1)
	return (*node)(unsafe.Add(s.segments[i>>s.shift], within*s.geo.frame))
}

func (s *slab) close() {
	for _, m := range s.memory {
		offheap.Free(m)
	}
	s.memory, s.segments, s.free = nil, nil, nil
}

// page returns the page in nd's frame.
func (c *cache) page(nd *node) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nd), c.geo(nd).page)), c.blockSize)
}

func (c *cache) geo(nd *node) *geometry {
	if nd.height == 0 {
		return &c.leaves.geo
	}
	return &c.parents.geo
}

// sampled returns the number of entries in the index of nd.
func (nd *node) sampled() int {
	return (int(nd.keys) + int(nd.stride) - 1) / int(nd.stride)
}

func (nd *node) heads() []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Add(unsafe.Pointer(nd), nodeBytes)), nd.sampled())
}

// middleHead touches the middle of the heads, where a search begins.
func (nd *node) middleHead() uint64 {
	return *(*uint64)(unsafe.Add(unsafe.Pointer(nd), nodeBytes+uintptr(nd.keys/uint32(nd.stride)/2)*8))
}

// setBlock publishes nd as the page of a block, or of none.
func (nd *node) setBlock(block uint64) { atomic.StoreUint64(&nd.block, block) }

var boundsSeed = maphash.MakeSeed()

// boundsHash returns a hash of the bounds of a page. Pages with different bounds are told apart by
// it. A page keeps its bounds for as long as it exists, whatever tree it is in.
func boundsHash(lo, hi []byte) uint64 {
	h := bits.RotateLeft64(maphash.Bytes(boundsSeed, lo), 1)
	if hi != nil {
		h ^= maphash.Bytes(boundsSeed, hi)
	}
	return h
}

// is reports whether nd holds the page of a block.
func (nd *node) is(block uint64) bool { return atomic.LoadUint64(&nd.block) == block }

// touchIndex prefetches the index: it reads a little of each of the first cache lines behind a
// node.
func (nd *node) touchIndex() (sum uint64) {
	lines := (*[indexLines][8]uint64)(unsafe.Add(unsafe.Pointer(nd), nodeBytes))
	for i := range lines {
		sum += lines[i][0]
	}
	return sum
}

func (c *cache) keyOffsets(nd *node) []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Add(unsafe.Pointer(nd), c.geo(nd).keys)), nd.sampled())
}

func (c *cache) valueOffsets(nd *node) []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Add(unsafe.Pointer(nd), c.leaves.geo.second)), nd.sampled())
}

func (c *cache) children(nd *node) []nodeID {
	return unsafe.Slice((*nodeID)(unsafe.Add(unsafe.Pointer(nd), c.parents.geo.second)), nd.keys+1)
}

func (c *cache) setChild(nd *node, i int, id nodeID) {
	atomic.StoreUint32((*uint32)(&c.children(nd)[i]), uint32(id))
}

func (c *cache) blocks(nd *node) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Add(unsafe.Pointer(nd), c.parents.geo.blocks)), nd.keys+1)
}

// blockOf returns the block number that a parent records for child i.
func (c *cache) blockOf(nd *node, i int) uint64 { return atomic.LoadUint64(&c.blocks(nd)[i]) }

// keyAt returns the offset of key or separator i of nd.
func (c *cache) keyAt(nd *node, i int) int {
	sample := i / int(nd.stride)
	return page.Skip(c.page(nd), int(c.keyOffsets(nd)[sample]), i-sample*int(nd.stride))
}

// valueAt returns the offset of value i of a leaf.
func (c *cache) valueAt(nd *node, i int) int {
	sample := i / int(nd.stride)
	return page.Skip(c.page(nd), int(c.valueOffsets(nd)[sample]), i-sample*int(nd.stride))
}

// key returns key or separator i of nd.
func (c *cache) key(nd *node, i int) []byte { return page.String(c.page(nd), c.keyAt(nd, i)) }

// value returns value i of a leaf.
func (c *cache) value(nd *node, i int) []byte { return page.String(c.page(nd), c.valueAt(nd, i)) }

// record returns child record i of a parent.
func (c *cache) record(nd *node, i int) page.Child {
	return page.GetChild(c.page(nd)[int(nd.second)+i*page.ChildBytes:])
}

// putRecord writes child record i of a parent that is being built.
func (c *cache) putRecord(nd *node, i int, r page.Child) {
	page.PutChild(c.page(nd)[int(nd.second)+i*page.ChildBytes:], r)
	atomic.StoreUint64(&c.blocks(nd)[i], r.Block)
}

// index fills in nd and the index of a page that was verified or built here. The caller sets block,
// oldest and state.
func (c *cache) index(nd *node, l page.Layout) {
	nd.keys = uint32(l.Keys)
	nd.height = uint8(l.Height)
	nd.root = l.Root
	nd.first, nd.second, nd.size = uint16(l.Body), uint32(l.Second), uint32(l.End)
	nd.stride = uint16(max(1, (l.Keys+c.geo(nd).samples-1)/c.geo(nd).samples))
	p := c.page(nd)
	heads, stride := nd.heads(), int(nd.stride)
	sampleStrings(p, l.Body, stride, c.keyOffsets(nd))
	nd.common = 0
	if l.Keys > 0 {
		// The keys are in order, so what the first and the last share, all share.
		nd.common = uint8(keys.CommonPrefix(page.String(p, l.Body), c.key(nd, l.Keys-1)))
	}
	for i, at := range c.keyOffsets(nd) {
		heads[i] = keys.Head(page.String(p, int(at))[nd.common:])
	}
	if l.Height > 0 {
		for i := range c.children(nd) {
			c.setChild(nd, i, noNode)
			atomic.StoreUint64(&c.blocks(nd)[i], c.record(nd, i).Block)
		}
		return
	}
	sampleStrings(p, l.Second, stride, c.valueOffsets(nd))
}

// sampleStrings fills offsets with those of every stride-th string, starting at at.
func sampleStrings(p []byte, at, stride int, offsets []uint32) {
	for i := range offsets {
		if i > 0 {
			at = page.Skip(p, at, stride)
		}
		offsets[i] = uint32(at)
	}
}
