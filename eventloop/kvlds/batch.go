package kvlds

import (
	"sync"
	"unsafe"

	"kivaloo/tree"
)

// batch is a tree.Batch with the memory that its requests' keys and values are in.
//
// Ownership: the session fills it on the loop, then the tree has it until Release.
type batch struct {
	tree.Batch
	data []byte // never grows beyond its capacity, so slices of it stay good
	size int    // index into batchSizes
}

// pools has unused batches of each of batchSizes.
var pools [len(batchSizes)]sync.Pool

// getBatch returns an empty batch of a size.
func getBatch(size int) *batch {
	if b, ok := pools[size].Get().(*batch); ok {
		return b
	}
	b := &batch{data: make([]byte, 0, batchSizes[size].dataBytes), size: size}
	b.Requests = make([]tree.Request, 0, batchSizes[size].requests)
	b.Owner = b
	return b
}

// putBatch makes b ready for another use.
func putBatch(b *batch) {
	clear(b.Requests)
	b.Requests, b.data, b.Client, b.Pushed = b.Requests[:0], b.data[:0], nil, 0
	pools[b.size].Put(b)
}

// memory returns how many bytes b takes.
func (b *batch) memory() int {
	return int(unsafe.Sizeof(*b)) + cap(b.Requests)*int(unsafe.Sizeof(tree.Request{})) + cap(b.data)
}

// fits reports whether a request with so many bytes of keys and values has room.
func (b *batch) fits(dataBytes int) bool {
	return len(b.Requests) < cap(b.Requests) && len(b.data)+dataBytes <= cap(b.data)
}

// keep copies s to where it stays for the life of the batch.
func (b *batch) keep(s []byte) []byte {
	start := len(b.data)
	b.data = append(b.data, s...)
	return b.data[start:len(b.data):len(b.data)]
}
