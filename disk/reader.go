package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// read carries out a Read and fills in its outcome.
func (c *chain) read(op *Op) {
	op.OK, op.Err = c.readBlock(op.Block, op.Buf)
	if op.Err != nil {
		op.Err = fmt.Errorf("read block %016x: %w", op.Block, op.Err)
	}
}

// readBlock reads a block into buf. It returns false if there is no such block.
func (c *chain) readBlock(block uint64, buf []byte) (bool, error) {
	if len(buf) != c.opts.BlockSize {
		return false, fmt.Errorf("buffer of %d bytes for a block of %d", len(buf), c.opts.BlockSize)
	}
	f := c.table.Load().find(block)
	if f == nil {
		return false, nil
	}
	d, err := c.descriptors.acquire(f)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // discarded since the table was looked at
	}
	if err != nil {
		return false, err
	}
	defer c.descriptors.release(d)

	index := block - f.first
	if err := readFull(d, f.path, buf, int64(index)*int64(len(buf))); err != nil {
		return false, err
	}
	if !c.loadedSums(f).match(index, buf) {
		return false, fmt.Errorf("%s does not have the content that was written, offset %d: %w",
			f.path, index*uint64(len(buf)), ErrRot)
	}
	return true, nil
}

// readFull fills buf from a file that is known to be long enough.
func readFull(r io.ReaderAt, path string, buf []byte, offset int64) error {
	n, err := r.ReadAt(buf, offset)
	if n == len(buf) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("%s is too short, %d of %d bytes at offset %d: %w",
			path, n, len(buf), offset, ErrCorrupt)
	}
	return err
}
