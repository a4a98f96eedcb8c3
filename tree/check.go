package tree

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"kivaloo/disk"
	"kivaloo/tree/page"
)

// Fault is one fault of a store.
type Fault struct {
	Block uint64
	Path  string // child numbers on the way from the root to the block
	Err   error
}

func (f Fault) Error() string { return fmt.Sprintf("block %d (%s): %v", f.Block, f.Path, f.Err) }

// Report is the result of Check.
type Report struct {
	BlockSize int    // bytes
	Next      uint64 // block number for the next append
	Root      Root
	Leaves    uint64
	Parents   uint64
	Pairs     uint64
	PairBytes uint64 // keys and values with their length bytes
	UsedBytes uint64 // of all pages, without their padding
	Faults    []Fault
	More      int // faults found after Faults was full
}

// maxReportedFaults bounds the memory for describing a badly damaged store.
const maxReportedFaults = 1000

// Pages returns the number of pages in the tree.
func (r *Report) Pages() uint64 { return r.Leaves + r.Parents }

// Fill returns how full the pages are on average, from 0 to 1.
func (r *Report) Fill() float64 {
	if r.Pages() == 0 {
		return 0
	}
	return float64(r.UsedBytes) / float64(r.Pages()*uint64(r.BlockSize))
}

// Check reads every page of the tree under root and verifies all rules of the format, until ctx is
// done. root must come from FindRoot. Blocks that FindRoot skipped count as faults. Check changes
// nothing. The tree must not change meanwhile: either nothing writes to the store, or root belongs
// to a snapshot.
func Check(ctx context.Context, store disk.Store, root Root) *Report {
	info := store.Info()
	r := &Report{BlockSize: info.BlockSize, Next: info.Next, Root: root, Faults: slices.Clone(root.Skipped)}
	add := func(block uint64, path string, err error) bool {
		if len(r.Faults) < maxReportedFaults {
			r.Faults = append(r.Faults, Fault{block, path, err})
		} else {
			r.More++
		}
		return true
	}
	walk := walker{ctx: ctx, store: store, exact: true, fault: add, page: r.count}
	oldest := walk.tree(root)
	if err := ctx.Err(); err != nil {
		add(root.Block, "root", fmt.Errorf("not all of the tree has been checked: %w", err))
		return r
	}
	if len(r.Faults) > len(root.Skipped) {
		return r // totals over part of the tree mean nothing
	}
	if r.Pages() != root.Nodes {
		add(root.Block, "root", fmt.Errorf("%w: the root records %d pages, but the tree has %d", disk.ErrCorrupt, root.Nodes, r.Pages()))
	}
	if oldest != root.Oldest {
		add(root.Block, "root", fmt.Errorf("%w: the root records block %d as the oldest leaf, but block %d is", disk.ErrCorrupt, root.Oldest, oldest))
	}
	return r
}

// count adds one good page to the totals of r.
func (r *Report) count(l page.Layout) {
	r.UsedBytes += uint64(l.End)
	if l.Height > 0 {
		r.Parents++
		return
	}
	r.Leaves++
	r.Pairs += uint64(l.Keys)
	r.PairBytes += uint64(l.End - l.Body)
}

// walker visits the pages of a tree, parents before children, left to right.
type walker struct {
	ctx      context.Context // nil: the walk cannot be cancelled
	store    disk.Store
	since    uint64 // skip pages before this block, with everything below them
	exact    bool
	fault    func(block uint64, path string, err error) bool // returning false ends the walk
	page     func(l page.Layout)                             // called for each good page; may be nil
	stop     bool
	doubtful disk.Stretch // blocks that do not fit their seal
}

// tree visits the tree under root and returns the lowest block of any leaf visited.
func (v *walker) tree(root Root) (oldest uint64) {
	v.doubtful = root.doubtful
	w := page.Want{Block: root.Block, Root: true, Exact: v.exact}
	return v.checked(&w, root.Page, "root")
}

// visit reads and checks a page and everything below it.
func (v *walker) visit(w *page.Want, path string) (oldest uint64) {
	p := make([]byte, v.store.Info().BlockSize)
	ok, err := disk.ReadBlock(v.store, w.Block, p)
	if err == nil && !ok {
		err = fmt.Errorf("%w: does not exist", disk.ErrCorrupt)
	}
	if err == nil && v.doubtful.Has(w.Block) {
		err = disk.ErrDoubtful
	}
	if err != nil {
		v.stop = !v.fault(w.Block, path, err)
		return noBlock
	}
	return v.checked(w, p, path)
}

func (v *walker) checked(w *page.Want, p []byte, path string) (oldest uint64) {
	l, err := w.Verify(p)
	if err != nil {
		v.stop = !v.fault(w.Block, path, err)
		return noBlock
	}
	if v.page != nil {
		v.page(l)
	}
	if l.Height == 0 {
		return w.Block
	}
	oldest = noBlock
	kidLo, at := w.Lo, l.Body
	v.stop = v.stop || v.ctx != nil && v.ctx.Err() != nil
	for i := 0; i <= l.Keys && !v.stop; i++ {
		kidHi := w.Hi
		if i < l.Keys {
			kidHi = page.String(p, at)
			at += 1 + len(kidHi)
		}
		r := l.Child(p, i)
		if r.Block >= v.since {
			kid := page.Want{
				Block: r.Block, Height: l.Height - 1, Size: r.Size, Oldest: r.Oldest,
				Lo: bytes.Clone(kidLo), Hi: bytes.Clone(kidHi), Exact: v.exact,
			}
			oldest = min(oldest, v.visit(&kid, fmt.Sprintf("%s/%d", path, i)))
		}
		kidLo = kidHi
	}
	return oldest
}
