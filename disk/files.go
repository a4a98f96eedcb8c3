package disk

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
)

// Names in the directory. All other names are ignored.
//
//	blks_00000000000000ab        blocks from number 0xab on
//	sums_00000000000000ab        checksums of its first blocks, or of all
//	sums_00000000000000ab.tmp    ... while they are being written
//	kivaloo.failed               a note that a write or a sync has failed
const (
	blocksPrefix = "blks_"
	sumsPrefix   = "sums_"
	tmpSuffix    = ".tmp"
	numberDigits = 16
)

// namesAtATime is the number of names that HoldsStore reads at a time.
const namesAtATime = 1024

func blocksName(first uint64) string { return fmt.Sprintf("%s%016x", blocksPrefix, first) }
func sumsName(first uint64) string   { return fmt.Sprintf("%s%016x", sumsPrefix, first) }

// parseName is the inverse of blocksName and sumsName. It refuses upper-case digits: no store
// writes them, and a file with such a name could not be opened by its number.
func parseName(name, prefix string) (first uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok || len(digits) != numberDigits {
		return 0, false
	}
	for _, c := range []byte(digits) {
		switch {
		case '0' <= c && c <= '9':
			first = first<<4 | uint64(c-'0')
		case 'a' <= c && c <= 'f':
			first = first<<4 | uint64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return first, true
}

// FileInfo describes a block file.
type FileInfo struct {
	Name  string // in the directory
	First uint64 // number of its first block
	Size  int64  // bytes
}

// ScanDir lists the block files in dir by block number. It does not open them, and does not check
// whether they make a store. A nil fsys means OSFS.
func ScanDir(fsys FS, dir string) ([]FileInfo, error) {
	if fsys == nil {
		fsys = OSFS{}
	}
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list block files: %w", err)
	}
	defer d.Close()
	return ListBlocks(d)
}

// ListBlocks is ScanDir for an open directory.
func ListBlocks(dir Dir) ([]FileInfo, error) {
	found, err := listDir(dir)
	return found.blocks, err
}

// listing has the files in a directory that belong to a store.
type listing struct {
	blocks   []FileInfo // by block number
	sums     []FileInfo // by block number
	leftover []string   // names of unfinished checksum files
	failed   bool       // there is a note of a failure
}

func listDir(dir Dir) (listing, error) {
	var l listing
	names, err := dir.ReadDir()
	if err != nil {
		return l, fmt.Errorf("list block files: %w", err)
	}
	for _, name := range names {
		base, unfinished := strings.CutSuffix(name, tmpSuffix)
		blocksFirst, isBlocks := parseName(name, blocksPrefix)
		sumsFirst, isSums := parseName(base, sumsPrefix)
		if !isBlocks && !isSums && name != failedName {
			continue
		}
		stat, err := dir.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile by a process that ignores the lock
		}
		if err != nil {
			return l, fmt.Errorf("list block files: %w", err)
		}
		switch {
		case !stat.Regular:
		case name == failedName:
			l.failed = true
		case isBlocks:
			l.blocks = append(l.blocks, FileInfo{name, blocksFirst, stat.Size})
		case unfinished:
			l.leftover = append(l.leftover, name)
		default:
			l.sums = append(l.sums, FileInfo{name, sumsFirst, stat.Size})
		}
	}
	byFirst := func(a, b FileInfo) int { return cmp.Compare(a.First, b.First) }
	slices.SortFunc(l.blocks, byFirst)
	slices.SortFunc(l.sums, byFirst)
	slices.Sort(l.leftover)
	return l, nil
}

// HoldsStore reports whether a directory has a store's file in it. Nothing else should be written
// there.
func HoldsStore(dir *os.Root) (bool, error) {
	d, err := dir.Open(".")
	if err != nil {
		return false, err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(namesAtATime)
		if slices.ContainsFunc(names, isStoreFile) {
			return true, nil
		}
		switch {
		case err == io.EOF:
			return false, nil
		case err != nil:
			return false, err
		}
	}
}

// isStoreFile reports whether a store can have a file of that name.
func isStoreFile(name string) bool {
	_, isBlocks := parseName(name, blocksPrefix)
	_, isSums := parseName(strings.TrimSuffix(name, tmpSuffix), sumsPrefix)
	return isBlocks || isSums || name == failedName
}

// checkChain checks that files, sorted, form one unbroken chain of whole blocks. Only the last file
// may have a torn tail: bytes of a block that was being written when the process or the machine
// crashed. It returns the number of the next block, and the length of the last file's whole blocks
// in bytes.
func checkChain(files []FileInfo, blockSize int) (next uint64, whole int64, err error) {
	size := int64(blockSize)
	for i, f := range files {
		if i > 0 && f.First != next {
			return 0, 0, fmt.Errorf("%s does not continue %s, which ends before block %016x: "+
				"a file is missing, or the block size is not %d: %w",
				f.Name, files[i-1].Name, next, blockSize, ErrCorrupt)
		}
		if f.Size%size != 0 && i < len(files)-1 {
			return 0, 0, fmt.Errorf("%s has %d bytes, not a multiple of %d, and is not the last file: "+
				"it is damaged, or the block size is not %d: %w",
				f.Name, f.Size, blockSize, blockSize, ErrCorrupt)
		}
		count := uint64(f.Size / size)
		if count > math.MaxUint64-f.First {
			return 0, 0, fmt.Errorf("%s would hold blocks past the largest number: %w", f.Name, ErrCorrupt)
		}
		next = f.First + count
		whole = int64(count) * size
	}
	return next, whole, nil
}
