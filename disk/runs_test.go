package disk_test

import (
	"bytes"
	"testing"
	"time"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
)

// However reads are dealt out to the readers, each comes back once, to where it belongs, and so does what is between
// them.
func TestRunsOfReads(t *testing.T) {
	const blocks = 300
	s := openLocal(t, t.TempDir(), disk.Options{BlockSize: 512, NoSync: true, Readers: 3})
	add(t, s, blocks)
	for _, length := range []int{1, 2, 3, 4, 47, 48, 49, 1000} {
		mine, others := newCollector(), newCollector()
		var first, last *disk.Op
		want := map[*collector]int{}
		for i := range length {
			c := mine
			if i%11 > 7 {
				c = others
			}
			op := &disk.Op{Kind: disk.Read, Block: uint64(i * 7 % (blocks + 20)), Buf: make([]byte, 512), Tag: uint64(i), Done: c.done}
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

// As long as there are idle readers, each read gets one of its own.
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
