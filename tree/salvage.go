package tree

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"kivaloo/disk"
	"kivaloo/tree/journal"
	"kivaloo/tree/page"
)

// Salvage recovers what is left in a damaged store.
//
//	1. It finds the last whole root and the journal behind it, as a start does, and takes the
//	   leaves of that tree. Each unreadable page leaves a hole in the range of keys.
//	2. It fills holes from stray leaves: leaves of older trees, and leaves whose parent is
//	   unreadable. Each key gets the newest leaf that covers it (strays.go). Then it replays what
//	   the journal still has of these keys (salvagejournal.go). If the journal since that leaf is
//	   complete, nothing is missing.
//	3. Blocks after everything that a start would use belong to an append that was cut short or
//	   damaged. Leaves among them are newer than the tree, and replace its pairs.
//	4. It replays the journal behind the root.
//
// If no root can be trusted, all keys are one hole. Block numbers only grow, so of two leaves that
// cover the same key the one in the higher block is newer.

// Trust says how far the salvaged pairs of a range can be trusted.
type Trust uint8

const (
	Certain   Trust = iota // exactly what the last change left
	Unchecked              // nothing newer is missing if the page is intact, but no checksum confirms that
	Stale                  // the newest that is left, but changes may be missing and deleted keys may be back
	Lost                   // no page is left; there may be some changes from the journal
	trusts
)

func (t Trust) String() string { return [...]string{"certain", "unchecked", "stale", "lost"}[t] }

// SalvagedRange is the range of keys from Lo up to, but not including, Hi. A nil Hi means no bound.
type SalvagedRange struct {
	Lo, Hi []byte
	Trust  Trust
	Pairs  uint64 // number of pairs from pages, not counting changes from the journal
}

// Salvaged is the result of Salvage.
type Salvaged struct {
	Blocks  disk.Stretch    // the blocks that the store has, or is known to have had
	Root    uint64          // block of the root that was used, if Why is nil
	Why     error           // why no root could be trusted; nil: one could
	Cut     uint64          // blocks after the last whole append; if any, changes may be missing, and nothing is better than Stale
	Signs   []string        // signs in the files that newer blocks exist or existed; if any, nothing is better than Stale
	Ranges  []SalvagedRange // in order; if More is 0 they cover all keys
	More    uint64          // number of further ranges that are not in Ranges
	Pairs   [trusts]uint64  // number of pairs from pages, by Trust
	Changes uint64          // number of changes replayed from the journal
	Bad     uint64          // number of unusable blocks
	Mended  uint64          // number of blocks repaired by flipping one bit back
	Unfit   uint64          // pairs left out because a store with this block size cannot hold such long ones
}

// Certain reports whether the whole store was salvaged exactly.
func (s *Salvaged) Certain() bool {
	return s.More == 0 && len(s.Ranges) == 1 && s.Ranges[0].Trust == Certain
}

// SalvageTo receives the salvaged pairs. A later call for a key replaces earlier ones.
type SalvageTo interface {
	Set(key, value []byte) error
	Delete(key []byte) error
}

// ErrNothingLeft means that no page and no commit of the store can be read.
var ErrNothingLeft = fmt.Errorf("%w: no page of a store and no commit of its journal can be read", disk.ErrCorrupt)

// Salvage passes what is left in a damaged store to to. If progress is not nil, it is called with
// the number of blocks read and the number to read. The latter can grow.
func Salvage(ctx context.Context, store *disk.Remains, to SalvageTo, progress func(done, of uint64)) (*Salvaged, error) {
	return salvage(ctx, store, to, progress, salvageBytes)
}

func salvage(ctx context.Context, store *disk.Remains, to SalvageTo, progress func(done, of uint64), budget int) (*Salvaged, error) {
	s := &salvager{ctx: ctx, store: newRemains(store), to: to, progress: progress, budget: budget}
	if progress == nil {
		s.progress = func(uint64, uint64) {}
	}
	if err := s.run(); err != nil {
		return nil, err
	}
	return s.finish()
}

// salvager is one run of Salvage.
type salvager struct {
	ctx      context.Context
	store    *remains
	to       SalvageTo
	progress func(done, of uint64)
	done, of uint64 // number of blocks read, and to read
	budget   int    // bytes of memory for stray leaves, or holes

	root      Root           // Page is nil if no root can be trusted
	newer     []part         // of leaves after everything that root leads to, in order
	buffers   map[int][]byte // by height
	around    []byte         // a block near a root
	seal      []byte         // the beginning of a seal
	holes     []keyRange
	holeBytes int
	bad       blockSet
	// rootLeaves holds the first block of each root that is a leaf, by checksum. It is nil until
	// needed.
	rootLeaves map[uint32]uint64
	parts      bool // something was recovered
	report     Salvaged
}

// keyRange is the range of keys from lo up to, but not including, hi. A nil hi means no bound.
type keyRange struct{ lo, hi []byte }

