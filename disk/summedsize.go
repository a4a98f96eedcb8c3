package disk

import "slices"

// maxProofBlocks is how many blocks of a file are compared with their checksums, to see whether the
// checksum file's block size is right.
const maxProofBlocks = 16

// SummedBlockSize returns the block size in the checksum files of a directory, or 0. At least one
// block of that size must match its checksum, because a file may come from elsewhere. If all block
// files are missing, an intact checksum file is believed without that.
func SummedBlockSize(dir Dir) (int, error) {
	found, err := listDir(dir)
	if err != nil {
		return 0, err
	}
	c := &chain{dir: dir}
	for _, info := range found.sums {
		if s, err := c.readSums(info.Name, sumsHeaderBytes); len(found.blocks) == 0 && err == nil && s.headerIntact() && validBlockSize(int(s.blockSize())) {
			return int(s.blockSize()), nil
		}
		i := slices.IndexFunc(found.blocks, func(f FileInfo) bool { return f.First == info.First })
		if i < 0 || info.Size < sumsHeaderBytes || info.Size > sumsHeaderBytes+4*(found.blocks[i].Size/MinBlockSize) {
			continue
		}
		s, err := c.readSums(info.Name, info.Size)
		if err != nil || !s.intact() || s.first() != info.First || !validBlockSize(int(s.blockSize())) {
			continue
		}
		if proves(dir, found.blocks[i], s) {
			return int(s.blockSize()), nil
		}
	}
	return 0, nil
}

// proves reports whether one of the first blocks of a file has its checksum.
func proves(dir Dir, info FileInfo, s sums) bool {
	f, err := dir.Open(info.Name, false)
	if err != nil {
		return false
	}
	defer f.Close()
	p := make([]byte, s.blockSize())
	for index := range min(s.covers(), maxProofBlocks) {
		n, _ := f.ReadAt(p, int64(index)*int64(len(p)))
		if sum := s.at(index); sum > badSum && n == len(p) && sum == sumOf(p) {
			return true
		}
	}
	return false
}
