package simfs

import (
	"io"
	"io/fs"
	"slices"
	"syscall"

	"kivaloo/disk"
)

// inode is the content of a file.
//
// Invariant: where data and durable differ, either dirty is set and the place is at
// dirtyFrom or behind it, or a Sync has failed to write it.
type inode struct {
	data      []byte // what the process sees
	durable   []byte // what is on disk
	dirty     bool
	dirtyFrom int
}

func (n *inode) touch(from int) {
	if !n.dirty || from < n.dirtyFrom {
		n.dirtyFrom = from
	}
	n.dirty = true
}

func (n *inode) clean() { n.dirty = false }

// resize sets the length of what the process sees.
func (n *inode) resize(size int) {
	n.touch(min(size, len(n.data)))
	n.data = resized(n.data, size)
}

// resized cuts b or extends it with zeros.
func resized(b []byte, size int) []byte {
	if size <= len(b) {
		return b[:size]
	}
	old := len(b)
	b = slices.Grow(b, size-old)[:size]
	clear(b[old:])
	return b
}

// sync makes the disk have what the process sees.
func (n *inode) sync() {
	if !n.dirty {
		return
	}
	n.durable = resized(n.durable, len(n.data))
	if n.dirtyFrom < len(n.data) {
		copy(n.durable[n.dirtyFrom:], n.data[n.dirtyFrom:])
	}
	n.clean()
}

// file is an open file. Using it after it was closed is an error, which the real thing
// would not notice.
type file struct {
	fs       *FS
	node     *inode
	name     string
	writable bool
	closed   bool
}

var _ disk.File = (*file)(nil)

// start announces a call and takes the lock if it is to be carried out.
func (f *file) start(c Call, writes bool) error {
	c.Name = f.name
	if err := f.fs.before(c); err != nil {
		return failed(c.Op, f.name, err)
	}
	f.fs.mu.Lock()
	switch {
	case f.closed:
		f.fs.mu.Unlock()
		return failed(c.Op, f.name, fs.ErrClosed)
	case writes && !f.writable:
		f.fs.mu.Unlock()
		return failed(c.Op, f.name, fs.ErrPermission)
	}
	return nil
}

func (f *file) ReadAt(p []byte, offset int64) (int, error) {
	if err := f.start(Call{Op: Read, Offset: offset, Len: int64(len(p))}, false); err != nil {
		return 0, err
	}
	defer f.fs.mu.Unlock()
	if offset >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[offset:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes in two halves, so that the hook can cut a write short.
func (f *file) WriteAt(bufs [][]byte, offset int64) (int64, error) {
	all := slices.Concat(bufs...)
	call := Call{Op: Write, Offset: offset, Len: int64(len(all))}
	for _, half := range [][]byte{all[:len(all)/2], all[len(all)/2:]} {
		if err := f.start(call, true); err != nil {
			return call.Done, err
		}
		n := f.write(half, offset+call.Done)
		f.fs.mu.Unlock()
		call.Done += int64(n)
		if n < len(half) {
			return call.Done, failed(Write, f.name, syscall.ENOSPC)
		}
	}
	return call.Done, nil
}

// write writes as much as there is room for. It needs the lock.
func (f *file) write(p []byte, offset int64) int {
	n := f.node
	size := int64(len(n.data))
	if grow := offset + int64(len(p)) - size; grow > 0 {
		fits := int64(len(p)) - max(grow-f.fs.room(), 0)
		p = p[:max(fits, 0)]
	}
	if len(p) == 0 {
		return 0
	}
	if end := int(offset) + len(p); end > len(n.data) {
		n.resize(end)
	}
	n.touch(int(offset))
	return copy(n.data[offset:], p)
}

func (f *file) Truncate(size int64) error {
	if err := f.start(Call{Op: Truncate, Offset: size}, true); err != nil {
		return err
	}
	defer f.fs.mu.Unlock()
	f.node.resize(int(size))
	return nil
}

func (f *file) Sync() error {
	if err := f.start(Call{Op: Sync}, false); err != nil {
		f.fs.mu.Lock()
		defer f.fs.mu.Unlock()
		f.node.clean()
		return err
	}
	defer f.fs.mu.Unlock()
	f.node.sync()
	return nil
}

func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return failed("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	f.fs.handles--
	return nil
}
