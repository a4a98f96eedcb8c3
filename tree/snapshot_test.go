package tree

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"kivaloo/disk"
	"kivaloo/internal/must"
)

// TestSnapshot takes snapshots of a store that is much larger than its cache, while it is changed
// and cleaned. Each must hold what the store held when it was taken.
func TestSnapshot(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		type taken struct {
			*Snapshot
			holds model
		}
		cfg.StorageCost = 1e7
		h := newHarness(t, newMemStore(512), cfg)
		rng := rand.New(rand.NewPCG(3, 5))
		m := model{}
		var snapshots []taken
		key := func() []byte { return fmt.Appendf(nil, "%0100d", rng.IntN(8000)) }
		for round := range 60 {
			batch := make([]Request, 300)
			for i := range batch {
				batch[i] = randomRequest(rng, m, key, 100)
				m.apply(&batch[i])
			}
			h.now += 300 * time.Millisecond
			h.do(batch...)
			if round%10 == 5 {
				snapshots = append(snapshots, taken{h.snapshot("test"), maps.Clone(m)})
			}
			for _, s := range snapshots {
				h.checkSnapshot(s.Snapshot, s.holds, key())
			}
			if len(snapshots) == 3 { // neither the oldest nor the newest
				h.tree.Release(snapshots[1].Snapshot)
				snapshots = append(snapshots[:1], snapshots[2:]...)
			}
		}
		h.check()
		if h.oldest() <= h.tree.cache.node(snapshots[0].tree.root).oldest {
			t.Error("the snapshots have not kept anything")
		}
		for _, s := range snapshots {
			all := model{}
			for start := ""; ; {
				h.do(Request{Op: Range, Key: []byte(start), Max: 5000, At: s.Snapshot})
				a := h.client.pairs[h.nextID]
				for i, k := range a.keys {
					all[k] = a.values[i]
				}
				if start = a.next; start == "" {
					break
				}
			}
			sameContent(t, all, s.holds)
			h.tree.Release(s.Snapshot)
			h.do(Request{Op: Get, Key: key(), At: s.Snapshot}, Request{Op: Range, At: s.Snapshot, Max: 100})
			for _, id := range []uint64{h.nextID - 1, h.nextID} {
				if err := h.client.failed[id]; !errors.Is(err, ErrSnapshotGone) {
					t.Errorf("request %d of a released snapshot: %v", id, err)
				}
			}
		}
		h.pass(3 * time.Second)
		if last := h.store.frees[len(h.store.frees)-1]; last != h.oldest() {
			t.Errorf("FREE of all before %d, the oldest leaf is %d", last, h.oldest())
		}
		sameContent(t, h.dump(), m)
		h.checkFrames()
	})
}

// checkSnapshot reads a little of a snapshot.
func (h *harness) checkSnapshot(s *Snapshot, holds model, key []byte) {
	h.t.Helper()
	h.do(Request{Op: Get, Key: key, At: s}, Request{Op: Range, Key: key, Max: 1000, At: s})
	got, found := h.value(h.nextID - 1)
	if want, there := holds[string(key)]; found != there || got != want {
		h.t.Fatalf("%q: %q, %t; want %q, %t", key, got, found, want, there)
	}
	a := h.client.pairs[h.nextID]
	must.Do(h.t, a.check(holds, &Request{Key: key, Max: 1000}))
}

// TestDroppedSnapshot checks that a snapshot can be released while reads of it wait for pages.
func TestDroppedSnapshot(t *testing.T) {
	h, leaves := damagedStore(t)
	s := h.snapshot("test")
	h.step(nil, Request{Op: Get, Key: []byte(leaves[3].keys[0]), At: s}, Request{Op: Range, Key: []byte(leaves[9].keys[0]), Max: 1 << 20, At: s})
	s.Drop()
	h.tree.Release(s)
	h.settle()
	for id := h.nextID - 1; id <= h.nextID; id++ {
		if err := h.client.failed[id]; !errors.Is(err, ErrSnapshotGone) {
			t.Errorf("request %d: %v", id, err)
		}
	}
	h.checkFrames()
}

