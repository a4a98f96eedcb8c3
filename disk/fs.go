package disk

import "io"

// FS is what this package asks of a file system. OSFS is the real one;
// kivaloo/disk/simfs has one that can be crashed between, and inside, any two calls.
//
// A missing file gives an error that wraps fs.ErrNotExist, a full disk one that wraps
// ENOSPC or EDQUOT. All methods may be called from any goroutine.
type FS interface {
	// ReadDir returns the names in dir, in no particular order.
	ReadDir(dir string) ([]string, error)
	// Lstat describes what is at path, without following a symbolic link.
	Lstat(path string) (Stat, error)
	// Open opens an existing file, for reading or for reading and writing.
	Open(path string, write bool) (File, error)
	// Create makes a file for reading and writing, mode 0600. It fails if path exists
	// already, as whatever.
	Create(path string) (File, error)
	// Rename gives a file another name, replacing what had it.
	Rename(from, to string) error
	// Remove takes a name away.
	Remove(path string) error
	// SyncDir makes every Create, Rename and Remove in dir up to now durable.
	SyncDir(dir string) error
	// Lock takes hold of dir until the result is closed or the process ends, for itself
	// alone or shared with others who want it shared. It does not wait: the error
	// wraps ErrLocked if somebody else is in the way. It leaves no trace on disk.
	Lock(dir string, exclusive bool) (io.Closer, error)
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
}
