package disk

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// A failed sync loses unwritten data, but the system continues to show the data from its cache,
// also to the next process. A sync by the next process succeeds, because the system has nothing
// left to write. So a start relies on blocks only if they are known to be durable, or after it has
// written them again.
//
// Blocks with checksums on disk are durable, because checksums are written after the blocks were
// synced. An append waits for its sync, so only the end of the last file may not be durable. After
// a clean stop the checksums cover all of it, and a start has nothing to do.

// failedName is the name of the note that a process leaves after a failed write or sync. The note
// is a line of text. The original ignores it, like all names other than those of block files.
const failedName = "kivaloo.failed"

// maxNoteBytes is the length to which a note is shown.
const maxNoteBytes = 1000

// leaveNote tells the next start why nothing could be made durable any more. The note is useful but
// not necessary. So leaveNote does not wait for the disk, and ignores its own failure.
func (c *chain) leaveNote(why error) {
	f, err := c.dir.Create(failedName)
	if err != nil {
		return // there is one already, or the disk does not even accept that
	}
	line := fmt.Sprintf("%s %v\n", time.Now().UTC().Format(time.RFC3339), why)
	f.WriteAt([][]byte{[]byte(line)}, 0)
	f.Close()
}

// showNote logs the previous process's note.
func (c *chain) showNote() {
	text := make([]byte, maxNoteBytes)
	n := 0
	f, err := c.dir.Open(failedName, false)
	if err == nil {
		n, err = f.ReadAt(text, 0)
		f.Close()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		text, n = []byte(err.Error()), len(err.Error())
	}
	c.opts.Log.Warn("the last run ended because a write or a sync failed: check the disk",
		"dir", c.path, "failure", strings.TrimSpace(string(text[:n])))
}

// renew rewrites and syncs those of the first count blocks of f, the last file, that may not be
// durable. It also notes their checksums.
func (c *chain) renew(f *file, count uint64) error {
	s := c.loadedSums(f)
	f.found.summed = s.covers() // fewer than expected, if they are damaged
	if s.covers() == count {
		return nil
	}
	c.opts.Log.Debug("the last run did not stop cleanly: writing the last blocks again", "file", f.path, "blocks", count-s.covers())
	size := uint64(c.opts.BlockSize)
	chunk := make([]byte, min(max(sealChunkBytes/size, 1), count-s.covers())*size)
	if s == nil {
		s = newSums(c.opts.BlockSize, f.first, 0)
	}
	for at := s.covers(); at < count; at = s.covers() {
		part := chunk[:min(uint64(len(chunk)), (count-at)*size)]
		offset := int64(at * size)
		err := readFull(c.tail, f.path, part, offset)
		if err != nil {
			part = part[:size] // perhaps only one of them is bad
			err = readFull(c.tail, f.path, part, offset)
		}
		if err != nil {
			// An unreadable block is not in the cache, so it cannot mislead anybody.
			c.opts.Log.Warn("a block cannot be read", "file", f.path, "offset", offset, "error", err)
			s = s.withNone()
			continue
		}
		// Drop the cached pages, so that the system cannot skip the write.
		c.tail.Forget(offset, int64(len(part)))
		if _, err := c.tail.WriteAt([][]byte{part}, offset); isShortage(err) {
			c.opts.Log.Warn("no room to write the last blocks again: a power cut may lose them", "file", f.path, "error", err)
			return nil
		} else if err != nil {
			return fmt.Errorf("write the last blocks again: %w", err)
		}
		for ; len(part) > 0; part = part[size:] {
			s = s.with(part[:size])
		}
	}
	if err := c.tail.Sync(); err != nil {
		return fmt.Errorf("sync the last block file, written again: %w", err)
	}
	f.found.summed = max(f.found.summed, c.compareDamaged(f, s))
	f.sums.damaged.Store(false)
	f.sums.known.Store(&s)
	return nil
}
