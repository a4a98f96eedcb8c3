package disk

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"
)

// Options configure the opening of a directory.
type Options struct {
	BlockSize int           // bytes, MinBlockSize to MaxBlockSize; required without Recognise
	Readers   int           // concurrent reads, 1 to MaxReaders; 0: DefaultReaders
	ReadDelay time.Duration // added to every successful read, 0 to MaxReadDelay; not by Inline
	NoSync    bool          // appends do not wait for the disk: a power cut can lose any of them
	ReadOnly  bool          // change nothing; others may read at the same time
	ScrubRate int64         // the most that the scrubber reads per second; 0: no scrubber; not by Inline
	FS        FS            // nil: OSFS
	Log       *slog.Logger  // nil: slog.Default()
	// Recognise and Accept, if not nil, check the store before anything is changed, with the
	// directory locked. Open returns their errors, and leaves the directory unchanged. Recognise
	// looks at the files and returns the block size. Accept may submit Reads of blocks.
	Recognise func(dir Dir) (blockSize int, err error)
	Accept    func(s Store) error
	// OnSync, if not nil, is called with the duration of each sync of a block file for an append.
	// The goroutine that executes the append calls it.
	OnSync func(took time.Duration)
	// Doubtful, if not nil, is asked about blocks left without checksums by an earlier run: does
	// the block's content show that it is not what was written? The answer may cover neighbouring
	// blocks too. Many goroutines may call it at once.
	Doubtful func(block uint64, found Found) (Verdict, error)
}

// checked returns o with the defaults filled in.
func (o Options) checked() (Options, error) {
	if o.Readers == 0 {
		o.Readers = DefaultReaders
	}
	if o.FS == nil {
		o.FS = OSFS{}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	switch {
	case o.Recognise == nil && !validBlockSize(o.BlockSize):
		return o, errBlockSize(o.BlockSize)
	case o.Readers < 1 || o.Readers > MaxReaders:
		return o, fmt.Errorf("number of readers %d is not between 1 and %d", o.Readers, MaxReaders)
	case o.ScrubRate < 0:
		return o, fmt.Errorf("scrub rate %d is negative", o.ScrubRate)
	case o.ReadDelay < 0 || o.ReadDelay > MaxReadDelay:
		return o, fmt.Errorf("read delay %v is not between 0 and %v", o.ReadDelay, MaxReadDelay)
	}
	return o, nil
}

func validBlockSize(size int) bool { return size >= MinBlockSize && size <= MaxBlockSize }

func errBlockSize(size int) error {
	return fmt.Errorf("block size %d is not between %d and %d", size, MinBlockSize, MaxBlockSize)
}

// open locks dir, checks that its block files make a store, and repairs what an interrupted append
// has left. If it returns an error about the files, it has changed nothing.
func open(dir string, o Options) (*chain, error) {
	o, err := o.checked()
	if err != nil {
		return nil, fmt.Errorf("open block store %s: %w", dir, err)
	}
	d, err := o.FS.OpenDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open block store: %w", err)
	}
	if err := d.Lock(!o.ReadOnly); err != nil {
		return nil, errors.Join(fmt.Errorf("open block store: %w", err), d.Close())
	}
	c := &chain{path: dir, dir: d, opts: o, descriptors: newDescriptors(d, MaxOpenFiles())}
	c.removals.Store(1) // perhaps, by the previous process
	if err := c.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open block store %s: %w", dir, err), c.close())
	}
	return c, nil
}

// load fills in the table from the directory.
func (c *chain) load() error {
	if c.opts.Recognise != nil {
		size, err := c.opts.Recognise(c.dir)
		if err != nil {
			return err
		}
		if !validBlockSize(size) {
			return errBlockSize(size)
		}
		c.opts.BlockSize = size
	}
	found, err := listDir(c.dir)
	if err != nil {
		return err
	}
	sums, stale, err := c.judgeSums(found)
	if err != nil {
		return err
	}
	next, whole, err := checkChain(found.blocks, c.opts.BlockSize)
	if err != nil {
		return err
	}

	t := &table{next: next}
	c.end = next
	for i, info := range found.blocks {
		f := c.newFile(info.First)
		f.sums.size = sums[info.First].size
		f.sums.damaged.Store(sums[info.First].damaged)
		sealed := i < len(found.blocks)-1
		f.found.summed = uint64(max(f.sums.size-sumsHeaderBytes, 0) / 4)
		f.found.count = uint64(info.Size / int64(c.opts.BlockSize))
		f.wantSums, f.sealed = sealed && f.unproven(), time.Now()
		t.files = append(t.files, f)
	}
	c.table.Store(t)
	c.gone.Store(t.min())
	if found.failed {
		c.showNote()
	}
	if err := c.accepted(); err != nil || c.opts.ReadOnly {
		return err
	}
	return c.repair(found, whole, stale)
}

// accepted asks Accept about what was loaded.
func (c *chain) accepted() error {
	if c.opts.Accept == nil {
		return nil
	}
	return c.opts.Accept(&unrepaired{c, make([]byte, readTogetherBytes)})
}