// before reports whether a key is before the bound hi.
func before(key, hi []byte) bool { return hi == nil || bytes.Compare(key, hi) < 0 }

// lower returns the lower of two upper bounds.
func lower(a, b []byte) []byte {
	if a == nil || b != nil && bytes.Compare(b, a) < 0 {
		return b
	}
	return a
}

func (s *salvager) run() error {
	s.buffers, s.bad = make(map[int][]byte), make(blockSet)
	s.report.Signs = s.store.Signs()
	if err := s.findRoot(); err != nil {
		return err
	}
	if s.root.Page == nil {
		return s.fill([]keyRange{{lo: []byte{}}})
	}
	w := page.Want{Block: s.root.Block, Root: true, Lo: []byte{}}
	if err := s.checked(&w, s.root.Page, s.store.vouched(s.root.Block)); err != nil {
		return err
	}
	if err := s.fillHoles(); err != nil {
		return err
	}
	return s.replayTail()
}

// findRoot finds the root that a start would use. Blocks from the root's oldest leaf on must have
// existed. So blocks missing at the beginning are not mistaken for freed ones.
func (s *salvager) findRoot() error {
	if err := s.hadOldest(); err != nil {
		return err
	}
	root, err := s.wholeRoot()
	if err != nil {
		s.of += s.store.Blocks().Next - s.store.Blocks().First
		moved, failed := s.store.findMoved(s.step)
		if failed != nil {
			return failed
		}
		if moved {
			root, err = s.wholeRoot()
		}
	}
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	if err != nil {
		s.report.Why = err
		return nil
	}
	s.root, s.report.Root = root, root.Block
	s.report.Cut = s.store.Blocks().Next - (root.last + 1)
	s.of = root.Nodes + 2*s.report.Cut
	return s.findNewer()
}

// wholeRoot returns the root that a start would use, if the root and the journal behind it are
// whole.
func (s *salvager) wholeRoot() (Root, error) {
	root, err := FindRoot(s.store, slog.New(slog.DiscardHandler))
	if err == nil {
		err = s.checkPlace(&root)
	}
	if err == nil {
		err = readCommits(s.ctx, s.store, root.commits, func(journal.Commit, []journal.Record) error { return nil })
	}
	return root, err
}

// findNewer finds the leaves after everything that a start would use.
func (s *salvager) findNewer() error {
	f, err := s.scan([]keyRange{{lo: []byte{}}}, s.root.last+1)
	if err != nil {
		return err
	}
	if f.end != nil {
		s.report.Why, s.report.Root, s.report.Cut = fmt.Errorf("too many newer pages behind block %d", s.root.Block), 0, 0
		s.root = Root{}
		return nil
	}
	s.newer = slices.DeleteFunc(f.paint(f.holes, nil), func(p part) bool { return p.leaf == nil })
	return nil
}

// hadOldest finds the last root, and records that blocks from its oldest leaf on must have existed.
func (s *salvager) hadOldest() error {
	blocks := newBlockReader(s.store)
	for at := s.store.Blocks().Next; at > s.store.Blocks().First && s.ctx.Err() == nil; at-- {
		p, err := blocks.read(at - 1)
		if err != nil || isJournal(p) {
			continue
		}
		l, ok, err := s.rootIn(at-1, p)
		if err != nil {
			return err
		}
		if ok {
			s.store.Had(disk.Stretch{First: l.Oldest(p, at-1), Next: at})
			return nil
		}
	}
	return nil
}

// step counts a block about to be read.
func (s *salvager) step() error {
	if s.done++; s.done%progressBlocks == 0 {
		s.progress(s.done, max(s.done, s.of))
	}
	return s.ctx.Err()
}

// visit reads a page, and takes its pairs and those of all pages below it.
func (s *salvager) visit(w *page.Want, vouched bool) error {
	if err := s.step(); err != nil {
		return err
	}
	p := s.buffer(w.Height)
	if err := s.store.readPage(w.Block, p); err != nil {
		return s.hole(w, err)
	}
	return s.checked(w, p, vouched && s.store.vouched(w.Block))
}

// buffer returns the buffer for pages of a height.
func (s *salvager) buffer(height int) []byte {
	if s.buffers[height] == nil {
		s.buffers[height] = make([]byte, s.store.Info().BlockSize)
	}
	return s.buffers[height]
}

// checked takes the pairs of a page in memory, and those of all pages below it.
func (s *salvager) checked(w *page.Want, p []byte, vouched bool) error {
	l, err := w.Verify(p)
	if err != nil {
		return s.hole(w, err)
	}
	s.parts = true
	if l.Height == 0 {
		return s.outsideNewer(keyRange{w.Lo, w.Hi}, func(r keyRange) error { return s.take(r, p, l, s.trust(true, vouched)) })
	}
	separators, err := s.separators(w.Block, p, l)
	if err != nil {
		return err
	}
	kidLo := w.Lo
	for i := 0; i <= l.Keys; i++ {
		kidHi := w.Hi
		if i < l.Keys {
			kidHi = separators[i]
		}
		c := l.Child(p, i)
		kid := page.Want{Block: c.Block, Height: l.Height - 1, Size: c.Size, Oldest: c.Oldest, Lo: kidLo, Hi: kidHi}
		if err := s.visit(&kid, vouched); err != nil {
			return err
		}
		kidLo = kidHi
	}
	return nil
}

