//go:build unix && !race

package offheap

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// hugePageBytes is the size of a huge page on amd64 and arm64. A mapping of whole huge pages can
// use them.
const hugePageBytes = 2 << 20

// SegmentBytes is how much memory to request at a time: whole huge pages.
const SegmentBytes = 2 * hugePageBytes

// Reusable says whether an owner may keep memory for its next use instead of freeing it.
const Reusable = true

// Alloc returns size bytes of zeros; size must be at least 1. It fails if the system cannot map
// more memory.
func Alloc(size int) (Memory, error) {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return Memory{}, fmt.Errorf("map %d bytes of memory: %w", size, err)
	}
	if size >= hugePageBytes {
		wantHugePages(b)
	}
	inUse.Add(int64(size))
	return Memory{b}, nil
}

// Free returns m to the system. Reading it afterwards crashes the process.
func Free(m Memory) {
	if m.bytes != nil {
		inUse.Add(-int64(len(m.bytes)))
		_ = unix.Munmap(m.bytes)
	}
}
