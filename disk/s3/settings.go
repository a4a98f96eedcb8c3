package s3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"kivaloo/disk"
)

// settingsKey is the object with the store's settings.
const settingsKey = "kivaloo.json"

// settingsFormat is the version of the settings that this package writes and understands.
const settingsFormat = 1

// settings are what a store in a bucket has besides its blocks. They are changed only
// if nobody else has changed them meanwhile. The original ignores them.
type settings struct {
	Format    int       `json:"format"`
	BlockSize int       `json:"block_size"`
	Epoch     uint64    `json:"epoch"`  // how often the store was claimed
	Writer    string    `json:"writer"` // the latest to claim it: for people
	Since     time.Time `json:"since"`
	// Fences are the objects that must never be deleted, ascending: those that were about to be put
	// as fences, whether or not they were.
	Fences []uint64 `json:"fences"`
	// Pruned: Fences no longer lists the fences before this object, but they exist in the bucket.
	// So janitors delete nothing before it.
	Pruned uint64 `json:"pruned"`
	// Fence is a fence that was put, and Last the last object with blocks before it, 0 if there was
	// none. All between them are empty.
	Fence uint64 `json:"fence"`
	Last  uint64 `json:"last"`

	etag string // of the object; "" if there is none
}

// readSettings returns the settings, or the zero settings if there are none.
func readSettings(ctx context.Context, r *retrier) (s settings, err error) {
	content, o, err := r.fetch(ctx, settingsKey, 0, maxSettingsBytes)
	switch {
	case errors.Is(err, errNotFound):
		return s, nil
	case err != nil:
		return s, err
	}
	if err := json.Unmarshal(content, &s); err != nil {
		return s, fmt.Errorf("%s is not the settings of a store: %w: %w", settingsKey, disk.ErrCorrupt, err)
	}
	switch {
	case s.Format != settingsFormat:
		return s, fmt.Errorf("%s has format %d; this version of kivaloo understands %d", settingsKey, s.Format, settingsFormat)
	case s.BlockSize < disk.MinBlockSize || s.BlockSize > disk.MaxBlockSize:
		return s, fmt.Errorf("%s says that blocks have %d bytes: %w", settingsKey, s.BlockSize, disk.ErrCorrupt)
	case !slices.IsSorted(s.Fences):
		return s, fmt.Errorf("%s lists fences out of order: %w", settingsKey, disk.ErrCorrupt)
	}
	s.etag = o.etag
	return s, nil
}

// write replaces the settings that were read. errCondition: somebody else has done so.
func (s *settings) write(ctx context.Context, r *retrier, by putter) error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	old := condition{absent: s.etag == "", etag: s.etag}
	return r.do(ctx, "PUT "+settingsKey, len(content), false, func(ctx context.Context) error {
		etag, err := r.put(ctx, settingsKey, content, old, by)
		if !errors.Is(err, errCondition) && !errors.Is(err, errNotFound) {
			s.etag = etag
			return err
		}
		now, err := r.head(ctx, settingsKey)
		if err == nil && now.by.id == by.id {
			s.etag = now.etag
			return nil // an earlier try that had seemed to fail
		}
		if unexpected(err) {
			return err
		}
		return errCondition
	})
}

// isFence reports whether an object is one that must stay.
func (s *settings) isFence(n uint64) bool {
	_, found := slices.BinarySearch(s.Fences, n)
	return found
}
