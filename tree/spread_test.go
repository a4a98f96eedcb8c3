package tree

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestMaxSpread overwrites a store at random, so fast that the clock hardly moves. At the rate that
// the cost of storage justifies, nothing would be cleaned.
func TestMaxSpread(t *testing.T) {
	spread := func(maxSpread float64, journal int64) (most float64) {
		cfg := Config{CachePages: 1 << 14, MaxKey: -1, MaxValue: -1, StorageCost: 1, MaxSpread: maxSpread, JournalBytes: journal}
		h := newHarness(t, newMemStore(2048), cfg)
		const pairs, batch = 10000, 250
		put := func(i, version int) Request {
			return Request{Op: Set, Key: fmt.Appendf(nil, "%040d", i), Value: fmt.Appendf(nil, "%040d", version)}
		}
		requests := make([]Request, batch)
		for i := 0; i < pairs; i += batch {
			for j := range requests {
				requests[j] = put(i+j, 0)
			}
			h.do(requests...)
		}
		rng := rand.New(rand.NewPCG(1, 2))
		for version := range 100 {
			h.now += 10 * time.Millisecond
			for j := range requests {
				requests[j] = put(rng.IntN(pairs), version)
			}
			h.do(requests...)
			most = max(most, float64(len(h.store.blocks))/float64(h.tree.view.tree.nodes))
		}
		h.check()
		return most
	}
	without, with := spread(0, 0), max(spread(1.8, 0), spread(1.8, DefaultJournalBytes))
	t.Logf("blocks kept, over pages of the tree: %.2f without the limit, %.2f with it", without, with)
	if without < 3 {
		t.Errorf("without the limit the store grows to %.2f times the tree: this test shows nothing", without)
	}
	// One batch here is as large as the tree, so a batch may exceed the spread by that much.
	if with > 3 {
		t.Errorf("the store grows to %.2f times the tree", with)
	}
}

// spreadLoads return the pair that change i of a load is for.
var spreadLoads = map[string]func(rng *rand.Rand, i, pairs int) int{
	"uniform":   func(rng *rand.Rand, _, pairs int) int { return rng.IntN(pairs) },
	"one spot":  func(rng *rand.Rand, _, pairs int) int { return pairs/3 + rng.IntN(pairs/50) },
	"ascending": func(_ *rand.Rand, i, pairs int) int { return i % pairs },
	"hot spot": func(rng *rand.Rand, _, pairs int) int { // nine changes of ten hit a tenth of the pairs
		if rng.IntN(10) > 0 {
			return pairs/3 + rng.IntN(pairs/10)
		}
		return rng.IntN(pairs)
	},
}

// spreadRun is a load on a tree.
type spreadRun struct {
	load    string
	pairs   int
	ratio   int // size of the tree over that of a memtable; 0: no journal
	batch   int
	rewrite int // it runs until the tree has been written this many times
}

// measure returns the most blocks that the store had, as a multiple of the tree's pages, and the
// pages written for each change in the second half of the run.
func (r spreadRun) measure(t tester) (peak, pagesPerChange float64) {
	cfg := testConfig()
	cfg.StorageCost, cfg.MaxSpread, cfg.JournalBytes, cfg.CachePages = 1e4, DefaultMaxSpread, 1<<30, 1<<15
	if r.ratio == 0 {
		cfg.JournalBytes = 0
	}
	h := newHarness(t, newMemStore(2048), cfg)
	rng := rand.New(rand.NewPCG(1, 1))
	change := func(pair func(i int) int, from int) {
		requests := make([]Request, r.batch)
		for i := range requests {
			key := fmt.Appendf(nil, "%08x%032d", pair(from+i), 0) // separators are short
			requests[i] = Request{Op: Set, Key: key, Value: make([]byte, 40)}
		}
		h.now += time.Duration(r.batch) * 10 * time.Microsecond
		in := Inputs{Now: h.now, Requests: &Batch{Client: nobody{}, Requests: requests}}
		for {
			out := h.tree.Step(in)
			if out.First == nil {
				return
			}
			for op := out.First; op != nil; op = op.Link.Next() {
				h.store.run(op)
				peak = max(peak, float64(len(h.store.blocks))/float64(h.tree.view.tree.nodes))
			}
			in = Inputs{Now: h.now, Done: out.First}
		}
	}
	for i := 0; i < r.pairs; i += r.batch {
		change(func(i int) int { return i }, i)
	}
	for h.tree.Stats().Memtables > 0 {
		h.pass(time.Second)
	}
	nodes := h.tree.view.tree.nodes
	h.tree.cfg.memtableBytes = int(nodes) * 2048 / max(1, r.ratio)
	peak = 0
	begin := h.tree.counts.written
	written := func() uint64 { return h.tree.counts.written - begin }
	total, half, at, i := uint64(r.rewrite)*nodes, uint64(0), 0, 0
	for ; written() < total; i += r.batch {
		if half == 0 && written() >= total/2 {
			half, at = written(), i
		}
		change(func(i int) int { return spreadLoads[r.load](rng, i, r.pairs) }, i)
	}
	h.check()
	return peak, float64(written()-half) / float64(i-at)
}

// TestSpreadIsBounded checks that a store takes little more than Config.MaxSpread times the size of
// its tree, whatever the load and however small the memtables. With memtables of half the tree, the
// journal and the pages of a flush are as large as the tree, and come on top.
func TestSpreadIsBounded(t *testing.T) {
	const most, mostLargeTables = DefaultMaxSpread + 0.3, DefaultMaxSpread + 2
	for _, r := range []spreadRun{
		{"uniform", 200_000, 64, 200, 8},
		{"one spot", 200_000, 16, 200, 5},
		{"hot spot", 200_000, 64, 200, 6},
		{"hot spot", 200_000, 0, 200, 6},
		{"uniform", 50_000, 2, 100, 20},
		{"uniform", 50_000, 2, 10, 20},
		{"hot spot", 50_000, 1, 100, 20},
	} {
		t.Run(fmt.Sprint(r.load, " ", r.ratio, " ", r.batch), func(t *testing.T) {
			t.Parallel()
			limit := most
			if r.ratio == 1 || r.ratio == 2 {
				limit = mostLargeTables
			}
			peak, cost := r.measure(t)
			t.Logf("blocks kept, over pages of the tree: %.2f; pages written a change: %.3f", peak, cost)
			if peak > limit {
				t.Errorf("the store grows to %.2f times the tree", peak)
			}
		})
	}
}

// BenchmarkSpread measures the space that loads take and the pages that they write. One op is one
// run of each.
func BenchmarkSpread(b *testing.B) {
	for load := range spreadLoads {
		for _, ratio := range []int{0, 4, 16, 64, 256} {
			b.Run(fmt.Sprint(load, "/", ratio), func(b *testing.B) {
				for b.Loop() {
					peak, cost := spreadRun{load, 700_000, ratio, 200, 12}.measure(b)
					b.ReportMetric(peak, "spread")
					b.ReportMetric(cost, "pages/change")
				}
			})
		}
	}
}
