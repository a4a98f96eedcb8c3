package tree

import (
	"kivaloo/disk"
	"kivaloo/tree/journal"
	"kivaloo/tree/page"
)

// Doubtful returns which of the blocks from first on and before next, all in one file, are not what was written, as far as
// they tell: blocks of the journal by their checksums, and whole appends by their seals. They are damaged, or of an append
// that was cut short and never acknowledged. read gets any of them. It is disk.Options.Doubtful.
func Doubtful(blockSize int, first, next uint64, read func(block uint64, buf []byte) error) ([]disk.Stretch, error) {
	var bad []disk.Stretch
	p := make([]byte, blockSize)
	for at := first; at < next; at++ {
		if err := read(at, p); err != nil {
			return nil, err
		}
		if journal.Is(p) {
			if _, err := journal.ParseAt(at, p); err != nil {
				bad = append(bad, disk.Stretch{First: at, Next: at + 1})
			}
			continue
		}
		from, want, ok := page.ParseSeal(p)
		if !ok || from < first || from > at {
			continue
		}
		root, sum, err := sumSealed(from, at, next, p, read)
		if err != nil {
			return nil, err
		}
		if root == next || sum != want {
			bad = append(bad, disk.Stretch{First: from, Next: min(root+1, next)})
		}
	}
	return bad, nil
}

// sumSealed returns the checksum of the append of which the seal is at a block: of all its blocks from one on but the seal,
// to the root. root is next if there is none. p is for its use.
func sumSealed(from, seal, next uint64, p []byte, read func(block uint64, buf []byte) error) (root uint64, sum uint32, err error) {
	root = next
	for block := from; block < next; block++ {
		if block == seal {
			continue
		}
		if err := read(block, p); err != nil {
			return 0, 0, err
		}
		sum = page.Sum(sum, p)
		if block == seal+2 || block > seal && !journal.Is(p) { // with a flush record between them, or without
			return block, sum, nil
		}
	}
	return root, sum, nil
}
