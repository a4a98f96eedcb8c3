package disk

import (
	"io"
)

// FS is a file system. OSFS is the real one; kivaloo/disk/simfs has one that can be
// crashed between, and inside, any two calls.
type FS interface {
	// OpenDir opens an existing directory.
	OpenDir(path string) (Dir, error)
}

// Dir is an open directory, and what this package asks of one. It stays the same directory
// whatever becomes of the path that it was opened by: a store uses that path once. Names
// are those of entries, without a slash.
//
// A missing file gives an error that wraps fs.ErrNotExist, a full disk one that wraps
// ENOSPC or EDQUOT. All methods but Close may be called from any goroutine.
type Dir interface {
	// ReadDir returns the names in the directory, in no particular order.
	ReadDir() ([]string, error)
	// Lstat describes an entry, without following a symbolic link.
	Lstat(name string) (Stat, error)
	// Open opens an existing file, for reading or for reading and writing.
	Open(name string, write bool) (File, error)
	// OpenDirect opens an existing file for reading, bypassing the system's cache. It fails with
	// EINVAL if the file system does not support that, or reads of the file do. Reads also fail
	// with EINVAL unless memory, offset and length are aligned.
	OpenDirect(name string) (File, error)
	// Create makes a file for reading and writing, mode 0600. It fails if the name exists
	// already, as whatever.
	Create(name string) (File, error)
	// Rename gives a file another name, replacing what had it.
	Rename(from, to string) error
	// Remove takes a name away.
	Remove(name string) error
	// Sync makes every Create, Rename and Remove up to now durable. If it fails for a shortage, of
	// space, quota, memory or descriptors, a later Sync covers them too: names are kept in the
	// journal of the file system, which could not be begun. After any other error nothing is known
	// about them.
	Sync() error
	// Room returns how many more bytes fit on the disk. It fails where that is not known.
	Room() (int64, error)
	// Lock takes hold of the directory until Close or the end of the process, for itself
	// alone or shared with others who want it shared. It does not wait: the error
	// wraps ErrLocked if somebody else is in the way. It leaves no trace on disk.
	Lock(exclusive bool) error
	// Close lets go of the directory. Files that are open stay so.
	Close() error
}

// Stat describes a directory entry.
type Stat struct {
	Size    int64 // bytes
	Regular bool  // a plain file: no directory, symbolic link or device
}

// File is an open file. It must not be closed while another call is under way.
type File interface {
	io.ReaderAt
	io.Closer
	// WriteAt writes the buffers one after the other from offset on, in as few
	// system calls as possible. It returns how many bytes were written, all of them
	// unless there is an error.
	WriteAt(bufs [][]byte, offset int64) (int64, error)
	// Truncate sets the length in bytes.
	Truncate(size int64) error
	// Sync makes the content and the length durable. Metadata that is not needed to read
	// them back, such as times, may be left out: fdatasync does, and it does cover
	// changes of the length. After an error nothing is known about what is durable, and
	// a second Sync can succeed without having written anything.
	Sync() error
	// Forget advises the system that what it has in memory of a stretch, and has written, is of no
	// use.
	Forget(offset, size int64)
}
