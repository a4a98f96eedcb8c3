//go:build race || !unix

package offheap

import "unsafe"

// SegmentBytes is how much memory to ask for at a time: little, because tests have many small
// tables.
const SegmentBytes = 256 << 10

// Reusable says whether an owner may keep memory for its next use: not here, where Free shows who
// still reads.
const Reusable = false

// Alloc returns size bytes of zeros, 1 or more.
func Alloc(size int) (Memory, error) {
	inUse.Add(int64(size))
	lines := make([][8]uint64, (size+63)/64) // of this size Go aligns them to 64 bytes
	return Memory{unsafe.Slice((*byte)(unsafe.Pointer(&lines[0])), size)}, nil
}

// Free overwrites m, so that the race detector sees a conflict with anybody who still reads it.
func Free(m Memory) {
	inUse.Add(-int64(len(m.bytes)))
	clear(m.bytes)
}