// TestForgottenSnapshot checks that the log names a snapshot that stays open.
func TestForgottenSnapshot(t *testing.T) {
	var text bytes.Buffer
	cfg := testConfig()
	cfg.Log = slog.New(slog.NewTextHandler(&text, nil))
	h := newHarness(t, newMemStore(512), cfg)
	h.step(nil)
	s := h.snapshot("the forgotten one")
	h.pass(snapshotComplaint - 2*time.Second)
	if text.Len() > 0 {
		t.Errorf("too early: %s", &text)
	}
	h.pass(snapshotComplaint + 4*time.Second)
	if n := strings.Count(text.String(), "the forgotten one"); n != 2 {
		t.Errorf("it is named %d times: %s", n, &text)
	}
	h.tree.Release(s)
	h.pass(2 * snapshotComplaint)
	if n := strings.Count(text.String(), "the forgotten one"); n != 2 {
		t.Errorf("it is named after its release: %s", &text)
	}
}

// lease takes or releases a lease.
func (h *harness) lease(op OpCode, id uint64) (uint64, bool, error) {
	h.t.Helper()
	requests := []Request{{Op: op, Snapshot: id}}
	h.do(requests...)
	return requests[0].Snapshot, h.client.done[h.nextID], h.client.failed[h.nextID]
}

// scanLease carries out one Scan of a lease.
func (h *harness) scanLease(id uint64, start string) (a scanAnswer, err error) {
	h.t.Helper()
	h.do(Request{Op: Scan, Snapshot: id, Key: []byte(start), Max: 2000})
	return h.client.scans[h.nextID], h.client.failed[h.nextID]
}

// TestLeaseIsOfOneMoment checks that the Scans that make up a backup show one moment, and that the
// lease ends when it is released.
func TestLeaseIsOfOneMoment(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		h := newHarness(t, newMemStore(512), cfg)
		h.do(sets(0, 1000, "before")...)
		id, _, err := h.lease(TakeLease, 0)
		must.Do(t, err)
		all, want := model{}, model{}
		for a := (scanAnswer{more: true}); a.more; h.do(sets(rand.IntN(1000), 50, "after")...) {
			a, err = h.scanLease(id, a.next)
			must.Do(t, err)
			for i, k := range a.keys {
				all[k] = a.values[i]
			}
		}
		for i := range 1000 {
			want[fmt.Sprintf("%06d", i)] = "before"
		}
		sameContent(t, all, want)
		h.lease(ReleaseLease, id)
		if n := h.tree.Stats().Snapshots; n != 0 {
			t.Errorf("%d snapshots after the end", n)
		}
		if _, err := h.scanLease(id, ""); !errors.Is(err, ErrSnapshotGone) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// TestLeases checks that an unused lease expires, that the number of leases is bounded, and that an
// id is valid after a restart unless there are changes.
func TestLeases(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		h := newHarness(t, newMemStore(1024), cfg)
		h.do(sets(0, 1000, "v")...)
		old, _, err := h.lease(TakeLease, 0)
		must.Do(t, err)
		for i := range maxLeases - 1 {
			h.do(set(fmt.Sprint(i), "v"))
			_, _, err = h.lease(TakeLease, 0)
			must.Do(t, err)
		}
		h.do(set("one more", "v"))
		if _, _, err := h.lease(TakeLease, 0); !errors.Is(err, ErrTooManySnapshots) || !strings.Contains(err.Error(), "64 are open, which is the limit") {
			t.Errorf("with %d leases: %v", maxLeases, err)
		}
		h.pass(leaseTime - 2*time.Second)
		if _, err := h.scanLease(old, "0"); err != nil {
			t.Errorf("before the lease has run out: %v", err)
		}
		h.pass(3 * time.Second)
		if n := h.tree.Stats().Snapshots; n != 1 {
			t.Errorf("%d snapshots, one is in use", n)
		}
		h.pass(leaseTime)
		if _, err := h.scanLease(old, "0"); !errors.Is(err, ErrSnapshotGone) {
			t.Errorf("after the lease has run out: %v", err)
		}

		id, _, err := h.lease(TakeLease, 0)
		must.Do(t, err)
		h = newHarness(t, h.store, cfg)
		if _, err := h.scanLease(id, "5"); err != nil {
			t.Errorf("after a restart: %v", err)
		}
		h = newHarness(t, h.store, cfg)
		h.do(set("again", "v")) // it may be in the journal only, with the same root
		if _, err := h.scanLease(id, "5"); !errors.Is(err, ErrSnapshotGone) {
			t.Errorf("after a restart and a change: %v", err)
		}
	})
}

