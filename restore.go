package kivaloo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"kivaloo/disk"
	"kivaloo/tree"
)

// ErrNotEmpty means that a directory is not empty. Restore creates a store and does not add to one.
var ErrNotEmpty = errors.New("directory is not empty")

// Restore makes a store in dir from the backup in r, which may come from a server or from a DB. dir
// must be missing or empty. The options are those of Open, because a backup contains none.
//
// The store is built in a directory beside dir. Every page of it is read again and the pairs are
// counted: there must be as many as the backup says. Then the directory is renamed to dir. So dir
// either has everything that was backed up, durably, or is unchanged. After a crash the other
// directory may be left. Its name begins with that of dir and contains "restore". The error wraps
// ErrBadBackup if the backup is incomplete or damaged.
func Restore(ctx context.Context, r io.Reader, dir string, o Options, ro RestoreOptions) error {
	if err := restore(ctx, r, dir, o, ro); err != nil {
		return dirError("restore", dir, err)
	}
	return nil
}

func restore(ctx context.Context, r io.Reader, dir string, o Options, ro RestoreOptions) error {
	o.BlockSize = cmp.Or(o.BlockSize, DefaultBlockSize)
	if err := o.checkNew(); err != nil {
		return err
	}
	if err := checkEmpty(dir); err != nil {
		return err
	}
	in, err := newBackupReader(r)
	if err != nil {
		return err
	}
	return build(dir, func(fsys disk.FS, temp string) error { return load(ctx, in, fsys, temp, o, ro) })
}

// build makes fill write into a temporary directory beside dir, and then renames that to dir. temp
// is its name in fsys. dir must be missing or empty, and gets everything or nothing. The parent
// directory is opened once, so a directory that replaces it meanwhile gets nothing.
func build(dir string, fill func(fsys disk.FS, temp string) error) (err error) {
	if err := checkEmpty(dir); err != nil {
		return err
	}
	if dir, err = realPath(dir); err != nil {
		return err
	}
	undo, err := disk.MakeDir(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			undo()
		}
	}()
	parent, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer parent.Close()
	temp, err := makeTemp(parent, filepath.Base(dir)+".restore-")
	if err != nil {
		return fmt.Errorf("make a directory beside the one to restore to: %w", err)
	}
	defer func() {
		if err != nil {
			parent.RemoveAll(temp)
		}
	}()
	if err := fill(disk.OSFS{Root: parent}, temp); err != nil {
		return err
	}
	return replaceEmpty(parent, temp, filepath.Base(dir))
}

// makeTemp creates a directory in parent, for its owner only, and returns its name.
func makeTemp(parent *os.Root, prefix string) (name string, err error) {
	for range 100 {
		name = prefix + strconv.FormatUint(uint64(rand.Uint32()), 10)
		if err = parent.Mkdir(name, 0o700); !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return name, err
}

// replaceEmpty durably renames the directory from to to. to must be missing or an empty directory.
func replaceEmpty(parent *os.Root, from, to string) error {
	d, err := parent.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	if err := renameIn(d, from, to); err != nil {
		return fmt.Errorf("rename %s to %s: %w", from, filepath.Join(parent.Name(), to), err)
	}
	return d.Sync()
}

// realPath returns the absolute path of dir, which may be a link, or be missing.
func realPath(dir string) (string, error) {
	switch real, err := filepath.EvalSymlinks(dir); {
	case err == nil:
		dir = real
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	return filepath.Abs(dir)
}

// checkEmpty returns an error unless dir is missing or empty.
func checkEmpty(dir string) error {
	if dir == "" {
		return errors.New("the name of the directory is empty")
	}
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	switch _, err := d.Readdirnames(1); err {
	case nil:
		return ErrNotEmpty
	case io.EOF:
		return nil
	default:
		return err
	}
}

// openCopy creates a store in dir, a directory in fsys, for the pairs of another store. If o sets
// no longest key or value, it accepts everything that checkRoom accepts.
func openCopy(fsys disk.FS, dir string, o Options) (*DB, error) {
	db, err := open(fsys, dir, o)
	if err == nil {
		db.limits = Params{MaxKey: cmp.Or(o.MaxKey, MaxLen), MaxValue: cmp.Or(o.MaxValue, MaxLen)}
	}
	return db, err
}

// checkRoom returns an error wrapping ErrTooLong unless blocks of a size have room for a pair. A
// store may have been made for longer pairs than its block size has by default.
func checkRoom(blockSize int, key, value []byte) error {
	if tree.CheckMaxLengths(blockSize, len(key), len(value)) == nil {
		return nil
	}
	return fmt.Errorf("a key of %d bytes with a value of %d is %w for blocks of %d bytes: blocks of %d take all pairs",
		len(key), len(value), ErrTooLong, blockSize, DefaultBlockSize)
}

// fitting yields pairs up to the first one that checkRoom refuses.
func fitting(blockSize int, pairs iter.Seq2[Pair, error]) iter.Seq2[Pair, error] {
	return func(yield func(Pair, error) bool) {
		for p, err := range pairs {
			if err == nil {
				err = checkRoom(blockSize, p.Key, p.Value)
			}
			if !yield(p, err) || err != nil {
				return
			}
		}
	}
}

// load creates a store in dir, a directory in fsys, from the pairs of in.
func load(ctx context.Context, in *backupReader, fsys disk.FS, dir string, o Options, ro RestoreOptions) (err error) {
	db, err := openCopy(fsys, dir, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.Load(ctx, fitting(o.BlockSize, in.all(ro.progress))); err != nil {
		return err
	}
	ro.progress(in.pairs, in.bytes)
	return db.verifyCopy(ctx, in.pairs)
}
