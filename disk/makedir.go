package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// MakeDir makes a directory for a store, and missing parent directories, durably. undo removes
// those of them that are still empty. After an error none of them is left.
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
		err = nil // another process was faster
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
