package tree

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"syscall"

	"kivaloo/disk"
	"kivaloo/tree/journal"
	"kivaloo/tree/page"
)

// remains reads what is left of a damaged store. It repairs a block with a single flipped bit on
// reading, if a checksum shows which bit it is. That can be the block's checksum in the store, the
// journal block's own, or the seal of its append.
type remains struct {
	*disk.Remains
	mended blockSet
	moved  map[uint64]uint64 // actual places of misplaced blocks
	doubt  bool              // for one of them no checksum confirms that it is what was written
	judged []judgedAppend    // in block order
	spare  []byte            // one block of scratch, for judge
}

var _ disk.Store = (*remains)(nil)

// judgedAppend is an append, or part of one, without checksums in the block store.
type judgedAppend struct {
	disk.Stretch
	sealed  bool   // its seal is readable
	good    bool   // it fits its seal, after flipping the bit back
	flipped uint64 // the block with one flipped bit; noBlock: none, or unknown
	at      int    // index of the byte in that block
	bit     byte
}

func newRemains(store *disk.Remains) *remains {
	return &remains{Remains: store, mended: make(blockSet), spare: make([]byte, store.Info().BlockSize)}
}

// Submit implements disk.Store.
func (r *remains) Submit(first, last *disk.Op) {
	last.SetNext(nil)
	for op := first; op != nil; {
		next := op.Link.Next()
		op.OK, op.Err = r.Read(op.Block, op.Buf)
		op.Done.PushOne(op)
		op = next
	}
}

// Read reads a block. A block that the disk cannot read counts as damaged.
func (r *remains) Read(block uint64, p []byte) (bool, error) {
	ok, err := r.readAlone(block, p)
	if err != nil || !ok || journal.Is(p) {
		return ok, err
	}
	if _, summed := r.Sum(block); summed {
		return true, nil
	}
	if a := r.appendOf(block); a.flipped == block {
		p[a.at] ^= a.bit
		r.mended.add(block)
	} else if block == 0 && isEmptyButOneBit(p) {
		copy(p, page.EmptyRoot(len(p)))
		r.mended.add(block)
	}
	return true, nil
}

// readAlone reads a block, and repairs it if its own checksum shows how.
func (r *remains) readAlone(block uint64, p []byte) (bool, error) {
	if at, ok := r.moved[block]; ok {
		return r.readMoved(block, at, p)
	}
	ok, err := r.Remains.Read(block, p)
	switch {
	case errors.Is(err, syscall.EIO):
		return false, fmt.Errorf("%w: %w", disk.ErrRot, err)
	case errors.Is(err, disk.ErrCorrupt) && r.mend(block, p), err == nil && ok && journal.Mend(p):
		r.mended.add(block)
		return true, nil
	case errors.Is(err, disk.ErrDoubtful): // the reader has to judge it
		return true, nil
	}
	return ok, err
}

// isEmptyButOneBit reports whether p differs in one bit from the page that every store begins with.
func isEmptyButOneBit(p []byte) bool {
	off := 0
	for i, b := range page.EmptyRoot(len(p)) {
		off += bits.OnesCount8(b ^ p[i])
	}
	return off == 1
}

// mend flips the one bit that makes a block match its checksum. It returns false if there is none.
func (r *remains) mend(block uint64, p []byte) bool {
	want, ok := r.Sum(block)
	if !ok {
		return false
	}
	fromEnd, ok := page.FlippedAt(page.Sum(0, p)^want, len(p))
	if !ok {
		return false
	}
	at := len(p) - 1 - fromEnd
	for bit := range 8 {
		p[at] ^= 1 << bit
		if page.Sum(0, p) == want {
			return true
		}
		p[at] ^= 1 << bit
	}
	return false
}

// isBad reports whether an error means that a block is unusable. After any other error the salvage
// must stop.
func isBad(err error) bool { return errors.Is(err, disk.ErrCorrupt) || errors.Is(err, errNoBlock) }

// readPage reads a block that must exist.
func (r *remains) readPage(block uint64, p []byte) error { return hasToBe(block, p, r.Read) }

