package tree

import (
	"fmt"
	"math/bits"

	"kivaloo/disk"
	"kivaloo/tree/journal"
	"kivaloo/tree/page"
)

// sealed is an append of pages with a seal, and perhaps a flush record. sum comes from one of these
// two:
//
//	[page ... page  seal  record  ROOT]
//	 ^ first        ^ seal        ^ root
//
// The sum in the seal covers all blocks except the seal. The sum in the flush record covers the
// pages without seal and record. So it can still verify all pages if the seal is lost.
type sealed struct {
	first, root uint64
	out         disk.Stretch // blocks not covered by the sum: the seal, perhaps with the flush record
	sum         uint32
	lost        bool // the seal is damaged or missing, and there is no sum
}

// errNoSeal means that an append written by this program has lost its seal.
var errNoSeal = fmt.Errorf("%w: not the seal that was written here", disk.ErrCorrupt)

// bySeal returns the append that a seal in block at describes.
func bySeal(seal page.Seal, at, root uint64) sealed {
	return sealed{first: seal.First, root: root, out: disk.Stretch{First: at, Next: at + 1}, sum: seal.Sum}
}

// byRecord returns the append that a flush record describes.
func byRecord(record *journal.Block) sealed {
	root := record.Number + 1
	sum, ok := record.PagesSum()
	if !ok {
		return lostSeal(record.First, root)
	}
	return sealed{first: record.First, root: root, out: disk.Stretch{First: root - 2, Next: root}, sum: sum}
}

// lostSeal returns an append that begins at first and about which nothing else is known.
func lostSeal(first, root uint64) sealed { return sealed{first: first, root: root, lost: true} }

// readBlock returns a block. The slice is valid until the next call.
type readBlock func(block uint64) ([]byte, error)

// off returns the difference between the sum of the blocks and the recorded sum. It is 0 if the
// blocks are intact.
func (a sealed) off(read readBlock) (uint32, error) {
	if a.lost {
		return 0, fmt.Errorf("block %d, before the root: %w", a.root-1, errNoSeal)
	}
	var sum uint32
	for block := a.first; block <= a.root; block++ {
		if a.out.Has(block) {
			continue
		}
		p, err := read(block)
		if err != nil {
			return 0, fmt.Errorf("block %d: %w", block, err)
		}
		sum = page.Sum(sum, p)
	}
	return sum ^ a.sum, nil
}

// bytes returns the total length of the blocks covered by the sum.
func (a sealed) bytes(size int) int {
	return int(a.root+1-a.first-(a.out.Next-a.out.First)) * size
}

// flipped returns the block with a flipped bit, if one flipped bit explains the wrong sum. It
// rejects an append that was cut short, because such an append has blocks that are no pages. It
// does not search a long append, because it could find a bit there that did not flip.
func (a sealed) flipped(off uint32, size int, read readBlock) (bad uint64, ok bool) {
	length := a.bytes(size)
	switch fromEnd, ok := page.FlippedAt(off, length); {
	case length > maxFlippedBytes:
		return 0, false
	case bits.OnesCount32(off) == 1:
		return a.out.First, true // the bit is in the seal's sum: a flush record has a checksum of its own
	case !ok:
		return 0, false
	default:
		bad = a.root - uint64(fromEnd)/uint64(size)
	}
	if bad < a.out.Next {
		bad -= a.out.Next - a.out.First
	}
	for block := a.first; block <= a.root; block++ {
		p, err := read(block)
		if err == nil && block != bad {
			if _, err = page.Parse(p); err != nil && block == a.root-1 {
				_, err = journal.ParseAt(block, p) // the flush record
			}
		}
		if err != nil {
			return 0, false
		}
	}
	return bad, true
}
