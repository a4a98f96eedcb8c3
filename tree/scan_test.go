package tree

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kivaloo/disk"
	"kivaloo/wire/wiretest"
)

// ask carries out a Scan and returns its answer.
func (h *harness) ask(q Request) scanAnswer {
	h.t.Helper()
	q.Op = Scan
	h.do(q)
	a, ok := h.client.scans[h.nextID]
	if !ok {
		h.t.Fatalf("scan from %q was not answered: %v", q.Key, h.client.failed[h.nextID])
	}
	return a
}

// TestScanContract checks the answers of Scans with all pages in memory: a to e and k to o, in one
// leaf or in two, all in pages, or the even ones in a memtable.
func TestScanContract(t *testing.T) {
	pad := strings.Repeat("v", 80)
	pair := uint32(3 + len(pad))
	for _, inMemtable := range []bool{false, true} {
		h := newHarness(t, newMemStore(512), journalConfig())
		letters := strings.Split("abcdeklmno", "")
		for i, k := range letters {
			if !inMemtable || i%2 == 0 {
				h.do(set(k, pad))
			}
		}
		h.do(set("g", pad), set("h", pad))
		h.pass(2 * flushIdleAfter)
		h.do(Request{Op: Delete, Key: []byte("g")}, Request{Op: Delete, Key: []byte("h")})
		if inMemtable {
			for i, k := range letters {
				if i%2 == 1 {
					h.do(set(k, pad))
				}
			}
		}
		for _, test := range []struct {
			what string
			q    Request
			want string
			more bool
		}{
			{"everything", Request{Max: 10000}, "abcdeklmno", false},
			{"everything in reverse", Request{Max: 10000, Reverse: true}, "onmlkedcba", false},
			{"keys", Request{Max: 20, KeysOnly: true}, "abcdeklmno", false},
			{"keys in reverse", Request{Max: 20, KeysOnly: true, Reverse: true}, "onmlkedcba", false},
			{"some keys in reverse", Request{Max: 6, KeysOnly: true, Reverse: true}, "onm", true},
			{"limit", Request{Max: 10000, Limit: 3}, "abc", true},
			{"limit in reverse", Request{Max: 10000, Limit: 3, Reverse: true}, "onm", true},
			{"limit that is just enough", Request{Max: 10000, Key: []byte("b"), End: []byte("d"), Limit: 2}, "bc", false},
			{"limit that is just enough, in reverse", Request{Max: 10000, Key: []byte("b"), End: []byte("d"), Limit: 2, Reverse: true}, "cb", false},
			{"end is not part of it", Request{Max: 10000, Key: []byte("d"), End: []byte("l"), Reverse: true}, "ked", false},
			{"start is part of it", Request{Max: 10000, Key: []byte("k"), Reverse: true}, "onmlk", false},
			{"filled up to max", Request{Max: 3 * pair, Reverse: true}, "onm", true},
			{"one byte short", Request{Max: 3*pair - 1, Reverse: true}, "on", true},
			{"max of none", Request{Reverse: true}, "o", true},
			{"nothing there", Request{Key: []byte("f"), End: []byte("j"), Reverse: true}, "", false},
			{"start after end", Request{Key: []byte("j"), End: []byte("f"), Reverse: true}, "", false},
			{"before everything", Request{End: []byte("A"), Reverse: true}, "", false},
			{"behind everything", Request{Key: []byte("p"), Reverse: true}, "", false},
		} {
			a := h.ask(test.q)
			if got := strings.Join(a.keys, ""); got != test.want || a.more != test.more || a.n != len(test.want) {
				t.Errorf("in memtable %t, %s: %d pairs, %q, more %t; want %q, %t", inMemtable, test.what, a.n, got, a.more, test.want, test.more)
			}
			test.q.CountOnly, test.q.KeysOnly = true, false
			a = h.ask(test.q)
			if whole := test.q.Max >= 10000; whole && (a.n != len(test.want) || a.more != test.more) {
				t.Errorf("in memtable %t, count of %s: %d, more %t; want %d, %t", inMemtable, test.what, a.n, a.more, len(test.want), test.more)
			}
		}
	}
}

