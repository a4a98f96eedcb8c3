package tree

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kivaloo/disk"
	"kivaloo/wire/wiretest"
)

// TestRangeContract checks the answers of Ranges with all pages in memory: a to e and k to o, in
// one leaf or in two.
func TestRangeContract(t *testing.T) {
	for _, height := range []int{0, 1} {
		h := newHarness(t, newMemStore(512), testConfig())
		pad := strings.Repeat("v", 8)
		if height > 0 {
			pad = strings.Repeat("v", 80)
		}
		pair := uint32(3 + len(pad))
		for _, k := range strings.Split("abcdeklmno", "") {
			h.do(set(k, pad))
		}
		if h.tree.view.tree.height != height {
			t.Fatalf("height %d, want %d", h.tree.view.tree.height, height)
		}
		for _, test := range []struct {
			what       string
			start, end string
			max        uint32
			want, next string
		}{
			{"everything", "", "", 10000, "abcdeklmno", ""},
			{"everything, with an end behind it", "", "z", 10000, "abcdeklmno", "z"},
			{"end is not part of it", "b", "d", 10000, "bc", "d"},
			{"end that is not there", "b", "cc", 10000, "bc", "cc"},
			{"end in the middle of nothing", "b", "h", 10000, "bcde", "h"},
			{"end at the start of a leaf", "d", "k", 10000, "de", "k"},
			{"end in another leaf", "d", "l", 10000, "dek", "l"},
			{"start that is not there", "bb", "e", 10000, "cd", "e"},
			{"start between", "f", "", 10000, "klmno", ""},
			{"filled up to max", "a", "", 3 * pair, "abc", "d"},
			{"one byte short", "a", "", 3*pair - 1, "ab", "c"},
			{"max up to the end", "a", "d", 3 * pair, "abc", "d"},
			{"max over two leaves", "d", "", 3 * pair, "dek", "l"},
			{"max of one", "c", "", 1, "c", "d"},
			{"max of none", "c", "", 0, "c", "d"},
			{"max of none at the end of a leaf", "e", "", 0, "e", "k"},
			{"max of none at the end", "o", "", 0, "o", ""},
			{"max of none with nothing to return", "f", "g", 0, "", "g"},
			{"start is end", "c", "c", 10000, "", "c"},
			{"start after end", "d", "b", 10000, "", "b"},
			{"start after end, both behind everything", "z", "y", 10000, "", "y"},
			{"behind everything", "p", "", 10000, "", ""},
			{"behind everything with an end", "p", "q", 10000, "", "q"},
			{"before everything", "", "A", 10000, "", "A"},
		} {
			a := h.scan(test.start, test.end, test.max)
			if got := strings.Join(a.keys, ""); got != test.want || a.next != test.next {
				t.Errorf("height %d, %s: %q, next %q; want %q, %q", height, test.what, got, a.next, test.want, test.next)
			}
			for i, v := range a.values {
				if v != pad {
					t.Errorf("height %d, %s: %q holds %q", height, test.what, a.keys[i], v)
				}
			}
		}
	}
}

// TestRangeCap checks that no answer exceeds MaxRangePairBytes, whatever the request says.
func TestRangeCap(t *testing.T) {
	cfg := testConfig()
	cfg.CachePages = 1 << 16
	h := newHarness(t, newMemStore(4096), cfg)
	value := strings.Repeat("v", 255)
	const pairs = 5000
	h.do(sets(0, pairs, value)...)
	const pair = 1 + 6 + 1 + 255
	a := h.scan("", "", 1<<32-1)
	if n := MaxRangePairBytes / pair; len(a.keys) != n || a.next != fmt.Sprintf("%06d", n) {
		t.Errorf("%d pairs, want %d; next %q", len(a.keys), n, a.next)
	}
}

