package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"kivaloo/disk"
)

// OpenDir opens the store in a directory and the tree in it, or creates them. If o.BlockSize is not
// 0, it must be the block size of the store. If it is 0, a new store gets blocks of fresh bytes. If
// both are 0, the store must exist. configure receives the block size.
//
// Nothing on disk changes before the block size is known and configure has agreed. Then either the
// tree must have been found and its journal replayed, or nothing must ever have been stored.
func OpenDir(dir string, o disk.Options, fresh int, configure func(blockSize int) (Config, error)) (*disk.Local, *Tree, error) {
	undo, err := makeDir(dir, o, fresh, configure)
	if err != nil {
		return nil, nil, err
	}
	store, t, err := openWith(disk.Open, dir, o, fresh, configure)
	if err != nil {
		undo()
	}
	return store, t, err
}

// openWith is OpenDir for an existing directory. It opens the store with the given function.
func openWith[S disk.Store](open func(string, disk.Options) (S, error), dir string, o disk.Options, fresh int,
	configure func(blockSize int) (Config, error)) (store S, t *Tree, err error) {
	var none S
	recognise := Recognise(o.BlockSize, fresh)
	var cfg Config
	o.Recognise = func(d disk.Dir) (size int, err error) {
		if size, err = recognise(d); err == nil {
			cfg, err = configure(size)
		}
		return size, err
	}
	o.Doubtful = Doubtful
	accept := o.Accept
	o.Accept = func(s disk.Store) (err error) {
		if accept != nil {
			if err := accept(s); err != nil {
				return err
			}
		}
		t, err = recovered(s, cfg)
		return err
	}
	if store, err = open(dir, o); err != nil {
		if t != nil {
			t.Close()
		}
		return none, nil, err
	}
	if t != nil {
		return store, t, nil
	}
	if t, err = created(store, cfg); err != nil {
		return none, nil, errors.Join(err, store.Close())
	}
	return store, t, nil
}

// makeDir creates the directory of a new store. It does so only if the directory is missing, a new
// store is allowed, and configure agrees.
func makeDir(dir string, o disk.Options, fresh int, configure func(blockSize int) (Config, error)) (undo func(), err error) {
	nothing := func() {}
	if o.FS != nil {
		return nothing, nil
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return nothing, err
	}
	if fresh == 0 {
		return nothing, fmt.Errorf("%s: %w", dir, ErrNoStore)
	}
	if _, err := configure(cmp.Or(o.BlockSize, fresh)); err != nil {
		return nothing, err
	}
	if undo, err = disk.MakeDir(dir); err != nil {
		return nothing, fmt.Errorf("make the directory of the store: %w", err)
	}
	return undo, nil
}

// FoldDir replays the journal of the store in a directory and flushes it into pages. After that the
// last block is a root, as after a clean stop, so programs that do not know the journal can open
// the store. See OpenDir.
func FoldDir(dir string, o disk.Options, cfg Config) error {
	store, t, err := OpenDir(dir, o, 0, func(int) (Config, error) { return cfg, nil })
	if err != nil {
		return err
	}
	return errors.Join(t.fold(store), store.Close())
}

// fold flushes everything and closes t.
func (t *Tree) fold(store disk.Store) error {
	defer t.Close()
	ctx, stop := context.WithCancel(context.Background())
	stop()
	return NewActor(t, store).Run(ctx)
}