// TestScanModel compares Scans of all kinds over random content with a map, with all pages in
// memory and with almost none, with and without changes in memtables. Readers must give the same
// answers.
func TestScanModel(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		rapid.Check(t, func(t *rapid.T) {
			rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
			blockSize := rapid.SampledFrom([]int{512, 600, 4096}).Draw(t, "block size")
			h := newHarness(t, newMemStore(blockSize), cfg)
			h.client.model = model{}
			space := rapid.IntRange(1, 2000).Draw(t, "space")
			value := rng.IntN(30)
			for from := 0; from < space; from += 100 {
				h.do(sets(from, min(100, space-from), strings.Repeat("v", value))...)
			}
			h.pass(2 * flushIdleAfter)
			if rapid.Bool().Draw(t, "cold") {
				m := h.client.model
				h = newHarness(t, h.store, cfg)
				h.client.model = m
				h.tree.cache.limit = rapid.IntRange(8, 40).Draw(t, "cache")
			}
			readers := h.tree.Readers()
			defer readers.Close()
			for range rapid.IntRange(0, 5).Draw(t, "holes") {
				from, n := rng.IntN(space), rng.IntN(150)
				var batch []Request
				for i := from; i < from+n; i++ {
					batch = append(batch, Request{Op: Delete, Key: fmt.Appendf(nil, "%06d", i)})
				}
				h.do(batch...)
			}
			h.do(sets(rng.IntN(space), rng.IntN(50), "new")...)
			key := func() []byte {
				k := fmt.Sprintf("%06d", rng.IntN(space+10))
				return []byte(k[:rng.IntN(len(k)+1)] + []string{"", "x"}[rng.IntN(2)])
			}
			var p Piece
			for range 30 {
				q := randomScan(rng, key, 20000)
				a := h.ask(q) // the recorder checks the answer
				if q.Limit > 0 && a.more && a.n < int(q.Limit) && q.CountOnly && h.tree.cache.limit > 100 {
					t.Fatalf("a count of up to %d ends at %d", q.Limit, a.n)
				}
				if readers.Scan(&q, &p) {
					if a := p.answer(); a.check(h.client.model, &q) != nil {
						t.Fatal("Readers: ", a.check(h.client.model, &q))
					}
				}
			}
			for _, reverse := range []bool{false, true} {
				h.walk(Request{Max: uint32(rng.IntN(3000)), Reverse: reverse})
			}
		})
	})
}

// walk repeats q until nothing is left, and compares the result with the model. It returns the keys
// and the number of requests.
func (h *harness) walk(q Request) (keys []string, n int) {
	h.t.Helper()
	for {
		a := h.ask(q)
		n++
		keys = append(keys, a.keys...)
		if !a.more {
			break
		}
		if q.Reverse {
			q.End = []byte(a.next)
		} else {
			q.Key = []byte(a.next)
		}
	}
	want := wiretest.Model(h.client.model).Keys()
	if q.Reverse {
		slices.Reverse(want)
	}
	if h.client.model != nil && !slices.Equal(keys, want) {
		h.t.Fatalf("reverse %t: %d keys, want %d", q.Reverse, len(keys), len(want))
	}
	return keys, n
}

// TestScanWork checks that a count, and a Scan over deleted keys, stop after a bounded amount of
// work and can be continued.
func TestScanWork(t *testing.T) {
	for _, reverse := range []bool{false, true} {
		cfg := journalConfig()
		cfg.CachePages, cfg.JournalBytes, cfg.memtableBytes = 1<<16, 64<<20, 64<<20
		h := newHarness(t, newMemStore(512), cfg)
		const n = maxScanWork + maxScanWork/2
		for i := 0; i < n; i += 1024 {
			batch := make([]Request, 1024)
			for j := range batch {
				batch[j] = Request{Op: Delete, Key: fmt.Appendf(nil, "%06d", i+j)}
			}
			h.do(batch...)
		}
		h.do(set("0", "first"), set("9", "last"))
		for _, q := range []Request{{Max: 100}, {CountOnly: true}} {
			pairs, requests, passed := 0, 0, ""
			for q.Reverse = reverse; ; requests++ {
				a := h.ask(q)
				if pairs += a.n; !a.more {
					break
				}
				if passed = a.next; reverse {
					q.End = []byte(a.next)
				} else {
					q.Key = []byte(a.next)
				}
			}
			if pairs != 2 || requests != 1 {
				t.Errorf("reverse %t: %d pairs; cut short %d times, the last time at %q", reverse, pairs, requests, passed)
			}
		}
	}
}

