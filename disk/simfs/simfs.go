package simfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

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

// Call is a call that is about to be executed.
type Call struct {
	Op     Op
	Name   string // of the file in the directory; Rename: the old one
	Offset int64  // Read, Write, Truncate: where in the file
	Len    int64  // Read, Write: bytes
	Done   int64  // Write: bytes already written, 0 at the beginning
}

// Hook sees a call before it is executed. If it returns an error, the call fails with it. It has no
// effect then, except that a Write has written Call.Done bytes. A Read that fails with io.EOF
// returns the first half.
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
	shared   int   // holders of the lock; -1: one exclusive holder
	handles  int   // open files
	changes  int   // calls that have changed the content, or what a crash can leave
	lie      *lie  // of one of the next Syncs; nil: none
}

// Changes returns the number of calls so far that have changed the content, or what a crash can
// leave.
func (s *FS) Changes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes
}

// change is a change of the directory that a crash can undo: it removes a name, adds one, or does
// both at once (a rename).
type change struct {
	remove string
	add    string
	node   *inode
}

// fault makes one later call fail.
type fault struct {
	op   Op
	left int // calls of this kind until then; 1: the next one
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

// SetHook installs a hook; nil removes it. It is called without a lock, so it may call any method,
// such as Crash or Kill.
func (s *FS) SetHook(h Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = h
}

// Fail makes the nth call of this kind from now on fail, once. The next call is number 1.
func (s *FS) Fail(op Op, nth int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, fault{op, nth, err})
}

// SetCapacity limits the total length of all files. A write that would exceed it is cut short and
// fails with ENOSPC. Negative: no limit.
func (s *FS) SetCapacity(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.capacity = bytes
}

// SetRoom lets all files together grow by at most this many bytes.
func (s *FS) SetRoom(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.capacity = s.used() + bytes
}

// Names returns the names in the directory, sorted.
func (s *FS) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.names))
}

// Content returns a copy of a file as the process sees it, or nil if there is none.
func (s *FS) Content(name string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.names[name]; n != nil {
		return slices.Clone(n.data)
	}
	return nil
}

// Put makes or replaces a file, durably and without calling the hook.
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
	n.own()
	n.data[offset] ^= bits
	n.durable[offset] ^= bits
}

// Handles returns the number of open files, plus one for each time the directory is open.
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

// fault counts a call and returns the error prepared for it. It needs mu.
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

func failed(op Op, name string, err error) error {
	return &os.PathError{Op: string(op), Path: name, Err: err}
}

// start announces a call on an entry, and takes mu if it is to be executed.
func (s *FS) start(op Op, name string) error {
	if err := s.before(Call{Op: op, Name: name}); err != nil {
		return failed(op, name, err)
	}
	s.mu.Lock()
	return nil
}

// OpenDir implements disk.FS. The returned directory counts as an open file.
func (s *FS) OpenDir(path string) (disk.Dir, error) {
	if filepath.Clean(path) != s.dir {
		return nil, failed("opendir", path, fs.ErrNotExist)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handles++
	return &opened{FS: s}, nil
}

// ReadDir implements disk.Dir, as the methods after it do. Only Lock and Close need an opened
// directory.
func (s *FS) ReadDir() ([]string, error) {
	if err := s.start(ReadDir, ""); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.names)), nil
}

func (s *FS) Lstat(name string) (disk.Stat, error) {
	if err := s.start(Lstat, name); err != nil {
		return disk.Stat{}, err
	}
	defer s.mu.Unlock()
	n := s.names[name]
	if n == nil {
		return disk.Stat{}, failed(Lstat, name, fs.ErrNotExist)
	}
	return disk.Stat{Size: int64(len(n.data)), Regular: true}, nil
}

func (s *FS) Open(name string, write bool) (disk.File, error) {
	if err := s.start(Open, name); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	n := s.names[name]
	if n == nil {
		return nil, failed(Open, name, fs.ErrNotExist)
	}
	s.handles++
	return &file{fs: s, node: n, name: name, writable: write}, nil
}

