//go:build race || !unix

package offheap

import "unsafe"

// SegmentBytes is how much memory to request at a time. It is small, because tests have many small
// tables.
const SegmentBytes = 256 << 10

// Reusable says whether an owner may keep memory for its next use. It is false here, because Free
// detects readers that are still active.
const Reusable = false

// Alloc returns size bytes of zeros, 1 or more.
func Alloc(size int) (Memory, error) {
	inUse.Add(int64(size))
	lines := make([][8]uint64, (size+63)/64) // Go aligns an allocation of this size to 64 bytes
	return Memory{unsafe.Slice((*byte)(unsafe.Pointer(&lines[0])), size)}, nil
}

// Free overwrites m, so that the race detector sees a conflict with any remaining reader.
func Free(m Memory) {
	inUse.Add(-int64(len(m.bytes)))
	clear(m.bytes)
}
