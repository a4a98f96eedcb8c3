package tree

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"slices"

	"kivaloo/disk"
	"kivaloo/tree/journal"
	"kivaloo/tree/page"
)

// The tail of a store is its last root and the commits of the journal that it lacks. It is found from
// the end backwards. Every append of ours ends in the last piece of a commit or in a root, and says
// where it began and which block ended the append before:
//
//	[pages seal record ROOT] <-- [pieces of 7] <-- [pieces of 8] <-- [pages seal record ROOT][pieces of 9] <-- [pieces of 10]
//	                                                                      lacks 8 and later
//
// One append can be torn: the last one. It was never acknowledged. Whatever another append says came
// before it was acknowledged, and has to be there.

// Root is the root page of a tree in a store, with the tail behind it.
type Root struct {
	Block   uint64
	Oldest  uint64 // lowest block of any leaf
	Nodes   uint64 // pages of the tree
	Height  int
	Partial bool // the journal holds changes that the tree does not
	Page    []byte

	// Skipped is what FindRoot passed over behind the last whole append. A crash can leave it, a clean
	// stop does not.
	Skipped []Fault

	alone    bool       // a leaf, and there may be nothing before it
	recorded bool       // there is a flush record before it
	id       uint64     // that its flush record or its seal gives it; 0: none
	start    start      // where the journal has the first commit that the tree lacks
	previous uint64     // last block of the append before, if recorded
	commits  []commitAt // that the tree lacks, in order
	last     uint64     // last block that belongs to anything
	lastSeq  uint64     // of the last commit; 0 if there is none
}

// commitAt is where a commit is.
type commitAt struct {
	seq    uint64
	block  uint64 // of its first piece
	pieces uint64
}

// errNoRoot: a store that has blocks, but no tree.
var errNoRoot = fmt.Errorf("%w: no root of a tree in it", disk.ErrCorrupt)

// FindRoot returns the last whole root, and the places of the commits that its tree lacks. It logs what
// it passes over. An error that is disk.ErrCorrupt means that something acknowledged is damaged or
// missing.
func FindRoot(store disk.Store, log *slog.Logger) (Root, error) {
	info := store.Info()
	if info.Last == disk.NoBlock {
		return Root{}, errNoRoot
	}
	s := &tailSearch{store: store, blocks: newBlockReader(store), log: log}
	end, err := s.findEnd()
	if err != nil {
		return Root{}, err
	}
	root, err := s.follow(end)
	if err != nil {
		return Root{}, err
	}
	root.Skipped = s.skipped
	for _, f := range s.skipped {
		log.Warn("passed over behind the last whole append", "block", f.Block, "why", f.Err)
	}
	return root, nil
}

// tailSearch is the search for a tail.
type tailSearch struct {
	blocks  *blockReader
	store   disk.Store
	log     *slog.Logger
	skipped []Fault // passed over, from the end of the store backwards
	claims  []claim // what journal blocks among them say of the append before theirs
}

// claim is what a block that was passed over says about the append before its own.
type claim struct{ block, previous, seq uint64 }

// appendAt is an append, as described by its last block.
type appendAt struct {
	last     uint64
	previous uint64 // last block of the append before; noBlock: not known, or there is none
	commit   commitAt
	root     Root // a Page of nil: there is none
}

// trust says what is known of an append before it is looked at.
type trust uint8

const (
	mayBeTorn    trust = iota // nothing
	acknowledged              // another one followed it: what cannot be read is taken for good
	onlyCommit                // the same, and its root does not matter
)

// tornError: an append is not whole.
type tornError struct {
	previous uint64 // last block of the append before, if known, else noBlock
	root     *Root  // of the append, or nil
	err      error
}

func (e *tornError) Error() string { return e.err.Error() }
func (e *tornError) Unwrap() error { return e.err }

