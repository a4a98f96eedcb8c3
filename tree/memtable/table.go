package memtable

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"unsafe"

	"kivaloo/tree/offheap"
)

// Pos is a position in a Table: everything that was added before it. Positions only grow.
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
// Entries follow each other within a segment. Where one does not fit, the rest of the segment stays
// unused, and kind says so if there is room for a header.
//
// Until an entry is appended its owner may change its value and its kind: readers do not look at
// either before the entry is durable. They do look at the older position, which never changes.
const (
	headerBytes = 8
	kindAt      = 6

	unit         = 4 // bytes: positions count units, so 32 bits reach 16 GiB
	segmentBytes = offheap.SegmentBytes
	segmentUnits = segmentBytes / unit
	maxSegments  = 1 << 12

	maxEntryUnits = (headerBytes + 2*255 + unit - 1) / unit

	// MaxBytes is how much a Table holds at most. Add panics beyond it: callers stop long before.
	MaxBytes = segmentBytes * maxSegments
)

type kind uint8

const (
	noEntry kind = iota // the rest of the segment is unused
	value
	tombstone
	dead // replaced before it was appended, or its append failed
)

// Table holds the changes that were added to it since it was made.
//
// Invariants:
//  1. durable <= appended <= tip.
//  2. The slot of a key holds its newest entry that is not dead; older positions fall along a chain.
//  3. Of the entries between appended and tip that are not dead, no two are of the same key.
//  4. An entry before durable does not change, and is dead only if a reader can never reach it.
type Table struct {
	limit    int // bytes of entries at which it counts as full
	tip      Pos
	appended Pos
	durable  atomic.Uint32
	frozen   bool
	entries  int // added and not dead

	segments [maxSegments]unsafe.Pointer // written before an entry in them can be found
	memory   []offheap.Memory
	index    atomic.Pointer[index]
	seed     maphash.Seed

	sorting sync.Mutex // held while runs are added
	runs    atomic.Pointer[runs]
}

// New returns an empty table that is full at about limit bytes of entries. Tables that are asked
// for the same keys share a seed, so that a key is hashed once.
func New(limit int, seed maphash.Seed) (*Table, error) {
	t := &Table{limit: limit, tip: 1, appended: 1, seed: seed}
	t.durable.Store(1)
	ix, err := newIndex(slotsFor(limit))
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

// Free gives the memory of t back. Nobody may read t afterwards.
func (t *Table) Free() {
	for ix := t.index.Load(); ix != nil; ix = ix.before {
		offheap.Free(ix.memory)
	}
	for _, m := range t.memory {
		offheap.Free(m)
	}
	t.memory = nil
}

// Hash returns what Touch, Get, Set and Delete take for a key.
func (t *Table) Hash(key []byte) uint64 { return maphash.Bytes(t.seed, key) }

// Touch loads the slot of a key with that hash. Touching many keys before the first Get has the
// processor wait for all their slots at once. The result is worthless but must be used.
func (t *Table) Touch(hash uint64) uint64 {
	ix := t.index.Load()
	return ix.load(hash & ix.mask)
}

// Bytes is how much memory the entries and the index take.
func (t *Table) Bytes() int { return int(t.tip)*unit + len(t.index.Load().memory.Bytes()) }

// Len is how many changes t holds: every version of a key counts that was once appended.
func (t *Table) Len() int { return t.entries }

// Empty reports whether nothing has been added, or nothing of it was kept. Like Len, it is for the
// owner alone.
func (t *Table) Empty() bool { return t.entries == 0 }

// Full reports whether t should take no more.
func (t *Table) Full() bool {
	return int(t.tip)*unit >= t.limit || t.index.Load().full()
}

// Limit is how many bytes of entries t was made for.
func (t *Table) Limit() int { return t.limit }

// Fill is how full t is, 0 to 1 and, beyond its limit, more.
func (t *Table) Fill() float64 { return float64(int(t.tip)*unit) / float64(t.limit) }

// Tip is the position behind everything that was added, Durable that behind what readers see.
func (t *Table) Tip() Pos     { return t.tip }
func (t *Table) Durable() Pos { return Pos(t.durable.Load()) }

// Pending reports whether something was added and not yet appended.
func (t *Table) Pending() bool { return t.tip > t.appended }

// Settled reports whether all that was added is durable.
func (t *Table) Settled() bool { return t.tip == t.Durable() }

// Freeze ends the adding. Only owners care: readers see no difference.
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

// after returns the position behind the entry at p.
func (t *Table) after(p Pos) Pos {
	e := t.entry(p)
	return p + entryUnits(keyLen(e), valLen(e))
}

// next returns the first position at or behind p where an entry is, or end if there is none before.
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
	m, err := offheap.Alloc(segmentBytes)
	if err != nil {
		return err
	}
	t.segments[len(t.memory)] = m.Base()
	t.memory = append(t.memory, m)
	return nil
}

// Reserve makes sure that n further changes, with so many bytes of keys and values, do not fail.
func (t *Table) Reserve(n, bytes int) error {
	for ix := t.index.Load(); uint64(ix.used+n) > ix.mask/4*3; ix = t.index.Load() {
		if err := t.growIndex(); err != nil {
			return err
		}
	}
	units := bytes/unit + n*(headerBytes/unit+1)
	units += units/segmentUnits*maxEntryUnits + maxEntryUnits // at the ends of segments
	for int(t.tip)+units > len(t.memory)*segmentUnits {
		if err := t.addSegment(); err != nil {
			return err
		}
	}
	return nil
}

// Set adds that key holds val, Delete that it is absent; hash is that of the key. They fail only
// when the system has no memory.
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
	if p >= t.appended { // of the commit that is being gathered: it takes the place of that one
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

// Found says what a Table knows of a key.
type Found uint8

const (
	Unknown Found = iota // the key has not changed
	Present
	Absent // the key was deleted
)

// Get returns what t says of a key at a position: Durable for readers, Tip for the owner. The value
// aliases the table. hash is that of the key.
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

// EachPending calls f with the changes between appended and tip, in the order of arrival.
func (t *Table) EachPending(f func(Change)) {
	for p := t.next(t.appended, t.tip); p < t.tip; p = t.next(t.after(p), t.tip) {
		e := t.entry(p)
		if k := kindOf(e); k != dead {
			f(Change{Key: keyOf(e), Value: valueOf(e), Deleted: k == tombstone})
		}
	}
}

// Append notes that everything up to the tip has been handed to the store.
func (t *Table) Append() { t.appended = t.tip }

// Commit makes what was appended visible to readers: it is durable.
func (t *Table) Commit() { t.durable.Store(uint32(t.appended)) }

// Truncate takes out everything that is not durable.
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
