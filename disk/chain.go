package disk

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// file is one block file. Where it ends is in the table.
type file struct {
	first uint64 // number of its first block
	name  string // in the directory
	path  string // for people
	sums  fileSums

	// wantSums says that the file is sealed, since the moment sealed or, if it was found so, since
	// the start, and lacks checksums on disk. Whoever publishes the first table in which the file
	// is not the last sets both; from then on they are the janitor's.
	wantSums bool
	sealed   time.Time
	// renewed says that the janitor has replaced damaged checksums, or tried to.
	renewed bool
	// found is the blocks that were there when the store was opened. What has become of those
	// without checksums since they were written is not known. judged says that the janitor has
	// looked at them all.
	found  verdicts
	judged bool
	// dropped says that the file is no longer part of the store.
	dropped atomic.Bool
}

// wantsSums reports whether the janitor has to give f, which is sealed, checksums.
func (f *file) wantsSums() bool { return f.wantSums || f.sums.damaged.Load() && !f.renewed }

// summed returns how many of the blocks that were found had checksums.
func (f *file) summed() uint64 {
	if f.sums.damaged.Load() {
		return 0
	}
	return f.found.summed
}

// unproven reports whether the janitor has to judge blocks that were found without checksums.
func (f *file) unproven() bool { return !f.judged && f.summed() < f.found.count }

// table is the block files at one moment. It is never changed, only replaced.
//
// Invariants:
//  1. Each file ends where the next one starts; the last ends at next. Only the last
//     can be empty.
//  2. Without files, next is 0.
//  3. The appender replaces it by one with a longer last file or one more file, freeOne
//     by one without the first file, and nobody otherwise.
type table struct {
	files []*file
	next  uint64 // number that the next block gets
}

// min is the number of the first block that there is.
func (t *table) min() uint64 {
	if len(t.files) == 0 {
		return 0
	}
	return t.files[0].first
}

// last returns the last file and how many blocks it has; nil if there are no files.
func (t *table) last() (f *file, count uint64) {
	if len(t.files) == 0 {
		return nil, 0
	}
	f = t.files[len(t.files)-1]
	return f, t.next - f.first
}

// find returns the file that a block is in, nil if there is no such block.
func (t *table) find(block uint64) *file {
	if block >= t.next || block < t.min() {
		return nil
	}
	i, exact := slices.BinarySearchFunc(t.files, block, func(f *file, block uint64) int {
		switch {
		case f.first < block:
			return -1
		case f.first > block:
			return 1
		}
		return 0
	})
	if !exact {
		i-- // the file before the first one that starts later
	}
	return t.files[i]
}

// stretch returns the file that a block is in, nil if there is no such block, and where the blocks
// of the file end.
func (t *table) stretch(block uint64) (f *file, end uint64) {
	if f = t.find(block); f == nil {
		return nil, 0
	}
	_, end = t.kept(block)
	return f, end
}

// removable reports whether the first file can go when all blocks before keep may be discarded.
func (t *table) removable(keep uint64) bool {
	return len(t.files) > 1 && t.files[1].first <= keep
}

// kept returns the first block that stays when all before keep may be discarded, and the first one
// of the file after it.
func (t *table) kept(keep uint64) (first, after uint64) {
	if len(t.files) == 0 {
		return 0, 0
	}
	i := 0
	for i+1 < len(t.files) && t.files[i+1].first <= keep {
		i++
	}
	if i+1 == len(t.files) {
		return t.files[i].first, t.next
	}
	return t.files[i].first, t.files[i+1].first
}

// needsFile reports whether an append of n blocks goes into a new file. The rules
// are the original's, so that files come out the same: many files, so that space can
// be reclaimed in small parts, but not more than in proportion to the store.
func (t *table) needsFile(n uint64, blockSize int) bool {
	f, count := t.last()
	if f == nil {
		return true
	}
	if count == 0 {
		return false // a new file would have the same name
	}
	return count > (t.next-t.min())/fileFraction || count+n > uint64(maxFileBytes/blockSize)
}

