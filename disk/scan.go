package disk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"unsafe"
)

// Fault is something in the directory that is not what was written.
type Fault struct {
	Block  uint64 // of a checksum file: the first block that it covers
	File   string // path
	Offset int64  // in the file
	OfSums bool   // it is a checksum file
	Err    error
}

func (f Fault) Error() string {
	return fmt.Sprintf("block %d (%s, offset %d): %v", f.Block, f.File, f.Offset, f.Err)
}

func (f Fault) Unwrap() error { return f.Err }

// SumsReport is the result of CheckSums, besides faults.
type SumsReport struct {
	Blocks  uint64 // blocks read
	Without uint64 // blocks without a checksum
	Torn    uint64 // blocks without a checksum that are damaged, or belong to a torn append
	Damaged uint64 // blocks of files with a damaged checksum file, which is a fault; not counted in Without
}

// CheckSums reads every block from the disk and compares it with its checksum, until ctx is done.
// It calls fault for each fault, and progress regularly. Options.Doubtful judges blocks without a
// checksum.
func (l *Local) CheckSums(ctx context.Context, progress func(done, of uint64), fault func(Fault)) (SumsReport, error) {
	c := l.chain
	t := c.table.Load()
	for _, name := range c.unfit {
		first, _ := parseName(name, sumsPrefix)
		fault(Fault{first, c.pathOf(name), 0, true, fmt.Errorf("%w: it does not match its block file: the next start replaces it", ErrCorrupt)})
	}
	var r SumsReport
	s := c.newScan(int(min(sealChunkBytes, (t.next-t.min())*uint64(c.opts.BlockSize))))
	for block := t.min(); block < t.next; {
		f, end := t.stretch(block)
		s.begin(f, f != t.files[len(t.files)-1])
		damaged := f.sums.damaged.Load()
		if damaged {
			fault(Fault{f.first, c.pathOf(sumsName(f.first)), 0, true, fmt.Errorf("%w: the checksum file is damaged: the next start replaces it", ErrCorrupt)})
		}
		without := s.without
		for block < end {
			if err := ctx.Err(); err != nil {
				return r, err
			}
			n := min(end-block, s.most)
			if err := s.read(block, n, fault); err != nil {
				return r, err
			}
			block, r.Blocks = block+n, r.Blocks+n
			progress(r.Blocks, t.next-t.min())
		}
		if damaged || slices.Contains(c.unfit, sumsName(f.first)) {
			r.Damaged += s.without - without
			s.without = without
		}
	}
	r.Without, r.Torn = s.without, s.torn
	return r, nil
}

// directAlign is a suitable alignment of memory, offset and length for direct reads on any disk.
const directAlign = 4096

// scan reads block files, and compares each block with its checksum. It bypasses the system's cache
// if the file system supports that: the disk is what must be checked, and requests need the memory
// for other blocks.
type scan struct {
	chain  *chain
	most   uint64 // blocks read at a time
	buf    []byte // has room for them at any offset, aligned
	direct bool   // bypass the cache

	file *file
	sums sums // of the file, if they must not stay in memory

	sealed bool // the file is sealed

	without, torn uint64 // as in SumsReport
}

// newScan returns a scan that reads the given number of bytes at a time, or one block.
func (c *chain) newScan(bytes int) *scan {
	most := max(1, bytes/c.opts.BlockSize)
	buf := make([]byte, most*c.opts.BlockSize+3*directAlign)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(buf))) % directAlign
	return &scan{chain: c, most: uint64(most), buf: buf[skip:], direct: true}
}

// begin moves on to a file.
func (s *scan) begin(f *file, sealed bool) {
	s.file, s.sealed, s.sums = f, sealed, nil
	if f.sums.known.Load() == nil {
		s.sums = s.chain.foundSums(f)
	}
}

// sum returns the checksum of a block of the file.
func (s *scan) sum(index uint64) uint32 {
	if known := s.file.sums.known.Load(); known != nil {
		return known.at(index)
	}
	return s.sums.at(index)
}

// read reads n blocks of the file, at most s.most, and calls fault for the damaged ones. It returns
// an error if the file could not be opened.
func (s *scan) read(first, n uint64, fault func(Fault)) error {
	f, size := s.file, uint64(s.chain.opts.BlockSize)
	d, err := s.chain.descriptors.acquire(f)
	if err != nil {
		return err
	}
	defer s.chain.descriptors.release(d)
	all, err := s.fetch(d, first, n)
	for block := first; block < first+n; block++ {
		var p []byte
		wrong := err
		if err == nil {
			p = all[(block-first)*size:][:size]
		} else { // perhaps only one of them is unreadable
			p, wrong = s.fetch(d, block, 1)
		}
		if wrong == nil {
			wrong = s.check(d, block, p)
		}
		if wrong != nil {
			fault(Fault{block, f.path, int64((block - f.first) * size), false, wrong})
		}
	}
	return nil
}

// fetch reads n blocks from the disk. They are valid until the next call.
func (s *scan) fetch(d *descriptor, block, n uint64) ([]byte, error) {
	size := uint64(s.chain.opts.BlockSize)
	offset, length := int64((block-s.file.first)*size), int64(n*size)
	// The last file may have writes in progress, and a direct read would wait for them.
	if s.direct && s.sealed {
		p, err := s.fetchDirect(offset, length)
		if !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.EOPNOTSUPP) {
			return p, err
		}
		s.direct = false
	}
	return s.buf[:length], readFull(d, s.file.path, s.buf[:length], offset)
}

func (s *scan) fetchDirect(offset, length int64) ([]byte, error) {
	f, err := s.chain.dir.OpenDirect(s.file.name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	skip := offset % directAlign
	p := s.buf[:(skip+length+directAlign-1)/directAlign*directAlign]
	if n, err := f.ReadAt(p, offset-skip); int64(n) < skip+length { // the file may end before p does
		return nil, cmp.Or(err, io.ErrUnexpectedEOF)
	}
	return p[skip:][:length], nil
}

// check returns the fault of a block in the file, or nil.
func (s *scan) check(d *descriptor, block uint64, p []byte) error {
	c, f, index := s.chain, s.file, block-s.file.first
	sum := s.sum(index)
	v := unjudged
	if c.asks(f, index, sum) {
		var err error
		if v, err = c.verdictOn(f, d, index, nil); err != nil {
			return err
		}
	}
	if sum <= badSum {
		s.without++
	}
	if v == torn {
		s.torn++
	}
	if err := compare(sum, v, p); err != nil {
		return fmt.Errorf("its content is not what was written: %w", err)
	}
	return nil
}
