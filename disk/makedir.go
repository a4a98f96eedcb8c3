package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// MakeDir makes a directory for a store, and those that lead to it, if they are missing, so that a
// power cut does not take it with all that will be in it. undo removes those that it has made and
// that are still empty. After an error none of them is left.
func MakeDir(dir string) (undo func(), err error) {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return func() {}, err
	}
	parent := filepath.Dir(dir)
	undo, err = MakeDir(parent)
	if err != nil {
		return undo, err
	}
	d, err := os.OpenRoot(parent)
	if err != nil {
		undo()
		return undo, err
	}
	defer d.Close()
	switch err = d.Mkdir(filepath.Base(dir), 0o700); {
	case err == nil:
		undoParent := undo
		undo = func() {
			os.Remove(dir)
			undoParent()
		}
		err = SyncRoot(d)
	case errors.Is(err, fs.ErrExist):
		err = nil // somebody else was faster
	}
	if err != nil {
		undo()
	}
	return undo, err
}

// SyncRoot makes the names in a directory durable.
func SyncRoot(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
