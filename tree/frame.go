package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// nodeID names a frame. 0 is no frame; the top bit says which slab it is in.
type nodeID uint32

const (
	noNode    nodeID = 0
	parentBit nodeID = 1 << 31
)

// Block numbers that are none. A page that is being built gets its number when it
// is appended; until then it goes by a provisional one, unique in this process.
const (
	noBlock        = ^uint64(0)
	provisionalBit = uint64(1) << 63
	neverBorn      = provisionalBit // no page is built under this one
)

func provisional(block uint64) bool { return block&provisionalBit != 0 }

// node is the head of a frame: what is known of the page in it. It
// lives outside the Go heap, so it holds no pointers. Behind it, in the
// same frame, are the index of the page and the page itself:
//
//	leaf:   node | heads | key offsets | value offsets | page
//	parent: node | heads | key offsets | children      | child blocks | page | bounds
//
// The index has an entry for every stride-th key: the offset of the key, and
// its head, the first 8 bytes after what all keys of the page share. The stride is 1
// unless a leaf has more keys than its frame has room for entries.
//
// Invariants:
//  1. A node whose block is not noBlock has been verified, or was built here.
//  2. The page and the index of such a node do not change, but for: children, which are
//     hints; block numbers, once, when the node and its children get theirs.
//  3. children[i] names a frame that holds, or once held, child i, and the page in it was checked against the child
//     record and the separators. It holds it still if, and only if, that frame is what the block in the record says: see is.
//  4. A page is in memory as long as any parent knows it by its provisional number.
//
// The tree's goroutine owns all of it. Readers look at nodes too, at any time: what changes under them
// (block, born, used, children and child blocks) is written, and read by them, atomically. All else is written before
// the block is, and of a page they look at no child record: the tree's goroutine changes those.
type node struct {
	block   uint64
	born    uint64 // the provisional number of a page that was built here; neverBorn for others
	oldest  uint64 // lowest block of any leaf below that has its number, own block for a leaf
	size    uint32 // bytes of the page without its padding
	keys    uint32
	second  uint32 // offset of the first value, or of the first child record
	pins    uint32 // reasons not to evict it
	batch   uint32 // serial of the batch that has pinned it
	written uint32 // serial of the last batch that has overwrites for it
	waiter  uint32 // first of those who wait for the page while it is read, plus 1
	used    uint32 // 1: since the clock hand last passed
	first   uint16 // offset of the first key in the page
	stride  uint16
	common  uint8 // how many bytes all keys share from the start
	height  uint8
	state   frameState
	root    bool
}

const nodeBytes = 64

var _ [nodeBytes]byte = [unsafe.Sizeof(node{})]byte{}

type frameState uint8

const (
	frameFree    frameState = iota
	frameReading            // its page is on the way in
	frameFresh              // built here, and only here
	frameSaved              // in the store, or on the way there; a parent may know it by its provisional number
	frameClean              // its page is durable in the store
)

// geometry is where the parts of a frame are, in bytes from its start.
type geometry struct {
	samples int     // entries that the index has room for
	keys    uintptr // key offsets
	second  uintptr // value offsets or children
	blocks  uintptr // of children
	page    uintptr
	bounds  uintptr // of the keys below a parent: two strings
	frame   uintptr // length of a frame
}

// boundsBytes is the room for the bounds of a parent.
const boundsBytes = 2 * (1 + MaxStringBytes)

func leafGeometry(blockSize int) geometry {
	// Enough for one entry per pair of 40+40 bytes, and at 2048 bytes no frame has a byte to spare.
	samples := max(minSamples, (blockSize-leafBase)/82)
	return newGeometry(samples, samples, 0, blockSize, 0)
}

func parentGeometry(blockSize int) geometry {
	samples := (blockSize-parentBase)/minChildBytes + 2
	return newGeometry(samples, samples+1, samples+1, blockSize, boundsBytes)
}

func newGeometry(samples, second, blocks, blockSize, bounds int) geometry {
	g := geometry{samples: samples}
	g.keys = nodeBytes + 8*uintptr(samples)
	g.second = g.keys + 4*uintptr(samples)
	g.blocks = (g.second + 4*uintptr(second) + 7) &^ 7
	g.page = g.blocks + 8*uintptr(blocks)
	g.bounds = g.page + uintptr(blockSize)
	g.frame = (g.bounds + uintptr(bounds) + 63) &^ 63
	return g
}

