package disk

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"kivaloo/internal/must"
)

// countingDir opens files that check how they are used.
type countingDir struct {
	Dir
	open atomic.Int64
}

type countingFile struct {
	File
	fs     *countingDir
	closed atomic.Bool
}

func (c *countingDir) Open(name string, write bool) (File, error) {
	if name == "missing" {
		return nil, fs.ErrNotExist
	}
	c.open.Add(1)
	return &countingFile{fs: c}, nil
}

func (f *countingFile) ReadAt([]byte, int64) (int, error) {
	if f.closed.Load() {
		return 0, fs.ErrClosed
	}
	return 0, io.EOF
}

func (f *countingFile) Close() error {
	if f.closed.Swap(true) {
		return fs.ErrClosed
	}
	f.fs.open.Add(-1)
	return nil
}

func mustAcquire(t *testing.T, ds *descriptors, f *file) *descriptor {
	t.Helper()
	d, err := ds.acquire(f)
	must.Do(t, err)
	return d
}

func TestDescriptorsLimit(t *testing.T) {
	dir := &countingDir{}
	ds := newDescriptors(dir, 2)
	files := []*file{{name: "a"}, {name: "b"}, {name: "c"}}
	a := mustAcquire(t, ds, files[0])
	if again := mustAcquire(t, ds, files[0]); again != a {
		t.Error("opened twice")
	}
	ds.release(a)
	b := mustAcquire(t, ds, files[1])
	ds.release(b)
	ds.release(mustAcquire(t, ds, files[2])) // evicts a, which is in use
	if dir.open.Load() != 3 {
		t.Errorf("%d files open, want 3", dir.open.Load())
	}
	if _, err := a.ReadAt(nil, 0); err != io.EOF {
		t.Error("closed while in use")
	}
	ds.release(a)
	if dir.open.Load() != 2 {
		t.Errorf("%d files open, want 2", dir.open.Load())
	}
	if mustAcquire(t, ds, files[1]) != b {
		t.Error("the most recently used was not kept")
	}
	files[1].dropped.Store(true)
	ds.forget(files[1])
	if _, err := b.ReadAt(nil, 0); err != io.EOF {
		t.Error("closed while in use")
	}
	ds.release(b)
	// A late reader gets the file, but it is not kept.
	ds.release(mustAcquire(t, ds, files[1]))
	if dir.open.Load() != 1 {
		t.Errorf("%d files open, want 1", dir.open.Load())
	}
	if err := ds.close(); err != nil || dir.open.Load() != 0 {
		t.Errorf("%d files open, %v", dir.open.Load(), err)
	}
	if _, err := ds.acquire(&file{name: "missing"}); err != fs.ErrNotExist {
		t.Errorf("error %v", err)
	}
}

func TestDescriptorsConcurrently(t *testing.T) {
	dir := &countingDir{}
	ds := newDescriptors(dir, 3)
	files := make([]*file, 8)
	for i := range files {
		files[i] = &file{name: fmt.Sprint(i)}
	}
	var users sync.WaitGroup
	for i := range 4 {
		users.Go(func() {
			rng := rand.New(rand.NewPCG(5, uint64(i)))
			for range 5000 {
				f := files[rng.IntN(len(files))]
				d, err := ds.acquire(f)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := d.ReadAt(nil, 0); err != io.EOF {
					t.Error("closed while in use")
				}
				ds.release(d)
				if rng.IntN(1000) == 0 {
					f.dropped.Store(true)
					ds.forget(f)
				}
			}
		})
	}
	users.Wait()
	if n := dir.open.Load(); n > 3 {
		t.Errorf("%d files open, the limit is 3", n)
	}
	if err := ds.close(); err != nil || dir.open.Load() != 0 {
		t.Errorf("%d files open, %v", dir.open.Load(), err)
	}
}
