package disk

import (
	"fmt"
	"sync"
)

// A killed process leaves blocks without checksums: those of the last file, and of files sealed
// just before. Their content may show whether they are what was written: see Options.Doubtful. It
// is asked before such a block is read for the first time, and before it gets a checksum.

// Stretch has the blocks from First on and before Next.
type Stretch struct{ First, Next uint64 }

// Has reports whether a block is one of s.
func (s Stretch) Has(block uint64) bool { return s.First <= block && block < s.Next }

// Found is what Options.Doubtful may use.
type Found struct {
	Content   []byte // of the block, if it is being read now
	BlockSize int
	File      Stretch                              // the blocks of the file; no append spans two files
	Judged    uint64                               // the next block with a verdict; the end of the file if there is none
	End       uint64                               // one past the last block that the store had when it was opened
	Read      func(block uint64, buf []byte) error // any block up to End
}

// Verdict is the conclusion from the content of some blocks.
type Verdict struct {
	Stretch         // the blocks
	Bad     Stretch // those of them that are not what was written; the others are, or nothing is known
	// Torn means that the bad ones may never have been durable. Then they are read unchanged, and
	// the reader must decide.
	Torn bool
}

// verdicts has the verdicts on the blocks of a file that existed when the store was opened.
type verdicts struct {
	count  uint64 // number of blocks; 0: the file was made later
	summed uint64 // how many of them had checksums

	mutex sync.Mutex
	of    []verdict // by index; nil: none yet
}

type verdict uint8

const (
	unjudged verdict = iota
	good             // or it cannot be told
	torn
	bad
)

// judged returns the verdict on a block, and the index of the next block with a verdict.
func (f *verdicts) judged(index uint64) (v verdict, next uint64) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.of == nil {
		return unjudged, f.count
	}
	for next = index + 1; next < f.count && f.of[next] == unjudged; next++ {
	}
	return f.of[index], next
}

// asks reports whether Options.Doubtful must be asked about a block of f: the block existed when
// the store was opened, and has no checksum from before.
func (c *chain) asks(f *file, index uint64, sum uint32) bool {
	return c.opts.Doubtful != nil && index < f.found.count && (sum == noSum || index >= f.summed())
}

// verdictOn returns the verdict on such a block.
func (c *chain) verdictOn(f *file, d *descriptor, index uint64, content []byte) (verdict, error) {
	v, next := f.found.judged(index)
	if v == unjudged {
		if _, err := c.judge(f, d, index, next, content, func() error { return nil }); err != nil {
			return unjudged, err
		}
		v, _ = f.found.judged(index)
	}
	return v, nil
}

// judge asks Options.Doubtful about a block of f, and notes the answer. It calls pause before each
// read.
func (c *chain) judge(f *file, d *descriptor, index, next uint64, content []byte, pause func() error) (Verdict, error) {
	size := c.opts.BlockSize
	read := func(block uint64, buf []byte) error {
		if err := pause(); err != nil {
			return err
		}
		if block-f.first < f.found.count {
			return readFull(d, f.path, buf, int64(block-f.first)*int64(size))
		}
		later := c.table.Load().find(block)
		if later == nil {
			return fmt.Errorf("block %016x is gone", block)
		}
		o, err := c.descriptors.acquire(later)
		if err != nil {
			return err
		}
		defer c.descriptors.release(o)
		return readFull(o, later.path, buf, int64(block-later.first)*int64(size))
	}
	v, err := c.opts.Doubtful(f.first+index, Found{
		Content:   content,
		BlockSize: size, File: Stretch{f.first, f.first + f.found.count}, Judged: f.first + next, End: c.end, Read: read,
	})
	if err != nil {
		return v, err
	}
	v.First, v.Next = max(v.First, f.first), max(min(v.Next, f.first+f.found.count), f.first+index+1)
	f.found.mutex.Lock()
	defer f.found.mutex.Unlock()
	if f.found.of == nil {
		f.found.of = make([]verdict, f.found.count)
	}
	of, news := f.found.of, false
	for block := v.First; block < v.Next; block++ {
		is := good
		switch {
		case v.Bad.Has(block) && v.Torn:
			is = torn
		case v.Bad.Has(block):
			is = bad
			news = news || of[block-f.first] != bad
		}
		of[block-f.first] = is
	}
	if news {
		c.opts.Log.Error("blocks do not match the checksum written with them: reads of them fail; restore the store from a backup",
			"file", f.path, "first", v.Bad.First, "last", v.Bad.Next-1)
	}
	return v, nil
}
