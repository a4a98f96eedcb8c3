package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// requestFree executes the answered part of a Free: from now on everything before op.Block may be
// discarded. tidy discards it.
func (c *chain) requestFree(op *Op) {
	if c.opts.ReadOnly {
		op.Err = fmt.Errorf("free blocks before %016x: %w", op.Block, errReadOnly)
		return
	}
	op.OK = true
	defer func() {
		op.Next, op.After = c.table.Load().kept(c.freeBefore.Load())
		op.Room = c.room()
	}()
	keep := min(op.Block, c.table.Load().next) // blocks appended later are not meant
	for {
		before := c.freeBefore.Load()
		if keep <= before || c.freeBefore.CompareAndSwap(before, keep) {
			return
		}
	}
}

// tidy does the janitor's current work. It discards what may be discarded, and writes checksums of
// files that were sealed at least minAge ago.
func (c *chain) tidy(minAge time.Duration) {
	for {
		c.free()
		f, count := c.nextToSeal(minAge)
		if f == nil {
			return
		}
		c.seal(f, count, c.goOn)
	}
}

// free removes files from the front as long as all their blocks may be discarded. The last file
// always stays.
func (c *chain) free() {
	for c.freeOne() {
	}
}

// freeOne removes the first file if all its blocks may be discarded, and reports whether it did.
// Each removal is made durable before the next, so that a crash cannot leave a gap. This does not
// depend on NoSync. The last removed file may come back after a crash, which does no harm. So its
// sync is left to the next change of the directory.
func (c *chain) freeOne() bool {
	if !c.canFree() {
		return false // do not wait for another removal
	}
	c.freeing.Lock()
	defer c.freeing.Unlock()
	if c.failed() != nil || !c.canFree() {
		return false
	}
	if c.removals.Load() != c.removalsSynced.Load() && c.syncDir() != nil {
		return false // a shortage, to be retried later, or a permanent failure, already logged
	}
	f := c.leaving.Load()
	if f == nil {
		f = c.table.Load().files[0] // only freeOne changes the front
		c.replace(func(t *table) *table { return &table{t.files[1:], t.next} })
		f.dropped.Store(true)
		c.descriptors.forget(f)
	}
	err := c.discard(f)
	if isShortage(err) {
		c.leaving.Store(f)
	} else {
		c.leaving.Store(nil)
		c.gone.Store(c.table.Load().min())
	}
	return err == nil
}

// canFree reports whether there is a file to remove.
func (c *chain) canFree() bool {
	return c.leaving.Load() != nil || c.table.Load().removable(c.freeBefore.Load())
}

// discard removes a file that is no longer in the table. An error is permanent, because continuing
// could leave a gap in the chain. But on some file systems removing a file needs space: such a
// shortage may end.
func (c *chain) discard(f *file) error {
	err := c.dir.Remove(f.name)
	if isShortage(err) {
		return err
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c.fail(fmt.Errorf("discard old blocks: %w", err))
	}
	c.removals.Add(1)
	// The next start removes a leftover companion.
	if err := c.dir.Remove(sumsName(f.first)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.opts.Log.Warn("removing the checksums of discarded blocks failed", "error", err)
	}
	return nil
}

// nextToSeal returns a file that was sealed at least minAge ago and lacks checksums on disk, and
// its number of blocks. It returns nil if there is none.
func (c *chain) nextToSeal(minAge time.Duration) (f *file, count uint64) {
	if c.opts.ReadOnly {
		return nil, 0
	}
	t := c.table.Load()
	for i := range len(t.files) - 1 {
		f := t.files[i]
		if c.stopping.Load() && f.unproven() {
			continue // takes time: the next run will do it
		}
		if f.wantsSums() && time.Since(f.sealed) >= minAge {
			return f, t.files[i+1].first - f.first
		}
	}
	return nil, 0
}

