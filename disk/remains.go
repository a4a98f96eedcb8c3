package disk

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
)

// Remains reads what is left of a damaged store. Files may be missing, too short or too long. A
// Read of a missing block that the store must have had fails with ErrRot. Remains changes nothing
// in the directory and does not lock it. Submit executes each operation before it returns. Only one
// goroutine at a time may call it.
type Remains struct {
	chain  *chain
	known  Stretch  // all blocks that the store has, or is known to have had
	signs  []string // see Signs
	widest uint64   // the longest run of missing blocks that damage can explain
}

var _ Store = (*Remains)(nil)

// OpenRemains opens what is left of the store in a directory. Of the options it uses BlockSize,
// Recognise, FS and Log. Without a BlockSize the checksum files tell it, and Recognise is asked
// only if none can be read.
func OpenRemains(dir string, o Options) (*Remains, error) {
	o.ReadOnly, o.NoSync, o.Doubtful, o.Accept = true, false, nil, nil
	o, err := o.checked()
	if err != nil {
		return nil, fmt.Errorf("open block store %s: %w", dir, err)
	}
	d, err := o.FS.OpenDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open block store: %w", err)
	}
	r := &Remains{chain: &chain{path: dir, dir: d, opts: o, descriptors: newDescriptors(d, MaxOpenFiles())}}
	if err := r.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open block store %s: %w", dir, err), r.Close())
	}
	return r, nil
}

// load finds the files, and where the store began and ended.
func (r *Remains) load() error {
	c := r.chain
	found, err := listDir(c.dir)
	if err != nil {
		return err
	}
	if err := r.recognise(found); err != nil {
		return err
	}
	covered := r.intactSums(found.sums)
	r.widest = minGap
	for _, info := range found.blocks {
		r.widest += gapFactor * (uint64(info.Size) / uint64(c.opts.BlockSize))
	}
	for _, blocks := range covered {
		r.widest += gapFactor * (blocks.Next - blocks.First)
	}
	t := &table{}
	files := r.together(r.withoutIntruders(found.blocks, covered), covered)
	for i, info := range files {
		f := c.newFile(info.First)
		count := r.end(info) - info.First
		if i+1 < len(files) && count > files[i+1].First-info.First {
			count = files[i+1].First - info.First
			r.sign("%s is longer than the distance to %s", info.Name, files[i+1].Name)
		}
		f.found.count = count
		t.files, t.next = append(t.files, f), f.first+count
		if blocks, ok := covered[info.First]; ok {
			f.sums.size = int64(sumsHeaderBytes + 4*(blocks.Next-blocks.First))
		}
	}
	c.table.Store(t)
	if len(files) > 0 {
		r.Had(Stretch{t.min(), t.next})
	}
	for _, first := range slices.Sorted(maps.Keys(covered)) {
		r.Had(covered[first])
	}
	r.judgeEnd(files, found)
	return nil
}

// judgeEnd looks for signs that the store went on after its last block.
func (r *Remains) judgeEnd(files []FileInfo, found listing) {
	if n := len(files); n > 0 {
		if last := files[n-1]; last.Size == 0 || last.Size%int64(r.chain.opts.BlockSize) != 0 {
			r.sign("%s does not end with a whole block", last.Name)
		}
	}
	next := r.chain.table.Load().next
	fileMissing := func(name string, first uint64) bool {
		missing := first >= next && !slices.ContainsFunc(found.blocks, func(f FileInfo) bool { return f.First == first })
		if missing {
			r.sign("%s has lost its block file", name)
		}
		return missing
	}
	for _, info := range found.sums {
		if covers := r.shouldCover(info); !fileMissing(info.Name, info.First) && info.First < next && covers > next-info.First {
			r.sign("%s is for more blocks than the %d that are left", info.Name, next-info.First)
		}
	}
	for _, name := range found.leftover {
		first, _ := parseName(strings.TrimSuffix(name, tmpSuffix), sumsPrefix)
		fileMissing(name, first)
	}
}

// shouldCover returns how many blocks a checksums file is for. If its header is damaged, the length
// of the file tells.
func (r *Remains) shouldCover(info FileInfo) uint64 {
	if s, err := r.chain.readSums(info.Name, sumsHeaderBytes); err == nil && s.headerIntact() {
		return s.count()
	}
	return uint64(max(info.Size-sumsHeaderBytes, 0)) / 4
}

// sign records a sign that newer blocks exist or existed.
func (r *Remains) sign(format string, args ...any) {
	if len(r.signs) < maxSigns {
		r.signs = append(r.signs, fmt.Sprintf(format, args...))
	}
}

// Signs returns the signs in the files that newer blocks exist or existed than those that can be
// read. Each is a sentence about a file. Further ones than the first maxSigns are left out.
func (r *Remains) Signs() []string { return r.signs }

// intactSums returns the blocks that each intact checksums file covers, by the first of them.
func (r *Remains) intactSums(files []FileInfo) map[uint64]Stretch {
	covered := make(map[uint64]Stretch)
	for _, info := range files {
		s, err := r.chain.readSums(info.Name, info.Size)
		if err == nil && len(s) >= sumsHeaderBytes && s.intact() && s.first() == info.First && int(s.blockSize()) == r.chain.opts.BlockSize &&
			s.covers() <= math.MaxUint64-info.First {
			covered[info.First] = Stretch{info.First, info.First + s.covers()}
		}
	}
	return covered
}

