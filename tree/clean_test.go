package tree

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"kivaloo/disk"
)

// oldStore returns a store of which some leaves are much older than others, and what is in it. Nothing of it has
// been freed.
func oldStore(t *testing.T) (*memStore, model) {
	t.Helper()
	s := newMemStore(512)
	h := newHarness(t, s, testConfig())
	m := model{}
	change := func(requests []Request) {
		m.applyAll(requests)
		h.do(requests...)
	}
	for i := 0; i < 1000; i += 100 {
		change(sets(i, 100, "some value"))
	}
	for round := range 30 {
		change(sets(round%5*20, 100, fmt.Sprint("value ", round)))
	}
	return s, m
}

func cleaningConfig(storageCost float64) Config {
	cfg := testConfig()
	cfg.StorageCost = storageCost
	return cfg
}

// lots is a storage cost at which all that is old is to be cleaned at once.
const lots = 1e9

// tickTo lets the clock go from tick to tick, without carrying anything out but FREEs and reads.
func (h *harness) tickTo(at time.Duration) {
	for h.now < at {
		h.now = min(h.wake, at)
		h.step(nil)
		h.finishAll(disk.Free)
		h.finishAll(disk.Read)
	}
}

// TestCleaningRate: debt grows with the garbage, by the second.
func TestCleaningRate(t *testing.T) {
	// A block that lies about for a month costs as much as a thousandth of an I/O, per kB.
	if got, want := cleaningRate(2000, 3), 2000.0/1e9/2592000*3*1e6; math.Abs(got/want-1) > 1e-12 {
		t.Errorf("rate %g, want %g", got, want)
	}
	s, _ := oldStore(t)
	const cost = 20
	h := newHarness(t, s, cleaningConfig(cost))
	h.step(nil)
	nodes, used := h.tree.committed.nodes, h.store.next()-h.oldest()
	if used < 2*nodes {
		t.Fatalf("%d blocks are used by a tree of %d: there is no garbage", used, nodes)
	}
	for n := range 5 { // then what has been found is cleaned
		if want := float64(n) * float64(used-nodes) * 512 / 1e9 / (86400 * 30) * cost * 1e6; math.Abs(h.tree.clean.debt-want) > 1e-9 {
			t.Fatalf("debt %g after %d seconds, want %g", h.tree.clean.debt, n, want)
		}
		if h.wake != time.Duration(n+1)*time.Second {
			t.Fatalf("wants to be woken at %v", h.wake)
		}
		h.tickTo(time.Duration(n+1) * time.Second)
	}
	if n := len(h.store.frees); n != 5 {
		t.Errorf("%d FREEs in 5 seconds", n)
	}
}

// TestMissedTick: after a pause there is one tick, not several.
func TestMissedTick(t *testing.T) {
	h := newHarness(t, newMemStore(512), testConfig())
	h.step(nil)
	for i, at := range []int{3700, 3800, 4600, 4700, 5600, 5700, 6700} { // ms
		h.now = time.Duration(at) * time.Millisecond
		h.step(nil)
		h.settle()
		if want := []int{1, 1, 1, 2, 2, 3, 4}[i]; len(h.store.frees) != want {
			t.Errorf("%d ticks until %v, want %d", len(h.store.frees), h.now, want)
		}
	}
}

// TestDebtIsBounded: it is never more than the whole tree, in either direction.
func TestDebtIsBounded(t *testing.T) {
	s, _ := oldStore(t)
	h := newHarness(t, s, cleaningConfig(lots))
	h.step(nil)
	h.tickTo(3 * time.Second)
	if debt := h.tree.clean.debt; debt != float64(h.tree.committed.nodes) {
		t.Errorf("debt %g of a tree of %d", debt, h.tree.committed.nodes)
	}

	s, _ = oldStore(t)
	h = newHarness(t, s, cleaningConfig(1e-9))
	h.step(nil)
	h.tree.clean.debt = -1e9
	h.tickTo(time.Second)
	if debt := h.tree.clean.debt; debt != -float64(h.tree.committed.nodes) {
		t.Errorf("debt %g of a tree of %d", debt, h.tree.committed.nodes)
	}
	// A tree without garbage owes nothing.
	h = newHarness(t, newMemStore(512), cleaningConfig(lots))
	h.do(sets(0, 10, "v")...)
	h.tickTo(5 * time.Second)
	if debt := h.tree.clean.debt; debt > 1 {
		t.Errorf("debt %g with %d blocks used of %d", debt, h.tree.clean.used, h.tree.committed.nodes)
	}
}

