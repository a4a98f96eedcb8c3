//go:build unix

package disk

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// OSFS is the operating system's file system.
type OSFS struct {
	// Root, if not nil, is the directory that paths are relative to. They cannot lead out of it.
	Root *os.Root
}

var _ FS = OSFS{}

// OpenDir implements FS.
func (s OSFS) OpenDir(path string) (Dir, error) {
	open := os.OpenFile
	if s.Root != nil {
		open = s.Root.OpenFile
	}
	d, err := open(path, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &osDir{d, int(d.Fd())}, nil
}

// osDir accesses its entries through its descriptor, never by a path.
type osDir struct {
	*os.File
	fd int
}

var _ Dir = (*osDir)(nil)

func (d *osDir) ReadDir() ([]string, error) {
	list, err := d.openat(".", unix.O_RDONLY|unix.O_DIRECTORY) // with a file position of its own
	if err != nil {
		return nil, err
	}
	defer list.Close()
	return list.Readdirnames(-1)
}

func (d *osDir) Lstat(name string) (Stat, error) {
	var st unix.Stat_t
	err := d.call("lstat", name, func() error {
		return unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return Stat{}, err
	}
	return Stat{Size: st.Size, Regular: st.Mode&unix.S_IFMT == unix.S_IFREG}, nil
}

func (d *osDir) Open(name string, write bool) (File, error) {
	if write {
		return d.openFile(name, unix.O_RDWR)
	}
	return d.openFile(name, unix.O_RDONLY)
}

func (d *osDir) OpenDirect(name string) (File, error) {
	return d.openFile(name, unix.O_RDONLY|openDirect)
}

func (d *osDir) Create(name string) (File, error) {
	return d.openFile(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
}

func (d *osDir) openFile(name string, flags int) (File, error) {
	// The scan has checked the entry without following links, so do not follow one here either.
	f, err := d.openat(name, flags|unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f, fd: int(f.Fd())}, nil
}

func (d *osDir) openat(name string, flags int) (*os.File, error) {
	var fd int
	err := d.call("open", name, func() (err error) {
		fd, err = unix.Openat(d.fd, name, flags|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(d.Name(), name)), nil
}

func (d *osDir) Rename(from, to string) error {
	return d.call("rename", from, func() error { return unix.Renameat(d.fd, from, d.fd, to) })
}

func (d *osDir) Remove(name string) error {
	return d.call("remove", name, func() error { return unix.Unlinkat(d.fd, name, 0) })
}

// Room returns what the file system reports. A user's quota may leave less. File systems without a
// limit report that they have no blocks at all.
func (d *osDir) Room() (int64, error) {
	var st unix.Statfs_t
	if err := d.call("statfs", "", func() error { return unix.Fstatfs(d.fd, &st) }); err != nil {
		return 0, err
	}
	if st.Blocks == 0 {
		return 0, errors.ErrUnsupported
	}
	left := uint64(max(0, int64(st.Bavail))) // negative on FreeBSD, for users other than root
	if os.Geteuid() == 0 {
		left = uint64(st.Bfree) // some is reserved for root
	}
	size := uint64(st.Bsize)
	return int64(min(left, math.MaxInt64/size) * size), nil
}

// Lock uses flock on the directory itself. So no lock file is left behind, and the lock ends with
// the process.
func (d *osDir) Lock(exclusive bool) error {
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	err := d.call("lock", "", func() error { return unix.Flock(d.fd, how|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("lock %s: %w", d.Name(), ErrLocked)
	}
	return err
}

// Close releases the lock at once, even if a process that was just forked has not closed its copy
// of the descriptor yet.
func (d *osDir) Close() error {
	return errors.Join(unix.Flock(d.fd, unix.LOCK_UN), d.File.Close())
}

// call makes a system call on an entry, and repeats it if a signal interrupts it.
func (d *osDir) call(what, name string, do func() error) error {
	for {
		switch err := do(); {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EINTR):
			return &os.PathError{Op: what, Path: filepath.Join(d.Name(), name), Err: err}
		}
	}
}

// osFile adds calls that os.File lacks.
type osFile struct {
	*os.File
	fd int
}

func (f *osFile) WriteAt(bufs [][]byte, offset int64) (int64, error) {
	var written int64
	rest := append(make([][]byte, 0, len(bufs)), bufs...) // consumed below
	for len(rest) > 0 {
		n, err := pwritev(f.fd, rest[:min(len(rest), iovMax)], offset+written)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && n == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return written, f.failed("write", err)
		}
		written += int64(n)
		rest = skip(rest, n)
	}
	return written, nil
}

// skip removes the first n bytes from bufs, and empty buffers after them.
func skip(bufs [][]byte, n int) [][]byte {
	for len(bufs) > 0 && n >= len(bufs[0]) {
		n -= len(bufs[0])
		bufs = bufs[1:]
	}
	if n > 0 {
		bufs[0] = bufs[0][n:]
	}
	return bufs
}

func (f *osFile) Sync() error {
	for {
		err := fdatasync(f.fd)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return f.failed("fdatasync", err)
		}
		return nil
	}
}

func (f *osFile) Forget(offset, size int64) {
	forget(f.fd, offset, size)
}

func (f *osFile) failed(what string, err error) error {
	return &os.PathError{Op: what, Path: f.Name(), Err: err}
}
