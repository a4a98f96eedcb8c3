package tree

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"

	"kivaloo/disk"
	"kivaloo/tree/journal"
	"kivaloo/tree/page"
)

// ErrUnknownBlockSize means that blocks exist, but their content does not show their size.
var ErrUnknownBlockSize = errors.New("cannot tell the block size: no page in it can be recognised")

// DetectBlockSize returns the block size, in bytes, of the store of pages in dir, or 0 if the
// directory has no blocks. Checksum files record the size. Without them, the numbers of the files
// and the places where pages or journal blocks begin show it. It changes nothing. A nil fsys means
// the real file system.
func DetectBlockSize(fsys disk.FS, dir string) (int, error) {
	if fsys == nil {
		fsys = disk.OSFS{}
	}
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return 0, fmt.Errorf("determine the block size: %w", err)
	}
	defer d.Close()
	size, err := blockSizeIn(d)
	if err != nil {
		return 0, fmt.Errorf("the store in %s: %w", dir, err)
	}
	return size, nil
}

// blockSizeIn is DetectBlockSize for an open directory.
func blockSizeIn(dir disk.Dir) (int, error) {
	if size, err := disk.SummedBlockSize(dir); size != 0 || err != nil {
		return size, err
	}
	return detectIn(dir)
}

// detectIn returns the block size that the blocks themselves show.
func detectIn(dir disk.Dir) (int, error) {
	files, err := disk.ListBlocks(dir)
	if err != nil {
		return 0, err
	}
	empty, guesses := true, map[int]bool{}
	for i, f := range files {
		if f.Size == 0 {
			continue
		}
		start, err := readStart(dir, f)
		if err != nil {
			return 0, err
		}
		if f.Size <= disk.MaxBlockSize && page.AllZero(start) {
			continue // a power cut during the very first append can leave this
		}
		empty = false
		size, ok, sure := lengthByNumbers(start, files, i)
		switch {
		case sure:
			return size, nil
		case i+1 == len(files):
			size, ok = someBlockLength(start, f.Size, f.First)
		}
		if ok {
			guesses[size] = true
		}
	}
	if len(guesses) == 1 {
		for size := range guesses {
			return size, nil
		}
	}
	if empty && len(files) < 2 && (len(files) == 0 || files[0].First == 0) {
		return 0, nil
	}
	return 0, ErrUnknownBlockSize
}

// Recognise returns a disk.Options.Recognise for a store of pages. If asked is not 0, it must be
// the block size of the store. If asked is 0, a new store gets blocks of fresh bytes. If both are
// 0, the store must exist.
func Recognise(asked, fresh int) func(disk.Dir) (int, error) {
	return func(dir disk.Dir) (int, error) {
		found, err := blockSizeIn(dir)
		switch {
		case errors.Is(err, ErrUnknownBlockSize) && asked != 0:
			return asked, checkFragment(dir, asked)
		case err != nil:
			return 0, err
		case found == 0 && fresh == 0:
			return 0, ErrNoStore
		case found == 0:
			return cmp.Or(asked, fresh), nil
		}
		return found, checkSize(found, asked)
	}
}

// RecogniseRemains is a disk.Options.Recognise for a damaged store. It returns the block size that
// most of the files show.
func RecogniseRemains(dir disk.Dir) (int, error) {
	files, err := disk.ListBlocks(dir)
	if err != nil {
		return 0, err
	}
	if len(files) == 0 {
		return 0, ErrNoStore
	}
	votes, most := make(map[int]int64), 0
	for i, f := range files {
		if f.Size < disk.MinBlockSize {
			continue
		}
		start, err := readStart(dir, f)
		if err != nil {
			continue
		}
		size, ok, sure := lengthByNumbers(start, files, i)
		if some, found := someBlockLength(start, f.Size, f.First); found && !sure {
			size, ok = some, true
		}
		if ok {
			votes[size] += f.Size
			if votes[size] > votes[most] {
				most = size
			}
		}
	}
	if most == 0 {
		return 0, ErrUnknownBlockSize
	}
	return most, nil
}

// ErrNoStore means that the directory has no store, and that none may be created.
var ErrNoStore = errors.New("there is no store")

