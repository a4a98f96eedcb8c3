package tree

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"kivaloo/disk"
	"kivaloo/tree/journal"
)

// Recovery finds the tail of a store: the last root, and the commits of the journal that its tree
// lacks. Every append ends in the last piece of a commit or in a root, and names the end of the
// append before:
//
//	[.. ROOT] <- [commit 7] <- [commit 8] <- [.. ROOT | commit 9] <- [commit 10] [torn]
//	                                    lacks 8 and later
//
//	 1. lastAppend, from the end of the store: commit 10
//	 2. walkBack, to the last root and the first commit that it lacks: 9 with the root, then 8
//	 3. replay of 8, 9 and 10 into a memtable (replay.go)
//
// An append begins only after the store acknowledged the one before it. So at most one append can
// be torn: the last one, which was never acknowledged. All earlier ones were acknowledged, and must
// be intact. Why each step is right:
//
//   - Step 1 skips blocks only if they can be the remains of one torn append. A power cut loses
//     sectors. It does not flip a bit or move a whole block: that is damage. Journal blocks and
//     seals name the append before theirs. If a skipped one names an append other than the one
//     found, that is damage too.
//   - Step 2 visits only appends that a later append names as its previous one. Such an append was
//     acknowledged, so if it cannot be read it is damaged. Commit numbers have no gaps, so no
//     append in between can be missing.
//   - With a journal a root may be skipped, because the tree before it and the journal hold the
//     same changes. If blocks of that tree have been freed, the later root was durable. Then it is
//     used although it is damaged.
//   - Recovery writes nothing, so a crash during recovery changes nothing.
//
// Whether an append is whole is decided in wholeappend.go.

// Root is the root page of a tree in a store, with the tail after it.
type Root struct {
	Block   uint64
	Oldest  uint64 // lowest block of any leaf
	Nodes   uint64 // pages of the tree
	Height  int
	Partial bool // the journal holds changes that the tree does not
	Page    []byte

	// Skipped lists the blocks after the last whole append that FindRoot skipped. A crash can leave
	// such blocks, a clean stop does not.
	Skipped []Fault

	alone    bool             // the root is the whole tree, and may be the first block of the store
	newest   uint64           // its newest child; its own block if it has none
	recorded bool             // there is a flush record before it
	pages    sealed           // its append, as the flush record describes it
	id       uint64           // its id in the flush record or seal; 0: none
	start    start            // the first commit that the tree lacks
	previous uint64           // last block of the previous append, if recorded
	commits  []journal.Commit // commits that the tree lacks, in order
	last     uint64           // last block of any append
	lastSeq  uint64           // of the last commit; 0 if there is none
	doubtful disk.Stretch     // blocks of its append, if that does not fit its seal
}

// appendAt is an append, as its last block describes it.
type appendAt struct {
	last     uint64
	previous uint64 // last block of the previous append; noBlock: unknown, or none
	commit   journal.Commit
	root     Root // Page is nil if there is none
}

// FindRoot returns the last whole root and the places of the commits that its tree lacks. It logs
// the blocks that it skips. An error that wraps disk.ErrCorrupt means that an acknowledged block is
// damaged or missing.
func FindRoot(store disk.Store, log *slog.Logger) (Root, error) {
	if store.Info().Last == disk.NoBlock {
		return Root{}, errNoRoot
	}
	r := &recovery{store: store, blocks: newBlockReader(store), log: log}
	end, err := r.lastAppend()
	if err != nil {
		return Root{}, err
	}
	root, err := r.walkBack(end)
	if err != nil {
		return Root{}, err
	}
	root.Skipped = r.skipped
	for _, f := range r.skipped {
		log.Warn("skipped a block after the last whole append", "block", f.Block, "why", f.Err)
	}
	return root, nil
}

// recovery is the search for the tail of a store.
type recovery struct {
	blocks  *blockReader
	store   disk.Store
	log     *slog.Logger
	skipped []Fault // skipped blocks, from the end of the store backwards
	claims  []claim // what skipped journal blocks and seals say about the previous append
	payload []byte  // scratch
}

