package kivaloo_test

import (
	"errors"
	"runtime"
	"testing"

	"kivaloo"
	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// TestClientSnapshotEnds checks that Close and the garbage collector release the server's snapshot,
// and that a snapshot lost by the server is reported as gone.
func TestClientSnapshotEnds(t *testing.T) {
	released := make(chan uint64, 10)
	lost := false // set before the request that it affects
	s := &wiretest.Server{Extensions: true}
	s.Hook = func(id uint64, r wire.KVRequest) ([]byte, wiretest.Verdict) {
		switch {
		case r.Type == wire.TypeRelease:
			released <- r.Snapshot
		case lost && r.Type == wire.TypeSnapshot:
			return wire.AppendPacket(nil, id, wire.AppendRefusal(nil, wire.StatusTooMany, "")), wiretest.WithThis
		case lost && r.Snapshot != 0:
			return wire.AppendPacket(nil, id, wire.AppendRefusal(nil, wire.StatusGone, "")), wiretest.WithThis
		}
		return nil, wiretest.Normally
	}
	c := dialFake(t, s)
	at, err := c.Snapshot(t.Context())
	must.Do(t, err)
	must.Do(t, errors.Join(at.Close(), at.Close()))
	if n := <-released; n != 1 {
		t.Errorf("snapshot %d was released", n)
	}
	if _, err := at.Get(t.Context(), []byte("k")); !errors.Is(err, kivaloo.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}

	_, err = c.Snapshot(t.Context())
	must.Do(t, err)
	eventually(t, func() bool {
		runtime.GC()
		return len(released) > 0
	})

	at, err = c.Snapshot(t.Context())
	must.Do(t, err)
	defer at.Close()
	lost = true
	_, getErr := at.Get(t.Context(), []byte("k"))
	_, manyErr := at.GetMany(t.Context(), []byte("k"))
	_, countErr := at.Count(t.Context(), kivaloo.ScanOptions{})
	for _, err := range []error{getErr, manyErr, countErr, drain(at.Range(t.Context(), nil, nil))} {
		if !errors.Is(err, kivaloo.ErrSnapshotGone) {
			t.Errorf("a lost one: %v", err)
		}
	}
	if _, err := c.Snapshot(t.Context()); !errors.Is(err, kivaloo.ErrTooManySnapshots) {
		t.Errorf("one too many: %v", err)
	}
}
