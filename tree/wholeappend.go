package tree

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"kivaloo/disk"
	"kivaloo/tree/journal"
	"kivaloo/tree/page"
)

// An append, with both of its parts:
//
//	[page ... page  seal  record  ROOT][piece ... piece]
//	 ^ first              ^ says first and previous  ^ so do these
//
// A commit is whole if all its pieces are present, each with its own checksum. A root is whole if
// the append fits its seal. The original writes no seals; in its appends each page is checked by
// itself. If an append has both parts, either may be whole without the other: the root holds only
// what was durable before, and a commit does not need the root before it.

// trust says, before an append is read, whether a crash may have cut it short.
type trust uint8

const (
	mayBeTorn    trust = iota // it may be the last append: blocks that do not fit mean that it is torn
	acknowledged              // a later append follows: blocks that do not fit are damaged
	commitNeeded              // acknowledged too, but only its commit is needed, because a later root was found
)

// tornError means that an append is not whole.
type tornError struct {
	previous uint64 // last block of the previous append, or noBlock if unknown
	root     *Root  // root of the append, or nil
	err      error
}

func (e *tornError) Error() string { return e.err.Error() }
func (e *tornError) Unwrap() error { return e.err }

var (
	// errNoRoot means that a store has blocks but no tree.
	errNoRoot = fmt.Errorf("%w: no root of a tree in it", disk.ErrCorrupt)
	// errNotRoot means that a page is no root although it is at the end of the store, or another
	// append says that it is a root.
	errNotRoot = fmt.Errorf("%w: a page that is no root", disk.ErrCorrupt)
	// errNoBlock means that no block has that number.
	errNoBlock = errors.New("there is no such block")
	// errFlipped means that the content of the block was acknowledged, so recovery must not skip
	// it.
	errFlipped = fmt.Errorf("%w: according to the checksum of its append one bit is flipped: restore the store from a backup", disk.ErrCorrupt)
	// errCopied means that a root is not where it was written.
	errCopied = fmt.Errorf("%w: a root at a wrong place", disk.ErrCorrupt)
	// errGone means that blocks are missing at the beginning of the store, although a root needs
	// them whose append is whole. Only a later root can have freed them.
	errGone = fmt.Errorf("%w: it is missing, with all blocks before it", disk.ErrCorrupt)
)

// wasWritten reports whether an error about a block shows that the block was written as a whole.
// Then it does not mean that the append was cut short.
func wasWritten(err error) bool {
	return journal.WasWhole(err) || errors.Is(err, errFlipped) || errors.Is(err, errCopied) || errors.Is(err, errGone)
}

// nameBlock returns the error for a start that fails because of a damaged block that was written as
// a whole.
func nameBlock(block uint64, err error) error {
	var piece *journal.PieceError
	switch {
	case errors.As(err, new(*BlockError)):
		return err
	case errors.As(err, &piece):
		block = piece.Block
	}
	return &BlockError{block, fmt.Errorf("%w: its content is lost: restore the store from a backup", err)}
}

// appendEndingIn returns the append that ends in block at. It fails with a *tornError if the append
// is not whole, and with another error if no append ends there.
func (r *recovery) appendEndingIn(at uint64, known trust) (appendAt, error) {
	a := appendAt{last: at, previous: noBlock}
	p, err := r.blocks.read(at)
	if err != nil {
		return a, err
	}
	if !isJournal(p) {
		err := r.rootAt(at, p, &a, known)
		return a, err
	}
	b, err := journal.ParseAt(at, p)
	if err != nil {
		return a, err
	}
	r.claims = append(r.claims, claim{at, b.Previous})
	a.previous = b.Previous
	if b.Kind == journal.Flush {
		return a, &tornError{previous: b.Previous, err: fmt.Errorf("%w: a flush record without its root", disk.ErrCorrupt)}
	}
	var torn error
	if a.commit, torn = journal.CommitEndingIn(b); torn == nil && known == mayBeTorn { // replay reads the others
		r.payload, torn = a.commit.Payload(r.blocks.read, r.payload[:0])
	}
	if journal.WasWhole(torn) {
		return a, torn
	}
	if hasRoot := b.First < a.commit.Block; hasRoot && known != commitNeeded {
		return a, r.rootBefore(&a, torn, known)
	}
	if torn != nil {
		return a, &tornError{previous: b.Previous, err: torn}
	}
	return a, nil
}