// findEnd returns the last append that is whole.
func (s *tailSearch) findEnd() (appendAt, error) {
	gap := 0
	var held appendAt // the last one with a root whose tree is not whole
	for at := s.store.Info().Last; ; at-- {
		claims := len(s.claims)
		a, err := s.appendEndingAt(at, mayBeTorn)
		var torn *tornError
		switch {
		case err == nil:
			s.claims = s.claims[:claims]
			return a, s.checkClaims(&a)
		case errors.As(err, &torn):
			gap = 0
			if torn.previous != noBlock {
				before, err := s.appendEndingAt(torn.previous, mayBeTorn)
				if err != nil {
					return a, s.unreachable(torn.previous, at, err)
				}
				if s.wasDurable(torn.root, torn.previous) {
					s.damaged(at, torn.err)
					return a, nil
				}
				s.skip(at, torn.err)
				return before, nil
			}
			if torn.root != nil && held.root.Page != nil && s.isGone(torn.root.Oldest) {
				s.damaged(held.last, errors.New("its tree is not whole, and the one before it has been freed"))
				s.skipped = nil
				return held, nil
			}
			if torn.root != nil && held.root.Page == nil && !s.isGone(torn.root.Oldest) {
				held = a
			}
			s.skip(at, torn.err)
		case errors.Is(err, errNoBlock):
			if gap++; gap > maxScanGap {
				return a, s.noRoot()
			}
		case errors.Is(err, disk.ErrRot): // it was durable
			return a, &BlockError{at, fmt.Errorf("%w: what was in it is not known: restore the store from a backup", err)}
		case errors.Is(err, errFlipped):
			return a, err
		case !errors.Is(err, disk.ErrCorrupt):
			return a, fmt.Errorf("look for the last append: %w", err)
		case errors.Is(err, errNotRoot): // of an append that was cut short
			gap = 0
		default:
			gap = 0
			s.skip(at, err)
		}
		if at == 0 {
			return a, s.noRoot()
		}
	}
}

func (s *tailSearch) noRoot() error {
	info := s.store.Info()
	return fmt.Errorf("%w (%d blocks from %d back); is this a store of key-value pairs, and is its block size %d?",
		errNoRoot, info.Last+1, info.Last, info.BlockSize)
}

// unreachable is the error for a bad append that was acknowledged: the append at block by followed it.
func (s *tailSearch) unreachable(block, by uint64, err error) error {
	if !errors.Is(err, disk.ErrCorrupt) && !errors.As(err, new(*tornError)) && !errors.Is(err, errNoBlock) {
		return fmt.Errorf("read block %d: %w", block, err)
	}
	return &BlockError{block, fmt.Errorf("%w: it ends an append that was acknowledged before that at block %d, but %w", disk.ErrCorrupt, by, err)}
}

// skip notes a block that is passed over.
func (s *tailSearch) skip(block uint64, why error) {
	if len(s.skipped) < maxReportedFaults {
		s.skipped = append(s.skipped, Fault{Block: block, Path: "behind the last whole append", Err: why})
	}
}

// wasDurable reports whether a root was durable although its append is not whole: the tree before it,
// whose append ends at block previous, has been freed, which happens only after that.
func (s *tailSearch) wasDurable(root *Root, previous uint64) bool {
	if root == nil || previous == noBlock || s.isGone(root.Oldest) {
		return false
	}
	before, err := s.appendEndingAt(previous, acknowledged)
	if err != nil {
		return errors.Is(err, errNoBlock)
	}
	tree, err := s.follow(before)
	return errors.Is(err, errNoBlock) || err == nil && s.isGone(tree.Oldest)
}

// damaged says that the tree of a root is taken although it is not whole.
func (s *tailSearch) damaged(root uint64, why error) {
	s.log.Error("damaged store: requests that need a damaged block fail; restore the store from a backup", "root", root, "err", why)
}

// isGone reports whether a block does not exist any more.
func (s *tailSearch) isGone(block uint64) bool {
	_, err := s.blocks.read(block)
	return errors.Is(err, errNoBlock)
}

// checkClaims makes sure that all journal blocks which were passed over belong to one append, the one
// after a. Otherwise an append between was acknowledged, and is damaged.
func (s *tailSearch) checkClaims(a *appendAt) error {
	for _, c := range s.claims {
		if c.previous != a.last && c.previous != noBlock {
			return &BlockError{c.previous, fmt.Errorf("%w: it ends an append that was acknowledged before that at block %d, but it cannot be read", disk.ErrCorrupt, c.block)}
		}
	}
	return nil
}

// errNotRoot: a page that is no root, at the end of the store or where another append says a root is.
var errNotRoot = fmt.Errorf("%w: a page that is no root", disk.ErrCorrupt)

