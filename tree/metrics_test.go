package tree

import (
	"testing"
	"time"

	"kivaloo/actors"
	"kivaloo/disk"
)

// wantCounts checks the number of durations and their sum.
func wantCounts(t *testing.T, what string, d *actors.Durations, n uint64, sum time.Duration) {
	t.Helper()
	if c := d.Read(); c.Total() != n || c.Sum != uint64(sum) {
		t.Errorf("%s: %d that took %v, want %d, %v", what, c.Total(), time.Duration(c.Sum), n, sum)
	}
}

// wantRequests checks the counts of requests. Those not given must be 0.
func wantRequests(t *testing.T, m *Metrics, want map[OpCode][Statuses]uint64) {
	t.Helper()
	for op := range OpCode(OpCodes) {
		for s := range Status(Statuses) {
			if got := m.Requests(op, s); got != want[op][s] {
				t.Errorf("%d requests %v with status %v, want %d", got, op, s, want[op][s])
			}
		}
	}
}

func TestMetricsOfChanges(t *testing.T) {
	h := newHarness(t, newMemStore(512), testConfig())
	m := &Metrics{}
	h.tree.Measure(m)
	h.now = time.Second
	h.step(nil, set("a", "1"), set("b", "2"), Request{Op: Add, Key: []byte("a")})
	wantCounts(t, "commits under way", &m.Commit, 0, 0)
	h.now += 5 * time.Millisecond
	h.settle()
	wantCounts(t, "commits", &m.Commit, 1, 5*time.Millisecond)
	wantCounts(t, "appends", &m.Disk, 1, 5*time.Millisecond)
	h.do(Request{Op: Modify, Key: []byte("none")}) // nothing to commit
	wantCounts(t, "commits", &m.Commit, 1, 5*time.Millisecond)
	if c := m.CommitSize.Read(); c.Total() != 1 || c.Sum != 2 {
		t.Errorf("%d commits of %d changes", c.Total(), c.Sum)
	}

	h.step(nil, set("c", "3"))
	op := h.take(h.heldOf(disk.Append))
	op.Err = errDisk
	h.step(op)
	h.do(Request{Op: Delete, Key: []byte("a")})
	wantRequests(t, m, map[OpCode][Statuses]uint64{
		Set: {StatusOK: 2, StatusFailed: 1}, Add: {StatusNotDone: 1}, Modify: {StatusNotDone: 1}, Delete: {StatusFailed: 1},
	})
	if err := h.tree.Stats().Refusal; err == nil {
		t.Error("nothing is said about the failure")
	}
}

func TestMetricsOfReads(t *testing.T) {
	store := newMemStore(512)
	h := newHarness(t, store, testConfig())
	h.do(sets(0, 100, "value")...)

	h = newHarness(t, store, testConfig()) // only the root is in memory
	m := &Metrics{}
	h.tree.Measure(m)
	h.now = time.Second
	h.step(nil, get("000001"))
	if m.CacheMisses() != 1 || m.CacheHits() != 0 {
		t.Errorf("%d misses, %d hits", m.CacheMisses(), m.CacheHits())
	}
	h.now += 2 * time.Millisecond
	h.settle()
	wantCounts(t, "pages read", &m.Disk, m.CacheMisses(), 2*time.Millisecond)
	h.do(get("000001"), get("no"), Request{Op: Range, Max: 100})
	if m.CacheHits() != 1 { // the other one had to wait
		t.Errorf("%d hits", m.CacheHits())
	}
	wantRequests(t, m, map[OpCode][Statuses]uint64{Get: {StatusOK: 2, StatusNotDone: 1}, Range: {StatusOK: 1}})

	h.tree.Step(Inputs{Now: h.now, Requests: &Batch{Client: h.client, Requests: []Request{get("000001")}, Pushed: h.now - 3*time.Millisecond}})
	wantCounts(t, "waiting", &m.Queue, 1, 3*time.Millisecond)

	h.tree.Measure(nil)
	h.do(get("000001"))
	h.tree.Measure(m)
	h.step(nil)
	wantRequests(t, m, map[OpCode][Statuses]uint64{Get: {StatusOK: 3, StatusNotDone: 1}, Range: {StatusOK: 1}})
}

// TestMetricsOfAbandonedRequests checks that requests of an abandoned client are counted as
// dropped.
func TestMetricsOfAbandonedRequests(t *testing.T) {
	h := newHarness(t, newMemStore(512), testConfig())
	m := &Metrics{}
	h.tree.Measure(m)
	gone := newRecorder()
	gone.abandoned = true
	h.stepFor(gone, nil, set("a", "1"))
	h.settle()
	wantRequests(t, m, map[OpCode][Statuses]uint64{Set: {StatusDropped: 1}})
}

// TestNamesOfOperations checks that everything measured has its own name.
func TestNamesOfOperations(t *testing.T) {
	seen := make(map[string]bool)
	for op := range OpCode(OpCodes) {
		seen[op.String()] = true
	}
	for s := range Status(Statuses) {
		seen[s.String()] = true
	}
	if len(seen) != OpCodes+Statuses || seen[""] {
		t.Errorf("names %v", seen)
	}
	if Get.String() != "get" || CAD.String() != "cad" || Set.String() != "set" || StatusDropped.String() != "dropped" {
		t.Error("the names are not in order")
	}
}

// TestEvents checks that cleaning is reported while it goes on, and snapshots when they end.
func TestEvents(t *testing.T) {
	cfg := testConfig()
	cfg.StorageCost = 1e9 // so that cleaning starts at once
	h := newHarness(t, newMemStore(512), cfg)
	h.do(sets(0, 80, "old")...)
	for first := 80; first < 1000; first += 80 {
		h.do(sets(first, 80, "new")...)
	}
	events := &actors.Events{}
	h.tree.Note(events)
	snapshot := h.snapshot("test")
	cleaning := func() bool {
		list, _ := events.Since(0)
		return len(list) > 0 && list[0].Kind == EventCleaning && list[0].Ongoing
	}
	told := false
	for range 20 {
		h.pass(time.Second)
		told = told || cleaning()
	}
	if !told {
		t.Error("old leaves are rewritten, and that is not told")
	}
	h.pass(100 * time.Second)
	if cleaning() {
		t.Error("all is clean, and cleaning is said to go on")
	}
	h.tree.Release(snapshot)
	h.tree.Release(snapshot)
	list, _ := events.Since(0)
	if len(list) < 2 || list[0].Kind != EventCleaning {
		t.Fatalf("events: %+v", list)
	}
	if last := list[len(list)-1]; last.Kind != EventSnapshot || last.Took < 100*time.Second || list[len(list)-2].Kind == EventSnapshot {
		t.Errorf("events: %+v", list)
	}
}