// slab hands out frames of one kind. It grows a segment at a time and
// gives nothing back to the system before it is closed.
type slab struct {
	geo      geometry
	shift    uint             // log2 of frames per segment
	segments []unsafe.Pointer // never moved: Readers use it while it is filled. nil where there is none yet
	mappings [][]byte
	free     []uint32 // frames that may be used again, last in first out
	next     uint32   // frames from here on have never been used
}

// segmentBytes is how much a slab grows by at the most. Mappings of whole huge pages get huge pages.
const (
	segmentBytes  = 32 << 20
	hugePageBytes = 2 << 20
)

// newSlab returns a slab of at most so many frames, or a few more.
func newSlab(geo geometry, frames int) *slab {
	perSegment := max(1, segmentBytes/int(geo.frame))
	s := &slab{geo: geo, shift: uint(bits.Len(uint(perSegment)) - 1)}
	s.segments = make([]unsafe.Pointer, frames>>s.shift+1)
	return s
}

// ErrCacheFull: a batch is too large for the cache, and was not begun, or readers keep too many pages.
var ErrCacheFull = errors.New("all of the page cache is in use")

// alloc returns the number of an unused frame.
func (s *slab) alloc() (uint32, error) {
	if n := len(s.free); n > 0 {
		i := s.free[n-1]
		s.free = s.free[:n-1]
		return i, nil
	}
	if int(s.next>>s.shift) == len(s.mappings) {
		if len(s.mappings) == len(s.segments) {
			return 0, ErrCacheFull
		}
		size := (int(s.geo.frame)<<s.shift + hugePageBytes - 1) &^ (hugePageBytes - 1)
		m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return 0, fmt.Errorf("get %d bytes for the page cache: %w", size, err)
		}
		_ = unix.Madvise(m, unix.MADV_HUGEPAGE) // a wish; without it the cache is only slower
		s.segments[len(s.mappings)] = unsafe.Pointer(&m[0])
		s.mappings = append(s.mappings, m)
	}
	s.next++
	return s.next - 1, nil
}

func (s *slab) at(i uint32) *node {
	within := uintptr(i) & (1<<s.shift - 1)
	return (*node)(unsafe.Add(s.segments[i>>s.shift], within*s.geo.frame))
}

func (s *slab) close() {
	for _, m := range s.mappings {
		_ = unix.Munmap(m)
	}
	s.mappings, s.segments, s.free = nil, nil, nil
}

// page returns the page in nd's frame.
func (c *cache) page(nd *node) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nd), c.geo(nd).page)), c.blockSize)
}

// boundsRoom returns where the bounds of a parent are.
func (c *cache) boundsRoom(nd *node) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nd), c.parents.geo.bounds)), boundsBytes)
}

// setBounds notes between which keys all keys below a parent are. An empty hi is no bound.
func (c *cache) setBounds(nd *node, lo, hi []byte) {
	p := c.boundsRoom(nd)
	putString(p, putString(p, 0, lo), hi)
}

// bounds returns what setBounds has noted. hi is nil if there is no bound.
func (c *cache) bounds(nd *node) (lo, hi []byte) {
	p := c.boundsRoom(nd)
	lo = stringAt(p, 0)
	if hi = stringAt(p, 1+len(lo)); len(hi) == 0 {
		hi = nil
	}
	return lo, hi
}

func (c *cache) geo(nd *node) *geometry {
	if nd.height == 0 {
		return &c.leaves.geo
	}
	return &c.parents.geo
}

// sampled is how many entries the index of nd has.
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

// setBlock makes nd the page of a block, or of none, for all who look at it from now on.
func (nd *node) setBlock(block uint64) { atomic.StoreUint64(&nd.block, block) }

// is reports whether nd is the page that a parent knows by a block number. After the page has got its own number, parents that
// were made before still have the provisional one.
func (nd *node) is(block uint64) bool {
	return atomic.LoadUint64(&nd.block) == block || atomic.LoadUint64(&nd.born) == block
}

