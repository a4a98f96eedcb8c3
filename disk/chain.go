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

// file is one block file. The table says where it ends.
type file struct {
	first uint64 // number of its first block
	name  string // in the directory
	path  string // for messages
	sums  fileSums

	// wantSums is set if the file is sealed and lacks checksums on disk. sealed is the time when it
	// was sealed, or the start if it was found so. Both are set when the first table is published
	// in which the file is not the last. From then on the janitor owns them.
	wantSums bool
	sealed   time.Time
	// renewed is set once the janitor has replaced damaged checksums, or tried to.
	renewed bool
	// found has the verdicts on the blocks that existed when the store was opened. Blocks without
	// checksums may have changed since they were written. judged is set once the janitor has
	// checked all of them.
	found  verdicts
	judged bool
	// dropped is set once the file is no longer part of the store.
	dropped atomic.Bool
}

// wantsSums reports whether the janitor must write checksums for f, which is sealed.
func (f *file) wantsSums() bool { return f.wantSums || f.sums.damaged.Load() && !f.renewed }

// summed returns how many of the found blocks had checksums.
func (f *file) summed() uint64 {
	if f.sums.damaged.Load() {
		return 0
	}
	return f.found.summed
}

// unproven reports whether the janitor must judge blocks found without checksums.
func (f *file) unproven() bool { return !f.judged && f.summed() < f.found.count }

// table has the block files at one moment. It is never changed, only replaced.
//
// Invariants:
//
//  1. Each file ends where the next one starts. The last one ends at next. Only the last one can be
//     empty.
//  2. Without files, next is 0.
//  3. The appender replaces it by a table with a longer last file, or with one more file. freeOne
//     replaces it by a table without the first file. Nothing else replaces it.
type table struct {
	files []*file
	next  uint64 // the number of the next block
}

// min returns the number of the first existing block.
func (t *table) min() uint64 {
	if len(t.files) == 0 {
		return 0
	}
	return t.files[0].first
}

// last returns the last file and its number of blocks. f is nil if there are no files.
func (t *table) last() (f *file, count uint64) {
	if len(t.files) == 0 {
		return nil, 0
	}
	f = t.files[len(t.files)-1]
	return f, t.next - f.first
}

// find returns the file that contains a block, or nil if the block does not exist.
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

// stretch returns the file that contains a block, or nil if the block does not exist, and the end
// of the file's blocks.
func (t *table) stretch(block uint64) (f *file, end uint64) {
	if f = t.find(block); f == nil {
		return nil, 0
	}
	_, end = t.kept(block)
	return f, end
}

// removable reports whether the first file can be removed if all blocks before keep may be
// discarded.
func (t *table) removable(keep uint64) bool {
	return len(t.files) > 1 && t.files[1].first <= keep
}

// kept returns the first block that stays if all blocks before keep may be discarded, and the first
// block of the file after it.
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

// needsFile reports whether an append of n blocks goes into a new file. The rules are the
// original's, so both make the same files. There are many files, so that space can be reclaimed in
// small parts, but their number does not grow in proportion to the store.
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

// chain is a store without goroutines: the state and its operations. Local and Inline call them.
//
// Several goroutines may call read at once. One goroutine at a time may call append, and one tidy.
// All three can run together.
type chain struct {
	path string  // of the directory, for messages
	dir  Dir     // the directory itself, locked: every access goes through it
	opts Options // with all defaults filled in

	end         uint64   // the next block when the store was opened
	unfit       []string // checksum files that did not match their block files then
	table       atomic.Pointer[table]
	descriptors *descriptors
	failure     atomic.Pointer[error] // see fail

	appending atomic.Bool // an accepted append is in progress
	tail      File        // the last file, for writing; owned by the appender; nil if there is none
	leftover  string      // name of a file made by an append that was undone; owned by the appender; "" if there is none
	overhang  bool        // tail may be longer than its blocks, after an append that was undone; owned by the appender

	stopping atomic.Bool   // leave to the next run what it can do as well
	rest     time.Duration // pause between parts of background work

	freeBefore atomic.Uint64 // the janitor may discard all blocks before this one; never falls

	gone           atomic.Uint64        // the disk has no file with blocks before this one
	freeing        sync.Mutex           // held while a file is removed
	leaving        atomic.Pointer[file] // no longer in the table, but removing it met a shortage; set with freeing held
	removals       atomic.Uint64        // number of files removed
	syncing        sync.Mutex           // held while the directory is synced
	removalsSynced atomic.Uint64        // number of removals known to be durable; set with syncing held
}

// info returns the current state.
func (c *chain) info() Info {
	next := c.table.Load().next
	return Info{BlockSize: c.opts.BlockSize, Next: next, Last: next - 1, Room: c.room()} // 0-1 is NoBlock
}

// room returns how many more blocks fit on the disk, as in Op.
func (c *chain) room() uint64 {
	for {
		gone := c.gone.Load()
		left, err := c.dir.Room()
		if err != nil || left < 0 {
			return 0
		}
		kept, _ := c.table.Load().kept(c.freeBefore.Load())
		if gone == c.gone.Load() { // else left may or may not count a file that was just removed
			return max(1, uint64(left)/uint64(c.opts.BlockSize)+kept-min(kept, gone))
		}
	}
}

// fail makes a failure permanent: from now on nothing can be made durable, because the kernel's
// answers no longer mean anything. A failed fsync marks the unwritten data as written, so the next
// one succeeds. Only the first failure is kept.
func (c *chain) fail(err error) error {
	failure := fmt.Errorf("%w: %w", ErrFailed, err)
	if c.failure.CompareAndSwap(nil, &failure) {
		c.opts.Log.Error("the store is read-only from now on: remove the cause and restart",
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

// replace swaps the table for a changed one. change may be called several times. It returns nil to
// leave the table unchanged.
func (c *chain) replace(change func(t *table) *table) {
	for {
		old := c.table.Load()
		changed := change(old)
		if changed == nil || c.table.CompareAndSwap(old, changed) {
			return
		}
	}
}

// newFile returns the file that starts with block first, without touching the disk.
func (c *chain) newFile(first uint64) *file {
	name := blocksName(first)
	return &file{first: first, name: name, path: c.pathOf(name)}
}

// pathOf returns the path of a file, for messages.
func (c *chain) pathOf(name string) string { return filepath.Join(c.path, name) }

// syncDir makes changes of the directory durable. The kernel reports a failure only once, and not
// to everyone who depends on the sync. So a failure is permanent, only one sync runs at a time, and
// none runs after a failure. A shortage, however, has lost nothing (see Dir): the next sync covers
// the same changes.
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

// close closes everything. Nothing else may be running.
func (c *chain) close() error {
	err := c.descriptors.close()
	if c.tail != nil {
		err = errors.Join(err, c.tail.Close())
	}
	return errors.Join(err, c.dir.Close())
}

// isShortage reports whether err is a shortage: a full disk, an exhausted quota, or a lack of file
// descriptors or memory. The disk is not broken then, and later there may be room. A permanent
// failure is not a shortage.
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