// unrepaired is the store passed to Accept. It only reads, synchronously on the same goroutine.
type unrepaired struct {
	chain *chain
	buf   []byte // for consecutive blocks
}

// Info implements Store.
func (s *unrepaired) Info() Info { return s.chain.info() }

// Submit implements Store, for Reads that all come back to the same place.
func (s *unrepaired) Submit(first, last *Op) {
	last.SetNext(nil)
	s.chain.readChain(first, s.buf)
	first.Done.Push(first, last)
}

// Close implements Store. The store is closed by its opener.
func (s *unrepaired) Close() error { return nil }

// repair puts the directory into the state that load has decided on, durably. If the previous
// process was killed, the content may never have been synced. Everything that is answered from now
// on, and every new file, builds on it.
func (c *chain) repair(found listing, whole int64, stale []string) error {
	for _, name := range stale {
		if err := c.dir.Remove(name); err != nil {
			return fmt.Errorf("remove useless checksums: %w", err)
		}
	}
	if n := len(found.blocks); n > 0 {
		last := found.blocks[n-1]
		tail, err := c.dir.Open(last.Name, true)
		if err != nil {
			return fmt.Errorf("open the last block file: %w", err)
		}
		c.tail = tail
		if whole != last.Size {
			c.opts.Log.Warn("cutting off an incomplete block, left by an append that was interrupted",
				"file", filepath.Join(c.path, last.Name), "bytes", last.Size, "kept", whole)
			if err := tail.Truncate(whole); err != nil {
				return fmt.Errorf("cut off an incomplete block: %w", err)
			}
		}
		if !c.opts.NoSync {
			if err := tail.Sync(); err != nil {
				return fmt.Errorf("sync the last block file: %w", err)
			}
			if err := c.renew(c.table.Load().last()); err != nil {
				return err
			}
		}
	}
	if found.failed {
		if err := c.dir.Remove(failedName); err != nil {
			return fmt.Errorf("remove the note of a failure: %w", err)
		}
	}
	// Stale checksums must not come back after the file has grown to the length they describe.
	if !c.opts.NoSync || len(stale) > 0 {
		if err := c.dir.Sync(); err != nil {
			return fmt.Errorf("sync the directory: %w", err)
		}
	}
	return nil
}

// sumsFile is a checksum file that matches all or the first blocks of a file, or that is damaged.
type sumsFile struct {
	size    int64 // bytes
	damaged bool
}

// judgeSums divides the checksum files into those of a file, by the number of its first block, and
// stale ones, which describe missing blocks. Checksums for another block size show that the whole
// store has that size: opening it with this one would destroy it. Checksums of blocks after the
// last one show that durable blocks were lost.
func (c *chain) judgeSums(found listing) (of map[uint64]sumsFile, stale []string, err error) {
	of = make(map[uint64]sumsFile)
	stale = slices.Clone(found.leftover)
	next := uint64(0)
	if n := len(found.blocks); n > 0 {
		last := found.blocks[n-1]
		next = last.First + uint64(last.Size/int64(c.opts.BlockSize))
	}
	for _, info := range found.sums {
		i := slices.IndexFunc(found.blocks, func(f FileInfo) bool { return f.First == info.First })
		s, err := c.readSums(info.Name, sumsHeaderBytes)
		if err == nil && !s.headerIntact() {
			err = ErrCorrupt
		}
		sameSize := err == nil && int64(s.blockSize()) == int64(c.opts.BlockSize)
		switch missing := i < 0 && info.First >= next && !c.opts.NoSync; {
		case missing && (err != nil || !sameSize):
			return nil, nil, fmt.Errorf("blocks from %d on are missing, and were durable according to the name of %s: "+
				"restore the store from a backup, or remove that file to go on without them: %w", info.First, info.Name, ErrCorrupt)
		case err != nil && i < 0:
			stale = append(stale, info.Name)
		case err != nil:
			c.warnOfSums(info.Name, err)
			of[info.First] = sumsFile{info.Size, true}
		case !sameSize && (i >= 0 || info.First >= next):
			return nil, nil, fmt.Errorf("the block size is not %d but %d, according to %s: use that one",
				c.opts.BlockSize, s.blockSize(), info.Name)
		case sameSize && s.first() == info.First && s.first()+s.count() > next && !c.opts.NoSync:
			return nil, nil, fmt.Errorf("blocks %d to %d are missing, and were durable according to %s: "+
				"restore the store from a backup, or remove that file to go on without them: %w",
				max(next, s.first()), s.first()+s.count()-1, info.Name, ErrCorrupt)
		case i >= 0 && s.first() == info.First && s.count() <= uint64(found.blocks[i].Size/int64(c.opts.BlockSize)) &&
			uint64(info.Size) == sumsHeaderBytes+4*s.count():
			of[info.First] = sumsFile{info.Size, false}
		case i >= 0:
			c.unfit = append(c.unfit, info.Name)
			fallthrough
		default:
			stale = append(stale, info.Name)
		}
	}
	return of, stale, nil
}