// TestPayingDebt: what clients rewrite takes off the debt, an old page more than a young one.
func TestPayingDebt(t *testing.T) {
	for _, key := range []string{"000000", "000950"} { // in a young leaf, in an old one
		s, _ := oldStore(t)
		h := newHarness(t, s, cleaningConfig(1e-9))
		h.step(nil)
		next, oldest := s.next(), h.oldest()
		want := 0.0
		walkStore(t, s, func(v visited) {
			if v.has(key) {
				want -= float64(next-v.block) / float64(next-oldest)
			}
		})
		h.do(set(key, "new"))
		if got := h.tree.clean.debt; math.Abs(got-want) > 1e-9 {
			t.Errorf("key %q: debt %g, want %g", key, got, want)
		}
		if used := h.tree.clean.used; used != s.next()-h.oldest() {
			t.Errorf("%d blocks used", used)
		}
	}
}

// TestNoCleaning: a storage cost of nothing means that nothing is rewritten unasked.
func TestNoCleaning(t *testing.T) {
	s, m := oldStore(t)
	h := newHarness(t, s, testConfig())
	appends, reads := len(s.appends), s.reads
	h.pass(time.Minute)
	if len(s.appends) != appends || s.reads != reads || h.tree.clean.debt != 0 {
		t.Errorf("%d appends, %d reads, debt %g", len(s.appends)-appends, s.reads-reads, h.tree.clean.debt)
	}
	if n := len(s.frees); n < 59 {
		t.Errorf("%d FREEs in a minute", n)
	}
	sameContent(t, h.dump(), m)
}

// young is the block from which on leaves are not cleaned.
func (h *harness) young() uint64 { return h.store.next() - h.tree.committed.nodes/2 }

// TestCleansWhenIdle: with storage dear, what is old is rewritten within a few seconds, and nothing else changes.
func TestCleansWhenIdle(t *testing.T) {
	s, m := oldStore(t)
	before, appends := s.clone(), len(s.appends)
	h := newHarness(t, s, cleaningConfig(lots))
	young := h.young()
	h.step(nil)
	h.pass(6 * time.Second)
	for _, leaf := range leavesOf(t, s) {
		if leaf.block < young {
			t.Errorf("leaf at block %d is still there, all before %d were old", leaf.block, young)
		}
	}
	if n := len(s.appends) - appends; n != 1 {
		t.Errorf("%d appends", n)
	}
	h.pass(10 * time.Second)
	if n := uint64(len(s.blocks)); n > 2*h.tree.committed.nodes {
		t.Errorf("%d blocks are kept for a tree of %d", n, h.tree.committed.nodes)
	}
	sameContent(t, h.dump(), m)
	after := h.check()
	if want := checkStore(t, before); after.Pairs != want.Pairs || after.PairBytes != want.PairBytes || after.Pages() > want.Pages() {
		t.Errorf("%d pairs in %d pages, before %d in %d", after.Pairs, after.Pages(), want.Pairs, want.Pages())
	}
	h.checkFrames()
}

// TestCleaningRidesAlong: leaves that wait are rewritten with the next batch of a client.
func TestCleaningRidesAlong(t *testing.T) {
	s, m := oldStore(t)
	h := newHarness(t, s, cleaningConfig(lots))
	h.step(nil)
	h.tickTo(3 * time.Second)
	waiting := slices.Collect(maps.Keys(h.tree.clean.marked))
	if len(waiting) < 10 || h.tree.clean.ready != len(waiting) {
		t.Fatalf("%d leaves wait, %d are ready", len(waiting), h.tree.clean.ready)
	}
	one := set("000500", "new")
	m.apply(&one)
	h.do(one)
	if len(h.tree.clean.waiting) > 0 {
		t.Errorf("%d leaves still wait", len(h.tree.clean.waiting))
	}
	for _, leaf := range leavesOf(t, s) {
		if slices.Contains(waiting, leaf.block) {
			t.Errorf("leaf at block %d has not been rewritten", leaf.block)
		}
	}
	sameContent(t, h.dump(), m)
	h.check()
	h.checkFrames()
}