// OpenDirect is Open: no test reads a file directly while its disk and its page cache differ.
func (s *FS) OpenDirect(name string) (disk.File, error) { return s.Open(name, false) }

func (s *FS) Create(name string) (disk.File, error) {
	if err := s.start(Create, name); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if s.names[name] != nil {
		return nil, failed(Create, name, fs.ErrExist)
	}
	n := &inode{}
	s.change(change{add: name, node: n})
	s.handles++
	return &file{fs: s, node: n, name: name, writable: true}, nil
}

func (s *FS) Rename(from, to string) error {
	if err := s.start(Rename, from); err != nil {
		return err
	}
	defer s.mu.Unlock()
	n := s.names[from]
	if n == nil {
		return failed(Rename, from, fs.ErrNotExist)
	}
	s.change(change{remove: from, add: to, node: n})
	return nil
}

func (s *FS) Remove(name string) error {
	if err := s.start(Remove, name); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if s.names[name] == nil {
		return failed(Remove, name, fs.ErrNotExist)
	}
	s.change(change{remove: name})
	return nil
}

// change makes a change and notes it for SyncDir. It needs mu.
func (s *FS) change(c change) {
	c.apply(s.names)
	s.changes++
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

func (s *FS) Sync() error {
	if err := s.start(SyncDir, ""); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !shortage(err) {
			s.changes++
			s.lost = append(s.lost, s.unsynced...)
			s.unsynced = nil
		}
		return err
	}
	defer s.mu.Unlock()
	for _, c := range s.unsynced {
		c.apply(s.durable)
	}
	s.unsynced = nil
	s.changes++
	return nil
}

// shortage reports whether a Sync of a directory that failed with err has lost nothing, so that a
// later one covers the same names.
func shortage(err error) bool {
	for _, e := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// opened is one opening of the directory.
type opened struct {
	*FS
	locked bool
	once   sync.Once
}

var _ disk.Dir = (*opened)(nil)

// Room is unknown: a simulated disk is full when a test says so.
func (d *opened) Room() (int64, error) { return 0, errors.ErrUnsupported }

func (d *opened) Lock(exclusive bool) error {
	if err := d.start(Lock, ""); err != nil {
		return err
	}
	defer d.mu.Unlock()
	if d.shared < 0 || exclusive && d.shared > 0 {
		return fmt.Errorf("lock %s: %w", d.dir, disk.ErrLocked)
	}
	d.locked = true
	d.shared++
	if exclusive {
		d.shared = -1
	}
	return nil
}

func (d *opened) Close() error {
	d.once.Do(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.handles--
		if d.locked {
			d.shared = max(d.shared-1, 0)
		}
	})
	return nil
}

// room returns how many bytes the files may still grow. It needs mu.
func (s *FS) room() int64 {
	if s.capacity < 0 {
		return 1 << 62
	}
	return max(s.capacity-s.used(), 0)
}

// used returns the total length of all files. It needs mu.
func (s *FS) used() (bytes int64) {
	for _, n := range s.names {
		bytes += int64(len(n.data))
	}
	return bytes
}

// Sum returns the same for two file systems with the same names and content, on disk and as the
// process sees them.
func (s *FS) Sum() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var h maphash.Hash
	h.SetSeed(sumSeed)
	add := func(name string, b []byte) {
		h.WriteString(name)
		binary.Write(&h, binary.BigEndian, int64(len(b)))
		h.Write(b)
	}
	for _, name := range slices.Sorted(maps.Keys(s.names)) {
		add(name, s.names[name].data)
	}
	for _, name := range slices.Sorted(maps.Keys(s.durable)) {
		if n := s.durable[name]; n != s.names[name] || !n.settled() {
			add(name, n.durable)
		}
	}
	return h.Sum64()
}

var sumSeed = maphash.MakeSeed()
