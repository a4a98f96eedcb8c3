package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// OSFS is the operating system's file system.
type OSFS struct{}

var _ FS = OSFS{}

func (OSFS) ReadDir(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func (OSFS) Lstat(path string) (Stat, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return Stat{}, err
	}
	return Stat{Size: info.Size(), Regular: info.Mode().IsRegular()}, nil
}

func (OSFS) Open(path string, write bool) (File, error) {
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	return openFile(path, flag)
}

func (OSFS) Create(path string) (File, error) {
	return openFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func openFile(path string, flag int) (File, error) {
	// The scan has judged the entry without following links, so this does not
	// follow one either.
	f, err := os.OpenFile(path, flag|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f, fd: int(f.Fd())}, nil
}

func (OSFS) Rename(from, to string) error { return os.Rename(from, to) }

func (OSFS) Remove(path string) error { return os.Remove(path) }

func (OSFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Lock uses flock on the directory itself: no lock file is left behind, and a process
// that dies lets go by dying.
func (OSFS) Lock(dir string, exclusive bool) (io.Closer, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	if err := unix.Flock(int(d.Fd()), how|unix.LOCK_NB); err != nil {
		d.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return d, nil
}

// osFile adds the calls that os.File lacks.
type osFile struct {
	*os.File
	fd int
}

func (f *osFile) WriteAt(bufs [][]byte, offset int64) (int64, error) {
	var written int64
	rest := append(make([][]byte, 0, len(bufs)), bufs...) // consumed below
	for len(rest) > 0 {
		n, err := unix.Pwritev(f.fd, rest[:min(len(rest), iovMax)], offset+written)
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
		err := unix.Fdatasync(f.fd)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return f.failed("fdatasync", err)
		}
		return nil
	}
}

func (f *osFile) failed(what string, err error) error {
	return &os.PathError{Op: what, Path: f.Name(), Err: err}
}

// MakeDir makes a directory for a store, and those that lead to it, if they are missing, so that a power
// cut does not take it with all that will be in it.
func MakeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := MakeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return OSFS{}.SyncDir(parent)
}
