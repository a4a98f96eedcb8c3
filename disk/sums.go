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

// sums is the content of a checksum file, one CRC32C (the standard one) for each block
// of a sealed file. Integers are big-endian.
//
//	offset  size
//	     0     6  "KVSUMS"
//	     6     2  version, 1
//	     8     4  block size in bytes
//	    12     8  number of the first block
//	    20     8  count of blocks
//	    28     4  CRC32C of everything from offset 36 on
//	    32     4  CRC32C of bytes 0 to 31
//	    36   4*n  CRC32C of each block
//
// It stays in memory once it has been needed: 4 bytes a block, which is 1/1000 of a
// store with 4 KiB blocks.
type sums []byte

const (
	sumsMagic       = "KVSUMS\x00\x01" // and version
	sumsHeaderBytes = 36
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// newSums returns a checksum file with room for count blocks.
func newSums(blockSize int, first, count uint64) sums {
	s := make(sums, sumsHeaderBytes+4*count)
	copy(s, sumsMagic)
	binary.BigEndian.PutUint32(s[8:], uint32(blockSize))
	binary.BigEndian.PutUint64(s[12:], first)
	binary.BigEndian.PutUint64(s[20:], count)
	return s
}

// finish fills in the checksums of the file itself, after every block has been set.
func (s sums) finish() {
	binary.BigEndian.PutUint32(s[28:], crc32.Checksum(s[sumsHeaderBytes:], castagnoli))
	binary.BigEndian.PutUint32(s[32:], crc32.Checksum(s[:32], castagnoli))
}

func (s sums) blockSize() uint32 { return binary.BigEndian.Uint32(s[8:]) }
func (s sums) first() uint64     { return binary.BigEndian.Uint64(s[12:]) }
func (s sums) count() uint64     { return binary.BigEndian.Uint64(s[20:]) }

// headerIntact reports whether the first sumsHeaderBytes are what was once written.
func (s sums) headerIntact() bool {
	return bytes.HasPrefix(s, []byte(sumsMagic)) &&
		binary.BigEndian.Uint32(s[32:]) == crc32.Checksum(s[:32], castagnoli)
}

// intact reports whether all of it is what was once written.
func (s sums) intact() bool {
	return s.headerIntact() &&
		binary.BigEndian.Uint32(s[28:]) == crc32.Checksum(s[sumsHeaderBytes:], castagnoli)
}

// set records the checksum of the block at an index in the file.
func (s sums) set(index uint64, block []byte) {
	binary.BigEndian.PutUint32(s[sumsHeaderBytes+4*index:], crc32.Checksum(block, castagnoli))
}

// match reports whether block is what was at an index in the file when it was sealed.
func (s sums) match(index uint64, block []byte) bool {
	return binary.BigEndian.Uint32(s[sumsHeaderBytes+4*index:]) == crc32.Checksum(block, castagnoli)
}

// fileSums is the checksums of one block file, as far as they are known.
type fileSums struct {
	onDisk bool      // there were some when the store was opened, with a good header
	size   int64     // ... of this many bytes
	load   sync.Once // does so when they are first needed
	loaded atomic.Pointer[sums]
}

// loadedSums returns the checksums of f, nil if it has none. Those that turn out to be
// damaged are announced and ignored: the blocks may still be good.
func (c *chain) loadedSums(f *file) sums {
	f.sums.load.Do(func() {
		if !f.sums.onDisk {
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
		f.sums.loaded.Store(&s)
	})
	if s := f.sums.loaded.Load(); s != nil {
		return *s
	}
	return nil
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