// withoutIntruders leaves out each file whose first block belongs to another file, according to the
// checksums of that file.
func (r *Remains) withoutIntruders(files []FileInfo, covered map[uint64]Stretch) []FileInfo {
	return slices.DeleteFunc(files, func(info FileInfo) bool {
		for first, blocks := range covered {
			if first != info.First && blocks.Has(info.First) {
				r.leaveOut(info, "its first block belongs to another file")
				return true
			}
		}
		return false
	})
}

func (r *Remains) leaveOut(info FileInfo, why string) {
	r.sign("%s is left out: %s", info.Name, why)
	r.chain.opts.Log.Warn("a block file is left out", "file", filepath.Join(r.chain.path, info.Name), "why", why)
}

// end returns the number after that of the last block of a file.
func (r *Remains) end(info FileInfo) uint64 {
	return info.First + min(uint64(info.Size)/uint64(r.chain.opts.BlockSize), math.MaxUint64-info.First)
}

// together returns the group of files that most likely belong to one store: the one with the most
// blocks that have checksums under the same number, or else with the most blocks. A file whose
// number is too far from the others has a wrong name, or is from a copy of the store.
func (r *Remains) together(files []FileInfo, covered map[uint64]Stretch) (best []FileInfo) {
	var most [2]uint64
	for len(files) > 0 {
		n, blocks, end := 0, [2]uint64{}, files[0].First
		for n < len(files) && (files[n].First <= end || files[n].First-end <= r.widest) {
			info := files[n]
			sums := covered[info.First]
			blocks[0] += min(sums.Next-sums.First, r.end(info)-info.First)
			blocks[1] += r.end(info) - info.First
			end = max(end, r.end(info))
			n++
		}
		group, out := files[:n], []FileInfo(nil)
		files = files[n:]
		if best != nil && slices.Compare(blocks[:], most[:]) <= 0 {
			out = group
		} else {
			best, out, most = group, best, blocks
		}
		for _, info := range out {
			r.leaveOut(info, "its number is too far from those of the others")
		}
	}
	return best
}

// recognise finds the block size. It asks the checksums files first, because they protect
// themselves.
func (r *Remains) recognise(found listing) error {
	o := &r.chain.opts
	if validBlockSize(o.BlockSize) {
		return nil
	}
	for _, info := range found.sums {
		s, err := r.chain.readSums(info.Name, info.Size)
		if err == nil && len(s) >= sumsHeaderBytes && s.intact() && validBlockSize(int(s.blockSize())) {
			o.BlockSize = int(s.blockSize())
			return nil
		}
	}
	size, err := o.Recognise(r.chain.dir)
	if err == nil && !validBlockSize(size) {
		err = errBlockSize(size)
	}
	o.BlockSize = size
	return err
}

// Had records that the store once had these blocks, so that those missing now count as damage. It
// ignores them if that would be more missing blocks than damage can explain.
func (r *Remains) Had(blocks Stretch) {
	switch {
	case blocks.First >= blocks.Next:
	case r.known.First == r.known.Next:
		r.known = blocks
	default:
		known := Stretch{min(r.known.First, blocks.First), max(r.known.Next, blocks.Next)}
		if more := known.Next - known.First - (r.known.Next - r.known.First); more <= r.widest {
			r.known = known
		}
	}
}

// Blocks returns all blocks that the store has, or is known to have had.
func (r *Remains) Blocks() Stretch { return r.known }

// Info implements Store. It counts blocks that are missing at the end.
func (r *Remains) Info() Info {
	return Info{BlockSize: r.chain.opts.BlockSize, Next: r.known.Next, Last: r.known.Next - 1}
}

// File returns the existing blocks of the file that contains a block.
func (r *Remains) File(block uint64) Stretch {
	f := r.chain.table.Load().find(block)
	if f == nil || block-f.first >= f.found.count {
		return Stretch{}
	}
	return Stretch{f.first, f.first + f.found.count}
}

// Sum returns the checksum that a block had when it was durable, if known.
func (r *Remains) Sum(block uint64) (sum uint32, ok bool) {
	if r.File(block) == (Stretch{}) {
		return 0, false
	}
	f := r.chain.table.Load().find(block)
	sum = r.chain.loadedSums(f).at(block - f.first)
	return sum, sum > badSum
}

// Read reads a block into buf. It returns false if the block does not exist and never did. After an
// ErrCorrupt, buf holds what is left of the block.
func (r *Remains) Read(block uint64, buf []byte) (bool, error) {
	switch {
	case r.File(block) != (Stretch{}):
		return r.chain.readBlock(&Op{Kind: Read, Block: block, Buf: buf})
	case r.known.Has(block):
		clear(buf)
		return false, fmt.Errorf("block %d is missing: %w", block, ErrRot)
	}
	return false, nil
}

// Submit implements Store.
func (r *Remains) Submit(first, last *Op) { forEach(first, last, r.submit) }

func (r *Remains) submit(op *Op) {
	op.OK, op.Err = false, errReadOnly
	if op.Kind == Read {
		op.OK, op.Err = r.Read(op.Block, op.Buf)
	}
	op.Done.PushOne(op)
}

// Close implements Store.
func (r *Remains) Close() error { return r.chain.close() }