// errNoBlock: there is no block with that number.
var errNoBlock = errors.New("there is no such block")

// appendEndingAt returns the append that ends in block at. It fails with a *tornError if the append is
// not whole, and with another error if no append ends there.
func (s *tailSearch) appendEndingAt(at uint64, known trust) (appendAt, error) {
	a := appendAt{last: at, previous: noBlock}
	p, err := s.blocks.read(at)
	if err != nil {
		return a, err
	}
	if !journal.Is(p) && !journal.OneBitOff(p) {
		err := s.rootAt(at, p, &a, known)
		return a, err
	}
	b, err := journal.ParseAt(at, p)
	if err != nil {
		return a, err
	}
	s.claims = append(s.claims, claim{at, b.Previous, b.Seq})
	a.previous = b.Previous
	if b.Kind == journal.Flush {
		return a, &tornError{previous: b.Previous, err: fmt.Errorf("%w: a flush record without its root", disk.ErrCorrupt)}
	}
	a.commit = commitAt{seq: b.Seq, block: at - uint64(b.Piece), pieces: uint64(b.Pieces)}
	torn := s.wholeCommit(&a, b)
	if errors.Is(torn, disk.ErrRot) {
		return a, torn
	}
	if b.First == a.commit.block || known == onlyCommit {
		if torn != nil {
			return a, &tornError{previous: b.Previous, err: torn}
		}
		return a, nil
	}
	var notWhole *tornError
	rootAt := a.commit.block - 1
	bad := s.rootBefore(rootAt, &a, known)
	switch {
	case bad != nil && !errors.Is(bad, disk.ErrCorrupt) && !errors.Is(bad, errNoBlock):
		return a, bad
	case bad != nil && torn != nil:
		return a, &tornError{previous: b.Previous, err: fmt.Errorf("the root at block %d: %w", rootAt, bad)}
	case errors.As(bad, &notWhole) && notWhole.root != nil: // the tree before and the journal hold all that this root does
		s.passOver(&a, notWhole)
	case bad != nil:
		s.skip(rootAt, bad)
	case torn != nil && known != mayBeTorn:
		return a, torn
	case torn != nil: // its root holds only what was durable before
		s.skip(at, torn)
		a.commit, a.last = commitAt{}, rootAt
	}
	return a, nil
}

// passOver takes an append without its root, unless nothing can take its place: where the tree before
// has been freed, the root was durable.
func (s *tailSearch) passOver(a *appendAt, torn *tornError) {
	at := torn.root.Block
	if torn.previous == noBlock || s.wasDurable(torn.root, torn.previous) {
		s.damaged(at, torn)
		a.root = *torn.root
		return
	}
	s.skip(at, torn)
	a.root = Root{}
}

// wholeCommit checks the pieces of a commit, of which b is to be the last.
func (s *tailSearch) wholeCommit(a *appendAt, b journal.Block) error {
	if b.Piece != b.Pieces-1 {
		return fmt.Errorf("%w: commit %d ends with piece %d of %d", disk.ErrCorrupt, b.Seq, b.Piece+1, b.Pieces)
	}
	for i := range a.commit.pieces - 1 {
		at := a.commit.block + i
		p, err := s.blocks.read(at)
		if err != nil {
			return fmt.Errorf("piece %d of commit %d, block %d: %w", i+1, b.Seq, at, err)
		}
		o, err := journal.ParseAt(at, p)
		switch {
		case err != nil:
			return fmt.Errorf("piece %d of commit %d, block %d: %w", i+1, b.Seq, at, err)
		case o.Kind != journal.Piece || o.Seq != b.Seq || o.Piece != uint32(i) || o.Pieces != b.Pieces || o.First != b.First || o.Previous != b.Previous:
			return fmt.Errorf("%w: block %d is not piece %d of commit %d", disk.ErrCorrupt, at, i+1, b.Seq)
		}
	}
	return nil
}

// rootBefore reads the root at a block, before the journal blocks of the same append. That may have
// been torn in an append of which the commit is whole, which was then taken, and others have followed.
func (s *tailSearch) rootBefore(at uint64, a *appendAt, known trust) error {
	p, err := s.blocks.read(at)
	if err != nil {
		return err
	}
	before := appendAt{last: at, previous: noBlock}
	if err := s.rootAt(at, p, &before, known); err != nil {
		return err
	}
	if !before.root.recorded || before.previous != a.previous {
		return fmt.Errorf("%w: it has no flush record", disk.ErrCorrupt)
	}
	a.root = before.root
	return nil
}