// rootBefore adds the root before the commit of a. torn is what is wrong with the commit. If either
// part is not whole, it leaves that part out.
func (r *recovery) rootBefore(a *appendAt, torn error, known trust) error {
	at := a.commit.Block - 1
	bad := r.readRootBefore(at, a, known)
	var notWhole *tornError
	switch {
	case bad != nil && !errors.Is(bad, disk.ErrCorrupt) && !errors.Is(bad, errNoBlock), errors.Is(bad, errGone):
		return bad
	case bad != nil && torn != nil:
		return &tornError{previous: a.previous, err: fmt.Errorf("the root at block %d: %w", at, bad)}
	case errors.As(bad, &notWhole) && notWhole.root != nil: // the tree before and the journal hold everything in this root
		return r.skipRoot(a, notWhole)
	case bad != nil:
		r.skip(at, bad)
	case torn != nil && known != mayBeTorn:
		return torn
	case torn != nil: // the root holds only what was durable before
		r.skip(a.last, torn)
		a.commit, a.last = journal.Commit{}, at
	}
	return nil
}

// readRootBefore reads the root at a block that belongs to the append a.
func (r *recovery) readRootBefore(at uint64, a *appendAt, known trust) error {
	p, err := r.blocks.read(at)
	if err != nil {
		return err
	}
	before := appendAt{last: at, previous: noBlock}
	if err := r.rootAt(at, p, &before, known); err != nil {
		return err
	}
	if !before.root.recorded || before.previous != a.previous {
		return fmt.Errorf("%w: it has no flush record", disk.ErrCorrupt)
	}
	a.root = before.root
	return nil
}

// rootAt parses page p of a block as the root that ends an append, and checks the append.
func (r *recovery) rootAt(at uint64, p []byte, a *appendAt, known trust) error {
	l, err := page.ParseHead(p)
	if err == nil && !l.Root {
		err = errNotRoot
		if seal, ok := page.ParseSeal(at, p); ok {
			r.claims = append(r.claims, claim{at, seal.Previous})
		}
	}
	var root Root
	if err == nil {
		root, err = readRoot(at, p)
	}
	if err != nil {
		return cmp.Or(r.flippedRoot(at, known), err)
	}
	if err := r.readRecord(&root); err != nil {
		return err
	}
	a.root, a.previous = root, root.previous
	if known == commitNeeded {
		return nil
	}
	err = r.checkAppend(&root)
	durable := err == nil || errors.Is(err, disk.ErrRot) // a block with a checksum on disk was durable, so its append was too
	switch {
	case (durable || errors.Is(err, errNoBlock)) && r.isGone(root.Oldest):
		return &BlockError{root.Oldest, fmt.Errorf("%w, but the tree of the root at block %d needs it: put the missing files back, or restore the store from a backup",
			errGone, at)}
	case durable:
		return nil
	case wasWritten(err):
		return err
	case !errors.Is(err, disk.ErrCorrupt) && !errors.Is(err, errNoBlock):
		if known == acknowledged {
			return nil
		}
		return fmt.Errorf("check the last append: %w", err) // says nothing about what was written
	}
	return &tornError{root.previous, &root, fmt.Errorf("the tree of this root is not whole: %w", err)}
}

// readRoot verifies a root page by itself.
func readRoot(block uint64, p []byte) (Root, error) {
	w := page.Want{Block: block, Root: true}
	l, err := w.Verify(p)
	if err != nil {
		return Root{}, err
	}
	return Root{
		Block: block, newest: newestChild(block, p, &l), Oldest: l.Oldest(p, block), Nodes: l.Nodes, Height: l.Height, Partial: l.Partial,
		Page: slices.Clone(p), previous: noBlock, last: block,
	}, nil
}

// firstAfter returns the number of the first commit after a root without a flush record. Each
// commit takes at least one block, so no earlier commit has that number. It is twice the block
// number, so that a copy of the root in place of a commit does not fit the commit after it.
func firstAfter(root uint64) uint64 { return 2*root + 1 }

// newestChild returns the highest block of a page's children. For a leaf it returns the leaf's own
// block.
func newestChild(block uint64, p []byte, l *page.Layout) (newest uint64) {
	if l.Height == 0 {
		return block
	}
	for i := range l.Keys + 1 {
		newest = max(newest, l.Child(p, i).Block)
	}
	return newest
}

