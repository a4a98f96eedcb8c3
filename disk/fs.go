package disk

import (
	"io"
)

// FS is a file system. OSFS is the real one. kivaloo/disk/simfs has one that can crash between, and
// inside, any two calls.
type FS interface {
	// OpenDir opens an existing directory.
	OpenDir(path string) (Dir, error)
}

// Dir is an open directory with the operations that this package needs. It stays the same directory
// even if its path leads elsewhere later: a store uses the path only once. Names are those of
// entries, without a slash.
//
// A missing file gives an error that wraps fs.ErrNotExist. A full disk gives one that wraps ENOSPC
// or EDQUOT. All methods but Close may be called from any goroutine.
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
	// Create makes a file for reading and writing, mode 0600. It fails if the name already exists.
	Create(name string) (File, error)
	// Rename renames a file. It replaces an existing file of that name.
	Rename(from, to string) error
	// Remove removes a name.
	Remove(name string) error
	// Sync makes all previous Creates, Renames and Removes durable. If it fails because of a
	// shortage of space, quota, memory or descriptors, a later Sync covers them too: the file
	// system keeps names in its journal, and could not begin to write it. After any other error
	// nothing is known about them.
	Sync() error
	// Room returns how many more bytes fit on the disk, or an error if that is unknown.
	Room() (int64, error)
	// Lock locks the directory until Close or the end of the process, either exclusively or shared
	// with other shared locks. It does not wait. If another process holds a conflicting lock, the
	// error wraps ErrLocked. It leaves no trace on disk.
	Lock(exclusive bool) error
	// Close closes the directory. Open files stay open.
	Close() error
}

// Stat describes a directory entry.
type Stat struct {
	Size    int64 // bytes
	Regular bool  // a plain file: no directory, symbolic link or device
}

// File is an open file. It must not be closed during another call.
type File interface {
	io.ReaderAt
	io.Closer
	// WriteAt writes the buffers one after the other from offset on, in as few system calls as
	// possible. It returns how many bytes it has written: all of them, unless there is an error.
	WriteAt(bufs [][]byte, offset int64) (int64, error)
	// Truncate sets the length in bytes.
	Truncate(size int64) error
	// Sync makes the content and the length durable. It need not write metadata that is not needed
	// to read them back, such as times: fdatasync skips these, but covers the length. After an
	// error nothing is known about what is durable, and a second Sync can succeed without having
	// written anything.
	Sync() error
	// Forget advises the system to drop the cached and already written pages of a part of the file.
	Forget(offset, size int64)
}
