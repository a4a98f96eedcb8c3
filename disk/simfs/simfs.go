package simfs

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"kivaloo/disk"
)

// Op names a call on the file system.
type Op string

// The calls that a hook sees.
const (
	ReadDir  Op = "readdir"
	Lstat    Op = "lstat"
	Open     Op = "open"
	Create   Op = "create"
	Rename   Op = "rename"
	Remove   Op = "remove"
	SyncDir  Op = "syncdir"
	Lock     Op = "lock"
	Read     Op = "read"
	Write    Op = "write"
	Truncate Op = "truncate"
	Sync     Op = "sync"
)

// Call is a call that is about to be carried out.
type Call struct {
	Op     Op
	Name   string // of the file in the directory; Rename: the old one
	Offset int64  // Read, Write, Truncate: where in the file
	Len    int64  // Read, Write: bytes
	Done   int64  // Write: bytes that have been written already, 0 when it begins
}

// Hook sees a call before it is carried out. If it returns an error the call fails
// with it, without effect, or for a Write with the effect of Call.Done bytes.
type Hook func(Call) error

// FS is a file system with one directory. It may be used by many goroutines.
type FS struct {
	dir string

	mu       sync.Mutex
	names    map[string]*inode // what the process sees
	durable  map[string]*inode // what is on disk
	unsynced []change          // what SyncDir has to make durable, in order
	lost     []change          // what a failed SyncDir should have made durable
	hook     Hook
	faults   []fault
	capacity int64 // bytes, negative: no limit
	shared   int   // holders of the lock; -1: one who shares it with nobody
	handles  int   // open files
}

// change is a change of the directory that a crash can undo: one name is taken away, one
// is given, or both (a rename) at once.
type change struct {
	remove string
	add    string
	node   *inode
}

// fault is an error that is waiting for its call.
type fault struct {
	op   Op
	left int // calls until then, 1: the next
	err  error
}

// New returns a file system in which dir exists, and is empty.
func New(dir string) *FS {
	return &FS{
		dir:      filepath.Clean(dir),
		names:    make(map[string]*inode),
		durable:  make(map[string]*inode),
		capacity: -1,
	}
}

var _ disk.FS = (*FS)(nil)

// SetHook installs a hook, nil for none. No lock is held while it is called, so it may call
// Crash, Kill and whatever else there is.
func (s *FS) SetHook(h Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = h
}

// Fail lets the nth call of a kind from now on fail, 1 being the next, once.
func (s *FS) Fail(op Op, nth int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, fault{op, nth, err})
}

// SetCapacity limits the total length of all files; a write that would pass it is cut short
// and fails with ENOSPC. Negative: no limit.
func (s *FS) SetCapacity(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.capacity = bytes
}

// Names returns what is in the directory, sorted.
func (s *FS) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.names))
}

// Content returns a copy of what the process sees in a file; nil if there is none.
func (s *FS) Content(name string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.names[name]; n != nil {
		return slices.Clone(n.data)
	}
	return nil
}

// Put makes a file with some content, or replaces it, durably and unseen by the hook.
func (s *FS) Put(name string, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := &inode{data: slices.Clone(content), durable: slices.Clone(content)}
	n.clean()
	s.names[name], s.durable[name] = n, n
}

// Rot flips bits of one byte on disk, as a bad disk would.
func (s *FS) Rot(name string, offset int64, bits byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.names[name]
	n.data[offset] ^= bits
	n.durable[offset] ^= bits
}

// Handles returns how many files are open.
func (s *FS) Handles() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handles
}

// before announces a call. It must be called without mu.
func (s *FS) before(c Call) error {
	s.mu.Lock()
	hook := s.hook
	var err error
	if c.Done == 0 {
		err = s.fault(c.Op)
	}
	s.mu.Unlock()
	if hook != nil {
		if err := hook(c); err != nil {
			return err
		}
	}
	return err
}

// fault counts a call and returns the error that was waiting for it. It needs mu.
func (s *FS) fault(op Op) (err error) {
	s.faults = slices.DeleteFunc(s.faults, func(f fault) bool { return f.left <= 0 })
	for i := range s.faults {
		f := &s.faults[i]
		if f.op != op {
			continue
		}
		if f.left--; f.left == 0 {
			err = f.err
		}
	}
	return err
}

// name returns the name of a path in the directory.
func (s *FS) name(op Op, path string) (string, error) {
	dir, name := filepath.Split(path)
	if filepath.Clean(dir) != s.dir {
		return "", failed(op, path, fs.ErrNotExist)
	}
	return name, nil
}