// chain is a store without goroutines: the state, and the operations on it, which
// Local and Inline carry out.
//
// read may be called by many goroutines at once, append by one at a time, and tidy by
// one at a time; all three can run together.
type chain struct {
	path string  // of the directory, for people
	dir  Dir     // the directory itself, locked: every access goes through it
	opts Options // with every default filled in

	end         uint64   // the next block when the store was opened
	unfit       []string // checksum files that did not fit their block files then
	table       atomic.Pointer[table]
	descriptors *descriptors
	failure     atomic.Pointer[error] // see fail

	appending atomic.Bool // an append has been accepted and has not finished
	tail      File        // the last file, for writing; the appender's; nil if there is none
	leftover  string      // name of a file that an append has made that was taken back; the appender's; "" if there is none
	overhang  bool        // tail may be longer than its blocks, by an append that was taken back; the appender's

	stopping atomic.Bool   // what the next run can do as well is left to it
	rest     time.Duration // between parts of work that nobody waits for

	freeBefore atomic.Uint64 // the janitor has been asked to discard all blocks before; never falls

	gone           atomic.Uint64        // the disk has no file with blocks before that one
	freeing        sync.Mutex           // held while a file is removed
	leaving        atomic.Pointer[file] // no longer in the table, but removing it met a shortage; set with freeing held
	removals       atomic.Uint64        // files that have been removed
	syncing        sync.Mutex           // held while the directory is synced
	removalsSynced atomic.Uint64        // how many of the removals, or fewer, are for good; set with syncing held
}

// info returns the present state.
func (c *chain) info() Info {
	next := c.table.Load().next
	return Info{BlockSize: c.opts.BlockSize, Next: next, Last: next - 1, Room: c.room()} // 0-1 is NoBlock
}

// room returns how many more blocks the disk takes, as in Op.
func (c *chain) room() uint64 {
	for {
		gone := c.gone.Load()
		left, err := c.dir.Room()
		if err != nil || left < 0 {
			return 0
		}
		kept, _ := c.table.Load().kept(c.freeBefore.Load())
		if gone == c.gone.Load() { // else it is not known whether left counts a file that has just been removed
			return max(1, uint64(left)/uint64(c.opts.BlockSize)+kept-min(kept, gone))
		}
	}
}

// fail makes the failure permanent: from now on nothing can be made durable, because
// what the kernel says about it no longer means anything. A failed fsync marks what
// it could not write as written, so the next one succeeds. The first failure is kept.
func (c *chain) fail(err error) error {
	failure := fmt.Errorf("%w: %w", ErrFailed, err)
	if c.failure.CompareAndSwap(nil, &failure) {
		c.opts.Log.Error("block store is read-only from now on, restart when the cause is gone",
			"dir", c.path, "error", err)
		c.leaveNote(err)
	}
	return c.failed()
}

// failed returns why nothing can be made durable any more, or nil.
func (c *chain) failed() error {
	if err := c.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// replace swaps the table for a changed one. change may be called several times and
// returns nil to leave it as it is.
func (c *chain) replace(change func(t *table) *table) {
	for {
		old := c.table.Load()
		changed := change(old)
		if changed == nil || c.table.CompareAndSwap(old, changed) {
			return
		}
	}
}

// newFile returns the file that starts with a block, without touching the disk.
func (c *chain) newFile(first uint64) *file {
	name := blocksName(first)
	return &file{first: first, name: name, path: c.pathOf(name)}
}

// pathOf is the path of a file, for people.
func (c *chain) pathOf(name string) string { return filepath.Join(c.path, name) }

// syncDir makes changes of the directory durable. Failure is permanent whoever runs into it: the
// kernel reports it once, and not to everyone who depends on it. So there is one sync at a time,
// and none after one that has failed. But a shortage has lost nothing, see Dir: the next sync makes
// up for it.
func (c *chain) syncDir() error {
	c.syncing.Lock()
	defer c.syncing.Unlock()
	if err := c.failed(); err != nil {
		return err
	}
	removals := c.removals.Load()
	if err := c.dir.Sync(); err != nil {
		err = fmt.Errorf("sync directory %s: %w", c.path, err)
		if isShortage(err) {
			return err
		}
		return c.fail(err)
	}
	c.removalsSynced.Store(removals)
	return nil
}

// close lets go of everything. Nothing else may be running.
func (c *chain) close() error {
	err := c.descriptors.close()
	if c.tail != nil {
		err = errors.Join(err, c.tail.Close())
	}
	return errors.Join(err, c.dir.Close())
}

// isShortage reports whether err is about a full disk, an exhausted quota, or a lack of file
// descriptors or memory: nothing is wrong with the disk, and later there may be room. What has
// become permanent is none.
func isShortage(err error) bool {
	if errors.Is(err, ErrFailed) {
		return false
	}
	for _, e := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
