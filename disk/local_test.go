package disk_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/internal/must"
)

func openLocal(t testing.TB, dir string, o disk.Options) *disk.Local {
	t.Helper()
	s, err := disk.Open(dir, o)
	must.Do(t, err)
	return s
}

// TestNothingWaitsForAppend checks that during an append blocks can be read, its own blocks are
// invisible, and another append is refused before it ends.
func TestNothingWaitsForAppend(t *testing.T) {
	fsys := simfs.New(dir)
	s := openLocal(t, dir, disk.Options{BlockSize: 512, FS: fsys})
	add(t, s, 20)
	syncing, goOn := make(chan bool), make(chan bool)
	fsys.SetHook(func(c simfs.Call) error {
		if c.Op == simfs.Sync && c.Name == "blks_0000000000000014" {
			syncing <- true
			<-goOn
		}
		return nil
	})
	c := newCollector()
	c.submit(s,
		&disk.Op{Kind: disk.Append, Block: 20, Pages: pages(20, 2, 512), Tag: 1},
		&disk.Op{Kind: disk.Append, Block: 20, Pages: pages(20, 2, 512), Tag: 2},
		&disk.Op{Kind: disk.Append, Block: 22, Pages: pages(22, 2, 512), Tag: 3})
	<-syncing
	for i, op := range c.wait(2) {
		if op.Tag != uint64(i+2) || op.OK || op.Err != nil {
			t.Errorf("answer %d: append %d, ok %v, %v", i, op.Tag, op.OK, op.Err)
		}
	}
	wantBlocks(t, s, 0, 20)
	if info := s.Info(); info.Next != 20 {
		t.Errorf("%+v", info)
	}
	free(t, s, 1) // nothing to do, but it is answered
	close(goOn)
	if op := c.wait(1)[0]; op.Tag != 1 || !op.OK || op.Err != nil || op.Next != 22 {
		t.Errorf("append: %+v", op)
	}
	fsys.SetHook(nil)
	wantBlocks(t, s, 0, 22)
	closeStore(t, s)
}

// TestFreeWhileSealing checks that reading a file to compute its checksums does not delay a Free.
func TestFreeWhileSealing(t *testing.T) {
	const size = disk.MaxBlockSize
	synctest.Test(t, func(t *testing.T) {
		fsys := simfs.New(dir)
		inline := openInline(t, fsys, size)
		for _, n := range []int{20, 20, 1} {
			add(t, inline, n)
		}
		closeStore(t, inline)
		for _, name := range []string{sums0, sums20} {
			must.Do(t, fsys.Remove(name))
		}
		s := openLocal(t, dir, disk.Options{BlockSize: size, FS: fsys, Log: quiet})
		reading, goOn := make(chan bool), make(chan bool)
		var once sync.Once
		fsys.SetHook(func(c simfs.Call) error {
			if c.Op == simfs.Read && c.Offset == 0 {
				once.Do(func() { reading <- true; <-goOn })
			}
			return nil
		})
		<-reading
		free(t, s, 40) // both files, also the one being read
		close(goOn)
		closeStore(t, s)
		fsys.SetHook(nil)
		want := []string{"blks_0000000000000028", sums40}
		if got := fsys.Names(); !slices.Equal(got, want) {
			t.Errorf("files %v, want %v", got, want)
		}
	})
}

// TestCloseWaits checks that Close waits for all submitted operations, also if there are more than
// the queue holds.
func TestCloseWaits(t *testing.T) {
	dir := t.TempDir()
	s := openLocal(t, dir, disk.Options{BlockSize: 512, Readers: 3})
	add(t, s, 20)
	c := newCollector()
	ops := []*disk.Op{{Kind: disk.Append, Block: 20, Pages: pages(20, 5, 512)}}
	for i := range 10_000 {
		ops = append(ops, &disk.Op{Kind: disk.Read, Block: uint64(i % 20), Buf: make([]byte, 512)})
	}
	c.submit(s, ops...)
	closeStore(t, s)
	closeStore(t, s)
	if c.poll(); len(c.back) != len(ops) {
		t.Fatalf("%d of %d operations have come back", len(c.back), len(ops))
	}
	for _, op := range c.back {
		if !op.OK || op.Err != nil || op.Kind == disk.Read && !bytes.Equal(op.Buf, block(op.Block, 0, 512)) {
			t.Fatalf("%d of block %d: ok %v, %v", op.Kind, op.Block, op.OK, op.Err)
		}
	}
}

