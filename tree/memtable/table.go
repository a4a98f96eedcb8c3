package memtable

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"unsafe"

	"kivaloo/tree/offheap"
)

// Pos is a position in a Table. It stands for everything added before it. Positions only grow.
type Pos uint32

// An entry is one change of one key:
//
//	offset size
//	0      4    position of the next older entry of the key, 0 for none
//	4      1    length of the key
//	5      1    length of the value
//	6      1    kind
//	7      1    unused
//	8           key, value, up to 3 bytes of padding
//
// Entries follow each other within a segment. If the next one does not fit, the rest of the segment
// stays unused. A header of kind noEntry marks it, if there is space for one.
//
// Until an entry is appended, the owner of the table may change its value and kind. Readers look at
// these only once the entry is durable. They do read the older position, which never changes.
const (
	headerBytes = 8
	kindAt      = 6

	unit         = 4 // bytes: positions count units, so 32 bits reach 16 GiB
	segmentBytes = offheap.SegmentBytes
	segmentUnits = segmentBytes / unit
	maxSegments  = 1 << 12

	maxEntryUnits = (headerBytes + 2*255 + unit - 1) / unit

	// MaxBytes is the most that a Table can hold. Add panics beyond it; callers must stop long
	// before.
	MaxBytes = segmentBytes * maxSegments
)

type kind uint8

const (
	noEntry kind = iota // the rest of the segment is unused
	value
	tombstone
	dead // replaced before it was appended, or its append failed
)

// Table holds changes of keys, in the order in which they were added.
//
// Invariants:
//  1. durable <= appended <= tip.
//  2. The slot of a key holds its newest entry that is not dead; older positions fall along a
//     chain.
//  3. Of the entries between appended and tip that are not dead, no two are of the same key.
//  4. An entry before durable does not change, and is dead only if a reader can never reach it.
type Table struct {
	limit    int // bytes of entries at which it is full
	tip      Pos
	appended Pos
	durable  atomic.Uint32
	frozen   bool
	entries  int // entries added, without dead ones

	pool     *Pool
	segments [maxSegments]unsafe.Pointer // written before any entry in them can be found
	memory   []offheap.Memory
	index    atomic.Pointer[index]
	seed     maphash.Seed

	sorting sync.Mutex // held while runs are added
	runs    atomic.Pointer[runs]
}

// New returns an empty table that is full at about limit bytes of entries. Tables that are searched
// for the same keys share a seed, so that a key is hashed only once.
func (p *Pool) New(limit int, seed maphash.Seed) (*Table, error) {
	t := &Table{pool: p, limit: limit, tip: 1, appended: 1, seed: seed}
	t.durable.Store(1)
	ix, err := p.newIndex(slotsFor(limit))
	if err != nil {
		return nil, err
	}
	t.index.Store(ix)
	t.runs.Store(&runs{to: 1})
	if err := t.addSegment(); err != nil {
		t.Free()
		return nil, err
	}
	return t, nil
}

// Free returns the memory of t to its pool. Nobody may read t afterwards.
func (t *Table) Free() {
	for _, m := range t.memory {
		t.pool.keepSegment(m, t.limit)
	}
	for ix := t.index.Load(); ix != nil; ix = ix.before {
		t.pool.keepIndex(ix.memory)
	}
	t.memory = nil
}

// Hash returns the hash of a key for Touch, Get, Set and Delete.
func (t *Table) Hash(key []byte) uint64 { return maphash.Bytes(t.seed, key) }

// Touch prefetches the index slot of a key with this hash. Touching many keys before the first Get
// makes their cache misses overlap. The result is meaningless, but must be used, so that the
// compiler keeps the load.
func (t *Table) Touch(hash uint64) uint64 {
	ix := t.index.Load()
	return ix.load(hash & ix.mask)
}

// Bytes returns how much memory the entries and the index use.
func (t *Table) Bytes() int { return int(t.tip)*unit + len(t.index.Load().memory.Bytes()) }

// Written returns the bytes of entries added so far. Undurable returns how many of them are not
// durable yet, and so invisible to readers.
func (t *Table) Written() int   { return int(t.tip) * unit }
func (t *Table) Undurable() int { return int(t.tip-t.Durable()) * unit }

// Len returns how many changes t holds. A key counts once for each of its appended versions.
func (t *Table) Len() int { return t.entries }

