package simfs

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"syscall"

	"kivaloo/disk"
)

// inode is the content of a file.
//
// Invariant: where data and durable differ, either the place is in dirty, or a Sync has failed to
// write it.
type inode struct {
	data    []byte // what the process sees: the page cache
	durable []byte // what is on disk
	resized bool   // since the last Sync
	dirty   []span // written since then
	lost    bool   // a Sync has failed
	shared  bool   // another inode has the same data and durable: call own before changing them
}

// settled reports whether what the process sees is what is on disk.
func (n *inode) settled() bool { return !n.resized && len(n.dirty) == 0 && !n.lost }

// share returns a copy, which has the same data and durable until either inode calls own.
func (n *inode) share() *inode {
	n.shared = true
	c := *n
	c.dirty = slices.Clone(n.dirty)
	return &c
}

// own makes data and durable those of n alone.
func (n *inode) own() {
	if n.shared {
		n.data, n.durable, n.shared = slices.Clone(n.data), slices.Clone(n.durable), false
	}
}

// span is the bytes from one offset up to another.
type span struct{ from, to int }

// touch marks a stretch as dirty.
func (n *inode) touch(from, to int) {
	if last := len(n.dirty) - 1; last >= 0 && n.dirty[last].to == from {
		n.dirty[last].to = to
		return
	}
	n.dirty = append(n.dirty, span{from, to})
}

// clean marks everything as clean, whether it is on disk or not.
func (n *inode) clean() { n.dirty, n.resized = nil, false }

// resize sets the length of what the process sees.
func (n *inode) resize(size int) {
	n.own()
	n.resized = true
	n.touch(min(size, len(n.data)), max(size, len(n.data)))
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

// sync writes dirty bytes to disk. Those of a Sync that failed are not dirty: they stay lost.
func (n *inode) sync() {
	if len(n.dirty) > 0 || n.resized {
		n.own()
	}
	size := len(n.durable)
	if n.resized {
		size = len(n.data)
	}
	for _, d := range n.dirty {
		size = max(size, min(d.to, len(n.data)))
	}
	n.durable = resized(n.durable, size)
	for _, d := range n.dirty {
		if to := min(d.to, len(n.data)); d.from < to {
			copy(n.durable[d.from:to], n.data[d.from:to])
		}
	}
	n.clean()
}

// dropCache replaces the clean bytes of a stretch by those on disk. The length stays.
func (n *inode) dropCache(from, to int) {
	to = min(to, len(n.data))
	if from >= to || n.settled() {
		return
	}
	n.own()
	old := slices.Clone(n.data)
	clear(n.data[from:to])
	if from < len(n.durable) {
		copy(n.data[from:to], n.durable[from:])
	}
	for _, d := range n.dirty {
		if end := min(d.to, len(n.data)); d.from < end {
			copy(n.data[d.from:end], old[d.from:end])
		}
	}
}

// file is an open file. Using it after Close is an error, which a real system might not notice.
type file struct {
	fs       *FS
	node     *inode
	name     string
	writable bool
	closed   bool
}

var _ disk.File = (*file)(nil)

// start announces a call, and takes the lock if the call is to be executed.
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

// ReadAt reads at an offset. If the hook fails with io.EOF, it returns the first half, as if the
// file ended there.
func (f *file) ReadAt(p []byte, offset int64) (int, error) {
	if err := f.start(Call{Op: Read, Offset: offset, Len: int64(len(p))}, false); errors.Is(err, io.EOF) {
		f.fs.mu.Lock()
		p = p[:len(p)/2]
		defer f.fs.mu.Unlock()
		return copy(p, f.node.data[min(offset, int64(len(f.node.data))):]), io.EOF
	} else if err != nil {
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

// write writes as much as fits. It needs the lock.
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
	f.fs.changes++
	n.own()
	at, end, old := int(offset), int(offset)+len(p), len(n.data)
	if end > old {
		n.resize(end)
	}
	if at < old {
		n.touch(at, min(end, old))
	}
	return copy(n.data[offset:], p)
}

func (f *file) Truncate(size int64) error {
	if err := f.start(Call{Op: Truncate, Offset: size}, true); err != nil {
		return err
	}
	defer f.fs.mu.Unlock()
	f.node.resize(int(size))
	f.fs.changes++
	return nil
}

func (f *file) Sync() error {
	if err := f.start(Call{Op: Sync}, false); err != nil {
		f.fs.mu.Lock()
		defer f.fs.mu.Unlock()
		f.node.lost = f.node.lost || !f.node.settled()
		f.node.clean()
		f.fs.changes++
		return err
	}
	defer f.fs.mu.Unlock()
	f.fs.changes++
	if lie := f.fs.lie; lie != nil && len(f.node.dirty) > 0 {
		if lie.after--; lie.after < 0 {
			f.fs.lie = nil
			f.node.syncLying(lie)
			return nil
		}
	}
	f.node.sync()
	return nil
}

// Forget drops a stretch from the cache. A real system need not do it.
func (f *file) Forget(offset, size int64) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.node.dropCache(int(offset), int(offset+size))
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