// TestRangeModel compares Ranges over random content with a map. With all pages in memory, answers
// must be as full as allowed. It also tries a cache with almost nothing in it.
func TestRangeModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHarness(t, newMemStore(512), testConfig())
		h.client.model = model{}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		space := rapid.IntRange(1, 2000).Draw(t, "space")
		// Keys are set in order, so that leaves are full and can be emptied without being merged.
		for from := 0; from < space; from += 100 {
			h.do(sets(from, min(100, space-from), strings.Repeat("v", rng.IntN(30)))...)
		}
		for range rapid.IntRange(0, 5).Draw(t, "holes") {
			from, n := rng.IntN(space), rng.IntN(150)
			var batch []Request
			for i := from; i < from+n; i++ {
				batch = append(batch, Request{Op: Delete, Key: fmt.Appendf(nil, "%06d", i)})
			}
			h.do(batch...)
		}
		warm := rapid.Bool().Draw(t, "warm")
		if !warm {
			m := h.client.model
			h = newHarness(t, h.store, testConfig())
			h.client.model = m
			h.tree.cache.limit = rapid.IntRange(8, 40).Draw(t, "cache")
		}
		key := func() string {
			k := fmt.Sprintf("%06d", rng.IntN(space+10))
			return k[:rng.IntN(len(k)+1)] + []string{"", "x"}[rng.IntN(2)]
		}
		for range 30 {
			q := Request{Op: Range, Key: []byte(key()), End: []byte(key()), Max: uint32(rng.IntN(rng.IntN(20000) + 1))}
			if rng.IntN(3) == 0 {
				q.End = nil
			}
			h.do(q) // the recorder checks the answer
			a, ok := h.client.pairs[h.nextID]
			if !ok {
				t.Fatalf("no answer: %v", h.client.failed[h.nextID])
			}
			if warm {
				wantFull(t, &a, h.client.model, &q)
			}
		}
		sameContent(t, h.dump(), h.client.model)
	})
}

// wantFull fails the test if one more pair would have fit into the answer.
func wantFull(t tester, a *rangeAnswer, m model, q *Request) {
	t.Helper()
	if a.next == string(q.End) {
		return
	}
	bytes := 0
	for i, k := range a.keys {
		bytes += 2 + len(k) + len(a.values[i])
	}
	next, ok := m[a.next]
	if !ok {
		t.Fatalf("range %q to %q, max %d: stops before %q, which is not a key", q.Key, q.End, q.Max, a.next)
	}
	if more := bytes + 2 + len(a.next) + len(next); more <= int(q.Max) || len(a.keys) == 0 {
		t.Fatalf("range %q to %q, max %d: %d pairs of %d bytes, next pair %q would make it %d",
			q.Key, q.End, q.Max, len(a.keys), bytes, a.next, more)
	}
}

// TestRangeEmptyLeaves checks that Ranges pass empty leaves that remain between full ones.
func TestRangeEmptyLeaves(t *testing.T) {
	h := newHarness(t, newMemStore(512), testConfig())
	h.client.model = model{}
	h.do(sets(0, 200, "some value")...)
	for _, leaf := range leavesOf(t, h.store)[2:5] {
		for _, k := range leaf.keys {
			h.do(Request{Op: Delete, Key: []byte(k)})
		}
	}
	empty := 0
	for _, leaf := range leavesOf(t, h.store) {
		if len(leaf.keys) == 0 {
			empty++
		}
	}
	if empty == 0 {
		t.Fatal("no leaf is empty")
	}
	keys := wiretest.Model(h.client.model).Keys()
	for max := uint32(0); max < 2000; max += 100 {
		var all []string
		for start := ""; ; {
			a := h.scan(start, "", max)
			all = append(all, a.keys...)
			if start = a.next; start == "" {
				break
			}
		}
		if !slices.Equal(all, keys) {
			t.Fatalf("max %d: %d pairs, want %d", max, len(all), len(keys))
		}
	}
	h.check()
}

// TestRangeReadsAhead checks that the leaves for a Range are read together, not one after the
// other.
func TestRangeReadsAhead(t *testing.T) {
	warm := newHarness(t, newMemStore(512), testConfig())
	warm.do(sets(0, 250, "some value")...)
	h := newHarness(t, warm.store, testConfig())
	if h.tree.view.tree.height != 1 {
		t.Fatalf("height %d", h.tree.view.tree.height)
	}
	before, reads := h.store.reads, 0
	h.step(nil, Request{Op: Range, Max: 2000})
	for _, op := range h.held {
		if op.Kind == disk.Read {
			reads++
		}
	}
	if reads != 4 { // 2000 bytes in leaves that are nearly full
		t.Errorf("%d reads are under way", reads)
	}
	h.settle()
	if a := h.client.pairs[h.nextID]; len(a.keys) != 2000/18 {
		t.Errorf("%d pairs", len(a.keys))
	}
	if n := h.store.reads - before; n > 5 {
		t.Errorf("%d blocks have been read", n)
	}
}

// TestScanReadsAhead checks that most Ranges in a sequence find their pages in memory. The others
// reach a parent that must be read first.
func TestScanReadsAhead(t *testing.T) {
	warm := newHarness(t, newMemStore(512), testConfig())
	for i := 0; i < 4000; i += 100 {
		warm.do(sets(i, 100, "some value")...)
	}
	h := newHarness(t, warm.store, testConfig())
	start, n, waits := "", 0, 0
	for ; ; n++ {
		h.step(nil, Request{Op: Range, Key: []byte(start), Max: 2000})
		if h.client.pairs[h.nextID].keys == nil {
			waits++
		}
		h.settle()
		a := h.client.pairs[h.nextID]
		if start = a.next; start == "" {
			break
		}
	}
	if waits > n/2 || n < 20 {
		t.Errorf("%d of %d Ranges had to wait", waits, n)
	}
}

