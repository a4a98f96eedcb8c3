package simfs

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
)

// sectorBytes is what a disk writes all of or nothing.
const sectorBytes = 512

// Crash returns what a power cut at this moment could leave. rng decides what. The hook,
// the faults and the locks are gone.
func (s *FS) Crash(rng *rand.Rand) *FS {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := maps.Clone(s.durable)
	keep := mood(rng)
	for _, c := range slices.Concat(s.lost, s.unsynced) {
		if keep() {
			c.apply(names)
		}
	}
	after := New(s.dir)
	after.capacity = s.capacity
	for _, name := range slices.Sorted(maps.Keys(names)) {
		after.Put(name, names[name].survive(rng))
	}
	return after
}

// mood returns a coin for the fate of several things: it always falls on one side,
// always on the other, or either way. A crash that takes all or nothing is more likely
// than independent coins would have it.
func mood(rng *rand.Rand) func() bool {
	switch rng.IntN(4) {
	case 0:
		return func() bool { return true }
	case 1:
		return func() bool { return false }
	}
	return func() bool { return rng.IntN(2) == 0 }
}

// survive returns what could be left of a file: what is on disk, with some of the sectors of
// what the process sees, and a length anywhere between the two.
func (n *inode) survive(rng *rand.Rand) []byte {
	if bytes.Equal(n.data, n.durable) {
		return n.durable
	}
	size := len(n.durable)
	switch low, high := min(size, len(n.data)), max(size, len(n.data)); rng.IntN(3) {
	case 0: // the old length
	case 1:
		size = len(n.data)
	case 2:
		size = low + rng.IntN(high-low+1)
	}
	left := make([]byte, size) // zeros: space that was allocated and never written
	copy(left, n.durable)
	keep := mood(rng)
	for at := 0; at < size; at += sectorBytes {
		end := min(at+sectorBytes, size)
		if at < len(n.data) && keep() {
			clear(left[at:end])
			copy(left[at:end], n.data[at:])
		}
	}
	return left
}

// Kill returns what the death of the process at this moment leaves: everything as it is,
// including what a later Crash can take. The hook, the faults and the locks are gone.
func (s *FS) Kill() *FS {
	s.mu.Lock()
	defer s.mu.Unlock()
	after := New(s.dir)
	after.capacity = s.capacity
	copies := make(map[*inode]*inode)
	clone := func(n *inode) *inode {
		if n == nil {
			return nil
		}
		if copies[n] == nil {
			c := *n
			c.data, c.durable, c.dirty = slices.Clone(n.data), slices.Clone(n.durable), slices.Clone(n.dirty)
			copies[n] = &c
		}
		return copies[n]
	}
	for name, n := range s.names {
		after.names[name] = clone(n)
	}
	for name, n := range s.durable {
		after.durable[name] = clone(n)
	}
	cloneAll := func(changes []change) []change {
		changes = slices.Clone(changes)
		for i := range changes {
			changes[i].node = clone(changes[i].node)
		}
		return changes
	}
	after.lost, after.unsynced = cloneAll(s.lost), cloneAll(s.unsynced)
	return after
}

// DropCache has the process see what is on disk, as when the system needs its memory for something else. What is written
// and not yet synced stays. What a Sync that failed should have written does not: the system takes it for clean.
func (s *FS) DropCache() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.names {
		n.dropCache(0, len(n.data))
	}
}
