package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// readChain executes a chain of Reads, and returns the last one. It reads consecutive blocks with
// one system call, through buf, as many as fit.
func (c *chain) readChain(first *Op, buf []byte) (last *Op) {
	for op := first; op != nil; op = last.Link.Next() {
		n := 1
		for last = op; (n+1)*c.opts.BlockSize <= len(buf); n++ {
			next := last.Link.Next()
			if next == nil || next.Block != last.Block+1 {
				break
			}
			last = next
		}
		if n > 1 && c.readTogether(op, last, buf[:n*c.opts.BlockSize]) {
			continue
		}
		for each := op; ; each = each.Link.Next() {
			c.read(each)
			if each == last {
				break
			}
		}
	}
	return last
}

// readTogether reads consecutive blocks. It returns false if it could not read all of them.
func (c *chain) readTogether(first, last *Op, buf []byte) bool {
	f := c.table.Load().find(first.Block)
	if f == nil || f != c.table.Load().find(last.Block) {
		return false
	}
	d, err := c.descriptors.acquire(f)
	if err != nil {
		return false
	}
	defer c.descriptors.release(d)
	size := c.opts.BlockSize
	if readFull(d, f.path, buf, int64(first.Block-f.first)*int64(size)) != nil {
		return false
	}
	for op := first; ; op = op.Link.Next() {
		if len(op.Buf) != size {
			return false
		}
		copy(op.Buf, buf)
		if op.OK, op.Err = c.check(f, d, op); op.Err != nil {
			op.Err = readError(op.Block, op.Err)
		}
		if buf = buf[size:]; op == last {
			return true
		}
	}
}

// read executes a Read and fills in its outcome.
func (c *chain) read(op *Op) {
	if op.OK, op.Err = c.readBlock(op); op.Err != nil {
		op.Err = readError(op.Block, op.Err)
	}
}

func readError(block uint64, err error) error { return fmt.Errorf("read block %016x: %w", block, err) }

// readBlock reads one block. It returns false if the block does not exist.
func (c *chain) readBlock(op *Op) (bool, error) {
	if len(op.Buf) != c.opts.BlockSize {
		return false, fmt.Errorf("buffer of %d bytes for a block of %d", len(op.Buf), c.opts.BlockSize)
	}
	f := c.table.Load().find(op.Block)
	if f == nil {
		return false, nil
	}
	d, err := c.descriptors.acquire(f)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // discarded since the lookup in the table
	}
	if err != nil {
		return false, err
	}
	defer c.descriptors.release(d)
	if err := readFull(d, f.path, op.Buf, int64(op.Block-f.first)*int64(len(op.Buf))); err != nil {
		return false, err
	}
	return c.check(f, d, op)
}

// check returns an error if the block read from f is known to be not what was written.
func (c *chain) check(f *file, d *descriptor, op *Op) (ok bool, err error) {
	index := op.Block - f.first
	sum := c.loadedSums(f).at(index)
	v := unjudged
	if !op.AsIs && c.asks(f, index, sum) {
		if v, err = c.verdictOn(f, d, index, op.Buf); err != nil {
			return false, err
		}
	}
	if err = compare(sum, v, op.Buf); err != nil {
		return false, fmt.Errorf("%s: the content at offset %d is not what was written: %w", f.path, index*uint64(len(op.Buf)), err)
	}
	return true, nil
}

// compare returns an error if the content of a block does not match its checksum, or the verdict on
// it is bad.
func compare(sum uint32, v verdict, content []byte) error {
	switch {
	case v == bad || sum == badSum:
		return ErrDoubtful
	case sum != noSum && sum != sumOf(content):
		return ErrRot
	}
	return nil
}

// readFull fills buf from a file that must be long enough. If the file has become too short, the
// error must not look like a torn append to a start.
func readFull(r io.ReaderAt, path string, buf []byte, offset int64) error {
	n, err := r.ReadAt(buf, offset)
	if n == len(buf) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("%s is too short, %d of %d bytes at offset %d: %w",
			path, n, len(buf), offset, ErrRot)
	}
	return err
}