// CheckBlockSize reports whether the blocks in dir are visibly those of a tree. It returns an error
// if they are but have another size.
func CheckBlockSize(dir disk.Dir, asked int) (visible bool, err error) {
	found, err := detectIn(dir)
	if errors.Is(err, ErrUnknownBlockSize) {
		return false, nil
	}
	if err != nil || found == 0 {
		return false, err
	}
	summed, err := disk.SummedBlockSize(dir)
	if err != nil {
		return true, err
	}
	return true, checkSize(cmp.Or(summed, found), asked)
}

func checkSize(found, asked int) error {
	if asked != 0 && asked != found {
		return fmt.Errorf("the store has blocks of %d bytes, not %d: open it with that size, or choose another directory", found, asked)
	}
	return nil
}

// checkFragment returns an error if the files hold less than one block of blockSize, and that is
// not the beginning of the first page. With another block size it could be a whole store, and
// opening would cut it off.
func checkFragment(dir disk.Dir, blockSize int) error {
	files, err := disk.ListBlocks(dir)
	if err != nil || len(files) != 1 || files[0].Size >= int64(blockSize) {
		return err
	}
	start, err := readStart(dir, files[0])
	if err != nil || bytes.HasPrefix(page.EmptyRoot(blockSize), start) {
		return err
	}
	return fmt.Errorf("%s has %d bytes, less than one block of %d, and is not what is left of the first write: is the block size right?",
		files[0].Name, files[0].Size, blockSize)
}

// readStart returns the beginning of a file: two blocks of the largest size.
func readStart(dir disk.Dir, info disk.FileInfo) ([]byte, error) {
	f, err := dir.Open(info.Name, false)
	if err != nil {
		return nil, fmt.Errorf("determine the block size: %w", err)
	}
	defer f.Close()
	start := make([]byte, min(info.Size, 2*disk.MaxBlockSize))
	if _, err := f.ReadAt(start, 0); err != nil {
		return nil, fmt.Errorf("determine the block size: read %s: %w", info.Name, err)
	}
	return start, nil
}

// lengthByNumbers returns the length of the blocks in file i, which begins with start. The file
// holds the blocks up to the first of the next file. It is not sure of that if the second block is
// no page of that length: it may be damaged, or a file may be missing in between.
func lengthByNumbers(start []byte, files []disk.FileInfo, i int) (size int, ok, sure bool) {
	f := files[i]
	if i+1 == len(files) {
		return 0, false, false
	}
	count := files[i+1].First - f.First
	size, ok = evenly(f.Size, count)
	ok = ok && plausible(start, size, f.First)
	return size, ok, ok && (count == 1 || plausible(start[size:], size, f.First+1))
}

// evenly returns the length of each of count blocks in a file of size bytes.
func evenly(size int64, count uint64) (int, bool) {
	if count == 0 || count > uint64(size) || uint64(size)%count != 0 {
		return 0, false
	}
	return int(uint64(size) / count), true
}

// someBlockLength is blockLength for the first undamaged block.
func someBlockLength(start []byte, fileSize int64, first uint64) (int, bool) {
	size, ok := blockLength(start, fileSize, first)
	for at := 0; !ok || at%size != 0; {
		next := -1
		if at+1 < len(start) {
			next = page.Index(start[at+1:])
		}
		if next < 0 {
			return 0, false
		}
		at += 1 + next
		size, ok = blockLength(start[at:], fileSize-int64(at), first)
	}
	return size, true
}

// blockLength returns the length of the first block of a file, whose number is first. The block
// ends where the next one begins, or at the end of the file. The next one must have the same
// length. Otherwise a block of zeros, which a power cut can leave, would look like padding, and
// would make the page seem longer. A journal block shows its own end.
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

// nextStart returns where in p the next page or journal block may begin, or -1.
func nextStart(p []byte) int {
	i, j := page.Index(p), journal.Index(p)
	if i < 0 || j < 0 {
		return max(i, j)
	}
	return min(i, j)
}

// plausible reports whether start begins with a page of size bytes, or with a journal block of that
// size and number.
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