// lastAppend returns the last whole append.
func (r *recovery) lastAppend() (appendAt, error) {
	gap := 0          // consecutive block numbers without a block
	var held appendAt // the newest append with a readable root whose tree is not whole
	var heldWhy error
	for at := r.store.Info().Last; ; at-- {
		claims := len(r.claims)
		a, err := r.appendEndingIn(at, mayBeTorn)
		var torn *tornError
		isTorn, missing := errors.As(err, &torn), errors.Is(err, errNoBlock)
		if gap++; isTorn || !missing {
			gap = 0
		}
		switch {
		case err == nil:
			r.claims = r.claims[:claims]
			return a, r.checkClaims(&a)
		case isTorn && torn.previous != noBlock:
			return r.beforeTorn(a, torn)
		case held.root.Page != nil && (errors.Is(err, errGone) || isTorn && torn.root != nil && r.isGone(torn.root.Oldest)):
			r.skipped = nil
			err := r.takeDamaged(&held.root, fmt.Errorf("%w, and the tree before it has been freed", heldWhy))
			return held, err
		case isTorn:
			if torn.root != nil && held.root.Page == nil && !r.isGone(torn.root.Oldest) {
				held, heldWhy = a, err
			}
			r.skip(at, torn.err)
		case missing && gap > maxScanGap:
			return a, r.noRoot()
		case missing:
		case errors.Is(err, errNotRoot): // part of an append that was cut short
			if len(r.skipped) == 0 { // otherwise the log has named that append already
				r.skip(at, fmt.Errorf("%w: the root behind it is missing", err))
			}
		case wasWritten(err):
			return a, nameBlock(at, err)
		case !errors.Is(err, disk.ErrCorrupt):
			return a, fmt.Errorf("look for the last append: %w", err)
		default:
			r.skip(at, err)
		}
		if at == 0 {
			return a, r.noRoot()
		}
	}
}

// beforeTorn returns the append before a torn one, or the torn one if it was durable.
func (r *recovery) beforeTorn(a appendAt, torn *tornError) (appendAt, error) {
	if r.wasDurable(torn.root, torn.previous) {
		err := r.takeDamaged(&a.root, torn.err)
		return a, err
	}
	before, err := r.appendEndingIn(torn.previous, mayBeTorn)
	if err != nil {
		return a, r.unreachable(torn.previous, a.last, err)
	}
	r.skip(a.last, torn.err)
	return before, nil
}

// walkBack goes from the last append back to the last root, and on to the first commit that its
// tree lacks.
func (r *recovery) walkBack(end appendAt) (Root, error) {
	var root Root
	var commits []journal.Commit // newest first
	for a := end; ; {
		if c := a.commit; c.Pieces > 0 {
			if n := len(commits); n > 0 && commits[n-1].Seq != c.Seq+1 {
				return root, &BlockError{c.Block, fmt.Errorf("%w: commit %d comes before commit %d", disk.ErrCorrupt, c.Seq, commits[n-1].Seq)}
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
			return root, r.noRoot()
		}
		known := acknowledged
		if root.Page != nil {
			known = commitNeeded
		}
		before, err := r.appendEndingIn(a.previous, known)
		var torn *tornError
		if errors.As(err, &torn) && torn.root != nil {
			err = r.skipRoot(&before, torn)
		}
		if err != nil {
			return root, r.unreachable(a.previous, a.last, err)
		}
		a = before
	}
	slices.Reverse(commits)
	root.last = end.last
	return root, root.putCommits(commits)
}

// lacksBefore reports whether the tree lacks commits before its root that are not among commits.
// commits are ordered from the newest to the oldest.
func (r *Root) lacksBefore(commits []journal.Commit) bool {
	n := len(commits)
	return r.Partial && r.start.block < r.Block && (n == 0 || commits[n-1].Seq > r.start.seq)
}

// putCommits stores the commits that the tree lacks in r. The first of them must be the one that
// the flush record names.
func (r *Root) putCommits(commits []journal.Commit) error {
	// The first commit came right after the root. If it has the number for a root without a flush
	// record, the writer of the commit could not read the record. Earlier versions began at 1.
	if len(commits) > 0 && (r.alone || !r.Partial && commits[0].Block > r.Block && (commits[0].Seq == 1 || commits[0].Seq == firstAfter(r.Block))) {
		r.start = start{seq: commits[0].Seq, block: commits[0].Block}
	}
	if !r.recorded && len(commits) > 0 && commits[0].Seq != r.start.seq && r.Block > 0 {
		return &BlockError{r.Block - 1, fmt.Errorf("%w: the root at block %d needs a flush record here, because commit %d is not the first commit of the store",
			disk.ErrCorrupt, r.Block, commits[0].Seq)}
	}
	r.commits = slices.DeleteFunc(commits, func(c journal.Commit) bool { return c.Seq < r.start.seq })
	r.lastSeq = r.start.seq - 1
	if len(r.commits) == 0 {
		return nil
	}
	first := r.commits[0]
	r.lastSeq = r.commits[len(r.commits)-1].Seq
	if first.Seq != r.start.seq || r.lacksBefore(nil) && first.Block != r.start.block {
		return &BlockError{first.Block, fmt.Errorf("%w: the tree of block %d lacks commit %d, but the first commit after it is %d",
			disk.ErrCorrupt, r.Block, r.start.seq, first.Seq)}
	}
	return nil
}