// readRecord adds the content of the flush record before a root to the root. Every root that lacks
// changes has a record, and so has every root after a commit. Without a record the next commit has
// the number firstAfter.
func (r *recovery) readRecord(root *Root) error {
	root.start = start{seq: firstAfter(root.Block), block: root.Block + 1}
	if root.Block == 0 || root.Height == 0 && !root.Partial && r.blocks.sparse {
		root.alone = true
		return nil
	}
	at := root.Block - 1
	p, err := r.blocks.read(at)
	switch {
	case errors.Is(err, errNoBlock): // freed
		root.alone = root.Height == 0 && !root.Partial
	case errors.Is(err, disk.ErrCorrupt): // the seal, or the pages, show what must be there
	case err != nil:
		return err
	case isJournal(p):
		b, err := journal.ParseAt(at, p)
		switch {
		case journal.WasWhole(err):
			return nameBlock(at, err)
		case err == nil && b.Kind == journal.Piece:
			return &BlockError{root.Block, fmt.Errorf("%w: a commit is right before it", errCopied)}
		case err == nil:
			r.claims = append(r.claims, claim{root.Block, b.Previous})
			root.recorded, root.previous, root.id = true, b.Previous, b.RootID()
			root.start = start{seq: b.Seq, block: b.ReplayFrom()}
			root.pages = byRecord(&b)
		}
	default:
		if seal, ok := page.ParseSeal(at, p); ok {
			r.claims = append(r.claims, claim{root.Block, seal.Previous})
			root.id = page.Identity(p, root.Page)
		}
	}
	if root.Partial && !root.recorded {
		return &BlockError{at, fmt.Errorf("%w: the root after it lacks changes, so this block should be a flush record", disk.ErrCorrupt)}
	}
	return nil
}

// checkAppend checks the blocks of an append that ends in a root. It uses the seal. Without a seal,
// it checks the tree's pages after the previous root.
func (r *recovery) checkAppend(root *Root) error {
	if root.recorded {
		return r.checkRecorded(root)
	}
	if root.newest+maxBehindChild < root.Block {
		return &BlockError{root.Block, fmt.Errorf("%w: its newest child is block %d, so it was not written here", errCopied, root.newest)}
	}
	if r.blocks.sparse {
		return nil // all of an append is there, or nothing
	}
	since := uint64(0)
	before, err := r.rootBehindSeal(root)
	switch {
	case err != nil:
		return err
	case before != nil && before.Partial:
		return fmt.Errorf("%w: it has no flush record, and the root before it, block %d, lacks changes", disk.ErrCorrupt, before.Block)
	case before != nil:
		since = before.Block + 1
	}
	if root.Block > since {
		if judged, err := r.checkUnrecorded(root, since, before); judged {
			return err
		}
	}
	return checkSince(r.store, *root, since)
}

// checkRecorded checks an append with a seal and a flush record.
func (r *recovery) checkRecorded(root *Root) error {
	if root.pages.first+1 >= root.Block {
		return fmt.Errorf("%w: there is no room for its seal", disk.ErrCorrupt)
	}
	a, err := r.sealOf(root)
	if err != nil {
		return err
	}
	return r.checkSeal(a, true)
}

// sealOf returns the append of a root, as its flush record or its seal describes it.
func (r *recovery) sealOf(root *Root) (sealed, error) {
	at := root.Block - 1
	switch {
	case root.recorded && !root.pages.lost:
		return root.pages, nil
	case root.recorded:
		at--
	}
	p, err := r.blocks.read(at)
	if err != nil {
		return sealed{}, fmt.Errorf("the seal, block %d: %w", at, err)
	}
	seal, ok := page.ParseSeal(at, p)
	if !ok || seal.First > at {
		return sealed{}, fmt.Errorf("block %d: %w", at, errNoSeal)
	}
	return bySeal(seal, at, root.Block), nil
}

// lostSeal reports whether a root without a readable seal or flush record once had one. The
// original writes one of the children right before the root.
func (r *Root) lostSeal() bool { return r.newest+1 < r.Block }

