package kivaloo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"kivaloo/disk"
	"kivaloo/wire"
)

// restoreBatch is how many pairs are stored in one commit: enough that waiting for the disk does not matter.
const restoreBatch = 10_000

// ErrNotEmpty: Restore makes a store, and does not add to what there is.
var ErrNotEmpty = errors.New("directory is not empty")

// Restore makes a store in dir of the backup that r has, which may be from a server or from a DB. dir must be missing or
// empty. The options are those of Open: nothing of them is in the backup.
//
// The store is built in a directory beside dir. Every page of it is read again, and the pairs in them counted: there must
// be as many as the backup says. Then that directory takes the name. So dir has either all of what was backed up, durable,
// or is as it was; after a crash the other directory, of which the name begins with that of dir and has "restore" in it,
// may be left. The error wraps ErrBadBackup if the backup is incomplete or damaged.
func Restore(ctx context.Context, r io.Reader, dir string, o Options, opts ...BackupOption) error {
	if err := restore(ctx, r, dir, o, newBackupOptions(opts)); err != nil {
		return &OpError{Op: "restore", Addr: dir, Err: corruption(err)}
	}
	return nil
}

func restore(ctx context.Context, r io.Reader, dir string, o Options, bo backupOptions) error {
	if o.ReadOnly {
		return fmt.Errorf("%w: Options.ReadOnly is set", ErrReadOnly)
	}
	if err := checkEmpty(dir); err != nil {
		return err
	}
	// Before anything is made.
	if _, err := o.treeConfig(cmp.Or(o.BlockSize, DefaultBlockSize)); err != nil {
		return err
	}
	in, err := newBackupReader(r)
	if err != nil {
		return err
	}
	return build(dir, func(fsys disk.FS, temp string) error { return load(ctx, in, fsys, temp, o, bo) })
}

// build makes a directory of what fill puts into a temporary one beside it, whose name in fsys it is told. dir must be
// missing or empty, and gets all or nothing. The directory that both are in is opened once: another one that takes its
// place meanwhile gets nothing.
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

// makeTemp makes a directory in parent, for its owner only, and returns its name.
func makeTemp(parent *os.Root, prefix string) (name string, err error) {
	for range 100 {
		name = prefix + strconv.FormatUint(uint64(rand.Uint32()), 10)
		if err = parent.Mkdir(name, 0o700); !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return name, err
}

// replaceEmpty durably gives the directory from the name to, which nothing has or an empty directory.
func replaceEmpty(parent *os.Root, from, to string) error {
	d, err := parent.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	// Unlike os.Root.Rename this takes the place of a directory that is still empty.
	if err := unix.Renameat(int(d.Fd()), from, int(d.Fd()), to); err != nil {
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

// load makes a store in dir, which is in fsys, of what in has.
func load(ctx context.Context, in *backupReader, fsys disk.FS, dir string, o Options, bo backupOptions) (err error) {
	db, err := open(fsys, dir, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	b := db.NewBatch()
	for {
		pairs, _, err := in.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		for rest := pairs; len(rest) > 0; {
			var key, value []byte
			if key, value, rest, err = wire.CutPair(rest); err != nil {
				return err
			}
			if b.Set(key, value); b.Len() == restoreBatch {
				if err := db.Apply(ctx, b); err != nil {
					return err
				}
			}
		}
		bo.progress(int64(in.pairs), in.bytes)
	}
	if err := db.Apply(ctx, b); err != nil {
		return err
	}
	bo.progress(int64(in.pairs), in.bytes)
	return db.verifyCopy(ctx, in.pairs)
}
