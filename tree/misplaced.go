package tree

import (
	"bytes"
	"fmt"
	"math/bits"

	"kivaloo/tree/journal"
	"kivaloo/tree/page"
)

// The blocks around a root show whether it was written there:
//
//	[page ... page  seal  record  ROOT][piece ... piece]
//
// A root that is a leaf has a value for every key, and nothing in it says which block it is.
// Without a checksum it may be a copy that has overwritten another block. Such a copy must not hide
// newer leaves.

// neighbour describes a block before or after a root.
type neighbour struct {
	kind  neighbourKind
	block uint64
	first uint64 // first block of its append, if it says so
	seq   uint64 // sequence number of a piece
	tall  bool   // a root that is not a leaf
}

type neighbourKind uint8

const (
	unreadable neighbourKind = iota
	aPiece                   // of a commit
	aRecord                  // of a flush
	aSeal
	aRoot
	aPage // any other
)

// neighbour returns what a block is.
func (s *salvager) neighbour(block uint64) (neighbour, error) {
	n := neighbour{block: block}
	if s.around == nil {
		s.around = make([]byte, s.store.Info().BlockSize)
	}
	p := s.around
	if err := s.store.readPage(block, p); err != nil {
		if isBad(err) {
			err = nil
		}
		return n, err
	}
	if b, err := journal.ParseAt(block, p); err == nil {
		n.kind, n.first, n.seq = aPiece, b.First, b.Seq
		if b.Kind == journal.Flush {
			n.kind = aRecord
		}
		return n, nil
	}
	l, err := pageAlone(block, p)
	seal, sealed := page.ParseSeal(block, p)
	switch {
	case err != nil:
	case sealed:
		n.kind, n.first = aSeal, seal.First
	case s.isSeal(block, p):
	case l.Root:
		n.kind, n.tall = aRoot, l.Height > 0
	default:
		n.kind = aPage
	}
	return n, nil
}

// isSeal reports whether a page is a seal, whatever else is wrong with it. It accepts one wrong bit
// in the head.
func (s *salvager) isSeal(block uint64, p []byte) bool {
	if page.BeginsSeal(p) {
		return true
	}
	if s.seal == nil {
		s.seal = make([]byte, len(p))
	}
	page.PutSeal([][]byte{s.seal}, 0, block, 0)
	off := 0
	for i := range sealHeadBytes {
		off += bits.OnesCount8(p[i] ^ s.seal[i])
	}
	return off == 1
}

// sealHeadBytes is the length of the part that all seals in a block share: the page head, the key,
// and the block number.
const sealHeadBytes = page.HeadBytes + 1 + len("kivaloo seal") + 1 + 8

// behind returns the first block after a root that says where its append began, or is a root
// itself.
func (s *salvager) behind(root uint64) (n neighbour, err error) {
	for at := root + 1; at < s.store.Blocks().Next; at++ {
		if err := s.step(); err != nil {
			return n, err
		}
		if n, err = s.neighbour(at); err != nil || n.kind != unreadable && n.kind != aPage {
			return n, err
		}
	}
	return neighbour{}, nil
}

// misplaced reports whether a root was written to another block than the one it is in.
func (s *salvager) misplaced(at uint64, p []byte, l page.Layout) (bool, error) {
	if at == 0 || s.store.vouched(at) {
		return false, nil
	}
	if newestChild(at, p, &l)+maxBehindChild < at {
		return true, nil
	}
	before, err := s.neighbour(at - 1)
	if err != nil {
		return false, err
	}
	behind, err := s.behind(at)
	if err != nil {
		return false, err
	}
	within := behind.first <= at
	unrecorded := before.kind != aRecord && before.kind != unreadable
	switch leaf := l.Height == 0; {
	case before.kind == aPiece,
		before.kind == aRecord && leaf && before.first+2 < at, // the append has other pages
		before.kind == aSeal && leaf && before.first+1 < at,
		before.kind == aPage && leaf,
		unrecorded && l.Partial,
		behind.kind == aSeal && within,
		behind.kind == aRecord && within,
		behind.kind == aPiece && unrecorded && within,
		behind.kind == aPiece && unrecorded && behind.block == at+1 && behind.seq != firstAfter(at) && behind.seq != 1: // it continues from another root
		return true, nil
	case !leaf, before.kind == aRoot && (!before.tall || l.Keys == 0): // as the original writes them
		return false, nil
	}
	return s.copied(at, p)
}

// copied reports whether a root that is a leaf equals an older one.
func (s *salvager) copied(at uint64, p []byte) (bool, error) {
	if s.rootLeaves == nil {
		if err := s.findRootLeaves(); err != nil {
			return false, err
		}
	}
	first, ok := s.rootLeaves[page.Sum(0, p)]
	if !ok || first >= at {
		return false, nil
	}
	if err := s.store.readPage(first, s.around); err != nil {
		if isBad(err) {
			err = nil
		}
		return false, err
	}
	return bytes.Equal(p, s.around), nil
}

// findRootLeaves records the first block of each root that is a leaf, by checksum.
func (s *salvager) findRootLeaves() error {
	blocks := s.store.Blocks()
	s.of += blocks.Next - blocks.First
	s.rootLeaves = make(map[uint32]uint64)
	return s.eachBlock(blocks.First, blocks.Next, func(at uint64, p []byte, bad error) error {
		if bad != nil || len(s.rootLeaves) >= maxRootLeaves {
			return nil
		}
		if l, err := page.ParseHead(p); err != nil || !l.Root || l.Height > 0 {
			return nil
		}
		sum := page.Sum(0, p)
		if _, ok := s.rootLeaves[sum]; !ok {
			s.rootLeaves[sum] = at
		}
		return nil
	})
}

// rootIn reports whether a block holds a root that was written there, and returns its layout.
func (s *salvager) rootIn(at uint64, p []byte) (l page.Layout, ok bool, err error) {
	l, err = pageAlone(at, p)
	if err != nil || !l.Root {
		return l, false, nil
	}
	misplaced, err := s.misplaced(at, p, l)
	return l, !misplaced, err
}

// checkPlace returns an error if the root that a start would use was not written to its block.
func (s *salvager) checkPlace(root *Root) error {
	_, ok, err := s.rootIn(root.Block, root.Page)
	if err == nil && !ok {
		err = &BlockError{root.Block, fmt.Errorf("%w: the blocks around it show that", errCopied)}
	}
	return err
}