// TestRangeReadsAheadOverParents checks that a long Range requests leaves of several parents at
// once. Each round of reads waits for the disk, and for everything else the tree does meanwhile.
func TestRangeReadsAheadOverParents(t *testing.T) {
	warm := newHarness(t, newMemStore(512), testConfig())
	for i := 0; i < 10_000; i += 100 {
		warm.do(sets(i, 100, "some value")...)
	}
	cfg := testConfig()
	cfg.CachePages = 1 << 14
	h := newHarness(t, warm.store, cfg)
	height := h.tree.view.tree.height
	h.step(nil, Request{Op: Range, Max: 100_000})
	rounds := 0
	for ; h.client.pairs[h.nextID].keys == nil; rounds++ {
		for n := len(h.held); n > 0; n-- {
			h.finish(0)
		}
	}
	a := h.client.pairs[h.nextID]
	if want := 100_000 / 18; len(a.keys) != want {
		t.Errorf("%d pairs, want %d", len(a.keys), want)
	}
	// One round for each level below the root, and one for an estimate that was too low.
	if rounds > height+1 || height < 2 {
		t.Errorf("%d rounds of reads, height %d", rounds, height)
	}
}

// TestReadsAreBounded checks that requests that need pages are started only while the pages they
// may bring in stay below a quarter of the cache.
func TestReadsAreBounded(t *testing.T) {
	warm := newHarness(t, newMemStore(512), testConfig())
	for i := 0; i < 5000; i += 100 {
		warm.do(sets(i, 100, "some value")...)
	}
	h := newHarness(t, warm.store, testConfig())
	var batch []Request
	for i := 0; i < 5000; i += 5 {
		batch = append(batch, get(fmt.Sprintf("%06d", i)))
	}
	h.step(nil, batch...)
	most := 0
	for len(h.held) > 0 {
		most = max(most, h.tree.pager.underWay)
		h.finish(0)
	}
	if len(h.client.values) != len(batch) {
		t.Errorf("%d answers to %d", len(h.client.values), len(batch))
	}
	if limit := h.tree.cache.limit / 4; most > limit || most < 8 {
		t.Errorf("%d reads were under way at once, limit %d", most, limit)
	}
	if n := h.tree.reader.cost; n != 0 {
		t.Errorf("cost %d is left", n)
	}
}

// TestSharedReads checks that requests for the same page share one read.
func TestSharedReads(t *testing.T) {
	warm := newHarness(t, newMemStore(512), testConfig())
	warm.do(sets(0, 250, "some value")...)
	h := newHarness(t, warm.store, testConfig())
	before := h.store.reads
	h.do(get("000001"), get("000002"), set("000003", "x"), Request{Op: Range, Key: []byte("000004"), Max: 10}, get("000001"))
	if n := h.store.reads - before; n > 2 { // the leaf, and the leaf it might have been merged with
		t.Errorf("%d blocks have been read", n)
	}
	if len(h.client.answered) != 5 || len(h.client.failed) > 0 {
		t.Errorf("answers to %v, failed: %v", h.client.answered, h.client.failed)
	}
}

// TestScanLargerThanCache checks that a sequence of Ranges returns each pair once, in order, while
// reading ahead evicts pages.
func TestScanLargerThanCache(t *testing.T) {
	warm := newHarness(t, newMemStore(512), testConfig())
	const n = 60_000
	for i := 0; i < n; i += 500 {
		warm.do(sets(i, 500, "some value")...)
	}
	h := newHarness(t, warm.store, testConfig())
	for _, max := range []uint32{500, 3000, 50_000} {
		start, got := "", 0
		for {
			h.do(Request{Op: Range, Key: []byte(start), Max: max})
			a := h.client.pairs[h.nextID]
			for _, key := range a.keys {
				if want := fmt.Sprintf("%06d", got); key != want {
					t.Fatalf("limit %d: %q comes where %q should", max, key, want)
				}
				got++
			}
			if start = a.next; start == "" {
				break
			}
			if want := fmt.Sprintf("%06d", got); start > want || len(a.keys) == 0 {
				t.Fatalf("limit %d: it goes on at %q, not at %q", max, start, want)
			}
		}
		if got != n {
			t.Errorf("limit %d: %d pairs of %d", max, got, n)
		}
	}
}