// Empty reports whether t holds no changes. Like Len, only the owner may call it.
func (t *Table) Empty() bool { return t.entries == 0 }

// Full reports whether t should take no more changes.
func (t *Table) Full() bool {
	return int(t.tip)*unit >= t.limit || t.index.Load().full()
}

// Extend raises the limit of t by n bytes.
func (t *Table) Extend(n int) { t.limit += n }

// Limit returns the bytes of entries at which t counts as full.
func (t *Table) Limit() int { return t.limit }

// Fill returns how full t is: 1 at its limit, more above it.
func (t *Table) Fill() float64 { return float64(int(t.tip)*unit) / float64(t.limit) }

// Tip returns the position after everything added. Durable returns the position after everything
// that readers see.
func (t *Table) Tip() Pos     { return t.tip }
func (t *Table) Durable() Pos { return Pos(t.durable.Load()) }

// Pending reports whether anything was added and not yet appended.
func (t *Table) Pending() bool { return t.tip > t.appended }

// Settled reports whether everything added is durable.
func (t *Table) Settled() bool { return t.tip == t.Durable() }

// Freeze forbids further changes. Readers see no difference.
func (t *Table) Freeze() { t.frozen = true }

// entry returns the address of an entry.
func (t *Table) entry(p Pos) unsafe.Pointer {
	return unsafe.Add(t.segments[p/segmentUnits], uintptr(p%segmentUnits)*unit)
}

func older(e unsafe.Pointer) Pos   { return *(*Pos)(e) }
func keyLen(e unsafe.Pointer) int  { return int(*(*uint8)(unsafe.Add(e, 4))) }
func valLen(e unsafe.Pointer) int  { return int(*(*uint8)(unsafe.Add(e, 5))) }
func kindOf(e unsafe.Pointer) kind { return *(*kind)(unsafe.Add(e, kindAt)) }

func setKind(e unsafe.Pointer, k kind) { *(*kind)(unsafe.Add(e, kindAt)) = k }

func keyOf(e unsafe.Pointer) []byte {
	n := keyLen(e)
	return unsafe.Slice((*byte)(unsafe.Add(e, headerBytes)), n)[:n:n]
}

func valueOf(e unsafe.Pointer) []byte {
	n := valLen(e)
	return unsafe.Slice((*byte)(unsafe.Add(e, headerBytes+keyLen(e))), n)[:n:n]
}

func entryUnits(keyLen, valLen int) Pos {
	return Pos((headerBytes + keyLen + valLen + unit - 1) / unit)
}

// after returns the position after the entry at p.
func (t *Table) after(p Pos) Pos {
	e := t.entry(p)
	return p + entryUnits(keyLen(e), valLen(e))
}

// next returns the position of the first entry at or after p, or end if there is none before end.
func (t *Table) next(p, end Pos) Pos {
	for p < end {
		left := segmentUnits - p%segmentUnits
		if left >= headerBytes/unit && kindOf(t.entry(p)) != noEntry {
			return p
		}
		p += left
	}
	return end
}

// addSegment adds memory for entries.
func (t *Table) addSegment() error {
	m, err := t.pool.segment()
	if err != nil {
		return err
	}
	t.segments[len(t.memory)] = m.Base()
	t.memory = append(t.memory, m)
	return nil
}

// Reserve allocates memory for n more changes with this many bytes of keys and values. These
// changes then cannot fail.
func (t *Table) Reserve(n, bytes int) error {
	for ix := t.index.Load(); uint64(ix.used+n) > ix.mask/4*3; ix = t.index.Load() {
		if err := t.growIndex(); err != nil {
			return err
		}
	}
	units := bytes/unit + n*(headerBytes/unit+1)
	units += units/segmentUnits*maxEntryUnits + maxEntryUnits // unused space at the ends of segments
	for int(t.tip)+units > len(t.memory)*segmentUnits {
		if err := t.addSegment(); err != nil {
			return err
		}
	}
	return nil
}

// Set records that key has the value val. Delete records that key is absent. hash is the key's.
// They fail only when the system is out of memory.
func (t *Table) Set(hash uint64, key, val []byte) error { return t.add(hash, key, val, value) }
func (t *Table) Delete(hash uint64, key []byte) error   { return t.add(hash, key, nil, tombstone) }

