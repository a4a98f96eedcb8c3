package offheap

import (
	"sync/atomic"
	"unsafe"
)

// inUse counts the bytes allocated and not freed.
var inUse atomic.Int64

// InUse returns how many bytes are allocated and not freed.
func InUse() int64 { return inUse.Load() }

// Memory is a zeroed piece of memory, aligned to at least 64 bytes. Its owner must call Free once,
// when nobody can read it any more.
type Memory struct {
	bytes []byte
}

// Base returns the address of the first byte. It is nil for the zero Memory.
func (m Memory) Base() unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(m.bytes)) }

// Bytes returns the whole memory.
func (m Memory) Bytes() []byte { return m.bytes }