// TestScanNamesBadBlock checks that a Scan that reaches an unreadable leaf names its block, after
// returning everything before it.
func TestScanNamesBadBlock(t *testing.T) {
	for _, q := range []Request{{Max: 200}, {Max: 200, Reverse: true}, {Max: 1 << 20}, {Max: 1 << 20, Reverse: true}, {CountOnly: true}, {CountOnly: true, Reverse: true}, {KeysOnly: true, Max: 100, Limit: 3}} {
		h, _ := withUnreadableLeaf(t, testConfig())
		clear(h.store.unread)
		leaves := leavesOf(t, h.store)
		leaf := leaves[len(leaves)/2]
		h.store.unread[leaf.block] = errDisk
		pairs := 0
		var err error
		for q.Op = Scan; err == nil; {
			h.do(q)
			a, ok := h.client.scans[h.nextID]
			if err = h.client.failed[h.nextID]; err != nil {
				break
			}
			pairs += a.n
			if !ok || !a.more {
				t.Fatalf("%+v: a scan over a leaf that cannot be read ends after %d pairs: %+v", q, pairs, a)
			}
			if q.Reverse {
				q.End = []byte(a.next)
			} else {
				q.Key = []byte(a.next)
			}
		}
		var block *BlockError
		if !errors.As(err, &block) || block.Block != leaf.block || !errors.Is(err, errDisk) {
			t.Errorf("%+v: %v, want block %d", q, err, leaf.block)
		}
		want := 0
		for _, l := range leaves {
			if !q.Reverse && l.lo < leaf.lo || q.Reverse && l.lo > leaf.lo {
				want += len(l.keys)
			}
		}
		if pairs != want {
			t.Errorf("%+v: %d pairs before the leaf, want %d", q, pairs, want)
		}
	}
}

// TestScanDownReadsAhead is TestRangeReadsAhead and TestScanReadsAhead in reverse.
func TestScanDownReadsAhead(t *testing.T) {
	warm := newHarness(t, newMemStore(512), testConfig())
	for i := 0; i < 4000; i += 100 {
		warm.do(sets(i, 100, "some value")...)
	}
	h := newHarness(t, warm.store, testConfig())
	h.step(nil, Request{Op: Scan, Max: 2000, Reverse: true})
	h.finish(0)
	h.finish(h.heldOf(disk.Read))
	if reads := len(h.held); reads < 3 {
		t.Errorf("%d reads are under way together", reads)
	}
	h.settle()
	q, waits, n := Request{Op: Scan, Max: 2000, Reverse: true}, 0, 0
	for ; ; n++ {
		h.step(nil, q)
		if _, ok := h.client.scans[h.nextID]; !ok {
			waits++
		}
		h.settle()
		a := h.client.scans[h.nextID]
		if !a.more {
			break
		}
		q.End = []byte(a.next)
	}
	if waits > n/2 || n < 20 {
		t.Errorf("%d of %d Scans had to wait", waits, n)
	}
}

// BenchmarkScan measures one pair of a scan of everything, in each direction.
func BenchmarkScan(b *testing.B) {
	t := benchTree(b)
	for _, direction := range []string{"up", "down"} {
		b.Run(direction, func(b *testing.B) {
			c := &pairCounter{}
			for c.pairs < b.N {
				q := Request{Op: Scan, Reverse: direction == "down", Key: c.next, Max: MaxRangePairBytes}
				if q.Reverse {
					q.Key, q.End = nil, c.next
				}
				t.Step(Inputs{Requests: &Batch{Client: c, Requests: []Request{q}}})
			}
		})
	}
}

// BenchmarkReadersScan measures the same for Readers, looking at each pair.
func BenchmarkReadersScan(b *testing.B) {
	t := benchTree(b)
	r := t.Readers()
	defer r.Close()
	for _, direction := range []string{"up", "down"} {
		b.Run(direction, func(b *testing.B) {
			var p Piece
			q := Request{Op: Scan, Reverse: direction == "down", Max: 128 << 10}
			bytes := 0
			for n := 0; n < b.N; n += p.N {
				if !r.Scan(&q, &p) {
					b.Fatal("a page is not in memory")
				}
				for k, v := range p.All() {
					bytes += len(k) + len(v)
				}
				next := p.Next
				if p.Last {
					next = nil
				}
				if q.Reverse {
					q.End = next
				} else {
					q.Key = next
				}
			}
		})
	}
}
