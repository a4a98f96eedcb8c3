package tree

import (
	"errors"
	"fmt"

	"kivaloo/disk"
)

// What recovery may skip, and what it must not.

// claim records which append before its own a skipped journal block or seal names.
type claim struct{ block, previous uint64 }

// checkClaims verifies that all skipped journal blocks and seals belong to the append after a.
// Otherwise an append in between was acknowledged, and is damaged.
func (r *recovery) checkClaims(a *appendAt) error {
	for _, c := range r.claims {
		if c.previous != a.last && c.previous != noBlock {
			return &BlockError{c.previous, fmt.Errorf("%w: its append was acknowledged before the one at block %d, but the block cannot be read", disk.ErrCorrupt, c.block)}
		}
	}
	return nil
}

// skip records a block that recovery skips.
func (r *recovery) skip(block uint64, why error) {
	if len(r.skipped) < maxReportedFaults {
		r.skipped = append(r.skipped, Fault{Block: block, Path: "after the last whole append", Err: why})
	}
}

// skipRoot drops the root of an append, which is not whole. But if blocks of the tree before it
// have been freed, the root was durable. Then it keeps the damaged root.
func (r *recovery) skipRoot(a *appendAt, torn *tornError) error {
	if torn.previous == noBlock || r.wasDurable(torn.root, torn.previous) {
		a.root = *torn.root
		return r.takeDamaged(&a.root, torn)
	}
	r.skip(torn.root.Block, torn)
	a.root = Root{}
	return nil
}

// wasDurable reports whether a root was durable although its append is not whole. That is certain
// if blocks of the tree before it have been freed, because that happens only afterwards. The append
// of that tree ends at block previous.
func (r *recovery) wasDurable(root *Root, previous uint64) bool {
	if root == nil || previous == noBlock || r.isGone(root.Oldest) {
		return false
	}
	var tree Root
	before, err := r.appendEndingIn(previous, acknowledged)
	if err == nil {
		tree, err = r.walkBack(before)
	}
	return errors.Is(err, errNoBlock) || errors.Is(err, errGone) || err == nil && r.isGone(tree.Oldest)
}

// isGone reports whether a block no longer exists.
func (r *recovery) isGone(block uint64) bool {
	_, err := r.blocks.read(block)
	return errors.Is(err, errNoBlock)
}

// takeDamaged uses the tree of a root although its append is not whole. If the append does not
// match its seal, or has lost it, reads of all its blocks will fail. If one flipped bit explains
// the mismatch, only reads of that block will. The root itself must be usable. A root that is a
// parent is, because each page below is checked against its record in the root. A root that is a
// leaf is not, and makes takeDamaged fail.
func (r *recovery) takeDamaged(root *Root, why error) error {
	a, err := r.sealOf(root)
	if err != nil && errors.Is(why, errNoSeal) {
		if a, err = r.withoutSeal(root); err != nil {
			return err
		}
	}
	if err == nil {
		off, err := a.off(r.blocks.read)
		root.doubtful = disk.Stretch{First: a.first, Next: a.root}
		if err == nil && off == 0 {
			root.doubtful = disk.Stretch{}
		} else if bad, ok := a.flipped(off, r.store.Info().BlockSize, r.blocks.read); err == nil && ok {
			root.doubtful = disk.Stretch{First: bad, Next: bad + 1}
		} else if root.Height == 0 {
			root.doubtful.Next++
		}
		if root.doubtful.Has(root.Block) {
			return &BlockError{root.Block, fmt.Errorf("%w: restore the store from a backup", why)}
		}
	}
	r.log.Error("damaged store: requests that need a damaged block fail; restore the store from a backup", "root", root.Block, "err", why)
	return nil
}

// withoutSeal returns the append of a root that has lost its seal. Without a flush record the
// append may begin right after the previous root.
func (r *recovery) withoutSeal(root *Root) (sealed, error) {
	if root.recorded {
		return root.pages, nil
	}
	before, err := r.rootBehindSeal(root)
	if before == nil {
		return lostSeal(0, root.Block), err
	}
	return lostSeal(before.Block+1, root.Block), nil
}

// noRoot returns the error for a store without any root.
func (r *recovery) noRoot() error {
	info := r.store.Info()
	return fmt.Errorf("%w (%d blocks from %d back); is this a store of key-value pairs, and is its block size %d?",
		errNoRoot, info.Last+1, info.Last, info.BlockSize)
}

// unreachable returns the error for a bad append that was acknowledged, because the append at block
// by followed it.
func (r *recovery) unreachable(block, by uint64, err error) error {
	if !errors.Is(err, disk.ErrCorrupt) && !errors.As(err, new(*tornError)) && !errors.Is(err, errNoBlock) {
		return fmt.Errorf("read block %d: %w", block, err)
	}
	if errors.Is(err, errGone) {
		return err
	}
	return &BlockError{block, fmt.Errorf("%w: its append was acknowledged before the one at block %d, but %w", disk.ErrCorrupt, by, err)}
}
