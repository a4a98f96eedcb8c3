package tree

import (
	"fmt"
	"math"

	"kivaloo/disk"
	"kivaloo/tree/journal"
)

// space keeps a reserve of free disk space, because freeing blocks needs space first. The pages of
// a flush must be written before its journal can be freed, and the live leaves of the oldest file
// must be copied to the end before that file can be freed. The reserve is for these two. A change
// that would use the reserve waits while space is being freed: the memtable is flushed at once, and
// old leaves are moved as fast as the disk allows. If nothing can be freed, the change fails.
//
//	disk  |  kept blocks: tree, garbage, journal  |  changes may take this  | cleaning | flush  |
//	       oldestNeeded                      next                                        owed
//
// A tree that does not know the free space keeps no reserve, for example if its store is behind a
// socket. Then it notices a full disk when an append fails.
type space struct {
	t *Tree

	room    uint64 // blocks that still fit, as of the last append or Free; 0: not known
	first   uint64 // the first block of the oldest file
	after   uint64 // the first block of the file after it; 0: not known
	pressed bool   // changes wait for room
	refusal error  // why changes failed; nil: there is room, or some is being made
}

// learn records the free space and the oldest files that a completed operation reports.
func (s *space) learn(op *disk.Op) {
	if op.Room > 0 {
		s.room = op.Room
	}
	if op.Kind == disk.Free && op.After > 0 {
		s.first, s.after = op.Next, op.After
	}
	if s.refusal != nil && s.fitsOne() {
		s.refusal = nil
	}
}

// flushCost returns the most blocks that a flush of this many changes and bytes can write.
func (s *space) flushCost(changes, bytes int) uint64 {
	if changes <= 0 {
		return 0
	}
	t := s.t
	size, n, height := t.cache.blockSize, uint64(changes), uint64(t.view.tree.height)
	pages := min(n, t.view.tree.nodes) + min(n*height, s.parents())
	pages += 2 * uint64(bytes/size+1) // pages that are split are half full at the least
	steps := pages/uint64(max(1, t.cfg.stepBytes/size)) + 1
	return pages + steps*(height+1+maxBehindChild)
}

// parents returns an upper estimate of the number of pages above the leaves. It assumes that all
// pages but the root have the same number of children, and doubles the result.
func (s *space) parents() uint64 {
	tree := s.t.view.tree
	if tree.height == 0 {
		return 0
	}
	below := float64(s.t.cache.node(tree.root).keys) + 1 // number of the root's children
	each := 1.0
	if tree.height > 1 {
		each = math.Pow(float64(tree.nodes)/below, 1/float64(tree.height-1))
	}
	total := 1.0
	for range tree.height - 1 {
		total += 2 * below
		below *= each
	}
	return min(uint64(total), tree.nodes)
}

// owed returns the most blocks that can still be written for the changes in the memtables and for
// this many more changes and bytes.
func (s *space) owed(changes, bytes int) uint64 {
	t := s.t
	total := uint64(rootBlocks) // for rewriting the root at a stop
	for i, table := range t.view.tables {
		n, b := table.Len(), table.Written()
		switch {
		case i == 0:
			n, b = n+changes, b+bytes
		case table == t.flush.table && n > 0:
			b -= int(float64(b) * float64(t.flush.done) / float64(n))
			n -= t.flush.done
		}
		total += s.flushCost(n, b)
	}
	if t.logs() {
		total += uint64((t.active().Undurable()+bytes)/(t.cache.blockSize-journal.HeaderBytes)) + 2
	}
	return total
}

// forCleaning returns how many blocks are reserved for moving the leaves of the oldest file and
// their parents. All of those leaves may be live. It includes the files of checksums.
func (s *space) forCleaning() uint64 {
	t := s.t
	sums := t.clean.used/64 + 16
	if !t.clean.on() {
		return sums
	}
	nodes := t.view.tree.nodes
	live := min(nodes, t.clean.used/8)
	if s.after > 0 {
		live = min(nodes, s.after-s.first)
	}
	return sums + min(live+live/8+nodes/16, (t.clean.used+s.room)/4) // the reserve must not take all of a small disk
}