// TestCleaningMeetsClients: leaves that wait are changed, emptied and merged by clients before they are
// rewritten, also by a batch that then fails.
func TestCleaningMeetsClients(t *testing.T) {
	for _, fail := range []error{nil, disk.ErrNoSpace} {
		s, m := oldStore(t)
		h := newHarness(t, s, cleaningConfig(lots))
		h.step(nil)
		h.tickTo(3 * time.Second)
		if len(h.tree.clean.waiting) < 10 {
			t.Fatalf("%d leaves wait", len(h.tree.clean.waiting))
		}
		var batch []Request
		for i := 300; i < 900; i++ {
			if i%3 == 0 {
				batch = append(batch, set(fmt.Sprintf("%06d", i), "changed"))
			} else if i > 500 {
				batch = append(batch, Request{Op: Delete, Key: fmt.Appendf(nil, "%06d", i)})
			}
		}
		// The leaves are found once more while the batches sync.
		s.fail = fail
		h.step(nil, batch...)
		h.tickTo(6 * time.Second)
		h.settle()
		if fail == nil {
			m.applyAll(batch)
		}
		h.pass(10 * time.Second)
		sameContent(t, h.dump(), m)
		h.check()
		h.checkFrames()
	}
}

// TestWaitingIsBounded: old leaves wait for at most a sixteenth of the cache, and one parent's worth.
func TestWaitingIsBounded(t *testing.T) {
	s := newMemStore(512)
	cfg := testConfig()
	cfg.CachePages = 1 << 16
	h := newHarness(t, s, cfg)
	m := model{}
	requests := sets(0, 6000, "some value")
	m.applyAll(requests)
	h.do(requests...)
	for range 300 { // garbage
		one := set("000000", fmt.Sprint(s.next()))
		m.apply(&one)
		h.do(one)
	}
	h = newHarness(t, s, cleaningConfig(lots))
	h.step(nil)
	fanOut := 0
	walkStore(t, s, func(v visited) { fanOut = max(fanOut, len(v.records)) })
	most := 0
	for range 200 {
		h.now += 100 * time.Millisecond
		h.step(nil)
		most = max(most, len(h.tree.clean.waiting))
		h.settle()
	}
	if limit := MinCachePages/16 + fanOut; most > limit || most < MinCachePages/16 {
		t.Errorf("%d leaves wait, limit %d", most, limit)
	}
	sameContent(t, h.dump(), m)
	h.check()
}

// TestBoundlessCost: storage may cost any amount, also while there is no garbage.
func TestBoundlessCost(t *testing.T) {
	h := newHarness(t, newMemStore(512), cleaningConfig(math.Inf(1)))
	h.do(sets(0, 1, "v")...)
	h.pass(2 * time.Second)
	if math.IsNaN(h.tree.clean.debt) {
		t.Error("the debt is no number")
	}
}

// TestFree: every second the store is told what the committed tree does not need, and never more.
func TestFree(t *testing.T) {
	for _, reading := range []bool{false, true} {
		s, _ := oldStore(t)
		h := newHarness(t, s, cleaningConfig(lots))
		h.step(nil)
		rng := rand.New(rand.NewPCG(1, 1))
		meanwhile := 0
		for i := range 100 {
			h.now += 100 * time.Millisecond
			if reading {
				h.step(nil, get(fmt.Sprintf("%06d", rng.IntN(1000))))
			} else {
				h.step(nil)
			}
			h.finishAll(disk.Read)
			want := h.oldest()
			h.finishAll(disk.Free)
			if n := len(s.frees); n != int(h.now/time.Second) {
				t.Fatalf("%d FREEs until %v", n, h.now)
			}
			if n := len(s.frees); n > 0 && s.frees[n-1] > want {
				t.Fatalf("FREE of all before %d, but the committed tree needs %d", s.frees[n-1], want)
			}
			if h.tree.writes.syncing == nil {
				continue
			}
			// A crash now leaves the committed tree.
			if r := checkStore(t, s); r.Root.Block != h.rootBlock() {
				t.Fatalf("root %d, committed is %d", r.Root.Block, h.rootBlock())
			}
			if h.tree.cache.node(h.tree.tip.root).oldest > h.oldest() && h.now%time.Second == 0 {
				meanwhile++
			}
			if i%30 == 15 { // appends come back late
				h.finishAll(disk.Append)
			}
		}
		if meanwhile == 0 {
			t.Error("no FREE while a tree that needs less was under way")
		}
		if last := s.frees[len(s.frees)-1]; last <= s.frees[0] {
			t.Errorf("FREE of all before %d at first, %d in the end: nothing has been cleaned", s.frees[0], last)
		}
		if len(h.client.failed) > 0 {
			t.Error(h.client.failed)
		}
	}
}

