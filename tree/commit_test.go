package tree

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"kivaloo/disk"
	"kivaloo/tree/journal"
)

// wantDone fails the test unless the last n requests were answered, in order, with the given values
// of done.
func (h *harness) wantDone(want ...bool) {
	h.t.Helper()
	first := h.nextID - uint64(len(want)) + 1
	for i, w := range want {
		if got, ok := h.client.done[first+uint64(i)]; !ok || got != w {
			h.t.Errorf("request %d: answered %t: %t, want %t (%v)", i, ok, got, w, h.client.failed[first+uint64(i)])
		}
	}
}

// TestSequence runs a sequence in which each request depends on earlier ones.
func TestSequence(t *testing.T) {
	x := func(op OpCode, old, value string) Request {
		return Request{Op: op, Key: []byte("x"), Old: []byte(old), Value: []byte(value)}
	}
	sequence := []Request{
		x(Set, "", "1"), x(Add, "", "2"), x(CAS, "1", "3"), x(CAS, "1", "4"), x(Modify, "", "5"),
		x(CAD, "3", ""), x(CAD, "5", ""), x(Modify, "", "6"), x(Delete, "", ""), x(Add, "", "7"),
	}
	want := []bool{true, false, true, false, true, false, true, false, true, true}
	inBothModes(t, func(t *testing.T, cfg Config) {
		h := newHarness(t, newMemStore(512), cfg)
		h.do(sequence...)
		h.wantDone(want...)
		if n := len(h.store.appends); n != 2 { // the first page of the store is one of them
			t.Errorf("%d appends", n)
		}
		if v, _ := h.get("x"); v != "7" {
			t.Errorf("x holds %q", v)
		}
		h = newHarness(t, newMemStore(512), cfg)
		for i, r := range sequence {
			h.do(r)
			h.wantDone(want[i])
		}
		if v, _ := h.get("x"); v != "7" {
			t.Errorf("one by one: x holds %q", v)
		}
	})
}

// TestAnswers checks that changes are answered once their append is acknowledged, not before, all
// together and in order of arrival.
func TestAnswers(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		h := newHarness(t, newMemStore(512), cfg)
		rng := rand.New(rand.NewPCG(1, 1))
		m := model{}
		for range 20 {
			batch := make([]Request, 60)
			for i := range batch {
				batch[i] = randomRequest(rng, m, func() []byte { return fmt.Appendf(nil, "%d", rng.IntN(100)) }, 20)
				m.apply(&batch[i])
			}
			batch[7] = set("always", fmt.Sprint(rng.Uint64())) // so that there is something to append
			m.apply(&batch[7])
			h.client.order = nil
			first := h.nextID + 1
			h.step(nil, batch...)
			if n := len(h.client.order); n > 0 {
				t.Fatalf("%d answers before the append has come back", n)
			}
			h.settle()
			if len(h.client.order) != len(batch) {
				t.Fatalf("%d answers to %d requests", len(h.client.order), len(batch))
			}
			for i, id := range h.client.order {
				if id != first+uint64(i) {
					t.Fatalf("answers in the order %v", h.client.order)
				}
			}
		}
		if h.client.released == 0 || h.tree.Busy() {
			t.Errorf("%d batches released, busy: %t", h.client.released, h.tree.Busy())
		}
	})
}

// TestNoEffect checks that requests that change nothing write nothing, and are answered at once.
func TestNoEffect(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		h := newHarness(t, newMemStore(512), cfg)
		h.do(set("x", "1"), set("y", ""))
		appends := len(h.store.appends)
		requests := []Request{
			{Op: Add, Key: []byte("x"), Value: []byte("2")},
			{Op: Modify, Key: []byte("z"), Value: []byte("2")},
			{Op: CAS, Key: []byte("x"), Old: []byte(""), Value: []byte("2")},
			{Op: CAS, Key: []byte("z"), Old: []byte(""), Value: []byte("2")},
			{Op: CAD, Key: []byte("x"), Old: []byte("2")},
			{Op: CAD, Key: []byte("z"), Old: []byte("")},
		}
		h.step(nil, requests...)
		h.wantDone(make([]bool, len(requests))...)
		if i := h.heldOf(disk.Append); i >= 0 || len(h.store.appends) != appends {
			t.Error("something is written")
		}
	})
}