// seal writes the checksums of f, which has count blocks, unless goOn stops it. If that fails, f
// has no checksums until the next start. They are a safeguard, and not needed to read the blocks.
func (c *chain) seal(f *file, count uint64, goOn func(*file) bool) {
	f.wantSums, f.renewed = false, f.sums.damaged.Load()
	s, err := c.completeSums(f, count, goOn)
	if errors.Is(err, errStopped) {
		return
	}
	if err == nil {
		err = c.writeSums(s)
	}
	if err != nil {
		c.opts.Log.Warn("a block file stays without checksums until the next start", "file", f.path, "error", err)
		return
	}
	f.sums.onDisk = count
	f.sums.known.Store(&s)
}

// sealTail removes the leftovers of an append that was undone, and writes checksums of the last
// file's blocks so far. Nothing else may be running.
func (c *chain) sealTail() {
	if c.failed() == nil && !c.opts.ReadOnly {
		if err := c.clearLeftover(); err != nil {
			c.opts.Log.Warn("a refused change may be present after the next start", "dir", c.path, "error", err)
		}
	}
	f, count := c.table.Load().last()
	// Checksums on disk promise that the blocks are durable.
	if count == 0 || c.opts.ReadOnly || c.opts.NoSync || c.failed() != nil {
		return
	}
	if c.loadedSums(f).covers() < count || f.sums.onDisk < count {
		c.seal(f, count, func(*file) bool { return true })
	}
}

// errStopped means that optional work was skipped.
var errStopped = errors.New("stopped")

// goOn is called regularly during long work. It discards what may be discarded, and pauses so that
// others can use the disk. It reports whether to continue with f.
func (c *chain) goOn(f *file) bool {
	c.free()
	if f.dropped.Load() || c.stopping.Load() {
		return false
	}
	time.Sleep(c.rest)
	return true
}

// completeSums returns the checksums of all count blocks of f. For blocks found without checksums
// it uses their current content, unless Options.Doubtful says that it is not what was written.
func (c *chain) completeSums(f *file, count uint64, goOn func(*file) bool) (sums, error) {
	known := c.loadedSums(f)
	if known.covers() == count && !f.unproven() {
		return known, nil
	}
	d, err := c.descriptors.acquire(f)
	if err != nil {
		return nil, err
	}
	defer c.descriptors.release(d)

	s := newSums(c.opts.BlockSize, f.first, count)
	if known != nil {
		s = append(s, known[sumsHeaderBytes:]...)
	}
	size := c.opts.BlockSize
	chunk := make([]byte, min(max(sealChunkBytes/size, 1), int(count-s.covers()))*size)
	for s.covers() < count {
		n := min(uint64(len(chunk)/size), count-s.covers())
		part := chunk[:int(n)*size]
		if err := readFull(d, f.path, part, int64(s.covers())*int64(size)); err != nil {
			return nil, err
		}
		for ; len(part) > 0; part = part[size:] {
			s = s.with(part[:size])
		}
		if !goOn(f) {
			return nil, errStopped
		}
	}
	return s, c.leaveOutDoubtful(f, d, s, c.compareDamaged(f, s), goOn)
}

// leaveOutDoubtful removes from s the checksums of blocks that are not what was written, as
// Options.Doubtful tells. It skips the first blocks: these are proven.
func (c *chain) leaveOutDoubtful(f *file, d *descriptor, s sums, proven uint64, goOn func(*file) bool) error {
	if c.opts.Doubtful == nil || !f.unproven() {
		return nil
	}
	left := sealChunkBytes
	pause := func() error {
		if left -= c.opts.BlockSize; left <= 0 {
			left = sealChunkBytes
			if !goOn(f) {
				return errStopped
			}
		}
		return nil
	}
	for index := max(f.summed(), proven); index < f.found.count; {
		v, err := c.judge(f, d, index, f.found.count, nil, pause)
		if err != nil {
			return err
		}
		sum := uint32(badSum)
		if v.Torn {
			sum = noSum
		}
		if v.Torn && v.Bad.First < v.Bad.Next {
			c.opts.Log.Warn("blocks do not match the checksum written with them, or are not pages: "+
				"they are damaged or part of a torn append, and get no checksums", "file", f.path, "first", v.Bad.First, "last", v.Bad.Next-1)
		}
		for block := v.Bad.First; block < v.Bad.Next; block++ {
			s.set(block-f.first, sum)
		}
		index = v.Next - f.first
	}
	f.judged = true
	return nil
}
