package disk

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// A sync that fails loses what it should have written, but the system goes on showing it: to this
// process and to the next one, until it drops its cache. A sync by the next process succeeds,
// because nothing is left to write. So a start believes blocks only if they are known to be
// durable, or after it has written them again.
//
// They are known to be durable if they have checksums on disk, for those are written after the
// blocks have been synced. An append waits for its sync, so what is not durable is at the end of
// the last file. After a stop in order the checksums cover all of it, and a start has nothing to
// do.

// failedName is the note that a process leaves when a write or a sync has failed. It holds a line
// of text. Like all names that are not those of block files, the original ignores it.
const failedName = "kivaloo.failed"

// maxNoteBytes is how much of a note is shown.
const maxNoteBytes = 1000

// leaveNote tells the next start why nothing more could be made durable. That is of use, and not
// needed: so it does not wait for the disk, and failing at it is no further failure.
func (c *chain) leaveNote(why error) {
	f, err := c.dir.Create(failedName)
	if err != nil {
		return // there is one already, or the disk does not even take that
	}
	line := fmt.Sprintf("%s %v\n", time.Now().UTC().Format(time.RFC3339), why)
	f.WriteAt([][]byte{[]byte(line)}, 0)
	f.Close()
}

// showNote says what a note of the process before says.
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

// renew writes those of the first count blocks of f, the last file, again that may not be durable,
// and syncs them. It takes down their checksums.
func (c *chain) renew(f *file, count uint64) error {
	s := c.loadedSums(f)
	f.found.summed = s.covers() // less than was hoped for, if they are damaged
	if s.covers() == count {
		return nil
	}
	c.opts.Log.Debug("not stopped in order: writing the last blocks again", "file", f.path, "blocks", count-s.covers())
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
			// What cannot be read is not in the cache, so nobody can be misled about it.
			c.opts.Log.Warn("a block cannot be read", "file", f.path, "offset", offset, "error", err)
			s = s.withNone()
			continue
		}
		// What the system remembers of these pages must not make it skip a part of the work.
		c.tail.Forget(offset, int64(len(part)))
		if _, err := c.tail.WriteAt([][]byte{part}, offset); isShortage(err) {
			c.opts.Log.Warn("no room to write the last blocks again: a power cut can take them", "file", f.path, "error", err)
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