// TestNoEffectWaits checks that a request that changes nothing waits if its outcome depends on a
// change that is not durable yet.
func TestNoEffectWaits(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		for _, fail := range []error{nil, errDisk} {
			h := newHarness(t, newMemStore(512), cfg)
			h.store.fail = fail
			h.step(nil, set("x", "1"))
			h.step(nil, Request{Op: Add, Key: []byte("x"), Value: []byte("2")})
			if n := len(h.client.answered); n > 0 {
				t.Fatalf("%d answers before anything is durable", n)
			}
			h.settle()
			if done, ok := h.client.done[2]; done || ok != (fail == nil) || (h.client.failed[2] != nil) != (fail != nil) {
				t.Errorf("append fails with %v: answered %t, done %t, failed with %v", fail, ok, done, h.client.failed[2])
			}
			if v, found := h.get("x"); found != (fail == nil) {
				t.Errorf("append fails with %v: x holds %q, %t", fail, v, found)
			}
			if n := len(h.store.appends); n != 2 && fail == nil || n != 1 && fail != nil {
				t.Errorf("append fails with %v: %d appends", fail, n)
			}
		}
	})
}

// TestReadsSeeCommitted checks that reads see what is durable, up to the step in which the append
// completes, and that changes see everything decided.
func TestReadsSeeCommitted(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		h := newHarness(t, newMemStore(512), cfg)
		h.do(set("x", "old"))
		read := func(want string) {
			t.Helper()
			h.step(nil, get("x"), Request{Op: Range, Key: []byte(""), Max: 1000}, get("x"))
			a := h.client.pairs[h.nextID-1]
			if len(a.values) != 1 || a.values[0] != want {
				t.Errorf("Range: %q, want %q", a.values, want)
			}
			for _, id := range []uint64{h.nextID, h.nextID - 2} {
				if v, _ := h.value(id); v != want {
					t.Errorf("Get: %q, want %q", v, want)
				}
			}
		}
		h.step(nil, set("x", "new"), get("x"))
		if v, _ := h.value(h.nextID); v != "old" {
			t.Errorf("behind a change that is not durable: %q", v)
		}
		read("old")
		h.step(nil, Request{Op: CAS, Key: []byte("x"), Old: []byte("new"), Value: []byte("newest")})
		swap := h.nextID
		read("old")

		op := h.take(h.heldOf(disk.Append))
		h.store.run(op)
		read("old") // the store has it, but the append is not complete
		h.step(op, get("x"))
		if v, _ := h.value(h.nextID); v != "new" {
			t.Errorf("in the step that brings the acknowledgement: %q", v)
		}
		read("new")
		h.settle()
		read("newest")
		if !h.client.done[swap] {
			t.Error("a change has not seen the one before it")
		}
	})
}

// TestOneRecordPerAppend checks that a key written many times during one append takes one record in
// the next one, and that its Gets do not slow down.
func TestOneRecordPerAppend(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		cfg.CachePages = 1 << 14
		h := newHarness(t, newMemStore(512), cfg)
		h.step(nil, set("other", "1")) // an append is under way
		for i := range 4096 {
			h.step(nil, set("hot", fmt.Sprintf("%0*d", 10+i/1024, i)))
		}
		held := len(h.held)
		h.settle()
		if n := len(h.store.appends); held != 1 || n != 3 {
			t.Errorf("%d operations held, %d appends", held, n)
		}
		if blocks := h.store.appends[2]; cfg.JournalBytes > 0 && blocks != 1 {
			t.Errorf("4096 changes of a key take %d blocks", blocks)
		}
		if cfg.JournalBytes > 0 {
			records := 0
			block, err := journal.ParseAt(h.store.next()-1, h.store.page(h.store.next()-1))
			for rest := block.Payload; err == nil && len(rest) > 0; records++ {
				_, rest, err = journal.Next(rest)
			}
			if records != 1 || err != nil {
				t.Errorf("%d records, %v", records, err)
			}
		}
		if v, _ := h.get("hot"); v != fmt.Sprintf("%0*d", 13, 4095) {
			t.Errorf("hot holds %q", v)
		}
	})
}