// TestReadLease checks that Gets and Scans of a lease see one moment, until all users have released
// it or it has expired.
func TestReadLease(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		h := newHarness(t, newMemStore(1024), cfg)
		h.do(sets(0, 1000, "before")...)
		id, ok, err := h.lease(TakeLease, 0)
		if !ok || err != nil || id == 0 {
			t.Fatal(id, ok, err)
		}
		if same, _, _ := h.lease(TakeLease, 0); same != id {
			t.Errorf("ids %d and %d for the same tree", id, same)
		}
		want := model{}
		for i := range 1000 {
			want[fmt.Sprintf("%06d", i)] = "before"
		}
		read := func(h *harness) error {
			t.Helper()
			h.client.model = want
			defer func() { h.client.model = nil }()
			h.do(Request{Op: Get, Key: []byte("000007"), Snapshot: id})
			if err := h.client.failed[h.nextID]; err != nil {
				return err
			}
			for _, reverse := range []bool{false, true} {
				h.walk(Request{Max: 5000, Snapshot: id, Reverse: reverse})
			}
			return nil
		}
		for range 5 {
			h.do(sets(rand.IntN(1000), 50, "after")...)
			h.pass(leaseTime - 3*time.Second)
			must.Do(t, read(h))
		}
		h.lease(ReleaseLease, id)
		must.Do(t, read(h))
		if _, ok, _ := h.lease(ReleaseLease, id); !ok {
			t.Error("it is given up by both, and was not there")
		}
		if err := read(h); !errors.Is(err, ErrSnapshotGone) || h.tree.Stats().Snapshots != 0 {
			t.Errorf("after it was given up: %v, %d snapshots", err, h.tree.Stats().Snapshots)
		}
		if _, ok, _ := h.lease(ReleaseLease, id); ok {
			t.Error("it is given up a third time")
		}

		want = h.dump()
		id, _, _ = h.lease(TakeLease, 0)
		h = newHarness(t, h.store, cfg)
		if err := read(h); err != nil {
			t.Errorf("after a restart: %v", err)
		}
		h.pass(leaseTime + 2*time.Second)
		if n := h.tree.Stats().Snapshots; n != 0 {
			t.Errorf("%d snapshots after the lease has run out", n)
		}
		h.do(set("x", "y"))
		if err := read(h); !errors.Is(err, ErrSnapshotGone) {
			t.Errorf("after a change: %v", err)
		}
	})
}

// TestAtomic checks that an atomic batch is one commit, however long it is.
func TestAtomic(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		const n = 3000 // more than other commits take
		h := newHarness(t, newMemStore(512), cfg)
		h.step(nil, sets(0, 50, "a")...)
		before := len(h.store.appends)
		h.atomic(sets(0, n, "b")...)
		if n := len(h.store.appends) - before; n > 2 {
			t.Errorf("%d appends", n)
		}
		if got := h.dump(); len(got) != n || got["000000"] != "b" {
			t.Errorf("%d pairs, the first is %q", len(got), got["000000"])
		}
		h.check()
		h.checkFrames()
	})
}

