//go:build race

package offheap

import "unsafe"

// Alloc returns size bytes of zeros, 1 or more.
func Alloc(size int) (Memory, error) {
	lines := make([][8]uint64, (size+63)/64) // of this size Go aligns them to 64 bytes
	return Memory{unsafe.Slice((*byte)(unsafe.Pointer(&lines[0])), size)}, nil
}

// Free overwrites m, so that the race detector sees a conflict with anybody who still reads it.
func Free(m Memory) {
	for i := range m.bytes {
		m.bytes[i] = 0xdb
	}
}