// fits reports whether the reserve stays intact after this many more changes and bytes.
func (s *space) fits(changes, bytes int) bool {
	return s.room == 0 || s.owed(changes, bytes)+s.forCleaning() <= s.room
}

// admits reports whether the first waiting request, or atomic batch, may be decided. If not, it
// waits until space has been freed.
func (s *space) admits(refs []ref) bool {
	if s.room == 0 {
		return true
	}
	n, bytes := 0, 0
	for n < len(refs) && (n == 0 || refs[0].b.Atomic && refs[n].b == refs[0].b) {
		bytes += changeBytes(refs[n].request())
		n++
	}
	return s.fits(n, bytes)
}

// changeBytes is how much a request adds to a memtable, or to the journal.
func changeBytes(q *Request) int { return 12 + len(q.Key) + len(q.Value) }

// plenty reports whether there is space for this many changes of any size.
func (s *space) plenty(changes int) bool {
	return s.room == 0 || s.fits(changes, changes*(12+2*MaxStringBytes))
}

// working reports whether space is being freed.
func (s *space) working() bool {
	t := s.t
	switch {
	case t.appends.busy || t.clean.freeing:
		return true
	case t.now < t.flush.notBefore:
		return false
	case t.flush.state != flushIdle || len(t.view.tables) > 1 || t.active().Pending() || !t.active().Empty() && t.logs() && t.carriedWhy == nil:
		return true
	}
	return t.clean.gains()
}

// refuse returns why changes fail although the disk is not quite full.
func (s *space) refuse() error {
	err := fmt.Errorf("%w: %w: the last %d blocks are kept for the flush and for cleaning, and nothing can be freed now",
		ErrReadOnly, disk.ErrNoSpace, s.room)
	if s.refusal == nil && !s.fitsOne() { // otherwise only this batch is too long
		s.refusal = err
		s.t.cfg.Log.Error("disk is full: changes are refused", "blocks left", s.room, "for the flush", s.owed(0, 0),
			"for cleaning", s.forCleaning())
	}
	return err
}

// fitsOne reports whether there is space for one change of any size.
func (s *space) fitsOne() bool { return s.fits(1, 2*MaxStringBytes) }

// mayMove returns how many old leaves a step may move in addition to its changes. While changes
// wait for space, the leaves may take what is reserved for cleaning.
func (s *space) mayMove() int {
	if s.room == 0 {
		return math.MaxInt
	}
	t := s.t
	left := s.room / 2
	if !s.short() {
		left = s.room - s.owed(0, 0)
	}
	if !s.pressed {
		left -= min(left, s.forCleaning())
	} else if !t.clean.useful() {
		return 0
	}
	return int(left / (uint64(t.view.tree.height) + 1))
}

// front returns the first block after the oldest file. While changes wait for space, only leaves
// before it are moved: there may not be space to move more.
func (s *space) front() uint64 {
	if s.after == 0 {
		return maxBlock
	}
	return s.after
}

// short reports whether there is too little space to flush the memtables: another program has used
// the reserve.
func (s *space) short() bool { return s.room > 0 && s.owed(0, 0) > s.room }

// most returns the number of blocks that the tree, its garbage and its journal should take
// together: Config.MaxSpread times the tree, but less on a small disk.
func (s *space) most() float64 {
	t := s.t
	nodes := float64(t.view.tree.nodes)
	most := t.cfg.MaxSpread * nodes
	if s.room > 0 {
		left := float64(t.clean.used) + float64(s.room) - float64(s.owed(0, 0)+s.forCleaning()) - nodes/2
		most = min(most, max(left, minSpread*nodes))
	}
	return most
}
