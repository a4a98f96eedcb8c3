package offheap

import (
	"sync/atomic"
	"unsafe"
)

// inUse counts the bytes that have been handed out and not given back.
var inUse atomic.Int64

// InUse returns how many bytes have been handed out and not given back.
func InUse() int64 { return inUse.Load() }

// Memory is a zeroed piece of memory, aligned to 64 bytes or more. Its owner calls Free once, when
// nobody can read it any more.
type Memory struct {
	bytes []byte
}

// Base is the address of the first byte; nil for the zero Memory.
func (m Memory) Base() unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(m.bytes)) }

// Bytes is all of it.
func (m Memory) Bytes() []byte { return m.bytes }
