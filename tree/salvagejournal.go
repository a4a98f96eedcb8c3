package tree

import (
	"kivaloo/tree/journal"
	"kivaloo/tree/page"
)

// chain follows the journal through the blocks of a damaged store, in order. It knows from which
// commit on the journal is complete.
type chain struct {
	epoch  int    // how often commit numbers have started again at 1
	begun  bool   // since is valid
	since  uint64 // every commit from this one to last is present
	last   uint64 // number of the last whole commit; 0: none in this epoch
	needed uint64 // a commit with this number is known to have existed
	broken uint64 // first block after last that may belong to a lost commit; noBlock: none

	record uint64 // block of the last flush record; noBlock: none yet
	lacks  uint64 // the commit that the record names; 1: its epoch is over
	seal   uint64 // block of the last seal; noBlock: none yet
	sealed uint64 // first block of the seal's append

	open      bool          // some pieces of a commit have been seen, but not the last
	first     uint64        // block of the commit's first piece
	next      journal.Block // the next piece expected
	payload   []byte        // of the pieces so far
	remnant   []byte        // payload of the last commit that lost its end
	remnantAt uint64        // block of its first piece
}

// newChain returns a chain that begins at a block: the first of the store, or the first after
// everything that a start would use.
func (s *salvager) newChain(from uint64) chain {
	c := chain{broken: noBlock, record: noBlock, seal: noBlock, lacks: 1}
	if from > s.store.Blocks().First {
		c.begun, c.since, c.last, c.lacks = true, s.root.start.seq, s.root.lastSeq, s.root.start.seq
	}
	return c
}

// cut ends an open commit whose next piece is missing. Its pieces become the remnant.
func (c *chain) cut() {
	if !c.open {
		return
	}
	c.open = false
	c.breaks(c.first)
	c.remnant, c.remnantAt = append(c.remnant[:0], c.payload...), c.first
}

// breaks records that a block may belong to a lost commit.
func (c *chain) breaks(at uint64) {
	if c.broken == noBlock {
		c.broken = at
	}
}

// unreadable passes an unreadable block. It may belong to a commit, but not directly after a flush
// record, because that block is a root.
func (c *chain) unreadable(at uint64) {
	c.cut()
	if c.record == noBlock || at != c.record+1 {
		c.breaks(at)
	}
}

// piece adds a piece of a commit, and reports whether the commit is now whole.
func (c *chain) piece(at uint64, b *journal.Block) (whole bool) {
	if b.Piece == 0 {
		c.cut()
		c.open, c.first, c.payload = true, at, c.payload[:0]
		c.next = journal.Block{Seq: b.Seq, Number: at, Pieces: b.Pieces}
	}
	if n := &c.next; !c.open || n.Number != at || n.Seq != b.Seq || n.Piece != b.Piece || n.Pieces != b.Pieces {
		c.cut()
		c.breaks(at)
		return false
	}
	c.payload = append(c.payload, b.Payload...)
	c.next.Number, c.next.Piece = at+1, b.Piece+1
	if c.next.Piece < b.Pieces {
		return false
	}
	c.open = false
	c.commit(b.Seq)
	return true
}

// commit records a whole commit. If it has the next number, the unreadable blocks before it held no
// lost commit.
func (c *chain) commit(seq uint64) {
	switch {
	case !c.begun || seq > c.last+1:
		c.since = seq
	case seq <= c.last:
		c.epoch++
		c.since, c.lacks = seq, 1
	}
	c.begun, c.last, c.broken = true, seq, noBlock
}

// flush records a flush record. Unreadable blocks in its append were pages, not commits.
func (c *chain) flush(at uint64, b *journal.Block) {
	c.cut()
	if c.broken != noBlock && c.broken >= b.First {
		c.broken = noBlock
	}
	c.record, c.lacks = at, b.Seq
}

// page records a page. If no root follows, its append is not whole.
func (c *chain) page(at uint64, p []byte) {
	c.cut()
	c.breaks(at)
	if seal, ok := page.ParseSeal(at, p); ok {
		c.seal, c.sealed = at, seal.First
	}
}

// recorded reports whether a flush record is directly before a root.
func (c *chain) recorded(root uint64) bool { return c.record != noBlock && root == c.record+1 }

// startOf returns the first commit that the tree of the last root lacks.
func (c *chain) startOf(root uint64) uint64 {
	if c.recorded(root) {
		return c.lacks
	}
	return firstAfter(root)
}

