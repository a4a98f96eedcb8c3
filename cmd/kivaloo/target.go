package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"kivaloo/disk"
)

// target is a file that a command makes or replaces. Its directory is opened only once, so a
// directory that takes its place later gets nothing.
type target struct {
	dir  *os.Root
	name string // in dir
}

// openTarget returns the target at path. It refuses to replace a device, a pipe or a link. The
// message suggests instead. It also refuses a directory that holds a store, whose files could be
// replaced or confused with the target.
func openTarget(path, instead string) (*target, error) {
	where, name := filepath.Split(path)
	if name == "" {
		return nil, fmt.Errorf("%q is not the name of a file", path)
	}
	if where == "" {
		where = "."
	}
	dir, err := os.OpenRoot(where)
	if err != nil {
		return nil, err
	}
	if err := checkTarget(dir, path, name, instead); err != nil {
		dir.Close()
		return nil, err
	}
	return &target{dir, name}, nil
}

func checkTarget(dir *os.Root, path, name, instead string) error {
	info, err := dir.Lstat(name)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%s is not an ordinary file: write to it with `%s`", path, instead)
	}
	held, err := disk.HoldsStore(dir)
	if held {
		err = fmt.Errorf("%s would be in a directory that holds a store: choose another directory", path)
	}
	return err
}

// replace durably renames another file in the directory to the target's name.
func (t *target) replace(with string) error {
	if err := t.dir.Rename(with, t.name); err != nil {
		return err
	}
	return disk.SyncRoot(t.dir)
}

func (t *target) close() { t.dir.Close() }
