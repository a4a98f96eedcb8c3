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
type Trust uint8

const (
	// Certain: exactly what the last change left.
	Certain Trust = iota
	// Unchecked: the newest page for these keys and all changes since, but no checksum confirms
	// that the page is what was written. If it is, nothing newer is missing.
	Unchecked
	// Stale: the newest that is left, but changes may be missing, and deleted keys may be back.
	Stale
	// Lost: no page is left. At most, there are some changes from the journal.
	Lost
)

// String returns "certain", "unchecked", "stale" or "lost".
func (t Trust) String() string { return tree.Trust(t).String() }

// Salvaged is what Salvage reports.
type Salvaged struct {
	// FirstBlock and EndBlock bound the blocks that the damaged store has, or is known to have had:
	// from FirstBlock up to, not including, EndBlock.
	FirstBlock, EndBlock uint64
	// Root is the block of the root of the tree, if NoRoot is nil. NoRoot says why no root could be
	// trusted, so that all blocks were searched.
	Root   uint64
	NoRoot error
	// Cut is how many blocks are behind the last whole append. If there are any, an append is
	// damaged or a crash cut it short. Changes may be missing, so no range can be rated better than
	// Stale.
	Cut uint64
	// Signs are signs in the files that newer blocks exist or existed: files that were left out,
	// cut off or lost. Each is a sentence about a file. If there are any, no range can be rated
	// better than Stale.
	Signs []string
	// Bad is how many blocks could not be used. Mended is how many could be used after one bit was
	// flipped back.
	Bad, Mended uint64

	// Ranges are in the order of the keys. If More is 0 they cover all keys, otherwise More further
	// ranges were left out.
	Ranges []SalvagedRange
	More   uint64
	// Pairs is how many pairs come from pages, by Trust.
	Pairs [Lost + 1]uint64
	// Changes is how many changes were replayed from the journal.
	Changes uint64
	// Unfit is how many pairs were left out, because a store with this block size cannot hold such
	// long ones.
	Unfit uint64
	// Stored is how many pairs the new store has.
	Stored uint64
}

// SalvagedRange is the keys from Start up to, not including, End. A nil End means no bound.
type SalvagedRange struct {
	Start, End []byte
	Trust      Trust
	Pairs      uint64 // that come from pages, without changes from the journal
}

// Certain reports whether the whole store was salvaged exactly.
func (s *Salvaged) Certain() bool {
	return s.More == 0 && len(s.Ranges) == 1 && s.Ranges[0].Trust == Certain
}

// newSalvaged converts the tree's report.
func newSalvaged(r *tree.Salvaged, stored uint64) *Salvaged {
	s := &Salvaged{
		FirstBlock: r.Blocks.First, EndBlock: r.Blocks.Next, Root: r.Root, NoRoot: r.Why, Cut: r.Cut, Signs: r.Signs, Bad: r.Bad, Mended: r.Mended,
		More: r.More, Pairs: r.Pairs, Changes: r.Changes, Unfit: r.Unfit, Stored: stored,
	}
	for _, one := range r.Ranges {
		s.Ranges = append(s.Ranges, SalvagedRange{one.Lo, one.Hi, Trust(one.Trust), one.Pairs})
	}
	return s
}

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
	if err := o.New.checkNew(); err != nil { // checked for that block size
		return nil, err
	}
	err = build(to, func(fsys disk.FS, temp string) error {
		s, err = salvageTo(ctx, store, fsys, temp, o)
		return err
	})
	return s, err
}

// salvageTo creates a store in dir, a directory in fsys, from what is left of another store.
func salvageTo(ctx context.Context, from *disk.Remains, fsys disk.FS, dir string, o SalvageOptions) (s *Salvaged, err error) {
	db, err := openCopy(fsys, dir, o.New)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	w := &salvageWriter{ctx: ctx, db: db}
	found, err := tree.Salvage(ctx, from, w, o.Progress)
	if err != nil {
		return nil, err
	}
	if err := w.flush(); err != nil {
		return nil, err
	}
	stored, err := db.verify(ctx)
	return newSalvaged(found, stored), err
}

// salvageWriter writes salvaged pairs into a new store.
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

// isInside reports whether a directory, which may be missing, is dir or inside it.
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