// rootAt takes page p, at a block, for the root that an append ends in.
func (s *tailSearch) rootAt(at uint64, p []byte, a *appendAt, known trust) error {
	l, err := page.ParseHead(p)
	if err == nil && !l.Root {
		err = errNotRoot
	}
	var root Root
	if err == nil {
		root, err = readRoot(at, p)
	}
	if err != nil {
		return cmp.Or(s.flippedRoot(at, p, known), err)
	}
	if err := s.readRecord(&root); err != nil {
		return err
	}
	if root.Partial && !root.recorded {
		return &BlockError{root.Block - 1, fmt.Errorf("%w: it is no flush record, and the root behind it lacks changes", disk.ErrCorrupt)}
	}
	a.root, a.previous = root, root.previous
	if known == onlyCommit {
		return nil
	}
	if root.recorded {
		err = s.checkSeal(&root)
	} else {
		err = s.checkUnrecorded(&root)
	}
	if err == nil && s.isGone(root.Oldest) {
		err = fmt.Errorf("%w: its oldest leaf, block %d, does not exist any more", disk.ErrCorrupt, root.Oldest)
	}
	switch {
	case errors.Is(err, errFlipped):
		return err
	case err == nil, errors.Is(err, disk.ErrRot): // a block that was durable is evidence that its append was
		return nil
	case !errors.Is(err, disk.ErrCorrupt) && !errors.Is(err, errNoBlock):
		if known == acknowledged {
			return nil
		}
		return fmt.Errorf("check the last append: %w", err) // which says nothing about what was written
	}
	return &tornError{root.previous, &root, fmt.Errorf("the tree of this root is not whole: %w", err)}
}

// readRoot checks a root page by itself.
func readRoot(block uint64, p []byte) (Root, error) {
	w := page.Want{Block: block, Root: true}
	l, err := w.Verify(p)
	if err != nil {
		return Root{}, err
	}
	return Root{
		Block: block, Oldest: l.Oldest(p, block), Nodes: l.Nodes, Height: l.Height, Partial: l.Partial,
		Page: slices.Clone(p), previous: noBlock, last: block,
	}, nil
}

// readRecord notes in root the content of the flush record before it, if there is one.
func (s *tailSearch) readRecord(root *Root) error {
	root.start = start{seq: 1, block: root.Block + 1}
	if root.Block == 0 || root.Height == 0 && !root.Partial && s.blocks.sparse {
		root.alone = true
		return nil
	}
	p, err := s.blocks.read(root.Block - 1)
	switch {
	case errors.Is(err, errNoBlock): // freed
		root.alone = root.Height == 0 && !root.Partial
		return nil
	case errors.Is(err, disk.ErrCorrupt):
		return nil // the seal, or the pages, tell what has to be there
	case err != nil:
		return err
	case !journal.Is(p):
		if _, _, ok := page.ParseSeal(p); ok {
			root.id = page.Identity(p, root.Page)
		}
		return nil
	}
	b, err := journal.ParseAt(root.Block-1, p)
	if err == nil && b.Kind == journal.Flush {
		s.claims = append(s.claims, claim{root.Block, b.Previous, b.Seq})
		root.recorded, root.previous, root.id = true, b.Previous, b.RootID()
		root.start = start{seq: b.Seq, block: b.ReplayFrom()}
	}
	return nil
}

// checkSeal checks the blocks of an append that ends in a root with a flush record.
func (s *tailSearch) checkSeal(root *Root) error {
	size := s.store.Info().BlockSize
	if !page.Sealed(size) {
		return s.checkUnrecorded(root)
	}
	at := root.Block - 2
	if root.Block < 2 {
		return fmt.Errorf("%w: there is no room for its seal", disk.ErrCorrupt)
	}
	p, err := s.blocks.read(at)
	if err != nil {
		return fmt.Errorf("the seal, block %d: %w", at, err)
	}
	first, want, ok := page.ParseSeal(p)
	if !ok || first > at {
		return fmt.Errorf("%w: block %d, before the flush record, is no seal", disk.ErrCorrupt, at)
	}
	return s.checkSum(first, at, root, want)
}