// touchIndex reads a little of each of the first cache lines behind a node, where its index is.
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

// blockOf returns the block number by which a parent knows child i.
func (c *cache) blockOf(nd *node, i int) uint64 { return atomic.LoadUint64(&c.blocks(nd)[i]) }

// keyAt returns the offset of key or separator i of nd.
func (c *cache) keyAt(nd *node, i int) int {
	sample := i / int(nd.stride)
	return skipStrings(c.page(nd), int(c.keyOffsets(nd)[sample]), i-sample*int(nd.stride))
}

// valueAt returns the offset of value i of a leaf.
func (c *cache) valueAt(nd *node, i int) int {
	sample := i / int(nd.stride)
	return skipStrings(c.page(nd), int(c.valueOffsets(nd)[sample]), i-sample*int(nd.stride))
}

// key returns key or separator i of nd.
func (c *cache) key(nd *node, i int) []byte { return stringAt(c.page(nd), c.keyAt(nd, i)) }

// value returns value i of a leaf.
func (c *cache) value(nd *node, i int) []byte { return stringAt(c.page(nd), c.valueAt(nd, i)) }

// record returns child record i of a parent.
func (c *cache) record(nd *node, i int) record {
	return getRecord(c.page(nd)[int(nd.second)+i*recordBytes:])
}

func (c *cache) putRecord(nd *node, i int, r record) {
	putRecord(c.page(nd)[int(nd.second)+i*recordBytes:], r)
	atomic.StoreUint64(&c.blocks(nd)[i], r.block)
}

// resolve returns child record i of a parent, with the number of the child's page if that has got it since the
// record was written.
func (c *cache) resolve(nd *node, i int) record {
	r := c.record(nd, i)
	if provisional(r.block) {
		if kid := c.node(c.children(nd)[i]); kid.block != r.block {
			r.block, r.oldest = kid.block, kid.oldest
			c.putRecord(nd, i, r)
		}
	}
	return r
}

// skipStrings returns the offset n strings behind at.
func skipStrings(p []byte, at, n int) int {
	for ; n > 0; n-- {
		at += 1 + int(p[at])
	}
	return at
}

// keyHead is the first 8 bytes of s as a number, padded with zeros: it orders as s
// does, except that equal heads say nothing.
func keyHead(s []byte) uint64 {
	if len(s) >= 8 {
		return binary.BigEndian.Uint64(s)
	}
	var h uint64
	for i, b := range s {
		h |= uint64(b) << (56 - 8*i)
	}
	return h
}

// index fills in nd and the index of a page that has been verified or built here. block, oldest and
// state are the caller's to set.
func (c *cache) index(nd *node, l layout) {
	nd.keys = uint32(l.keys)
	nd.height = uint8(l.height)
	nd.root = l.root
	nd.first, nd.second, nd.size = uint16(l.body), uint32(l.keysEnd), uint32(l.end)
	nd.stride = uint16(max(1, (l.keys+c.geo(nd).samples-1)/c.geo(nd).samples))
	p := c.page(nd)
	heads, stride := nd.heads(), int(nd.stride)
	sampleStrings(p, l.body, stride, c.keyOffsets(nd))
	nd.common = 0
	if l.keys > 0 {
		// The keys are in order: what the outer two share, all share.
		nd.common = uint8(commonPrefix(stringAt(p, l.body), c.key(nd, l.keys-1)))
	}
	for i, at := range c.keyOffsets(nd) {
		heads[i] = keyHead(stringAt(p, int(at))[nd.common:])
	}
	if l.height > 0 {
		for i := range c.children(nd) {
			c.setChild(nd, i, noNode)
			atomic.StoreUint64(&c.blocks(nd)[i], c.record(nd, i).block)
		}
		return
	}
	sampleStrings(p, l.keysEnd, stride, c.valueOffsets(nd))
}

// sampleStrings sets offsets to those of every stride-th string from at on.
func sampleStrings(p []byte, at, stride int, offsets []uint32) {
	for i := range offsets {
		if i > 0 {
			at = skipStrings(p, at, stride)
		}
		offsets[i] = uint32(at)
	}
}
