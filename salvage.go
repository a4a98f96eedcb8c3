package kivaloo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"kivaloo/disk"
	"kivaloo/tree"
)

// Trust says how far what Salvage found in a range of keys can be trusted.
type Trust = tree.Trust

const (
	// Certain: exactly what the last change left.
	Certain = tree.Certain
	// Unchecked: the newest page for these keys and all changes since, but no checksum confirms
	// that the page is what was written. If it is, nothing newer is missing.
	Unchecked = tree.Unchecked
	// Stale: the newest that is left, but changes may be missing, and deleted keys may be back.
	Stale = tree.Stale
	// Lost: no page is left. At most, there are some changes from the journal.
	Lost = tree.Lost
)

// Salvaged is what Salvage reports: what was found in which range of keys. See package tree.
type Salvaged = tree.Salvaged

// SalvagedRange is the keys from Lo up to, not including, Hi. A nil Hi means no bound.
type SalvagedRange = tree.SalvagedRange

// Salvage makes a store in the directory to from all that is left of the damaged store in the
// directory from. No store may be open in from, and Salvage changes nothing in it. to must be
// missing or empty. It gets the whole new store, or stays as it was.
//
// The report says for each range of keys how far it can be trusted. An error means that there is no
// new store.
func Salvage(ctx context.Context, from, to string, o SalvageOptions) (*Salvaged, error) {
	s, err := salvage(ctx, from, to, o)
	if err != nil {
		return nil, dirError("salvage", from, err)
	}
	return s, nil
}

func salvage(ctx context.Context, from, to string, o SalvageOptions) (s *Salvaged, err error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := checkEmpty(to); err != nil {
		return nil, err
	}
	if inside, err := isInside(from, to); err != nil || inside {
		return nil, cmp.Or(err, fmt.Errorf("%s would be in the directory of the damaged store", to))
	}
	log := cmp.Or(o.New.Log, slog.New(slog.DiscardHandler))
	store, err := disk.OpenRemains(from, disk.Options{BlockSize: o.BlockSize, Recognise: tree.RecogniseRemains, Log: log})
	if err != nil {
		return nil, err
	}
	defer store.Close()
	o.New.BlockSize = cmp.Or(o.New.BlockSize, store.Info().BlockSize)
	if err := o.New.checkNew(); err != nil { // with that block size
		return nil, err
	}
	err = build(to, func(fsys disk.FS, temp string) error {
		s, err = salvageTo(ctx, store, fsys, temp, o)
		return err
	})
	return s, err
}

// salvageTo makes a store in dir, which is in fsys, of what is left in another one.
func salvageTo(ctx context.Context, from *disk.Remains, fsys disk.FS, dir string, o SalvageOptions) (s *Salvaged, err error) {
	db, err := openCopy(fsys, dir, o.New)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	w := &salvageWriter{ctx: ctx, db: db}
	if s, err = tree.Salvage(ctx, from, w, o.Progress); err != nil {
		return nil, err
	}
	if err := w.flush(); err != nil {
		return nil, err
	}
	s.Stored, err = db.verify(ctx)
	return s, err
}

// salvageWriter writes what is salvaged into a new store.
type salvageWriter struct {
	ctx   context.Context
	db    *DB
	batch Batch
}

func (w *salvageWriter) Set(key, value []byte) error {
	if err := checkRoom(w.db.store.Info().BlockSize, key, value); err != nil {
		return err
	}
	w.batch.Set(key, value)
	return w.more()
}

func (w *salvageWriter) Delete(key []byte) error {
	w.batch.Delete(key)
	return w.more()
}

func (w *salvageWriter) more() error {
	if w.batch.Len() < loadBatch {
		return nil
	}
	return w.flush()
}

func (w *salvageWriter) flush() error {
	defer w.batch.Reset()
	return w.db.Apply(w.ctx, &w.batch)
}

// isInside reports whether a directory, which may be missing, is dir or in it.
func isInside(dir, other string) (bool, error) {
	dir, err := realPath(dir)
	if err != nil {
		return false, err
	}
	other, err = filepath.Abs(other)
	if err != nil {
		return false, err
	}
	for ; ; other = filepath.Dir(other) { // up to what exists
		if _, err := os.Stat(other); err == nil || other == filepath.Dir(other) {
			break
		}
	}
	if other, err = realPath(other); err != nil {
		return false, err
	}
	rel, err := filepath.Rel(dir, other)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)), nil
}
