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

// sums is the content of a checksum file, one CRC32C (the standard one) for each of the first
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
//	    36   4*n  CRC32C of each block; 0: it goes unchecked
//
// The blocks it covers were durable when it was written, and never change. The file may have grown since.
//
// It is made of what is appended, while it is. It stays in memory once it has been needed: 4
// bytes a block, which is 1/1000 of a store with 4 KiB blocks.
type sums []byte

const (
	sumsMagic       = "KVSUMS"
	sumsVersion     = 2
	sumsHeaderBytes = 36
	noSum           = 0 // for a block that goes unchecked
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

// with returns s with the checksum of the next block. Like append it leaves s as it is, and can be called once on it.
func (s sums) with(block []byte) sums {
	return binary.BigEndian.AppendUint32(s, crc32.Checksum(block, castagnoli))
}

// withNone is with for a block that is to go unchecked.
func (s sums) withNone() sums { return binary.BigEndian.AppendUint32(s, noSum) }

// leaveOut has a block go unchecked. Nobody else may be using s.
func (s sums) leaveOut(index uint64) { binary.BigEndian.PutUint32(s[sumsHeaderBytes+4*index:], noSum) }

// covers returns how many blocks s has checksums of.
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

// headerIntact reports whether the first sumsHeaderBytes are what was once written.
func (s sums) headerIntact() bool {
	return bytes.HasPrefix(s, []byte(sumsMagic)) && 1 <= s.version() && s.version() <= sumsVersion &&
		binary.BigEndian.Uint32(s[32:]) == crc32.Checksum(s[:32], castagnoli)
}

// intact reports whether all of it is what was once written.
func (s sums) intact() bool {
	return s.headerIntact() &&
		binary.BigEndian.Uint32(s[28:]) == crc32.Checksum(s[sumsHeaderBytes:], castagnoli)
}

// match reports whether block is what was at an index in the file when its checksum was taken, if that is known.
func (s sums) match(index uint64, block []byte) bool {
	if index >= s.covers() {
		return true
	}
	sum := binary.BigEndian.Uint32(s[sumsHeaderBytes+4*index:])
	return sum == noSum || sum == crc32.Checksum(block, castagnoli)
}

// fileSums is the checksums of one block file, as far as they are known.
type fileSums struct {
	size   int64     // bytes of the checksum file found when the store was opened, with a good header; 0: none
	load   sync.Once // reads it when it is first needed
	known  atomic.Pointer[sums]
	onDisk uint64 // how many blocks the checksum file covers
}

// loadedSums returns the checksums of f, nil if it has none. Those that turn out to be
// damaged are announced and ignored: the blocks may still be good.
func (c *chain) loadedSums(f *file) sums {
	f.sums.load.Do(func() {
		if f.sums.size == 0 {
			return
		}
		s, err := c.readSums(sumsName(f.first), f.sums.size)
		if err == nil && !s.intact() {
			err = ErrCorrupt
		}
		if err != nil {
			c.opts.Log.Warn("checksums are not usable, blocks go unchecked", "file", f.path, "error", err)
			return
		}
		f.sums.known.Store(&s)
		f.sums.onDisk = s.covers()
	})
	if s := f.sums.known.Load(); s != nil {
		return *s
	}
	return nil
}

// addSums takes down the checksums of blocks that have been appended to f at an index, if those of all blocks before
// are known.
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

// writeSums puts s on disk, durably and all at once: under a name that means nothing
// until it is complete.
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