// root records a root, and reports whether the commits that its tree lacks are known. Without a
// flush record it lacks none, whatever the journal before it says, and the next commit has the
// number firstAfter. But a partial root always had a record, so without one nothing is known.
func (c *chain) root(at uint64, partial bool) (known bool) {
	c.cut()
	switch {
	case c.recorded(at):
	case partial:
		c.breaks(at)
		return false
	default:
		c.epoch++
		c.begun, c.since, c.last, c.broken, c.lacks = true, firstAfter(at), firstAfter(at)-1, noBlock, firstAfter(at)
	}
	return true
}

// end ends the chain after the last block. If a start would use root, its last commit is known, and
// none was lost after it.
func (c *chain) end(root *Root) {
	c.cut()
	if root.Page != nil {
		c.broken, c.needed = noBlock, root.lastSeq
	}
}

// completes reports whether the journal has every change made since a leaf was written.
func (c *chain) completes(l *stray) bool {
	if c.broken != noBlock || l.epoch != c.epoch || !l.dated {
		return false
	}
	return l.start > max(c.last, c.needed) || l.start >= c.since && c.last >= c.needed
}

// replayOn replays the journal's changes of the keys in some parts. complete says for which parts
// the journal is complete. Those parts get no changes from commits that are not whole.
func (s *salvager) replayOn(parts []part, complete []bool) error {
	if len(parts) == 0 {
		return nil
	}
	end := s.store.Blocks().Next
	if len(s.root.commits) > 0 {
		end = s.root.commits[0].Block // these are replayed for every key
	}
	return s.replay(s.store.Blocks().First, end, func(key []byte, epoch int, at, seq uint64) bool {
		i, ok := partOf(parts, key)
		return ok && !(seq == 0 && complete[i]) && parts[i].leaf.lacks(epoch, at, seq)
	})
}

// replayTail takes the newer leaves and replays the journal behind the root. Then it replays what
// is left of a commit that is not whole. It leaves out changes that a newer leaf already has.
func (s *salvager) replayTail() error {
	for _, one := range s.newer {
		if _, err := s.takePart(nil, one, s.buffer(0)); err != nil {
			return err
		}
	}
	wants := func(key []byte, epoch int, at, seq uint64) bool {
		i, ok := partOf(s.newer, key)
		return !ok || s.newer[i].leaf.lacks(epoch, at, seq)
	}
	err := readCommits(s.ctx, s.store, s.root.commits, func(c journal.Commit, records []journal.Record) error {
		for _, r := range records {
			if !wants(r.Key, 0, c.Block, c.Seq) {
				continue
			}
			if err := s.change(r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.replay(s.root.last+1, s.store.Blocks().Next, wants)
}

// replay replays the wanted changes in some blocks of the journal. wants receives the key of a
// change, and the epoch, first block and number of its commit. The number is 0 if the commit is not
// whole.
func (s *salvager) replay(from, end uint64, wants func(key []byte, epoch int, at, seq uint64) bool) error {
	c := s.newChain(from)
	changes := func(payload []byte, at, seq uint64) error {
		for len(payload) > 0 {
			r, rest, err := journal.Next(payload)
			if err != nil {
				return nil // the rest is cut off
			}
			payload = rest
			if !wants(r.Key, c.epoch, at, seq) {
				continue
			}
			if err := s.change(r); err != nil {
				return err
			}
		}
		return nil
	}
	remnant := func() error {
		payload := c.remnant
		c.remnant = c.remnant[:0]
		return changes(payload, c.remnantAt, 0)
	}
	err := s.eachBlock(from, end, func(at uint64, p []byte, bad error) error {
		var b journal.Block
		if bad == nil {
			b, bad = journal.ParseAt(at, p)
		}
		whole := false
		switch {
		case bad == nil && b.Kind == journal.Piece:
			whole = c.piece(at, &b)
		case bad == nil:
			c.flush(at, &b)
		default:
			c.cut()
			if p == nil {
				break
			}
			l, ok, err := s.rootIn(at, p)
			if err != nil {
				return err
			}
			if ok {
				c.root(at, l.Partial)
			}
		}
		if err := remnant(); err != nil || !whole {
			return err
		}
		s.parts = true
		return changes(c.payload, c.first, b.Seq)
	})
	if err != nil {
		return err
	}
	c.cut()
	return remnant()
}

// lacks reports whether a leaf may lack the changes of a commit.
func (l *stray) lacks(epoch int, at, seq uint64) bool {
	return l == nil || l.misplaced || at > l.block || seq > 0 && l.epoch == epoch && seq >= l.start
}

// change passes on one change of the journal.
func (s *salvager) change(r journal.Record) error {
	s.report.Changes++
	if r.Deleted {
		return s.to.Delete(r.Key)
	}
	return s.to.Set(r.Key, r.Value)
}
