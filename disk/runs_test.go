package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
)

// TestRunsOfReads checks that each read and each operation between reads comes back once, to the
// right place, however reads are distributed to the readers.
func TestRunsOfReads(t *testing.T) {
	const blocks = 300
	s := openLocal(t, t.TempDir(), disk.Options{BlockSize: 512, NoSync: true, Readers: 3})
	add(t, s, blocks)
	for n, length := range []int{1, 2, 3, 4, 47, 48, 49, 1000, 4, 49, 1000} {
		stride := 7
		if n >= 8 {
			stride = 1 // consecutive blocks are read together
		}
		mine, others := newCollector(), newCollector()
		var first, last *disk.Op
		want := map[*collector]int{}
		for i := range length {
			c := mine
			if i%11 > 7 {
				c = others
			}
			op := &disk.Op{Kind: disk.Read, Block: uint64(i * stride % (blocks + 20)), Buf: make([]byte, 512), Tag: uint64(i), Done: c.done}
			if i%50 == 20 {
				op.Kind, op.Block = disk.Free, 0
			}
			want[c]++
			if first == nil {
				first = op
			} else {
				last.SetNext(op)
			}
			last = op
		}
		s.Submit(first, last)
		seen := map[uint64]bool{}
		for c, n := range want {
			for _, op := range c.wait(n) {
				exists := op.Kind == disk.Free || op.Block < blocks
				switch {
				case seen[op.Tag]:
					t.Fatalf("%d operations: number %d comes back twice", length, op.Tag)
				case op.Err != nil || op.OK != exists:
					t.Fatalf("%d operations: number %d: ok %v, %v", length, op.Tag, op.OK, op.Err)
				case op.Kind == disk.Read && exists && !bytes.Equal(op.Buf, block(op.Block, 0, 512)):
					t.Fatalf("%d operations: block %d has the wrong content", length, op.Block)
				}
				seen[op.Tag] = true
			}
		}
		if mine.poll(); len(mine.back) > 0 {
			t.Errorf("%d operations: one comes back that was not asked for", length)
		}
	}
	closeStore(t, s)
}

// TestReadsAreSpreadOverReaders checks that each read gets a reader of its own while there are idle
// ones.
func TestReadsAreSpreadOverReaders(t *testing.T) {
	const readers = 4
	fsys := simfs.New(dir)
	s := openLocal(t, dir, disk.Options{BlockSize: 512, FS: fsys, Readers: readers})
	add(t, s, readers)
	reading, goOn := make(chan bool), make(chan bool)
	fsys.SetHook(func(c simfs.Call) error {
		if c.Op == simfs.Read {
			reading <- true
			<-goOn
		}
		return nil
	})
	c := newCollector()
	var ops []*disk.Op
	for i := range readers {
		ops = append(ops, &disk.Op{Kind: disk.Read, Block: uint64(i), Buf: make([]byte, 512)})
	}
	c.submit(s, ops...)
	for i := range readers {
		select {
		case <-reading:
		case <-time.After(10 * time.Second):
			t.Fatalf("only %d of %d reads are under way at the same time", i, readers)
		}
	}
	close(goOn)
	c.wait(readers)
	fsys.SetHook(nil)
	closeStore(t, s)
}

// TestReadsTogether checks that consecutive blocks take one call for each of their files, and that
// a damaged block among them fails alone.
func TestReadsTogether(t *testing.T) {
	const blocks = 40
	fsys := simfs.New(dir)
	s := openLocal(t, dir, disk.Options{BlockSize: 512, FS: fsys, Readers: 1})
	add(t, s, blocks)
	closeStore(t, s) // writes the checksums
	files := 0
	for _, name := range fsys.Names() {
		if strings.HasPrefix(name, "blks_") {
			files++
		}
	}
	s = openLocal(t, dir, disk.Options{BlockSize: 512, FS: fsys, Readers: 1})
	for _, bad := range []int{-1, 0, 17, blocks - 1} {
		name, offset := blockAt(fsys, uint64(max(bad, 0)), 512)
		if bad >= 0 {
			fsys.Rot(name, offset+100, 4)
		}
		var calls atomic.Int32
		fsys.SetHook(func(c simfs.Call) error {
			if c.Op == simfs.Read {
				calls.Add(1)
			}
			return nil
		})
		c := newCollector()
		var ops []*disk.Op
		for i := range blocks {
			ops = append(ops, &disk.Op{Kind: disk.Read, Block: uint64(i), Buf: make([]byte, 512)})
		}
		c.submit(s, ops...)
		for _, op := range c.wait(blocks) {
			if isBad := op.Block == uint64(bad); isBad != errors.Is(op.Err, disk.ErrRot) || !isBad && !bytes.Equal(op.Buf, block(op.Block, 0, 512)) {
				t.Errorf("bad block %d: block %d: %v", bad, op.Block, op.Err)
			}
		}
		if n := int(calls.Load()); bad < 0 && n > 2*files+2 { // and their checksums
			t.Errorf("%d calls to read %d blocks of %d files", n, blocks, files)
		}
		if bad >= 0 {
			fsys.Rot(name, offset+100, 4) // restores it
		}
	}
	fsys.SetHook(nil)
	closeStore(t, s)
}

// blockAt returns the file and offset of a block.
func blockAt(fsys *simfs.FS, block uint64, size int64) (name string, offset int64) {
	for _, n := range fsys.Names() {
		var first uint64
		if _, err := fmt.Sscanf(n, "blks_%x", &first); err == nil && first <= block {
			name, offset = n, int64(block-first)*size
		}
	}
	return name, offset
}
