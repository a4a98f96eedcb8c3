package tree

import (
	"kivaloo/disk"
	"kivaloo/tree/journal"
	"kivaloo/tree/page"
)

// Doubtful returns the blocks from first up to next that visibly do not hold what was written: journal
// blocks with a wrong checksum, and appends that do not fit their seal. They are damaged, or of an
// append that was cut short. All blocks are in one file, and read reads one of them. It is for
// disk.Options.Doubtful.
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

// sumSealed returns the checksum of an append, from its first block to its root, without its seal. root
// is next if there is none. p is scratch.
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