// TestReaders checks that as many reads run at once as there are readers, and not more.
func TestReaders(t *testing.T) {
	fsys := simfs.New(dir)
	s := openLocal(t, dir, disk.Options{BlockSize: 512, FS: fsys, Readers: 3})
	add(t, s, 4)
	reading, goOn := make(chan bool, 4), make(chan bool)
	var now, most atomic.Int32
	fsys.SetHook(func(c simfs.Call) error {
		if c.Op == simfs.Read {
			most.Store(max(most.Load(), now.Add(1)))
			reading <- true
			<-goOn
			now.Add(-1)
		}
		return nil
	})
	c := newCollector()
	for n := range uint64(4) {
		c.submit(s, &disk.Op{Kind: disk.Read, Block: n, Buf: make([]byte, 512)})
	}
	for range 3 {
		<-reading // all three are in it at the same time, or this never ends
	}
	close(goOn)
	c.wait(4)
	if most.Load() != 3 {
		t.Errorf("%d reads at once, want 3", most.Load())
	}
	closeStore(t, s)
}

// TestReadDelay checks that every successful read is delayed, occupies its reader, and delays no
// other read.
func TestReadDelay(t *testing.T) {
	const delay = 200 * time.Millisecond
	fsys := simfs.New(dir)
	s := openLocal(t, dir, disk.Options{BlockSize: 512, FS: fsys, Readers: 2, ReadDelay: delay})
	defer closeStore(t, s)
	add(t, s, 4)
	read := func(block uint64) *disk.Op {
		return &disk.Op{Kind: disk.Read, Block: block, Buf: make([]byte, 512)}
	}
	start := time.Now()
	do(s, read(0), read(1), read(2), read(3))
	if took := time.Since(start); took < 2*delay {
		t.Errorf("4 reads by 2 readers took %v", took)
	}
	start = time.Now()
	var missing []*disk.Op
	for range 100 {
		missing = append(missing, read(99))
	}
	do(s, missing...)
	fsys.Fail(simfs.Read, 1, syscall.EIO)
	do(s, read(0))
	if took := time.Since(start); took > 10*delay {
		t.Errorf("reads without success took %v", took)
	}
}

// TestConcurrentReaders checks that readers during appends and frees see the right content, or
// nothing of discarded blocks.
func TestConcurrentReaders(t *testing.T) {
	dir := t.TempDir()
	s := openLocal(t, dir, disk.Options{BlockSize: 512, NoSync: true, Readers: 4})
	rng := rand.New(rand.NewPCG(1, 2))
	var kept atomic.Uint64 // blocks before this may be gone
	var done atomic.Bool
	var readers sync.WaitGroup
	for i := range 4 {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(3, uint64(i)))
			buf := make([]byte, 512)
			for !done.Load() {
				next := s.Info().Next
				if next == 0 {
					continue
				}
				n := rng.Uint64N(next)
				if i == 0 {
					n = next - 1 - rng.Uint64N(min(next, 4)) // near the end
				}
				ok, err := disk.ReadBlock(s, n, buf)
				switch {
				case err != nil:
					t.Errorf("block %d: %v", n, err)
				case ok && !bytes.Equal(buf, block(n, 0, 512)):
					t.Errorf("block %d has the wrong content", n)
				case !ok && n >= kept.Load():
					t.Errorf("block %d is not there", n)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
	for range 500 {
		add(t, s, 1+rng.IntN(40))
		if rng.IntN(8) == 0 {
			keep := rng.Uint64N(s.Info().Next)
			kept.Store(max(kept.Load(), keep))
			free(t, s, keep)
		}
	}
	done.Store(true)
	readers.Wait()
	next := s.Info().Next
	closeStore(t, s)

	s = openLocal(t, dir, disk.Options{BlockSize: 512})
	defer closeStore(t, s)
	wantBlocks(t, s, blockFiles(t, nil, dir)[0], next)
}
