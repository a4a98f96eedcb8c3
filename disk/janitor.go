package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// requestFree carries out the part of a Free that is answered: from now on everything
// before op.Block may be discarded. tidy does it.
func (c *chain) requestFree(op *Op) {
	if c.opts.ReadOnly {
		op.Err = fmt.Errorf("free blocks before %016x: %w", op.Block, errReadOnly)
		return
	}
	op.OK = true
	keep := min(op.Block, c.table.Load().next) // what is appended later is not meant
	for {
		before := c.freeBefore.Load()
		if keep <= before || c.freeBefore.CompareAndSwap(before, keep) {
			return
		}
	}
}

// tidy does what the janitor has to do at the moment: discard what may be, and give
// files that have been sealed for at least minAge their checksums.
func (c *chain) tidy(minAge time.Duration) {
	for {
		c.free()
		f, count := c.nextToSeal(minAge)
		if f == nil {
			return
		}
		c.seal(f, count)
	}
}

// free removes files from the front as long as all their blocks may be discarded. The
// last file stays in any case.
func (c *chain) free() {
	for c.freeOne() {
	}
}

// freeOne removes the first file if all its blocks may be discarded, and reports whether it has.
// Each name goes for good before the next, so that a crash cannot leave a gap; this does not depend
// on NoSync. The last one may come back with a crash, which does no harm, so that the sync is left to
// whoever makes the next change of the directory.
func (c *chain) freeOne() bool {
	if !c.table.Load().removable(c.freeBefore.Load()) {
		return false // and not wait until another one has gone
	}
	c.freeing.Lock()
	defer c.freeing.Unlock()
	if c.failed() != nil || !c.table.Load().removable(c.freeBefore.Load()) {
		return false
	}
	if c.removals.Load() != c.removalsSynced.Load() && c.syncDir() != nil {
		return false // has been logged: it is permanent
	}
	f := c.table.Load().files[0] // only this changes the front
	c.replace(func(t *table) *table { return &table{t.files[1:], t.next} })
	f.dropped.Store(true)
	c.descriptors.forget(f)
	return c.discard(f) == nil
}

// discard removes a file that is no longer in the table from the disk. An error is
// permanent: going on could leave a gap in the chain.
func (c *chain) discard(f *file) error {
	if err := c.dir.Remove(f.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c.fail(fmt.Errorf("discard old blocks: %w", err))
	}
	c.removals.Add(1)
	// A companion that is left behind is swept away by the next start.
	if err := c.dir.Remove(sumsName(f.first)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.opts.Log.Warn("removing the checksums of discarded blocks failed", "error", err)
	}
	return nil
}

// nextToSeal returns a file that was sealed in this run, minAge ago or earlier, and has no checksums yet,
// and how many blocks it has; nil if there is none.
//
// Files that were sealed before this run and have none, such as those of the original
// or of a process that was killed, do not get any: their checksums would declare whatever
// has become of the blocks by now to be right.
func (c *chain) nextToSeal(minAge time.Duration) (f *file, count uint64) {
	t := c.table.Load()
	for i := range len(t.files) - 1 {
		if f := t.files[i]; f.wantSums && time.Since(f.sealed) >= minAge {
			return f, t.files[i+1].first - f.first
		}
	}
	return nil, 0
}

// seal gives f, of count blocks, its checksums. If that fails it stays without: they are a
// safeguard, and not needed to read the blocks.
func (c *chain) seal(f *file, count uint64) {
	f.wantSums = false
	s, err := c.computeSums(f, count)
	if err == nil && s != nil {
		err = c.writeSums(s)
	}
	if err != nil {
		c.opts.Log.Warn("block file stays without checksums", "file", f.path, "error", err)
		return
	}
	if s != nil {
		f.sums.loaded.Store(&s)
	}
}

// computeSums reads f back. It returns nil if f has been discarded meanwhile, for which it
// makes time between chunks.
func (c *chain) computeSums(f *file, count uint64) (sums, error) {
	d, err := c.descriptors.acquire(f)
	if err != nil {
		return nil, err
	}
	defer c.descriptors.release(d)

	s := newSums(c.opts.BlockSize, f.first, count)
	size := c.opts.BlockSize
	chunk := make([]byte, max(sealChunkBytes/size, 1)*size)
	for done := uint64(0); done < count; {
		n := min(uint64(len(chunk)/size), count-done)
		part := chunk[:int(n)*size]
		if err := readFull(d, f.path, part, int64(done)*int64(size)); err != nil {
			return nil, err
		}
		for i := range n {
			s.set(done+i, part[int(i)*size:int(i+1)*size])
		}
		done += n
		c.free()
		if f.dropped.Load() {
			return nil, nil
		}
	}
	s.finish()
	return s, nil
}