// checkUnrecorded checks an append by the seal right before its root. Commits without a journal
// write such a seal. The append starts at block since or later. judged is false if that was
// impossible, because the original writes no seals. before is the previous root, or nil.
func (r *recovery) checkUnrecorded(root *Root, since uint64, before *Root) (judged bool, err error) {
	at := root.Block - 1
	p, err := r.blocks.read(at)
	switch {
	case errors.Is(err, errNoBlock):
		return false, nil
	case err != nil:
		return true, fmt.Errorf("block %d, before the root: %w", at, err)
	}
	p = slices.Clone(p) // because other blocks are read
	seal, ok := page.ParseSeal(at, p)
	if ok = ok && seal.First >= since && seal.First < root.Block; ok {
		if err = r.checkSeal(bySeal(seal, at, root.Block), false); err == nil || errors.Is(err, errFlipped) {
			return true, err
		}
	}
	if r.checkSeal(bySeal(page.Seal{First: since, Sum: page.SealSum(p)}, at, root.Block), false) == nil {
		return true, nil // only other parts of the seal are damaged
	}
	switch {
	case ok:
		return true, err
	case root.Height > 0 && !root.lostSeal(), root.Height == 0 && r.mayFollow(p, before):
		return false, nil
	}
	return true, fmt.Errorf("block %d, before the root: %w", at, errNoSeal)
}

// mayFollow reports whether a root that is a leaf without a seal may be the original's, right after
// block p. The original writes nothing else in such an append. So p is a root, or the rest of an
// append of the original that was cut short. before is the previous root, or nil.
func (r *recovery) mayFollow(p []byte, before *Root) bool {
	l, err := page.ParseHead(p)
	switch {
	case err != nil, page.BeginsSeal(p): // a cut left the seal's first sector
		return false
	case l.Root:
		return true
	case before == nil || before.Block == 0: // the first root of a store has no seal
		return before != nil
	}
	at := before.Block - 1
	p, err = r.blocks.read(at)
	if err != nil {
		return true
	}
	_, ok := page.ParseSeal(at, p)
	return !ok && !isJournal(p)
}

// checkSeal compares the sum of an append with the sum in its seal. If one flipped bit explains a
// mismatch, the append was durable. Then it returns errFlipped, unless there is a flush record:
// with one, the tree before it and the journal can replace the root.
func (r *recovery) checkSeal(a sealed, recorded bool) error {
	off, err := a.off(r.blocks.read)
	if err != nil || off == 0 {
		return err
	}
	if !recorded {
		if bad, ok := a.flipped(off, r.store.Info().BlockSize, r.blocks.read); ok {
			return &BlockError{bad, errFlipped}
		}
	}
	return fmt.Errorf("%w: the append of blocks %d to %d does not have the checksum in its seal", disk.ErrCorrupt, a.first, a.root)
}

// flippedRoot returns errFlipped if the page in a block is the root of an append with a seal, and
// one bit of the append has flipped.
func (r *recovery) flippedRoot(at uint64, known trust) error {
	if known != mayBeTorn || at == 0 || r.blocks.sparse {
		return nil
	}
	p, err := r.blocks.read(at - 1)
	if err != nil {
		return nil
	}
	if seal, ok := page.ParseSeal(at-1, p); ok && seal.First < at {
		if err := r.checkSeal(bySeal(seal, at-1, at), false); errors.Is(err, errFlipped) {
			return err
		}
	}
	return nil
}

// rootBehindSeal returns the root before that of an append, or nil. Another root may have
// overwritten the seal.
func (r *recovery) rootBehindSeal(root *Root) (*Root, error) {
	if root.lostSeal() {
		return r.rootBehind(root.Block - 1)
	}
	return r.rootBehind(root.Block)
}

// rootBehind returns the last root before a block, or nil.
func (r *recovery) rootBehind(block uint64) (*Root, error) {
	gap := 0
	for at := block; at > 0; at-- {
		p, err := r.blocks.read(at - 1)
		switch {
		case errors.Is(err, errNoBlock):
			if gap++; gap > maxScanGap {
				return nil, nil
			}
			continue
		case errors.Is(err, disk.ErrCorrupt):
			continue
		case err != nil:
			return nil, err
		}
		gap = 0
		if l, err := page.ParseHead(p); err == nil && l.Root {
			if root, err := readRoot(at-1, p); err == nil {
				return &root, nil
			}
		}
	}
	return nil, nil
}

// checkSince verifies the pages of a tree from block since on. It ignores blocks that were durable
// once and have changed since: they do not show that an append is torn.
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