// checkSum compares the sum of an append with that in its seal, which is at a block.
func (s *tailSearch) checkSum(first, seal uint64, root *Root, want uint32) error {
	var sum uint32
	for block := first; block < root.Block; block++ {
		if block == seal {
			continue
		}
		p, err := s.blocks.read(block)
		if err != nil {
			return fmt.Errorf("block %d: %w", block, err)
		}
		sum = page.Sum(sum, p)
	}
	if sum = page.Sum(sum, root.Page); sum != want {
		if err := s.flipped(first, seal, root.Block, sum^want); err != nil && !root.recorded {
			return err
		}
		return fmt.Errorf("%w: the append of blocks %d to %d does not have the checksum in its seal", disk.ErrCorrupt, first, root.Block)
	}
	return nil
}

// flippedRoot returns an error if page p, at a block, is the root of an append with a seal but for one bit.
func (s *tailSearch) flippedRoot(at uint64, p []byte, known trust) error {
	if known != mayBeTorn || at == 0 || s.blocks.sparse {
		return nil
	}
	root := Root{Block: at, Page: slices.Clone(p)}
	before, err := s.blocks.read(at - 1)
	if err != nil {
		return nil
	}
	if first, want, ok := page.ParseSeal(before); ok && first < at {
		if err := s.checkSum(first, at-1, &root, want); errors.Is(err, errFlipped) {
			return err
		}
	}
	return nil
}

// errFlipped: what was in the block was acknowledged, so it cannot be passed over.
var errFlipped = fmt.Errorf("%w: according to the checksum of its append one bit is flipped: restore the store from a backup", disk.ErrCorrupt)

// flipped returns an error if the append of blocks first to last has the wrong sum, by off, because one bit of it is flipped,
// not because it was cut short: then the other blocks are pages.
func (s *tailSearch) flipped(first, seal, last uint64, off uint32) error {
	size := uint64(s.store.Info().BlockSize)
	if (last-first)*size > maxFlippedBytes {
		return nil
	}
	if bits.OnesCount32(off) == 1 {
		return &BlockError{seal, errFlipped}
	}
	fromEnd, ok := page.FlippedAt(off, int((last-first)*size)) // without the seal
	if !ok {
		return nil
	}
	bad := last - uint64(fromEnd)/size
	if bad <= seal {
		bad--
	}
	for block := first; block <= last; block++ {
		p, err := s.blocks.read(block)
		if err == nil && block != bad {
			_, err = page.Parse(p)
		}
		if err != nil {
			return nil
		}
	}
	return &BlockError{bad, errFlipped}
}

// checkUnrecorded checks an append that ends in a root without a flush record, or has no seal. A commit
// without a journal has a seal. An append of the original has none: it is judged by those of its pages
// that are behind the root before it.
func (s *tailSearch) checkUnrecorded(root *Root) error {
	if root.Height > 0 {
		if err := lastChildBefore(root); err != nil {
			return err
		}
	}
	if s.blocks.sparse {
		return nil // such a store keeps all of an append or nothing
	}
	since := uint64(0)
	if before, ok, err := s.rootBehind(root.Block); err != nil {
		return err
	} else if ok {
		since = before + 1
	}
	if at := root.Block - 1; !root.recorded && root.Block > since && page.Sealed(s.store.Info().BlockSize) {
		p, err := s.blocks.read(at)
		switch {
		case errors.Is(err, errNoBlock):
		case err != nil:
			return fmt.Errorf("block %d, before the root: %w", at, err)
		case !journal.Is(p):
			if first, want, ok := page.ParseSeal(p); ok && first >= since && first < root.Block {
				return s.checkSum(first, at, root, want)
			}
			if s.checkSum(since, at, root, page.SealSum(p)) == nil {
				return nil // only the rest of the seal is damaged
			}
			if _, err := page.ParseHead(p); err != nil {
				return fmt.Errorf("block %d, before the root: %w", at, err)
			}
		}
	}
	return checkSince(s.store, *root, since)
}