// trust returns how far to trust pairs. newest means that nothing newer can be missing. vouched
// means that a checksum confirms them.
func (s *salvager) trust(newest, vouched bool) Trust {
	switch {
	case !newest || s.report.Cut > 0 || len(s.report.Signs) > 0:
		return Stale
	case !vouched || s.store.doubt:
		return Unchecked
	}
	return Certain
}

// outsideNewer calls do for each part of a range that no newer leaf covers.
func (s *salvager) outsideNewer(r keyRange, do func(keyRange) error) error {
	i, _ := partOf(s.newer, r.lo)
	for ; i < len(s.newer) && before(s.newer[i].lo, r.hi); i++ {
		n := s.newer[i]
		if bytes.Compare(r.lo, n.lo) < 0 {
			if err := do(keyRange{r.lo, n.lo}); err != nil {
				return err
			}
		}
		if n.hi == nil || !before(n.hi, r.hi) {
			return nil
		}
		r.lo = n.hi
	}
	return do(r)
}

// hole adds the keys of an unreadable page to the holes, except those in newer leaves.
func (s *salvager) hole(w *page.Want, err error) error {
	if !isBad(err) {
		return err
	}
	s.bad.add(w.Block)
	return s.outsideNewer(keyRange{w.Lo, w.Hi}, func(r keyRange) error {
		if n := len(s.holes); n > 0 && s.holes[n-1].hi != nil && bytes.Equal(s.holes[n-1].hi, r.lo) {
			s.holes[n-1].hi = r.hi
			return nil
		}
		s.holes = append(s.holes, r)
		if s.holeBytes += len(r.lo) + len(r.hi) + strayBytes; s.holeBytes > s.budget {
			return s.fillHoles()
		}
		return nil
	})
}

func (s *salvager) fillHoles() error {
	holes := s.holes
	s.holes, s.holeBytes = nil, 0 // filling them can take long, but is rare
	return s.fill(holes)
}

// take passes on the pairs of a leaf that are within a range.
func (s *salvager) take(r keyRange, p []byte, l page.Layout, trust Trust) error {
	pairs := uint64(0)
	for i, keyAt, valueAt := 0, l.Body, l.Second; i < l.Keys; i++ {
		key, value := page.String(p, keyAt), page.String(p, valueAt)
		keyAt, valueAt = keyAt+1+len(key), valueAt+1+len(value)
		if bytes.Compare(key, r.lo) < 0 || !before(key, r.hi) {
			continue
		}
		if CheckMaxLengths(len(p), len(key), len(value)) != nil { // the program never writes such a pair
			s.report.Unfit++
			continue
		}
		pairs++
		if err := s.to.Set(key, value); err != nil {
			return err
		}
	}
	s.note(r, trust, pairs)
	return nil
}

// note records the outcome for a range.
func (s *salvager) note(r keyRange, trust Trust, pairs uint64) {
	s.report.Pairs[trust] += pairs
	ranges := addRange(s.report.Ranges, SalvagedRange{r.lo, r.hi, trust, pairs})
	if len(ranges) > maxSalvagedRanges {
		s.report.More++
		return
	}
	s.report.Ranges = ranges
}

// addRange appends a range. If it is adjacent to the last one and has the same trust, it extends
// that one.
func addRange(ranges []SalvagedRange, r SalvagedRange) []SalvagedRange {
	if n := len(ranges); n > 0 {
		if last := &ranges[n-1]; last.Trust == r.Trust && last.Hi != nil && bytes.Equal(last.Hi, r.Lo) {
			last.Hi, last.Pairs = r.Hi, last.Pairs+r.Pairs
			return ranges
		}
	}
	return append(ranges, r)
}

// finish completes the report.
func (s *salvager) finish() (*Salvaged, error) {
	if !s.parts {
		return nil, errors.Join(ErrNothingLeft, s.report.Why)
	}
	r := &s.report
	r.Blocks, r.Bad, r.Mended = s.store.Blocks(), s.bad.count(), s.store.mended.count()
	slices.SortStableFunc(r.Ranges, func(a, b SalvagedRange) int {
		return cmp.Or(bytes.Compare(a.Lo, b.Lo), cmp.Compare(len(a.Hi), len(b.Hi)))
	})
	sorted := r.Ranges
	r.Ranges = nil
	for _, one := range sorted {
		r.Ranges = addRange(r.Ranges, one)
	}
	s.progress(s.of, s.of)
	return r, nil
}