// TestCommitLimit checks that the pages of a commit without a journal take at most a quarter of the
// cache.
func TestCommitLimit(t *testing.T) {
	h := newHarness(t, newMemStore(512), testConfig())
	for i := 0; h.tree.view.tree.height < 2; i += 80 {
		h.do(sets(i, 80, "some value or other")...)
	}
	h.do(set("000000", "x"))
	first := h.nextID + 1
	h.step(nil, sets(0, 300, "changed")...)
	for _, want := range []int{85, 170, 255, 300} {
		h.finishAll(disk.Read)
		h.finish(h.heldOf(disk.Append))
		answered := 0
		for id := first; id <= h.nextID; id++ {
			if h.client.done[id] {
				answered++
			}
		}
		if answered != want {
			t.Errorf("%d requests have been answered, want %d", answered, want)
		}
	}
}

// TestCommitTiming drives commits by the clock: the delay, and the count that cuts it short.
func TestCommitTiming(t *testing.T) {
	type step struct {
		at       time.Duration
		set      int // requests that arrive
		finish   bool
		answered int // answers since the start, after the step
		inAppend int // requests in the current append; 0: none
	}
	const ms = time.Millisecond
	for _, test := range []struct {
		what  string
		delay time.Duration
		count int
		cache int
		steps []step
	}{
		{"no delay", 0, 0, 0, []step{
			{at: 0, set: 1, inAppend: 1},
			{at: 1, finish: true, answered: 1},
			{at: 2, set: 3, inAppend: 3, answered: 1},
			{at: 3, set: 2, inAppend: 3, answered: 1},
			{at: 4, finish: true, inAppend: 2, answered: 4},
			{at: 5, finish: true, answered: 6},
		}},
		{"delay", 500 * ms, 0, 0, []step{
			{at: 0, set: 1},
			{at: 499 * ms},
			{at: 500 * ms, inAppend: 1},
			{at: 501 * ms, finish: true, answered: 1},
			{at: 2000 * ms, answered: 1},
			{at: 2100 * ms, set: 2, answered: 1}, // the timer starts with the first request
			{at: 2400 * ms, set: 2, answered: 1},
			{at: 2599 * ms, answered: 1},
			{at: 2600 * ms, inAppend: 4, answered: 1},
			{at: 2601 * ms, finish: true, answered: 5},
		}},
		{"12 with a count of 5", 500 * ms, 5, 0, []step{
			{at: 0, set: 12, inAppend: 5},
			{at: 10 * ms, finish: true, inAppend: 7, answered: 5},
			{at: 20 * ms, finish: true, answered: 12},
		}},
		{"less than the count", 500 * ms, 5, 0, []step{
			{at: 0, set: 4},
			{at: 100 * ms, set: 1, inAppend: 5},
			{at: 200 * ms, finish: true, answered: 5},
			{at: 300 * ms, set: 4, answered: 5},
			{at: 799 * ms, answered: 5},
			{at: 800 * ms, inAppend: 4, answered: 5},
			{at: 801 * ms, finish: true, answered: 9},
		}},
		{"expires while a batch runs", 500 * ms, 0, 0, []step{
			{at: 0, set: 1},
			{at: 500 * ms, inAppend: 1},
			{at: 600 * ms, set: 1, inAppend: 1},
			{at: 1200 * ms, inAppend: 1}, // expired since 1100 ms
			{at: 1300 * ms, finish: true, inAppend: 1, answered: 1},
			{at: 1301 * ms, finish: true, answered: 2},
		}},
		{"more than a commit may have", time.Second, 0, 0, []step{
			{at: 0, set: 300},
			{at: 1000 * ms, inAppend: 256},
			{at: 1100 * ms, finish: true, inAppend: 44, answered: 256}, // they have waited long enough
			{at: 1200 * ms, finish: true, answered: 300},
		}},
	} {
		t.Run(test.what, func(t *testing.T) {
			cfg := testConfig()
			cfg.CommitDelay, cfg.MinCommit = test.delay, test.count
			if test.cache > 0 {
				cfg.CachePages = test.cache
			}
			h := newHarness(t, newMemStore(131072), cfg) // everything fits into the root
			for i, s := range test.steps {
				if s.at > h.wake {
					// The tree has asked to be woken in time for the next event.
					h.now = h.wake
					h.step(nil)
					h.finishAll(disk.Free)
				}
				h.now = s.at
				h.step(nil, sets(i*10000, s.set, "v")...)
				h.finishAll(disk.Free)
				if s.finish {
					h.finish(h.heldOf(disk.Append))
				}
				inAppend := h.tree.writer.syncing
				if n := len(h.client.done); n != s.answered || inAppend != s.inAppend {
					t.Fatalf("step %d, at %v: %d answered, %d under way; want %d, %d", i, s.at, n, inAppend, s.answered, s.inAppend)
				}
			}
			if h.tree.Busy() {
				t.Error("still busy")
			}
		})
	}
}

