package kivaloo

import (
	"context"
	"errors"

	"kivaloo/disk"
)

// Checkpoint copies the store, as it is now, into the directory dir, which must be missing or
// empty. The copy is a store like any other, with the same block size and without garbage. Changes
// go on meanwhile. Afterwards dir has the whole copy, durable, or is as it was.
func (db *DB) Checkpoint(ctx context.Context, dir string) error {
	s, err := db.snapshot(ctx, "checkpoint")
	if err != nil {
		return err
	}
	defer s.Close()
	if err := build(dir, func(fsys disk.FS, temp string) error { return s.copyTo(ctx, fsys, temp) }); err != nil {
		return db.opError("checkpoint", false, err)
	}
	return nil
}

// copyTo makes a store in dir, which is in fsys, of the pairs of s.
func (s *dbSnapshot) copyTo(ctx context.Context, fsys disk.FS, dir string) (err error) {
	copied, err := openCopy(fsys, dir, Options{BlockSize: s.db.store.Info().BlockSize})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, copied.Close()) }()
	pairs, err := copied.Load(ctx, s.Scan(ctx, ScanOptions{Borrow: true}))
	if err != nil {
		return err
	}
	return copied.verifyCopy(ctx, uint64(pairs))
}
