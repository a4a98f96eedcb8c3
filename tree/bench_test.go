package tree

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"kivaloo/internal/must"
)

const (
	benchPairs = 1 << 18
	benchGroup = 2048 // requests in one step
)

// nobody is a client that ignores its answers.
type nobody struct{}

func (nobody) Value(*Request, []byte, bool)                {}
func (nobody) Done(*Request, bool)                         {}
func (nobody) Pairs(*Request, int, []byte, []byte)         {}
func (nobody) Scanned(*Request, int, bool, []byte, []byte) {}
func (nobody) Changed(*Request, uint64, int, []byte)       {}
func (nobody) Failed(q *Request, err error)                { panic(fmt.Sprint(q.ID, err)) }
func (nobody) Dropped(*Request)                            {}
func (nobody) Release(*Batch)                              {}
func (nobody) Flush()                                      {}
func (nobody) Abandoned() bool                             { return false }

// benchKey returns a key of 40 bytes. Keys of consecutive numbers are far apart.
func benchKey(i int) []byte {
	k := make([]byte, 40)
	binary.BigEndian.PutUint64(k, uint64(i)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(k[32:], uint64(i))
	return k
}

// benchTree returns a tree with benchPairs pairs of 40+40 bytes. Its appends cost nothing.
func benchTree(b *testing.B) *Tree {
	b.Helper()
	cfg := testConfig()
	cfg.CachePages = 1 << 16
	t, err := Open(newMemStore(2048), cfg)
	must.Do(b, err)
	b.Cleanup(t.Close)
	for i := 0; i < benchPairs; i += benchGroup {
		requests := make([]Request, benchGroup)
		for j := range requests {
			requests[j] = Request{Op: Set, Key: benchKey(i + j), Value: make([]byte, 40)}
		}
		benchStep(t, requests)
	}
	return t
}

// benchStep runs requests on a store that completes every operation at once.
func benchStep(t *Tree, requests []Request) {
	in := Inputs{Requests: &Batch{Client: nobody{}, Requests: requests}}
	for {
		out := t.Step(in)
		if out.First == nil {
			return
		}
		for op := out.First; op != nil; op = op.Link.Next() {
			op.OK, op.Next = true, op.Block+uint64(len(op.Pages))
		}
		in = Inputs{Done: out.First}
	}
}

// BenchmarkGet measures one random GET among many that are waiting.
func BenchmarkGet(b *testing.B) {
	t := benchTree(b)
	rng := rand.New(rand.NewPCG(1, 1))
	batches := make([][]Request, 64)
	for i := range batches {
		batches[i] = make([]Request, 128)
		for j := range batches[i] {
			batches[i][j] = Request{Op: Get, Key: benchKey(rng.IntN(benchPairs))}
		}
	}
	batch := &Batch{Client: nobody{}}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += 128 {
		batch.Requests = batches[i/128%len(batches)]
		t.Step(Inputs{Requests: batch})
	}
}

// BenchmarkSet measures one random SET in a batch of 2048, without the disk.
func BenchmarkSet(b *testing.B) {
	t := benchTree(b)
	rng := rand.New(rand.NewPCG(1, 2))
	requests := make([]Request, benchGroup)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += benchGroup {
		b.StopTimer()
		for j := range requests {
			value := make([]byte, 40)
			binary.BigEndian.PutUint64(value, uint64(i+j+1))
			requests[j] = Request{Op: Set, Key: benchKey(rng.IntN(benchPairs)), Value: value}
		}
		b.StartTimer()
		benchStep(t, requests)
	}
}

// BenchmarkLoad measures one SET of a load in key order, in batches of 2048, without the disk.
func BenchmarkLoad(b *testing.B) {
	cfg := testConfig()
	cfg.CachePages = 1 << 16
	t, err := Open(newMemStore(2048), cfg)
	must.Do(b, err)
	b.Cleanup(t.Close)
	requests := make([]Request, benchGroup)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += benchGroup {
		b.StopTimer()
		for j := range requests {
			requests[j] = Request{Op: Set, Key: fmt.Appendf(nil, "%040d", i+j), Value: make([]byte, 40)}
		}
		b.StartTimer()
		benchStep(t, requests)
	}
}

// BenchmarkPosition measures one search in a page that is in the processor's caches.
func BenchmarkPosition(b *testing.B) {
	c := testCache(b, 2048)
	a := parts{}
	for i := range 24 {
		a.keys, a.values = append(a.keys, fmt.Sprintf("%040d", i)), append(a.values, fmt.Sprintf("%040d", i))
	}
	nd := putParts(b, c, a)
	var keys [24][]byte
	for i, k := range a.keys {
		keys[i*7%24] = []byte(k)
	}
	b.ResetTimer()
	for i := range b.N {
		if _, found := c.position(nd, keys[i%24]); !found {
			b.Fatal("a key that is there is not found")
		}
	}
}

// BenchmarkRange measures one pair of a scan of everything.
func BenchmarkRange(b *testing.B) {
	t := benchTree(b)
	b.ReportAllocs()
	b.ResetTimer()
	counter := &pairCounter{}
	for counter.pairs < b.N {
		t.Step(Inputs{Requests: &Batch{Client: counter, Requests: []Request{{Op: Range, Key: counter.next, Max: MaxRangePairBytes}}}})
	}
}

type pairCounter struct {
	nobody
	pairs int
	next  []byte
}

func (c *pairCounter) Pairs(_ *Request, n int, next, _ []byte) {
	c.pairs += n
	c.next = append(c.next[:0], next...)
}

func (c *pairCounter) Scanned(_ *Request, n int, more bool, next, _ []byte) {
	c.pairs += n
	if c.next = append(c.next[:0], next...); !more {
		c.next = c.next[:0]
	}
}

// BenchmarkUpdate measures one random change of a value, with a journal and a tree about as large
// as the cache.
func BenchmarkUpdate(b *testing.B) {
	const pairs = 1 << 20
	cfg := testConfig()
	cfg.CachePages, cfg.JournalBytes = 1<<16, DefaultJournalBytes
	t, err := Open(newMemStore(2048), cfg)
	must.Do(b, err)
	defer t.Close()
	requests := make([]Request, benchGroup)
	for i := 0; i < pairs; i += benchGroup {
		for j := range requests {
			requests[j] = Request{Op: Set, Key: binary.BigEndian.AppendUint64(make([]byte, 32), uint64(i+j)), Value: make([]byte, 40)}
		}
		benchStep(t, requests)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += benchGroup {
		b.StopTimer()
		for j := range requests {
			value := make([]byte, 40)
			binary.BigEndian.PutUint64(value, uint64(i+j))
			requests[j] = Request{Op: Set, Key: binary.BigEndian.AppendUint64(make([]byte, 32), rng.Uint64N(pairs)), Value: value}
		}
		b.StartTimer()
		benchStep(t, requests)
	}
	b.ReportMetric(float64(t.counts.written)*2048/float64(b.N+pairs), "B-written/op")
}

// BenchmarkReplay opens a store of 2^20 pairs whose journal is nearly full.
func BenchmarkReplay(b *testing.B) {
	const pairs = 1 << 20
	cfg := testConfig()
	cfg.CachePages, cfg.JournalBytes = 1<<16, DefaultJournalBytes
	store := newMemStore(2048)
	h := newHarness(b, store, cfg)
	write := func(key func(i int) uint64) {
		for i := 0; i < pairs/2; i += benchGroup {
			requests := make([]Request, benchGroup)
			for j := range requests {
				requests[j] = Request{Op: Set, Key: binary.BigEndian.AppendUint64(make([]byte, 32), key(i+j)), Value: fmt.Appendf(nil, "%040d", i+j)}
			}
			h.do(requests...)
		}
	}
	write(func(i int) uint64 { return uint64(i) })
	write(func(i int) uint64 { return uint64(i + pairs/2) })
	h.pass(2 * flushIdleAfter)
	rng := rand.New(rand.NewPCG(1, 1))
	write(func(int) uint64 { return rng.Uint64N(pairs) })
	journal := h.tree.journalBytes()
	b.ResetTimer()
	for range b.N {
		t, err := Open(store, cfg)
		must.Do(b, err)
		t.Close()
	}
	b.ReportMetric(float64(journal)/1e6, "MB-journal")
}
