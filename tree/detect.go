package tree

import (
	"errors"
	"fmt"

	"kivaloo/disk"
	"kivaloo/tree/journal"
	"kivaloo/tree/page"
)

// DetectBlockSize finds out the block size, in bytes, of the store of pages in dir, which is not
// recorded anywhere: from the numbers of the files where there are several, else from where
// the pages, or the blocks of the journal, begin. It returns 0 for a directory without blocks. It changes nothing. A nil fsys
// means the real file system.
func DetectBlockSize(fsys disk.FS, dir string) (int, error) {
	if fsys == nil {
		fsys = disk.OSFS{}
	}
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return 0, fmt.Errorf("find out the block size: %w", err)
	}
	defer d.Close()
	size, err := detectIn(d)
	if err != nil {
		return 0, fmt.Errorf("the store in %s: %w", dir, err)
	}
	return size, nil
}

// detectIn is DetectBlockSize of a directory that is open.
func detectIn(dir disk.Dir) (int, error) {
	files, err := disk.ListBlocks(dir)
	if err != nil {
		return 0, err
	}
	empty := true
	for i, f := range files {
		if f.Size == 0 {
			continue
		}
		start, err := readStart(dir, f)
		if err != nil {
			return 0, err
		}
		if f.Size <= disk.MaxBlockSize && page.AllZero(start) {
			continue // what a power cut can leave of the very first append
		}
		empty = false
		if i+1 < len(files) {
			// It holds the blocks up to the first of the next file.
			if size, ok := evenly(f.Size, files[i+1].First-f.First); ok && plausible(start, size, f.First) {
				return size, nil
			}
			continue
		}
		if size, ok := blockLength(start, f.Size, f.First); ok {
			return size, nil
		}
	}
	if empty && len(files) < 2 && (len(files) == 0 || files[0].First == 0) {
		return 0, nil
	}
	return 0, errors.New("cannot tell the block size: no page in it can be recognised")
}

// readStart returns the beginning of a file: two blocks of any size.
func readStart(dir disk.Dir, info disk.FileInfo) ([]byte, error) {
	f, err := dir.Open(info.Name, false)
	if err != nil {
		return nil, fmt.Errorf("find out the block size: %w", err)
	}
	defer f.Close()
	start := make([]byte, min(info.Size, 2*disk.MaxBlockSize))
	if _, err := f.ReadAt(start, 0); err != nil {
		return nil, fmt.Errorf("find out the block size: read %s: %w", info.Name, err)
	}
	return start, nil
}

// evenly returns the length of each of count blocks in a file of size bytes.
func evenly(size int64, count uint64) (int, bool) {
	if count == 0 || count > uint64(size) || uint64(size)%count != 0 {
		return 0, false
	}
	return int(uint64(size) / count), true
}

// blockLength returns the length of the block, number first, that a file begins with: up to the next one, which must
// be one of that length too, or to the end of the file. A block that a power cut has left as zeros looks like padding: taken
// for some, it would make the length of a page a multiple of what it is. A block of the journal says itself where it ends.
func blockLength(start []byte, fileSize int64, first uint64) (int, bool) {
	if len(start) >= disk.MinBlockSize && journal.Is(start) {
		return journal.Length(start, first, disk.MinBlockSize, disk.MaxBlockSize)
	}
	for at := disk.MinBlockSize; at <= disk.MaxBlockSize && at < len(start); at++ {
		next := nextStart(start[at:])
		if next < 0 {
			break
		}
		if at += next; plausible(start, at, first) {
			return at, plausible(start[at:], at, first+1)
		}
	}
	if fileSize <= disk.MaxBlockSize && plausible(start, int(fileSize), first) {
		return int(fileSize), true
	}
	return 0, false
}

// nextStart returns where in p the next page or block of the journal may begin, or -1.
func nextStart(p []byte) int {
	i, j := page.Index(p), journal.Index(p)
	if i < 0 || j < 0 {
		return max(i, j)
	}
	return min(i, j)
}

// plausible reports whether start begins with a page or a block of the journal of size bytes, written at a number.
func plausible(start []byte, size int, block uint64) bool {
	if size < disk.MinBlockSize || size > disk.MaxBlockSize || size > len(start) {
		return false
	}
	if journal.Is(start) {
		_, err := journal.ParseAt(block, start[:size])
		return err == nil
	}
	_, err := page.Parse(start[:size])
	return err == nil
}