// lastChildBefore checks that one of the children of a root was written just before it, as in every
// append. A root that was copied to where it does not belong fails.
func lastChildBefore(root *Root) error {
	l, err := page.Parse(root.Page)
	if err != nil {
		return err
	}
	newest := uint64(0)
	for i := range l.Keys + 1 {
		newest = max(newest, l.Child(root.Page, i).Block)
	}
	if newest+maxBehindChild < root.Block {
		return fmt.Errorf("%w: its newest child is block %d, so it was not written here", disk.ErrCorrupt, newest)
	}
	return nil
}

// rootBehind returns the last root before a block.
func (s *tailSearch) rootBehind(block uint64) (uint64, bool, error) {
	gap := 0
	for at := block; at > 0; at-- {
		p, err := s.blocks.read(at - 1)
		switch {
		case errors.Is(err, errNoBlock):
			if gap++; gap > maxScanGap {
				return 0, false, nil
			}
			continue
		case errors.Is(err, disk.ErrCorrupt):
			continue
		case err != nil:
			return 0, false, err
		}
		gap = 0
		if l, err := page.ParseHead(p); err == nil && l.Root {
			if _, err := readRoot(at-1, p); err == nil {
				return at - 1, true, nil
			}
		}
	}
	return 0, false, nil
}

// checkSince verifies the pages of a tree that are at block since or behind it. A block that was
// durable once is no sign of an append that was cut short.
func checkSince(store disk.Store, root Root, since uint64) error {
	var bad error
	walk := walker{
		store: store,
		since: since,
		fault: func(block uint64, _ string, err error) bool {
			if errors.Is(err, disk.ErrRot) {
				return true
			}
			bad = &BlockError{block, err}
			return false
		},
	}
	walk.tree(root)
	return bad
}

// follow walks from the last append back to the last root, and on to the first commit that its tree
// lacks.
func (s *tailSearch) follow(end appendAt) (Root, error) {
	var root Root
	var commits []commitAt // the newest first
	for a := end; ; {
		if c := a.commit; c.pieces > 0 {
			if n := len(commits); n > 0 && commits[n-1].seq != c.seq+1 {
				return root, &BlockError{c.block, fmt.Errorf("%w: commit %d comes before commit %d", disk.ErrCorrupt, c.seq, commits[n-1].seq)}
			}
			commits = append(commits, c)
		}
		if root.Page == nil {
			root = a.root
		}
		if root.Page != nil && !root.lacksBefore(commits) {
			break
		}
		if a.previous == noBlock {
			return root, s.noRoot()
		}
		known := acknowledged
		if root.Page != nil {
			known = onlyCommit
		}
		before, err := s.appendEndingAt(a.previous, known)
		var torn *tornError
		switch {
		case errors.As(err, &torn) && torn.root != nil:
			s.passOver(&before, torn)
		case err != nil:
			return root, s.unreachable(a.previous, a.last, err)
		}
		a = before
	}
	slices.Reverse(commits)
	if root.alone && len(commits) > 0 { // the first commit came right after it
		root.start = start{seq: commits[0].seq, block: commits[0].block}
	}
	root.commits = slices.DeleteFunc(commits, func(c commitAt) bool { return c.seq < root.start.seq })
	root.last, root.lastSeq = end.last, root.start.seq-1
	if n := len(root.commits); n > 0 {
		root.lastSeq = root.commits[n-1].seq
		if first := root.commits[0]; !root.recorded && first.seq != root.start.seq && root.Block > 0 {
			return root, &BlockError{root.Block - 1, fmt.Errorf("%w: it is not the flush record that the root at block %d has to have, for commit %d is not the first one there was",
				disk.ErrCorrupt, root.Block, first.seq)}
		}
		if first := root.commits[0]; first.seq != root.start.seq || root.lacksBefore(nil) && first.block != root.start.block {
			return root, &BlockError{first.block, fmt.Errorf("%w: the tree of block %d lacks commit %d, but the first commit there is, is %d",
				disk.ErrCorrupt, root.Block, root.start.seq, first.seq)}
		}
	}
	return root, nil
}

// lacksBefore reports whether the tree lacks commits from before its root that are not among commits,
// the newest first.
func (r *Root) lacksBefore(commits []commitAt) bool {
	n := len(commits)
	return r.Partial && r.start.block < r.Block && (n == 0 || commits[n-1].seq > r.start.seq)
}
