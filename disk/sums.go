package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"sync/atomic"
)

// sums is the content of a checksum file: one CRC32C (the standard one) for each of the first
// blocks of a file. Integers are big-endian.
//
//	offset  size
//	     0     6  "KVSUMS"
//	     6     2  version, 2; in version 1 no sum is left out
//	     8     4  block size in bytes
//	    12     8  number of the first block
//	    20     8  count of blocks that it covers, n
//	    28     4  CRC32C of everything from offset 36 on
//	    32     4  CRC32C of bytes 0 to 31
//	    36   4*n  CRC32C of each block, but 2 for 0 and 1; 0: not known; 1: not what was written
//
// The covered blocks were durable when the file was written, and never change. The block file may
// have grown since.
//
// Checksums are computed while blocks are appended. Once needed, they stay in memory: 4 bytes per
// block, which is 1/1000 of a store with 4 KiB blocks.
type sums []byte

const (
	sumsMagic       = "KVSUMS"
	sumsVersion     = 2
	sumsHeaderBytes = 36
	noSum           = 0 // unknown
	badSum          = 1 // the block is not what was written
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// newSums returns a checksum file that covers nothing, with room for count blocks.
func newSums(blockSize int, first, count uint64) sums {
	s := make(sums, sumsHeaderBytes, sumsHeaderBytes+4*count)
	copy(s, sumsMagic)
	binary.BigEndian.PutUint16(s[6:], sumsVersion)
	binary.BigEndian.PutUint32(s[8:], uint32(blockSize))
	binary.BigEndian.PutUint64(s[12:], first)
	return s
}

// sumOf returns the checksum of a block. It avoids the special values.
func sumOf(block []byte) uint32 { return max(crc32.Checksum(block, castagnoli), badSum+1) }

// with returns s with the checksum of the next block. Like append it does not change s, and may be
// called only once on it.
func (s sums) with(block []byte) sums { return binary.BigEndian.AppendUint32(s, sumOf(block)) }

// withNone is like with, for an unreadable block.
func (s sums) withNone() sums { return binary.BigEndian.AppendUint32(s, noSum) }

// set changes the checksum of a block. Nothing else may be using s.
func (s sums) set(index uint64, sum uint32) {
	binary.BigEndian.PutUint32(s[sumsHeaderBytes+4*index:], sum)
}

// covers returns the number of blocks with a place in s.
func (s sums) covers() uint64 {
	if s == nil {
		return 0
	}
	return uint64(len(s)-sumsHeaderBytes) / 4
}

// finish fills in the count and the checksums of the file itself.
func (s sums) finish() {
	binary.BigEndian.PutUint16(s[6:], sumsVersion)
	binary.BigEndian.PutUint64(s[20:], s.covers())
	binary.BigEndian.PutUint32(s[28:], crc32.Checksum(s[sumsHeaderBytes:], castagnoli))
	binary.BigEndian.PutUint32(s[32:], crc32.Checksum(s[:32], castagnoli))
}

func (s sums) version() uint16   { return binary.BigEndian.Uint16(s[6:]) }
func (s sums) blockSize() uint32 { return binary.BigEndian.Uint32(s[8:]) }
func (s sums) first() uint64     { return binary.BigEndian.Uint64(s[12:]) }
func (s sums) count() uint64     { return binary.BigEndian.Uint64(s[20:]) } // when it was finished

// headerIntact reports whether the first sumsHeaderBytes are undamaged.
func (s sums) headerIntact() bool {
	return bytes.HasPrefix(s, []byte(sumsMagic)) && 1 <= s.version() && s.version() <= sumsVersion &&
		binary.BigEndian.Uint32(s[32:]) == crc32.Checksum(s[:32], castagnoli)
}

// intact reports whether all of it is undamaged.
func (s sums) intact() bool {
	return s.headerIntact() &&
		binary.BigEndian.Uint32(s[28:]) == crc32.Checksum(s[sumsHeaderBytes:], castagnoli)
}

// at returns the checksum of the block at an index, or noSum.
func (s sums) at(index uint64) uint32 {
	if index >= s.covers() {
		return noSum
	}
	return binary.BigEndian.Uint32(s[sumsHeaderBytes+4*index:])
}

// fileSums has the known checksums of one block file.
type fileSums struct {
	size    int64       // bytes of the checksum file found when the store was opened; 0: none
	damaged atomic.Bool // that file is damaged
	load    sync.Once   // reads it when it is first needed
	known   atomic.Pointer[sums]
	onDisk  uint64 // number of blocks that the checksum file covers
}

// loadedSums returns the checksums of f, or nil if it has none.
func (c *chain) loadedSums(f *file) sums {
	f.sums.load.Do(func() {
		if s := c.foundSums(f); s != nil {
			f.sums.known.Store(&s)
			f.sums.onDisk = s.covers()
		}
	})
	if s := f.sums.known.Load(); s != nil {
		return *s
	}
	return nil
}

// foundSums reads the checksum file of f that existed when the store was opened. If it is damaged,
// that is logged, and the janitor makes a new one: the blocks may still be good.
func (c *chain) foundSums(f *file) sums {
	if f.sums.size == 0 || f.sums.damaged.Load() {
		return nil
	}
	s, err := c.readSums(sumsName(f.first), f.sums.size)
	if err == nil && !s.intact() {
		err = ErrCorrupt
	}
	if err == nil {
		return s
	}
	// If they are known by now, the janitor may have replaced the file meanwhile.
	if f.sums.known.Load() == nil && f.sums.damaged.CompareAndSwap(false, true) {
		c.warnOfSums(sumsName(f.first), err)
	}
	return nil
}

func (c *chain) warnOfSums(name string, err error) {
	c.opts.Log.Warn("a checksum file is damaged: it will be replaced", "file", c.pathOf(name), "error", err)
}

// compareDamaged compares s, the checksums of the current content, with the remains of a damaged
// checksum file. It returns how many blocks are proven unchanged. If that is none, blocks with
// different checksums get none: either the block or its checksum has changed.
func (c *chain) compareDamaged(f *file, s sums) (proven uint64) {
	if !f.sums.damaged.Load() {
		return 0
	}
	old, err := c.readSums(sumsName(f.first), f.sums.size)
	if err != nil || len(old) < sumsHeaderBytes || s.covers() < old.covers() {
		return 0
	}
	now := s[sumsHeaderBytes : sumsHeaderBytes+4*old.covers()]
	if bytes.Equal(now, old[sumsHeaderBytes:]) ||
		old.headerIntact() && old.count() == old.covers() && binary.BigEndian.Uint32(old[28:]) == crc32.Checksum(now, castagnoli) {
		return old.covers()
	}
	var differ []uint64
	for i := range old.covers() {
		if sum := old.at(i); sum > badSum && sum != s.at(i) {
			differ = append(differ, i)
		}
	}
	if n := len(differ); n > 0 && uint64(n) < old.covers() {
		c.opts.Log.Error("blocks differ from a damaged checksum file: either may be wrong, so the blocks stay without checksums",
			"file", f.path, "blocks", n, "first", f.first+differ[0], "last", f.first+differ[n-1])
		for _, i := range differ {
			s.set(i, noSum)
		}
	}
	return 0
}

// addSums notes the checksums of blocks appended to f at index, if those of all blocks before are
// known.
func (c *chain) addSums(f *file, index uint64, pages [][]byte) {
	s := c.loadedSums(f)
	if s.covers() != index {
		return
	}
	if s == nil {
		s = newSums(c.opts.BlockSize, f.first, uint64(len(pages)))
	}
	for _, page := range pages {
		s = s.with(page)
	}
	f.sums.known.Store(&s)
}

// readSums reads the first size bytes of a checksum file.
func (c *chain) readSums(name string, size int64) (sums, error) {
	f, err := c.dir.Open(name, false)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := make(sums, size)
	if n, err := f.ReadAt(s, 0); n < len(s) {
		if err == nil || errors.Is(err, io.EOF) {
			err = fmt.Errorf("%s is too short: %w", name, ErrCorrupt)
		}
		return nil, err
	}
	return s, nil
}

// writeSums writes s durably and atomically. It uses a temporary name until the file is complete.
func (c *chain) writeSums(s sums) error {
	s.finish()
	name := sumsName(s.first())
	tmp := name + tmpSuffix
	f, err := c.dir.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([][]byte{s}, 0)
	if err == nil && !c.opts.NoSync {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = c.dir.Rename(tmp, name)
	}
	if err != nil {
		return errors.Join(err, c.dir.Remove(tmp))
	}
	if c.opts.NoSync {
		return nil
	}
	return c.syncDir()
}
