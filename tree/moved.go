package tree

import (
	"errors"

	"kivaloo/disk"
	"kivaloo/tree/journal"
	"kivaloo/tree/page"
)

// A journal block records its own number. One found at another place is read as if it stood at its
// own. The block at its own place is read where the first was found, because usually two blocks
// were swapped.

// findMoved finds journal blocks at wrong places and reports whether there are any. It calls step
// before each block that it reads.
func (r *remains) findMoved(step func() error) (bool, error) {
	found := make(map[uint64]uint64)
	p := make([]byte, r.Info().BlockSize)
	for at := r.Blocks().First; at < r.Blocks().Next && len(found) < maxMoved; at++ {
		if err := step(); err != nil {
			return false, err
		}
		ok, err := r.Remains.Read(at, p)
		if !ok && !isBad(err) {
			if err != nil && !errors.Is(err, disk.ErrDoubtful) {
				return false, err
			}
			continue
		}
		if !journal.Is(p) {
			continue
		}
		b, err := journal.ParseAt(at, p)
		if !errors.Is(err, journal.ErrMisplaced) || !r.Blocks().Has(b.Number) {
			continue
		}
		if want, ok := r.Sum(b.Number); ok && want != page.Sum(0, p) {
			continue
		}
		if _, ok := found[b.Number]; !ok {
			found[b.Number] = at
		}
	}
	for block := range found {
		err := hasToBe(block, p, r.readAlone)
		if err != nil && !isBad(err) {
			return false, err
		}
		if err != nil {
			continue
		}
		if _, bad := journal.ParseAt(block, p); bad == nil || !journal.Is(p) && r.vouched(block) {
			delete(found, block)
		}
	}
	if len(found) == 0 {
		return false, nil
	}
	r.moved, r.judged = make(map[uint64]uint64), nil
	for block, at := range found {
		if _, ok := found[at]; !ok {
			r.moved[at] = block
		}
	}
	for block, at := range found {
		r.moved[block] = at
		if _, ok := r.Sum(block); !ok {
			r.doubt = true
		}
	}
	return true, nil
}

// readMoved reads a block that is at another place.
func (r *remains) readMoved(block, at uint64, p []byte) (bool, error) {
	ok, err := r.Remains.Read(at, p)
	if err != nil && !isBad(err) || err == nil && !ok {
		return ok, err
	}
	if want, ok := r.Sum(block); ok && want != page.Sum(0, p) {
		return false, disk.ErrRot
	}
	return true, nil
}