// TestAtomicDamaged checks that if one request of an atomic batch fails, none is carried out, and
// that other requests are.
func TestAtomicDamaged(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		h, leaves := damagedStore(t)
		h = newHarness(t, h.store, cfg)
		bad, good := leaves[len(leaves)/3], leaves[2*len(leaves)/3]
		before := model(newHarness(t, h.store.clone(), cfg).dump())
		h.store.unread[bad.block] = errDisk
		other := newRecorder()
		h.stepFor(other, nil, set(good.keys[1], "other"))
		otherID := h.nextID
		modify := func(key string) Request { return Request{Op: Modify, Key: []byte(key), Value: []byte("together")} }
		h.atomic(modify(good.keys[0]), modify(bad.keys[0]), modify(leaves[0].keys[0]))
		for id := h.nextID - 2; id <= h.nextID; id++ {
			if err := h.client.failed[id]; !errors.Is(err, errDisk) {
				t.Errorf("request %d: %v", id, err)
			}
		}
		if !other.done[otherID] {
			t.Error("somebody else's request has not been carried out")
		}
		delete(h.store.unread, bad.block)
		before[good.keys[1]] = "other"
		h = newHarness(t, h.store, cfg)
		sameContent(t, h.dump(), before)
	})
}

// TestLeaseOfAnotherCopy checks that two copies of a store with different changes do not mistake
// each other's leases for their own.
func TestLeaseOfAnotherCopy(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		h := newHarness(t, newMemStore(1024), cfg)
		h.do(sets(0, 1000, "v")...)
		h.pass(2 * flushIdleAfter)
		other := h.store.clone()
		var ids [2]uint64
		for i, store := range []*memStore{h.store, other} {
			h := newHarness(t, store, cfg)
			h.do(set("000000", fmt.Sprint(i)))
			h.pass(2 * flushIdleAfter)
			var err error
			ids[i], _, err = h.lease(TakeLease, 0)
			must.Do(t, err)
		}
		if ids[0] == ids[1] {
			t.Error("both have the same id")
		}
		h = newHarness(t, other, cfg)
		if _, err := h.scanLease(ids[0], "5"); !errors.Is(err, ErrSnapshotGone) {
			t.Errorf("a lease of one copy goes on in the other: %v", err)
		}
	})
}

// TestSnapshotOnFullDisk checks that a snapshot fails if no memtable can be flushed and no more can
// be frozen. It must not wait until the disk has space again.
func TestSnapshotOnFullDisk(t *testing.T) {
	cfg := testConfig()
	cfg.JournalBytes = 1 << 20
	h := newHarness(t, newMemStore(512), cfg)
	h.do(set("a", "first"))
	h.store.fail = disk.ErrNoSpace
	h.pass(flushIdleAfter)
	for i := 0; len(h.tree.view.tables) <= maxFrozen; i++ {
		h.do(set("a", fmt.Sprint(i)))
		h.tree.Release(h.snapshot("test"))
	}
	h.do(set("a", "last"))
	var taken *Snapshot
	var failed error
	take := func() {
		h.tree.TakeSnapshot("test", func(s *Snapshot, err error) { taken, failed = s, err })
		h.step(nil)
	}
	if take(); taken != nil || !errors.Is(failed, disk.ErrNoSpace) {
		t.Fatalf("got %v, %v", taken, failed)
	}
	if s := h.tree.Stats(); !errors.Is(s.PutOff, disk.ErrNoSpace) || s.Refusal != nil {
		t.Errorf("flushes are put off because of %v, changes are refused because of %v", s.PutOff, s.Refusal)
	}
	h.pass(time.Minute)
	if s := h.tree.Stats(); s.PutOff != nil {
		t.Errorf("with space: flushes are put off because of %v", s.PutOff)
	}
	if take(); taken == nil {
		t.Fatalf("with space: %v", failed)
	}
	if value, _ := h.get("a"); value != "last" {
		t.Errorf("holds %q", value)
	}
}
