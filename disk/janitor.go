package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// requestFree carries out the part of a Free that is answered: from now on everything
// before op.Block may be discarded. tidy does it. A request that comes while an earlier one
// has not been finished is acknowledged and forgotten: whoever frees does it again and
// again, with growing numbers.
func (c *chain) requestFree(op *Op) {
	if c.opts.ReadOnly {
		op.Err = fmt.Errorf("free blocks before %016x: %w", op.Block, errReadOnly)
		return
	}
	op.OK = true
	c.freeBefore.CompareAndSwap(0, op.Block)
}

// tidy does what the janitor has to do at the moment: discard what may be, and give
// files that have been sealed their checksums.
func (c *chain) tidy() {
	for {
		c.freeRequested()
		f, count := c.nextToSeal()
		if f == nil {
			return
		}
		c.seal(f, count)
	}
}

// freeRequested discards what has been asked for, if anything has been.
func (c *chain) freeRequested() {
	if keep := c.freeBefore.Load(); keep != 0 {
		c.free(keep)
		c.freeBefore.Store(0)
	}
}

// free removes files from the front as long as all their blocks are before keep. The
// last file stays in any case. The names go one at a time, each for good before the next, so
// that a crash cannot leave a gap; this does not depend on NoSync.
func (c *chain) free(keep uint64) {
	for c.failed() == nil {
		var f *file
		c.replace(func(t *table) *table {
			f = nil
			if len(t.files) < 2 || t.files[1].first > keep {
				return nil
			}
			f = t.files[0]
			return &table{t.files[1:], t.next}
		})
		if f == nil {
			return
		}
		f.dropped.Store(true)
		c.descriptors.forget(f)
		if err := c.discard(f); err != nil {
			return // has been logged: it is permanent
		}
	}
}

// discard removes a file that is no longer in the table from the disk. An error is
// permanent: going on could leave a gap in the chain.
func (c *chain) discard(f *file) error {
	if err := c.opts.FS.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c.fail(fmt.Errorf("discard old blocks: %w", err))
	}
	if err := c.syncDir(); err != nil {
		return err
	}
	// A companion that is left behind is swept away by the next start.
	companion := filepath.Join(c.dir, sumsName(f.first))
	if err := c.opts.FS.Remove(companion); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.opts.Log.Warn("removing the checksums of discarded blocks failed", "error", err)
	}
	return nil
}

// nextToSeal returns a file that has been sealed in this run and has no checksums yet, and
// how many blocks it has; nil if there is none.
//
// Files that were sealed before this run and have none, such as those of the original
// or of a process that was killed, do not get any: their checksums would declare whatever
// has become of the blocks by now to be right.
func (c *chain) nextToSeal() (f *file, count uint64) {
	t := c.table.Load()
	for i := range len(t.files) - 1 {
		if f := t.files[i]; f.wantSums {
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
		c.freeRequested()
		if f.dropped.Load() {
			return nil, nil
		}
	}
	s.finish()
	return s, nil
}
