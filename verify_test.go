package kivaloo

import (
	"context"
	"errors"
	"testing"

	"kivaloo/disk/simfs"
	"kivaloo/internal/must"
)

// TestVerifyIsNotHeldUp checks that a context bounds Verify's wait for a flush that the disk holds
// up, and that no snapshot is left behind.
func TestVerifyIsNotHeldUp(t *testing.T) {
	fsys := simfs.New("store")
	hold, held := make(chan struct{}), make(chan struct{}, 1)
	db, err := open(fsys, "store", Options{})
	must.Do(t, err)
	must.Do(t, db.Set(t.Context(), []byte("key"), []byte("value")))
	fsys.SetHook(func(c simfs.Call) error {
		if c.Op == simfs.Sync {
			select {
			case held <- struct{}{}:
			default:
			}
			<-hold
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-held
		cancel()
	}()
	if err := db.Verify(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("while the disk does nothing: %v", err)
	}
	close(hold)
	if err := db.Verify(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if n := db.Stats().Snapshots; n != 0 {
		t.Errorf("%d snapshots are left", n)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
