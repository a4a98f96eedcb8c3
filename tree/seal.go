package tree

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"kivaloo/disk"
)

// A page carries no checksum, and a power cut during an append can leave any of its sectors unwritten. Most of
// what that does to a page shows: keys out of order, sizes that are wrong. Not all does: a root's size
// is recorded nowhere, and zeros are good as values. So, where a page is more than one sector, an append
// holds, just before the root, a seal: a leaf that no tree refers to, with one pair,
//
//	key    "kivaloo seal"
//	value  8  first block of the append
//	       4  CRC32C of all its other pages, in order
//
// The original does not look at pages that its tree does not refer to, except to see that they are no roots; its
// own appends have no seals, and are judged by their content alone.

// sectorBytes is what a disk writes all of or nothing.
const sectorBytes = 512

const sealValueBytes = 12

var (
	sealKey    = []byte("kivaloo seal")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// sealed reports whether appends of pages of this size have seals.
func sealed(blockSize int) bool { return blockSize > sectorBytes }

// putSeal writes the seal of an append into pages[at].
func putSeal(pages [][]byte, at int, first uint64) {
	var sum uint32
	for i, p := range pages {
		if i != at {
			sum = crc32.Update(sum, castagnoli, p)
		}
	}
	var value [sealValueBytes]byte
	binary.BigEndian.PutUint64(value[:], first)
	binary.BigEndian.PutUint32(value[8:], sum)
	p := pages[at]
	end := putString(p, putHead(p, 1, 0, 0, false), sealKey)
	clear(p[putString(p, end, value[:]):])
}

// parseSeal returns what a page says, if it is a seal.
func parseSeal(p []byte) (first uint64, sum uint32, ok bool) {
	l, err := parseLayout(p)
	if err != nil || l.root || l.height > 0 || l.keys != 1 || string(stringAt(p, l.body)) != string(sealKey) {
		return 0, 0, false
	}
	value := stringAt(p, l.keysEnd)
	if len(value) != sealValueBytes {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(value), binary.BigEndian.Uint32(value[8:]), true
}

// sealOf returns the first block of the append that root is the last of, if there is a seal that says so.
func sealOf(store disk.Store, root Root) (first uint64, ok bool, err error) {
	at, ok := root.sealAt()
	if !ok || !sealed(store.Info().BlockSize) {
		return 0, false, nil
	}
	p := make([]byte, store.Info().BlockSize)
	if ok, err = disk.ReadBlock(store, at, p); err != nil || !ok {
		return 0, false, err
	}
	first, _, ok = parseSeal(p)
	return first, ok, nil
}

// sealAt returns where the seal of the append of root is, if it has one.
func (root *Root) sealAt() (uint64, bool) {
	behind := uint64(1)
	if root.record {
		behind = 2
	}
	if root.Block < behind {
		return 0, false
	}
	return root.Block - behind, true
}

// checkSeal checks the seal in front of a root, if there is one, against all blocks of the append. since is the
// first block that can belong to it.
func checkSeal(store disk.Store, root Root, since uint64) error {
	size := store.Info().BlockSize
	at, ok := root.sealAt()
	if !sealed(size) || !ok || at < since {
		return nil
	}
	p := make([]byte, size)
	ok, err := disk.ReadBlock(store, at, p)
	if err == nil && ok && !isJournal(p) {
		// What is in front of a root is a page, its seal or another, or a block of the journal: an append that came
		// before, or this one, put it there.
		_, err = parseHead(p)
	}
	if err != nil {
		return fmt.Errorf("block %d, before the root: %w", at, err)
	}
	first, want, isSeal := parseSeal(p)
	switch {
	case root.record && !isSeal:
		return fmt.Errorf("%w: block %d, before the checkpoint record, is no seal", disk.ErrCorrupt, at)
	case !ok || !isSeal:
		return nil
	case first < since || first > at:
		return fmt.Errorf("%w: the seal at block %d is of an append at block %d", disk.ErrCorrupt, at, first)
	}
	var sum uint32
	for block := first; block < root.Block; block++ {
		if block == at {
			continue
		}
		ok, err := disk.ReadBlock(store, block, p)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w: block %d does not exist", disk.ErrCorrupt, block)
		}
		sum = crc32.Update(sum, castagnoli, p)
	}
	if crc32.Update(sum, castagnoli, root.Page) != want {
		return fmt.Errorf("%w: the append of blocks %d to %d does not have the checksum in its seal", disk.ErrCorrupt, first, root.Block)
	}
	return nil
}