// TestWakeForTimer checks that the tree asks for a step when its commit timer expires.
func TestWakeForTimer(t *testing.T) {
	cfg := testConfig()
	cfg.CommitDelay = 300 * time.Millisecond
	h := newHarness(t, newMemStore(512), cfg)
	h.step(nil)
	h.now = 100 * time.Millisecond
	h.step(nil, set("x", "1"))
	if h.wake != 400*time.Millisecond {
		t.Errorf("wants to be woken at %v", h.wake)
	}
	h.now = 400 * time.Millisecond
	h.step(nil)
	if h.heldOf(disk.Append) < 0 {
		t.Error("no append when the timer has run out")
	}
	if h.wake != time.Second {
		t.Errorf("wants to be woken at %v", h.wake)
	}
	h.settle()
}

// TestAbandoned checks that after a client has gone, its undecided changes are dropped and its
// decided ones are carried out.
func TestAbandoned(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		cfg.CommitDelay = 10 * time.Millisecond
		h := newHarness(t, newMemStore(512), cfg)
		gone := newRecorder()
		h.stepFor(gone, nil, set("started", "1"))
		h.now += cfg.CommitDelay
		h.stepFor(gone, nil, set("queued", "1"), get("read"), set("queued too", "1"))
		h.now += cfg.CommitDelay
		h.stepFor(gone, nil, set("queued", "2"), get("read"), set("queued too", "2"))
		queued := []uint64{h.nextID - 2, h.nextID}
		h.step(nil, set("other", "1"))
		gone.abandoned = true
		h.settle()
		h.pass(time.Second)
		for _, id := range queued {
			if !gone.dropped[id] {
				t.Errorf("request %d has not been dropped", id)
			}
		}
		if len(gone.dropped) != len(queued) || !gone.done[1] || !gone.done[2] || !gone.missed[3] || !gone.missed[6] || gone.released != 3 {
			t.Errorf("dropped %v, done %v, read %v, %d batches released", gone.dropped, gone.done, gone.missed, gone.released)
		}
		h.wantDone(true)
		sameContent(t, h.dump(), model{"started": "1", "queued": "1", "queued too": "1", "other": "1"})
		h.check()
	})
}

// TestEmptyBatch checks that a batch without requests is released.
func TestEmptyBatch(t *testing.T) {
	h := newHarness(t, newMemStore(512), testConfig())
	h.tree.Step(Inputs{Requests: &Batch{Client: h.client}})
	if h.client.released != 1 {
		t.Error("not released")
	}
}

// TestManyClients checks that each client gets its own answers and one Flush per step with answers.
func TestManyClients(t *testing.T) {
	h := newHarness(t, newMemStore(512), testConfig())
	clients := make([]*recorder, 5)
	ids := make([][]uint64, len(clients))
	for i := range clients {
		clients[i] = newRecorder()
	}
	for range 10 {
		for i, c := range clients {
			h.stepFor(c, nil, set(fmt.Sprint(i), fmt.Sprint(h.nextID)), get(fmt.Sprint(i)))
			ids[i] = append(ids[i], h.nextID-1)
		}
	}
	h.settle()
	for i, c := range clients {
		if !slices.Equal(c.order, ids[i]) {
			t.Errorf("client %d has answers to %v, want %v", i, c.order, ids[i])
		}
		if c.released != 10 || c.unflushed {
			t.Errorf("client %d: %d batches released, left without a flush: %t", i, c.released, c.unflushed)
		}
	}
}
