package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"time"
)

var errReadOnly = errors.New("the store was opened for reading only")

// accept decides whether an Append may start. It must begin at the next block, and no other Append
// may be in progress. If accepted, it is in progress until append returns.
func (c *chain) accept(op *Op) bool {
	if !c.appending.CompareAndSwap(false, true) {
		return false
	}
	// Only an append changes next, and no other append is in progress.
	if op.Block != c.table.Load().next {
		c.appending.Store(false)
		return false
	}
	return true
}

// append executes an accepted Append and fills in its outcome.
func (c *chain) append(op *Op) {
	err := c.appendPages(op.Pages)
	if errors.Is(err, ErrNoSpace) && c.canFree() {
		c.free() // the janitor has not done it yet
		err = c.appendPages(op.Pages)
	}
	op.Room = c.room()
	if err != nil {
		op.Err = fmt.Errorf("append %d blocks at %016x: %w", len(op.Pages), op.Block, err)
	} else {
		op.OK, op.Next = true, c.table.Load().next
	}
	c.appending.Store(false)
}

// appendPages adds pages to the store. First it makes the data durable, then the file's name, and
// then it makes the blocks visible.
func (c *chain) appendPages(pages [][]byte) error {
	if err := c.appendable(pages); err != nil {
		return err
	}
	if err := c.clearLeftover(); isShortage(err) {
		return fmt.Errorf("%w: take an append back: %w", ErrNoSpace, err)
	} else if err != nil {
		return c.fail(err)
	}
	t := c.table.Load()
	n := uint64(len(pages))
	if !t.needsFile(n, c.opts.BlockSize) {
		f, count := t.last()
		if err := c.extend(pages, int64(count)*int64(c.opts.BlockSize)); err != nil {
			return err
		}
		c.addSums(f, count, pages)
		c.replace(func(t *table) *table { return &table{t.files, t.next + n} })
		return nil
	}

	for range freePerFile {
		c.freeOne()
	}
	f := c.newFile(t.next)
	if err := c.startFile(f, pages); err != nil {
		return err
	}
	c.addSums(f, 0, pages)
	if previous, _ := t.last(); previous != nil {
		previous.wantSums, previous.sealed = true, time.Now()
	}
	c.replace(func(t *table) *table {
		return &table{append(slices.Clip(t.files), f), t.next + n}
	})
	return nil
}

// appendable makes all checks that are possible before anything is changed.
func (c *chain) appendable(pages [][]byte) error {
	if c.opts.ReadOnly {
		return errReadOnly
	}
	if err := c.failed(); err != nil {
		return err
	}
	if len(pages) == 0 {
		return errors.New("no blocks to append")
	}
	for i, page := range pages {
		if len(page) != c.opts.BlockSize {
			return fmt.Errorf("page %d has %d bytes, the block size is %d", i, len(page), c.opts.BlockSize)
		}
	}
	if uint64(len(pages)) > math.MaxUint64-c.table.Load().next {
		return errors.New("there are no block numbers left")
	}
	return nil
}

// extend writes pages at the end of the last file, at offset.
func (c *chain) extend(pages [][]byte, offset int64) error {
	err := c.write(c.tail, pages, offset)
	if err != nil {
		c.overhang = true
		return c.takeBack(err)
	}
	return nil
}

// startFile makes a new last file that contains pages.
func (c *chain) startFile(f *file, pages [][]byte) error {
	opened, err := c.dir.Create(f.name)
	if err != nil {
		return c.takeBack(err)
	}
	err = c.write(opened, pages, 0)
	if err == nil && !c.opts.NoSync {
		err = c.syncDir()
	}
	if err != nil {
		c.leftover = f.name
		return c.takeBack(errors.Join(err, opened.Close()))
	}
	previous := c.tail
	c.tail = opened
	if previous != nil {
		// Everything in it is durable, or was never acknowledged.
		if err := previous.Close(); err != nil {
			c.opts.Log.Warn("closing a sealed block file failed", "dir", c.path, "error", err)
		}
	}
	return nil
}

// clearLeftover durably removes the leftovers of an append that was undone. Nothing may be appended
// before that. Otherwise a crash could bring the leftovers back in the middle of data that was
// acknowledged since.
func (c *chain) clearLeftover() error {
	if c.overhang {
		_, count := c.table.Load().last()
		if err := c.tail.Truncate(int64(count) * int64(c.opts.BlockSize)); err != nil {
			return err
		}
		// What remains was already durable. So this sync does not claim anything that an earlier
		// sync failed on.
		if !c.opts.NoSync {
			if err := c.tail.Sync(); err != nil {
				return err
			}
		}
		c.overhang = false
	}
	if c.leftover == "" {
		return nil
	}
	if err := c.dir.Remove(c.leftover); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !c.opts.NoSync {
		if err := c.syncDir(); err != nil {
			return err
		}
	}
	c.leftover = ""
	return nil
}

// write writes pages to a file and makes them durable.
func (c *chain) write(f File, pages [][]byte, offset int64) error {
	if _, err := f.WriteAt(pages, offset); err != nil || c.opts.NoSync {
		return err
	}
	if c.opts.OnSync == nil {
		return f.Sync()
	}
	start := time.Now()
	err := f.Sync()
	c.opts.OnSync(time.Since(start))
	return err
}

// takeBack handles a failed append. After a shortage it restores the acknowledged state, and later
// appends may succeed. If the restoring meets a shortage too, the next append repeats it. Any other
// failure is permanent, because a retry could wrongly report success.
func (c *chain) takeBack(err error) error {
	if !isShortage(err) {
		return c.fail(err)
	}
	left := c.clearLeftover()
	switch {
	case left == nil:
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	case isShortage(left):
		return fmt.Errorf("%w: %w; %w: %w", ErrNoSpace, err, ErrLeftBehind, left)
	}
	return c.fail(fmt.Errorf("%w; taking the append back: %w", err, left))
}
