// Package offheap hands out memory outside the Go heap: the garbage collector neither scans nor
// counts it. Page frames and memtables live there. Such memory must not hold Go pointers.
//
// Under -race the same calls return memory of the Go heap, because the race detector ignores
// accesses to memory that it did not see allocated.
//
// Reading order: offheap.go, mmap.go, heap.go.
package offheap