// TestFreeIsNotRepeated while the one before has not come back.
func TestFreeIsNotRepeated(t *testing.T) {
	h := newHarness(t, newMemStore(512), testConfig())
	h.step(nil)
	for range 5 {
		h.now += tickEvery
		h.step(nil)
	}
	if n := len(h.held); n != 1 {
		t.Errorf("%d operations are under way", n)
	}
	h.settle()
	h.pass(3 * tickEvery)
	if n := len(h.store.frees); n < 3 {
		t.Errorf("%d FREEs", n)
	}
}

// TestCleaningDamage: an old page that cannot be had is left where it is, reported once and not read for ever. Leaves before
// it are cleaned, those behind it are not: nothing there can be freed. When the page is back, all are cleaned.
func TestCleaningDamage(t *testing.T) {
	for what, damage := range damages {
		for _, height := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s/height %d", what, height), func(t *testing.T) {
				s, m := oldStore(t)
				var bad visited
				walkStore(t, s, func(v visited) {
					if v.height == height && v.has("000700") {
						bad = v
					}
				})
				before := s.clone()
				h := newHarness(t, s, cleaningConfig(lots))
				young := h.young()
				damage.do(s, bad.block)
				h.step(nil)
				reads := s.reads
				h.pass(20 * time.Second)
				if len(h.faults) != 1 {
					t.Errorf("reported: %v", h.faults)
				}
				if n := s.reads - reads; n > 120 {
					t.Errorf("%d blocks have been read in 20 seconds", n)
				}
				stuck := bad.block
				for _, r := range bad.records {
					stuck = min(stuck, r.oldest)
				}
				if h.oldest() != stuck || h.tree.Stats().Stuck != h.tree.next-stuck {
					t.Errorf("oldest leaf is %d, stuck are %d blocks of %d; want %d", h.oldest(), h.tree.Stats().Stuck, h.tree.next, stuck)
				}
				if next := s.next(); true {
					if h.pass(time.Hour); s.next() != next {
						t.Errorf("%d blocks have been written in an hour, and nothing can be freed", s.next()-next)
					}
				}
				delete(s.unread, bad.block)
				copy(s.page(bad.block), before.page(bad.block))
				h.pass(maxStuckRetry + 20*time.Second)
				if n := h.tree.Stats().Stuck; n != 0 {
					t.Errorf("%d blocks are stuck when all can be read", n)
				}
				for _, leaf := range leavesOf(t, s) {
					if leaf.block < young {
						t.Errorf("leaf at block %d, %q, is still where it was, all before %d were old", leaf.block, leaf.lo, young)
					}
				}
				h = newHarness(t, s, testConfig())
				sameContent(t, h.dump(), m)
				h.check()
			})
		}
	}
}

// TestCleaningEvicts: a search may evict pages above the leaves that it reads.
func TestCleaningEvicts(t *testing.T) {
	s := newMemStore(512)
	cfg := testConfig()
	cfg.CachePages = 1 << 16
	h := newHarness(t, s, cfg)
	m := model{}
	for i := 0; i < 1600; i += 100 {
		batch := make([]Request, 100)
		for j := range batch {
			batch[j] = set(fmt.Sprintf("%064d", i+j), "value") // long separators, high tree
		}
		m.applyAll(batch)
		h.do(batch...)
	}
	if h.tree.committed.height < 3 {
		t.Fatalf("height %d", h.tree.committed.height)
	}
	for limit := 8; limit < 60; limit += 3 {
		h := newHarness(t, s.clone(), cleaningConfig(lots))
		h.store.add(make([][]byte, 1000)...) // as if much had been written since
		h.tree.next += 1000
		h.tree.clean.used += 1000
		h.tree.cache.limit = limit
		for range 30 {
			h.pass(time.Second)
			h.checkFrames()
		}
		sameContent(t, h.dump(), m)
		if len(h.faults) > 0 {
			t.Error(h.faults)
		}
	}
}

// TestSparseStore: where block numbers have gaps, their distances say nothing about garbage, and nothing is cleaned.
func TestSparseStore(t *testing.T) {
	s := newMemStore(512)
	s.gap = 50
	h := newHarness(t, s, cleaningConfig(lots))
	m := model{}
	for i := range 20 {
		batch := sets(i*10, 30, fmt.Sprint(i))
		m.applyAll(batch)
		h.do(batch...)
	}
	appends := len(s.appends)
	h.pass(20 * time.Second)
	if len(s.appends) != appends {
		t.Errorf("%d appends when idle", len(s.appends)-appends)
	}
	sameContent(t, h.dump(), m)
	h.check()
	again := newHarness(t, s, testConfig())
	sameContent(t, again.dump(), m)
	again.do(set("again", "1"))
	again.check()
}