func (t *Table) add(hash uint64, key, val []byte, k kind) error {
	if t.frozen {
		panic("memtable: a change of a frozen table")
	}
	ix := t.index.Load()
	if ix.full() {
		if err := t.growIndex(); err != nil {
			return err
		}
		ix = t.index.Load()
	}
	at, p := t.find(ix, hash, key)
	before := p
	if p >= t.appended { // in the commit being collected: replace that entry
		e := t.entry(p)
		if valLen(e) == len(val) {
			copy(valueOf(e), val)
			setKind(e, k)
			return nil
		}
		before = older(e)
	}
	q, err := t.place(entryUnits(len(key), len(val)))
	if err != nil {
		return err
	}
	e := t.entry(q)
	*(*Pos)(e) = before
	*(*uint8)(unsafe.Add(e, 4)), *(*uint8)(unsafe.Add(e, 5)) = uint8(len(key)), uint8(len(val))
	setKind(e, k)
	copy(keyOf(e), key)
	copy(valueOf(e), val)
	if p >= t.appended {
		setKind(t.entry(p), dead)
	} else {
		t.entries++
	}
	if p == 0 {
		ix.used++
	}
	ix.store(at, slotOf(hash, q))
	return nil
}

// place makes room for an entry and returns its position.
func (t *Table) place(units Pos) (Pos, error) {
	p := t.tip
	if left := segmentUnits - p%segmentUnits; left < units {
		if left >= headerBytes/unit {
			setKind(t.entry(p), noEntry)
		}
		p += left
	}
	if int(p/segmentUnits) == len(t.memory) {
		if err := t.addSegment(); err != nil {
			return 0, err
		}
	}
	t.tip = p + units
	return p, nil
}

// Found is the state of a key in a Table.
type Found uint8

const (
	Unknown Found = iota // the table has no change of the key
	Present
	Absent // the key was deleted
)

// Get returns the state of a key at a position: Durable for readers, Tip for the owner. The value
// aliases the table. hash is the key's.
func (t *Table) Get(hash uint64, key []byte, at Pos) ([]byte, Found) {
	_, p := t.find(t.index.Load(), hash, key)
	for p >= at {
		p = older(t.entry(p))
	}
	if p == 0 {
		return nil, Unknown
	}
	e := t.entry(p)
	if kindOf(e) == tombstone {
		return nil, Absent
	}
	return valueOf(e), Present
}

// Change is one change. Key and value alias the table.
type Change struct {
	Key, Value []byte
	Deleted    bool
}

// EachPending calls f with the changes between appended and tip, in order of arrival.
func (t *Table) EachPending(f func(Change)) {
	for p := t.next(t.appended, t.tip); p < t.tip; p = t.next(t.after(p), t.tip) {
		e := t.entry(p)
		if k := kindOf(e); k != dead {
			f(Change{Key: keyOf(e), Value: valueOf(e), Deleted: k == tombstone})
		}
	}
}

// Each calls f with the changes from one position to another, in order of arrival, until f returns
// false. They must be durable.
func (t *Table) Each(from, to Pos, f func(Change) bool) {
	for p := t.next(from, to); p < to; p = t.next(t.after(p), to) {
		e := t.entry(p)
		if k := kindOf(e); k != dead && !f(Change{Key: keyOf(e), Value: valueOf(e), Deleted: k == tombstone}) {
			return
		}
	}
}

// Start is the position of the first change.
const Start Pos = 1

// PosBytes is the number of bytes per unit of a position.
const PosBytes = unit

// Append records that everything up to the tip has been handed to the store.
func (t *Table) Append() { t.appended = t.tip }

// Commit records that all appended entries are durable. That makes them visible to readers.
func (t *Table) Commit() { t.durable.Store(uint32(t.appended)) }

// Truncate removes all changes that are not durable.
func (t *Table) Truncate() {
	durable := t.Durable()
	ix := t.index.Load()
	for p := t.next(durable, t.tip); p < t.tip; p = t.next(t.after(p), t.tip) {
		e := t.entry(p)
		if kindOf(e) == dead {
			continue
		}
		setKind(e, dead)
		t.entries--
		hash := t.Hash(keyOf(e))
		at, newest := t.find(ix, hash, keyOf(e))
		for newest >= durable {
			newest = older(t.entry(newest))
		}
		ix.store(at, max(slotOf(hash, newest), vacant))
	}
	t.appended = t.tip
	t.Commit()
}
