package memtable

import (
	"bytes"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"kivaloo/tree/offheap"
)

// index finds the newest entry of a key: a hash table with linear probing. A slot has the upper
// half of the key's hash and the position of the entry. It is 0 if it was never used. Slots are
// never freed, so a reader that probes meanwhile misses nothing durable.
//
// A table that stays within its limit needs only one index. If it outgrows the index, a larger one
// replaces it. The smaller one is kept for readers that still use it.
type index struct {
	memory offheap.Memory
	mask   uint64
	used   int    // slots
	before *index // the index that it replaced
}

const (
	// entryBytes is the assumed length of an entry when an index is created. It is short, so that
	// the index is rarely too small.
	entryBytes = 48

	minSlots = 1 << 10
)

// slotsFor returns the number of index slots for a table with this limit in bytes.
func slotsFor(limit int) int {
	return max(minSlots, 1<<bits.Len(uint(limit/entryBytes)))
}

func (ix *index) slot(i uint64) *uint64 {
	return (*uint64)(unsafe.Add(ix.memory.Base(), i*8))
}

func (ix *index) load(i uint64) uint64     { return atomic.LoadUint64(ix.slot(i)) }
func (ix *index) store(i uint64, s uint64) { atomic.StoreUint64(ix.slot(i), s) }

// full reports whether probing would become slow.
func (ix *index) full() bool { return uint64(ix.used) > ix.mask/4*3 }

const (
	tagMask = uint64(1<<32-1) << 32

	// vacant marks a slot that was used and is empty now. It must not be 0, because 0 ends probing.
	vacant = uint64(1) << 32
)

func slotOf(hash uint64, p Pos) uint64 { return hash&tagMask | uint64(p) }

// find returns the slot of a key and its newest entry. If the key has no entry, it returns the slot
// for it and 0.
func (t *Table) find(ix *index, hash uint64, key []byte) (at uint64, p Pos) {
	for at = hash & ix.mask; ; at = (at + 1) & ix.mask {
		s := ix.load(at)
		if s == 0 {
			return at, 0
		}
		if p = Pos(s); (s^hash)&tagMask == 0 && p != 0 && bytes.Equal(keyOf(t.entry(p)), key) {
			return at, p
		}
	}
}

// growIndex replaces the index by one of twice the size.
func (t *Table) growIndex() error {
	old := t.index.Load()
	ix, err := t.pool.newIndex(2 * int(old.mask+1))
	if err != nil {
		return err
	}
	ix.before = old
	for i := range old.mask + 1 {
		p := Pos(old.load(i))
		if p == 0 {
			continue
		}
		hash := t.Hash(keyOf(t.entry(p)))
		at := hash & ix.mask
		for ix.load(at) != 0 {
			at = (at + 1) & ix.mask
		}
		ix.store(at, slotOf(hash, p))
		ix.used++
	}
	t.index.Store(ix)
	return nil
}
