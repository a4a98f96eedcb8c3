package kivaloo

import (
	"errors"
	"slices"
	"syscall"
	"testing"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/internal/must"
)

// TestFullDiskLeavesChangeBehind checks changes whose append met a full disk. If the append could
// be undone, the change is certainly not made. If undoing failed too, the next start may find the
// change, and the error says so.
func TestFullDiskLeavesChangeBehind(t *testing.T) {
	for _, test := range []struct {
		what  string
		fails []simfs.Op
		sent  bool
	}{
		{"it is taken back", []simfs.Op{simfs.Sync}, false},
		{"it is left behind", []simfs.Op{simfs.Sync, simfs.Truncate, simfs.Remove}, true},
	} {
		t.Run(test.what, func(t *testing.T) {
			fsys := simfs.New("store")
			db, err := open(fsys, "store", Options{})
			must.Do(t, err)
			must.Do(t, db.Set(t.Context(), []byte("key"), []byte("old")))
			full := true
			fsys.SetHook(func(c simfs.Call) error {
				if !full || !slices.Contains(test.fails, c.Op) {
					return nil
				}
				full = test.sent // if undoing works, only the first call fails
				return syscall.ENOSPC
			})
			err = db.Set(t.Context(), []byte("key"), []byte("new"))
			var op *OpError
			if !errors.As(err, &op) || op.Sent != test.sent || !errors.Is(err, disk.ErrNoSpace) || errors.Is(err, disk.ErrLeftBehind) != test.sent {
				t.Errorf("Set: %v", err)
			}
			if test.sent && !db.Stats().ReadOnly {
				t.Error("Stats do not say that it is read-only")
			}
			if value, err := db.Get(t.Context(), []byte("key")); string(value) != "old" {
				t.Errorf("it is %q, %v", value, err)
			}
			killed := fsys.Kill()
			fsys.SetHook(nil)
			must.Do(t, db.Close())
			db, err = open(killed, "store", Options{})
			must.Do(t, err)
			want := map[bool]string{false: "old", true: "new"}[test.sent]
			if value, err := db.Get(t.Context(), []byte("key")); string(value) != want {
				t.Errorf("after a kill it is %q, %v", value, err)
			}
			must.Do(t, db.Close())
		})
	}
}
