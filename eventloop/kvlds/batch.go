package kvlds

import (
	"sync"

	"kivaloo/tree"
)

// batch is a tree.Batch with the memory that its requests' keys and values are in.
//
// Ownership: the session fills it on the loop, then the tree has it until Release.
type batch struct {
	tree.Batch
	data  []byte // never grows beyond its capacity, so slices of it stay good
	large bool
}

var smallBatches = sync.Pool{New: func() any { return newBatch(smallRequests, smallDataBytes, false) }}
var largeBatches = sync.Pool{New: func() any { return newBatch(largeRequests, largeDataBytes, true) }}

func newBatch(requests, dataBytes int, large bool) *batch {
	b := &batch{data: make([]byte, 0, dataBytes), large: large}
	b.Requests = make([]tree.Request, 0, requests)
	b.Owner = b
	return b
}

// getBatch returns an empty batch.
func getBatch(large bool) *batch {
	if large {
		return largeBatches.Get().(*batch)
	}
	return smallBatches.Get().(*batch)
}

// putBatch makes b ready for another use.
func putBatch(b *batch) {
	clear(b.Requests)
	b.Requests, b.data, b.Client, b.Pushed = b.Requests[:0], b.data[:0], nil, 0
	if b.large {
		largeBatches.Put(b)
	} else {
		smallBatches.Put(b)
	}
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
