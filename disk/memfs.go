package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"syscall"
)

// memChunkBytes is the unit in which files in memory grow, so that growing copies nothing. A new
// store is one small file.
const memChunkBytes = 64 << 10

// errNoRoom means that the available memory is unknown.
var errNoRoom = errors.New("the room in memory is not known")

// MemFS is a file system in memory. It has a single directory, at every path. Nothing in it
// outlives the process, and the garbage collector frees what is no longer used.
type MemFS struct {
	mu     sync.Mutex
	files  map[string]*memFile
	locked bool
}

// OpenDir implements FS.
func (m *MemFS) OpenDir(string) (Dir, error) { return &memDir{fs: m}, nil }

// memDir is one opening of the directory.
type memDir struct {
	fs     *MemFS
	locked bool // by this one
}

func (d *memDir) ReadDir() ([]string, error) {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	return slices.Collect(maps.Keys(d.fs.files)), nil
}

func (d *memDir) Lstat(name string) (Stat, error) {
	f, err := d.find("lstat", name)
	if err != nil {
		return Stat{}, err
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	return Stat{Size: f.size, Regular: true}, nil
}

func (d *memDir) Open(name string, _ bool) (File, error) {
	f, err := d.find("open", name)
	if err != nil {
		return nil, err // not a nil *memFile in an interface
	}
	return f, nil
}

func (d *memDir) OpenDirect(name string) (File, error) { return d.Open(name, false) }

func (d *memDir) Create(name string) (File, error) {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	if d.fs.files[name] != nil {
		return nil, memError("create", name, fs.ErrExist)
	}
	if d.fs.files == nil {
		d.fs.files = make(map[string]*memFile)
	}
	f := &memFile{}
	d.fs.files[name] = f
	return f, nil
}

func (d *memDir) Rename(from, to string) error {
	f, err := d.find("rename", from)
	if err != nil {
		return err
	}
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	delete(d.fs.files, from)
	d.fs.files[to] = f
	return nil
}

func (d *memDir) Remove(name string) error {
	if _, err := d.find("remove", name); err != nil {
		return err
	}
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	delete(d.fs.files, name)
	return nil
}

func (d *memDir) Sync() error          { return nil }
func (d *memDir) Room() (int64, error) { return 0, errNoRoom }

func (d *memDir) Lock(bool) error {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	if d.fs.locked {
		return fmt.Errorf("memory: %w", ErrLocked)
	}
	d.fs.locked, d.locked = true, true
	return nil
}

func (d *memDir) Close() error {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	if d.locked {
		d.fs.locked, d.locked = false, false
	}
	return nil
}

func (d *memDir) find(op, name string) (*memFile, error) {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	if f := d.fs.files[name]; f != nil {
		return f, nil
	}
	return nil, memError(op, name, fs.ErrNotExist)
}

func memError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: "memory/" + name, Err: err}
}

// memFile is a file. It may be open several times. Beyond size its chunks are zeros.
type memFile struct {
	mu     sync.RWMutex
	size   int64
	chunks [][]byte // each memChunkBytes long; nil: zeros
}

func (f *memFile) ReadAt(p []byte, offset int64) (n int, err error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for n < len(p) && offset < f.size {
		at := offset % memChunkBytes
		part := p[n:min(int64(len(p)), int64(n)+memChunkBytes-at, int64(n)+f.size-offset)]
		if chunk := f.chunks[offset/memChunkBytes]; chunk != nil {
			copy(part, chunk[at:])
		} else {
			clear(part)
		}
		n, offset = n+len(part), offset+int64(len(part))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(bufs [][]byte, offset int64) (n int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range bufs {
		for len(b) > 0 {
			i := int(offset / memChunkBytes)
			if i >= len(f.chunks) {
				f.chunks = append(f.chunks, make([][]byte, i+1-len(f.chunks))...)
			}
			if f.chunks[i] == nil {
				f.chunks[i] = make([]byte, memChunkBytes)
			}
			done := copy(f.chunks[i][offset%memChunkBytes:], b)
			b, n, offset = b[done:], n+int64(done), offset+int64(done)
		}
	}
	f.size = max(f.size, offset)
	return n, nil
}

func (f *memFile) Truncate(size int64) error {
	if size < 0 {
		return memError("truncate", "", syscall.EINVAL)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	chunks := int((size + memChunkBytes - 1) / memChunkBytes)
	if chunks < len(f.chunks) {
		clear(f.chunks[chunks:])
		f.chunks = f.chunks[:chunks]
	} else {
		f.chunks = append(f.chunks, make([][]byte, chunks-len(f.chunks))...)
	}
	if at := size % memChunkBytes; at > 0 && size < f.size && f.chunks[chunks-1] != nil {
		clear(f.chunks[chunks-1][at:])
	}
	f.size = size
	return nil
}

func (f *memFile) Sync() error         { return nil }
func (f *memFile) Forget(int64, int64) {}
func (f *memFile) Close() error        { return nil }
