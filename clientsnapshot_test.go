package kivaloo_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

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

// TestEndsPassFullWindow checks that closed Snapshots and cancelled Watches are ended at the server
// although the window is full, and on the connection that they belong to.
func TestEndsPassFullWindow(t *testing.T) {
	const ends = 3
	released, ended := make(chan uint64, ends), make(chan uint64, ends)
	watching := make(chan uint64, ends)
	s := &wiretest.Server{Extensions: true}
	s.Hook = func(id uint64, r wire.KVRequest) ([]byte, wiretest.Verdict) {
		switch {
		case r.Type == wire.TypeRelease:
			released <- r.Snapshot
		case r.Type == wire.TypeUnwatch:
			ended <- r.Watch
		case r.Type == wire.TypeWatch && r.Wait > 0:
			watching <- id
			return nil, wiretest.WithThis
		case r.Type == wire.TypeGet:
			return nil, wiretest.WithThis // no answer
		}
		return nil, wiretest.Normally
	}
	c := dialFake(t, s, kivaloo.DialOptions{Window: ends + 1})
	var snapshots []kivaloo.Snapshot
	for range ends {
		at, err := c.Snapshot(t.Context())
		must.Do(t, err)
		snapshots = append(snapshots, at)
	}
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	want := map[uint64]bool{}
	for range ends {
		running.Go(func() {
			for range c.Watch(ctx, kivaloo.WatchOptions{}) {
			}
		})
		want[<-watching] = true
	}
	running.Go(func() { c.Get(ctx, []byte("k")) })
	eventually(t, func() bool { return c.Stats().Outstanding == ends+1 })
	for _, at := range snapshots {
		must.Do(t, at.Close())
		if len(released) == 0 {
			t.Fatal("a snapshot is closed, but not released")
		}
		<-released
	}
	cancel()
	for range ends {
		select {
		case id := <-ended:
			delete(want, id)
		case <-time.After(10 * time.Second):
			t.Fatal("a cancelled Watch goes on at the server")
		}
	}
	if len(want) > 0 {
		t.Errorf("the Watches %v go on", want)
	}
}

// TestSnapshotNobodyWaitsFor checks that a snapshot is released if the server takes it after its
// caller has left.
func TestSnapshotNobodyWaitsFor(t *testing.T) {
	asked, answer, released := make(chan struct{}), make(chan struct{}), make(chan uint64, 1)
	s := &wiretest.Server{Extensions: true}
	s.Hook = func(id uint64, r wire.KVRequest) ([]byte, wiretest.Verdict) {
		switch r.Type {
		case wire.TypeSnapshot:
			close(asked)
			<-answer
		case wire.TypeRelease:
			released <- r.Snapshot
		}
		return nil, wiretest.Normally
	}
	c := dialFake(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := c.Snapshot(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	close(answer)
	select {
	case <-released:
	case <-time.After(10 * time.Second):
		t.Error("the snapshot stays at the server")
	}
}