func failed(op Op, name string, err error) error {
	return &os.PathError{Op: string(op), Path: name, Err: err}
}

// start announces a call on path and takes mu if it is to be carried out.
func (s *FS) start(op Op, path string) (name string, err error) {
	if name, err = s.name(op, path); err != nil {
		return "", err
	}
	if err := s.before(Call{Op: op, Name: name}); err != nil {
		return "", failed(op, path, err)
	}
	s.mu.Lock()
	return name, nil
}

// startDir is start for a call on the directory itself.
func (s *FS) startDir(op Op, dir string) error {
	if filepath.Clean(dir) != s.dir {
		return failed(op, dir, fs.ErrNotExist)
	}
	if err := s.before(Call{Op: op}); err != nil {
		return failed(op, dir, err)
	}
	s.mu.Lock()
	return nil
}

// ReadDir implements disk.FS.
func (s *FS) ReadDir(dir string) ([]string, error) {
	if err := s.startDir(ReadDir, dir); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.names)), nil
}

// Lstat implements disk.FS.
func (s *FS) Lstat(path string) (disk.Stat, error) {
	name, err := s.start(Lstat, path)
	if err != nil {
		return disk.Stat{}, err
	}
	defer s.mu.Unlock()
	n := s.names[name]
	if n == nil {
		return disk.Stat{}, failed(Lstat, path, fs.ErrNotExist)
	}
	return disk.Stat{Size: int64(len(n.data)), Regular: true}, nil
}

// Open implements disk.FS.
func (s *FS) Open(path string, write bool) (disk.File, error) {
	name, err := s.start(Open, path)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	n := s.names[name]
	if n == nil {
		return nil, failed(Open, path, fs.ErrNotExist)
	}
	s.handles++
	return &file{fs: s, node: n, name: name, writable: write}, nil
}

// Create implements disk.FS.
func (s *FS) Create(path string) (disk.File, error) {
	name, err := s.start(Create, path)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if s.names[name] != nil {
		return nil, failed(Create, path, fs.ErrExist)
	}
	n := &inode{}
	s.change(change{add: name, node: n})
	s.handles++
	return &file{fs: s, node: n, name: name, writable: true}, nil
}

// Rename implements disk.FS.
func (s *FS) Rename(from, to string) error {
	target, err := s.name(Rename, to)
	if err != nil {
		return err
	}
	name, err := s.start(Rename, from)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	n := s.names[name]
	if n == nil {
		return failed(Rename, from, fs.ErrNotExist)
	}
	s.change(change{remove: name, add: target, node: n})
	return nil
}

// Remove implements disk.FS.
func (s *FS) Remove(path string) error {
	name, err := s.start(Remove, path)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	if s.names[name] == nil {
		return failed(Remove, path, fs.ErrNotExist)
	}
	s.change(change{remove: name})
	return nil
}

// change makes a change and remembers it for SyncDir. It needs mu.
func (s *FS) change(c change) {
	c.apply(s.names)
	s.unsynced = append(s.unsynced, c)
}

func (c change) apply(names map[string]*inode) {
	if c.remove != "" {
		delete(names, c.remove)
	}
	if c.add != "" {
		names[c.add] = c.node
	}
}

// SyncDir implements disk.FS.
func (s *FS) SyncDir(dir string) error {
	if err := s.startDir(SyncDir, dir); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lost = append(s.lost, s.unsynced...)
		s.unsynced = nil
		return err
	}
	defer s.mu.Unlock()
	for _, c := range s.unsynced {
		c.apply(s.durable)
	}
	s.unsynced = nil
	return nil
}

// Lock implements disk.FS.
func (s *FS) Lock(dir string, exclusive bool) (io.Closer, error) {
	if err := s.startDir(Lock, dir); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if s.shared < 0 || exclusive && s.shared > 0 {
		return nil, fmt.Errorf("lock %s: %w", dir, disk.ErrLocked)
	}
	s.shared++
	if exclusive {
		s.shared = -1
	}
	return &lock{fs: s}, nil
}

type lock struct {
	fs   *FS
	once sync.Once
}

func (l *lock) Close() error {
	l.once.Do(func() {
		l.fs.mu.Lock()
		defer l.fs.mu.Unlock()
		l.fs.shared = max(l.fs.shared-1, 0)
	})
	return nil
}

// room returns how many bytes the files may still grow. It needs mu.
func (s *FS) room() int64 {
	if s.capacity < 0 {
		return 1 << 62
	}
	used := int64(0)
	for _, n := range s.names {
		used += int64(len(n.data))
	}
	return max(s.capacity-used, 0)
}
