package kivaloo_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"path/filepath"
	"testing"
	"time"

	"kivaloo"
	"kivaloo/internal/must"
)

// TestOptionsRefused checks that every call names the field with the invalid value, in the same
// way, and does nothing.
func TestOptionsRefused(t *testing.T) {
	ctx := t.Context()
	source := t.TempDir()
	db := openDB(t, source, kivaloo.Options{})
	var backup bytes.Buffer
	must.Do(t, db.Backup(ctx, &backup, kivaloo.BackupOptions{}))
	place := t.TempDir()
	dir := filepath.Join(place, "store")

	open := func(o kivaloo.Options) error {
		db, err := kivaloo.Open(dir, o)
		if err == nil {
			db.Close()
		}
		return err
	}
	restore := func(o kivaloo.Options) error {
		return kivaloo.Restore(ctx, bytes.NewReader(backup.Bytes()), dir, o, kivaloo.RestoreOptions{})
	}
	salvage := func(o kivaloo.Options) error {
		_, err := kivaloo.Salvage(ctx, source, dir, kivaloo.SalvageOptions{New: o})
		return err
	}
	refused := func(field string, err error) {
		t.Helper()
		var option *kivaloo.OptionError
		if !errors.As(err, &option) || option.Field != field || err.Error() != "kivaloo: "+field+": "+option.Reason {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, test := range []struct {
		field string
		o     kivaloo.Options
	}{
		{"Options.BlockSize", kivaloo.Options{BlockSize: 500}},
		{"Options.BlockSize", kivaloo.Options{BlockSize: -1}},
		{"Options.BlockSize", kivaloo.Options{BlockSize: 1 << 20}},
		{"Options.CacheBytes", kivaloo.Options{CacheBytes: 1}},
		{"Options.CacheBytes", kivaloo.Options{CacheBytes: -1}},
		{"Options.CacheBytes", kivaloo.Options{CacheBytes: math.MaxInt}},
		{"Options.MaxKey", kivaloo.Options{MaxKey: -1}},
		{"Options.MaxKey", kivaloo.Options{MaxKey: 255, BlockSize: 512}},
		{"Options.MaxValue", kivaloo.Options{MaxValue: 256}},
		{"Options.MaxValue", kivaloo.Options{MaxValue: 200, BlockSize: 512}},
		{"Options.StorageCost", kivaloo.Options{StorageCost: math.NaN()}},
		{"Options.CommitDelay", kivaloo.Options{CommitDelay: time.Hour}},
		{"Options.CommitDelay", kivaloo.Options{CommitDelay: -1}},
		{"Options.MinCommit", kivaloo.Options{MinCommit: -1}},
	} {
		refused(test.field, open(test.o))
		refused(test.field, restore(test.o))
		refused(test.field, salvage(test.o))
	}
	_, err := kivaloo.OpenMemory(kivaloo.Options{ReadOnly: true})
	refused("Options.ReadOnly", err)
	refused("Options.ReadOnly", restore(kivaloo.Options{ReadOnly: true}))
	refused("Options.ReadOnly", salvage(kivaloo.Options{ReadOnly: true}))
	_, err = kivaloo.Salvage(ctx, source, dir, kivaloo.SalvageOptions{BlockSize: 1})
	refused("SalvageOptions.BlockSize", err)
	refused("BackupOptions.Resume", db.Backup(ctx, &bytes.Buffer{}, kivaloo.BackupOptions{Resume: &kivaloo.BackupPosition{}}))
	for _, window := range []int{-1, kivaloo.MaxOutstanding + 1} {
		_, err := kivaloo.Dial(context.Background(), serverAddr, kivaloo.DialOptions{Window: window})
		refused("DialOptions.Window", err)
	}
	if left := names(t, place); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
