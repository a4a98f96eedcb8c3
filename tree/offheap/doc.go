// Package offheap is internal to kivaloo: other programs use package kivaloo.
//
// It hands out memory outside the Go heap: the garbage collector neither scans nor
// counts it. Page frames and memtables live there. Such memory must not hold Go pointers.
//
// Under -race the same calls return memory of the Go heap, because the race detector ignores
// accesses to memory that it did not see allocated.
package offheap

// Reading order: offheap.go, mmap.go, heap.go.
