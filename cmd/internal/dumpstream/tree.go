package dumpstream

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"kivaloo"
	"kivaloo/disk"
)

// A tree is a directory with a subdirectory for each pair. Its files hold the key and the value:
//
//	dir/0000000000000000/k
//	dir/0000000000000000/v
//	dir/0000000000000001/k
//	...
//
// The writer names the subdirectories by the number of the pair, in hex. The reader accepts any
// names, in any order.
const (
	keyFile   = "k"
	valueFile = "v"
)

// TreeWriter is a Sink that writes a tree.
type TreeWriter struct {
	root *os.Root
	next uint64 // number of the next pair
}

// NewTreeWriter returns a TreeWriter to a directory. The directory must exist and must not hold a
// store. The caller must close the TreeWriter.
func NewTreeWriter(dir string) (*TreeWriter, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	held, err := disk.HoldsStore(root)
	if held {
		err = fmt.Errorf("%s holds a store: dump to another directory", dir)
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return &TreeWriter{root: root}, nil
}

// Put implements Sink. It fails if the pair's directory exists.
func (d *TreeWriter) Put(p kivaloo.Pair) error {
	name := fmt.Sprintf("%016x", d.next)
	d.next++
	if err := d.root.Mkdir(name, 0o700); err != nil {
		return err
	}
	if err := d.root.WriteFile(path.Join(name, keyFile), p.Key, 0o600); err != nil {
		return err
	}
	return d.root.WriteFile(path.Join(name, valueFile), p.Value, 0o600)
}

// Flush implements Sink.
func (d *TreeWriter) Flush() error { return nil }

// Close closes the directory.
func (d *TreeWriter) Close() error { return d.root.Close() }

// TreeReader is a Source that reads a tree. It does not follow links out of it.
type TreeReader struct {
	root    *os.Root
	dir     *os.File
	entries []fs.DirEntry // read and not processed yet
	name    string        // of the current entry
	key     [kivaloo.MaxLen + 1]byte
	value   [kivaloo.MaxLen + 1]byte
}

// NewTreeReader returns a TreeReader of a directory. The caller must close it.
func NewTreeReader(dir string) (*TreeReader, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	self, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, err
	}
	return &TreeReader{root: root, dir: self}, nil
}

// Close closes the directory.
func (d *TreeReader) Close() error { return errors.Join(d.dir.Close(), d.root.Close()) }

// Next implements Source.
func (d *TreeReader) Next() (key, value []byte, err error) {
	if len(d.entries) == 0 {
		d.entries, err = d.dir.ReadDir(entriesAtATime)
		if err == io.EOF {
			return nil, nil, io.EOF
		}
		if err != nil {
			return nil, nil, fmt.Errorf("reading the directory %s: %w", d.root.Name(), err)
		}
	}
	entry := d.entries[0]
	d.entries, d.name = d.entries[1:], entry.Name()
	if !entry.IsDir() {
		return nil, nil, fmt.Errorf("%s is not a directory, as every entry has to be", d.Where())
	}
	if key, err = d.read(keyFile, d.key[:]); err == nil {
		value, err = d.read(valueFile, d.value[:])
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", d.Where(), err)
	}
	return key, value, nil
}

// Where implements Source.
func (d *TreeReader) Where() string {
	return fmt.Sprintf("the entry %q in %s", d.name, d.root.Name())
}

// read reads one file of an entry into buf, which has room for one byte more than is allowed.
func (d *TreeReader) read(name string, buf []byte) ([]byte, error) {
	// O_NONBLOCK keeps a pipe from blocking. It is refused below.
	f, err := d.root.OpenFile(path.Join(d.name, name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not an ordinary file", name)
	}
	n, err := io.ReadFull(f, buf)
	switch {
	case err == nil:
		return nil, fmt.Errorf("%s has more than %d bytes", name, len(buf)-1)
	case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
		return buf[:n], nil
	}
	return nil, err
}
