package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"kivaloo"
	"kivaloo/disk"
	"kivaloo/disk/s3"
	"kivaloo/tree"
)

const (
	// claimTime bounds the start of a store in a bucket.
	claimTime = 2 * time.Minute
	// s3CommitDelay is the --commit-delay of a store in a bucket: each commit is a request that
	// costs money, and takes about as long anyway.
	s3CommitDelay = 50 * time.Millisecond
)

// served is the block store of a server.
type served struct {
	disk.Store
	kind, where string                    // for the log
	scrubbed    func() disk.ScrubStats    // nil: it is not scrubbed
	counts      func() disk.RequestCounts // nil: no service keeps it
	// failure returns why the server must stop, once that is so, or nil once the context ends.
	failure func(context.Context) error
	// stopping says that the server stops, so nothing should be waited for without a bound.
	stopping func()
}

// configuring returns the settings of a tree in blocks of that many bytes.
type configuring func(blockSize int) (tree.Config, error)

// openDir opens a store in a directory.
func (o *serveOptions) openDir(options disk.Options, configure configuring) (*served, *tree.Tree, error) {
	store, t, err := tree.OpenDir(o.dir, options, kivaloo.DefaultBlockSize, configure)
	if err != nil {
		return nil, nil, err
	}
	fails := func(context.Context) error { return nil } // reads go on, whatever happens
	return &served{Store: store, kind: "dir", where: o.dir, scrubbed: store.Scrubbed, failure: fails, stopping: func() {}}, t, nil
}

// openS3 opens a store in a bucket. The directory, which is made if it is missing, must not hold
// another.
func (o *serveOptions) openS3(ctx context.Context, canListen func(disk.Store) error, configure configuring, log *slog.Logger) (_ *served, _ *tree.Tree, failed error) {
	switch {
	case o.noSync:
		return nil, nil, errors.New("--no-sync is of no use with --store")
	case o.scrubRate != kivaloo.DefaultScrubRate:
		return nil, nil, errors.New("--scrub-rate is of no use with --store")
	}
	if _, err := configure(cmp.Or(o.blockSize, kivaloo.DefaultBlockSize)); err != nil {
		return nil, nil, err
	}
	undo, err := disk.MakeDir(o.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("make the directory of the socket: %w", err)
	}
	defer func() {
		if failed != nil {
			undo()
		}
	}()
	root, err := os.OpenRoot(o.dir)
	if err != nil {
		return nil, nil, err
	}
	held, err := disk.HoldsStore(root)
	root.Close()
	if held {
		return nil, nil, fmt.Errorf("--dir %s holds a store; with --store give another directory, for the socket", o.dir)
	}
	if err = errors.Join(err, canListen(nil)); err != nil {
		return nil, nil, err
	}
	claiming, cancel := context.WithTimeout(ctx, claimTime)
	defer cancel()
	store, err := s3.Open(claiming, o.store, o.s3, s3.Options{BlockSize: o.blockSize, NewBlockSize: kivaloo.DefaultBlockSize, Log: log})
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if failed != nil {
			store.Close()
		}
	}()
	cfg, err := configure(store.Info().BlockSize)
	if err != nil {
		return nil, nil, err
	}
	t, err := tree.Open(store, cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("open the tree in %s: %w", o.store, err)
	}
	fails := func(ctx context.Context) error {
		select {
		case <-store.Lost():
			return store.Err()
		case <-ctx.Done():
			return nil
		}
	}
	return &served{Store: store, kind: "store", where: o.store, counts: store.Counts, failure: fails, stopping: store.Stopping}, t, nil
}
