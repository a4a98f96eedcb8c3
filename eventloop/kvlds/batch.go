package kvlds

import (
	"sync"
	"unsafe"

	"kivaloo/tree"
)

// batch is a tree.Batch with the memory for its requests' keys and values.
//
// Ownership: the session fills it on the loop. Then the tree has it until Release.
type batch struct {
	tree.Batch
	data []byte // never grows beyond its capacity, so slices of it stay valid
	size int    // index into batchSizes
}

// pools hold unused batches of each of batchSizes.
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

// putBatch makes b available for reuse.
func putBatch(b *batch) {
	clear(b.Requests)
	b.Requests, b.data, b.Client, b.Pushed = b.Requests[:0], b.data[:0], nil, 0
	pools[b.size].Put(b)
}

// memory returns how many bytes b uses.
func (b *batch) memory() int {
	return int(unsafe.Sizeof(*b)) + cap(b.Requests)*int(unsafe.Sizeof(tree.Request{})) + cap(b.data)
}

// fits reports whether there is room for a request with this many bytes of keys and values.
func (b *batch) fits(dataBytes int) bool {
	return len(b.Requests) < cap(b.Requests) && len(b.data)+dataBytes <= cap(b.data)
}

// keep copies s into the memory of the batch.
func (b *batch) keep(s []byte) []byte {
	start := len(b.data)
	b.data = append(b.data, s...)
	return b.data[start:len(b.data):len(b.data)]
}