func hasToBe(block uint64, p []byte, read func(uint64, []byte) (bool, error)) error {
	ok, err := read(block, p)
	if err == nil && !ok {
		err = fmt.Errorf("block %d: %w", block, errNoBlock)
	}
	return err
}

// vouched reports whether a checksum confirms that a page is what was written. That is the block's
// checksum, which every read compares, or the seal of its append.
func (r *remains) vouched(block uint64) bool {
	if _, ok := r.Sum(block); ok {
		return true
	}
	if block == 0 && r.readPage(0, r.spare) == nil && bytes.Equal(r.spare, page.EmptyRoot(len(r.spare))) {
		return true // every store begins with this page
	}
	return r.appendOf(block).good
}

// appendOf returns the append that contains a page without a checksum in the block store.
func (r *remains) appendOf(block uint64) judgedAppend {
	i, ok := slices.BinarySearchFunc(r.judged, block, func(a judgedAppend, block uint64) int {
		if a.Has(block) {
			return 0
		}
		return cmp.Compare(a.First, block)
	})
	if ok {
		return r.judged[i]
	}
	file := r.File(block)
	next := file.Next // the next judged block
	if i < len(r.judged) {
		next = min(next, r.judged[i].First)
	}
	a := r.judge(block, file, next)
	if i < len(r.judged) && a.Next == r.judged[i].First && !a.sealed && !r.judged[i].sealed {
		r.judged[i].First = a.First
		return a
	}
	r.judged = slices.Insert(r.judged, i, a)
	return a
}

// judge finds the append that contains a page, and compares it with its seal. Blocks from next on
// are already judged.
func (r *remains) judge(block uint64, file disk.Stretch, next uint64) judgedAppend {
	unknown := judgedAppend{Stretch: disk.Stretch{First: block, Next: block + 1}, flipped: noBlock}
	j := &judge{buf: r.spare, found: disk.Found{BlockSize: len(r.spare), File: file, Judged: next, End: r.Blocks().Next,
		Read: func(block uint64, p []byte) error { return hasToBe(block, p, r.readAlone) }}}
	a, end, err := j.appendOf(block)
	if err == nil && a.root == 0 && block > file.First { // a root has its seal in front of it
		if b, _, err := j.appendOf(block - 1); err == nil && b.root == block {
			a = b
		}
	}
	switch {
	case err != nil:
		return unknown
	case a.root == 0:
		unknown.Next = max(min(end, next), unknown.Next)
		return unknown
	}
	known := judgedAppend{Stretch: disk.Stretch{First: a.first, Next: a.root + 1}, sealed: true, flipped: noBlock}
	off, err := a.off(j.read)
	switch {
	case err == nil && off == 0:
		known.good = true
	case err == nil:
		known.mend(a, off, j)
	}
	return known
}

// mend finds the single flipped bit that explains why the sum of an append is wrong.
func (k *judgedAppend) mend(a sealed, off uint32, j *judge) {
	size := j.found.BlockSize
	bad, ok := a.flipped(off, size, j.read)
	if !ok {
		return
	}
	certain := a.bytes(size) <= maxMendedBytes
	if bad == a.out.First { // the sum itself is wrong
		k.good = certain
		return
	}
	fromEnd, _ := page.FlippedAt(off, a.bytes(size))
	at := size - 1 - fromEnd%size
	for bit := byte(1); bit != 0; bit <<= 1 {
		mended := func(block uint64) ([]byte, error) {
			p, err := j.read(block)
			if err == nil && block == bad {
				p[at] ^= bit
			}
			return p, err
		}
		if left, err := a.off(mended); err != nil || left != 0 {
			continue
		}
		if p, err := mended(bad); err == nil {
			if _, err = pageAlone(bad, p); err == nil {
				k.good, k.flipped, k.at, k.bit = certain, bad, at, bit
			}
		}
		return
	}
}

// blockSet is a set of blocks, 64 to a word.
type blockSet map[uint64]uint64

func (b blockSet) add(block uint64) { b[block/64] |= 1 << (block % 64) }

func (b blockSet) count() (n uint64) {
	for _, word := range b {
		n += uint64(bits.OnesCount64(word))
	}
	return n
}
