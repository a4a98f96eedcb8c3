package tree

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kivaloo/tree/memtable"
)

// TestReaders has goroutines read the committed tree and snapshots while the tree is stepped with a
// cache that is much too small. So frames are reused all the time, and memtables are frozen,
// flushed and freed. Every value must belong to its key and be at least as new as what was
// acknowledged. A snapshot must have exactly its own content.
//
// Under -race it finds each of these faults: frames or memtables are reused while a reader of their
// epoch is inside, or at once; a reader stores no epoch, or a later one; a Get or Range looks at a
// page after it has left, or at a snapshot before it has entered; a child hint is followed without
// checking its block; a page commit, a new root or a snapshot does not pin.
func TestReaders(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		const keys, readers, batch = 3000, 3, 60
		cfg.StorageCost, cfg.MaxSpread = 1e6, 2
		h := newHarness(t, newMemStore(512), smallFlushes(cfg))
		h.tree.cfg.CachePages = 300
		r := h.tree.Readers()
		var acknowledged [keys]atomic.Int64
		var shared atomic.Pointer[sharedSnapshot]
		var hits, pairs, ofSnapshots atomic.Int64
		var reading sync.WaitGroup
		done := make(chan bool)
		for n := range readers {
			reading.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(n), 1))
				var p Piece
				for turn := 0; ; turn++ {
					select {
					case <-done:
						return
					default:
					}
					i := rng.IntN(keys)
					s := shared.Load()
					switch {
					case turn%8 == 0:
						if !r.Scan(&Request{Op: Scan, Key: readersKey(i), Max: 3000}, &p) {
							continue
						}
						for key, value := range p.All() {
							pairs.Add(1)
							n, _ := strconv.Atoi(string(key))
							if n < i {
								t.Errorf("%q comes after %d", key, i)
							}
							checkReadersValue(t, n, value, true, 0)
							i = n + 1
						}
					case turn%3 == 0 && s != nil:
						if value, found, ok := r.Get(s.Snapshot, nil, readersKey(i)); ok {
							ofSnapshots.Add(1)
							checkReadersValue(t, i, value, found, s.versions[i])
							if want := fmt.Sprintf("%d=%d", i, s.versions[i]); found && string(value) != want {
								t.Errorf("the snapshot has %q, want %q", value, want)
							}
						}
					default:
						least := acknowledged[i].Load()
						if value, found, ok := r.Get(nil, nil, readersKey(i)); ok {
							hits.Add(1)
							checkReadersValue(t, i, value, found, least)
						}
					}
				}
			})
		}
		rounds := int(torture(60, 30_000))
		if raceEnabled {
			rounds /= 3
		}
		for round := 0; round < rounds || round < 20*rounds && min(hits.Load(), pairs.Load(), ofSnapshots.Load()) < 50; round++ {
			h.now += 50 * time.Millisecond
			requests := make([]Request, batch)
			numbers := rand.Perm(keys)[:batch]
			for j, i := range numbers {
				requests[j] = Request{Op: Set, Key: readersKey(i), Value: fmt.Appendf(nil, "%d=%d", i, round+1)}
				requests = append(requests, Request{Op: Get, Key: readersKey(rand.IntN(keys))}) // brings pages in
			}
			h.do(requests...)
			for _, i := range numbers {
				acknowledged[i].Store(int64(round + 1))
			}
			if round%3 == 0 {
				s := &sharedSnapshot{Snapshot: h.snapshot("test")}
				for i := range keys {
					s.versions[i] = acknowledged[i].Load()
				}
				if old := shared.Swap(s); old != nil {
					h.tree.Release(old.Snapshot)
				}
			}
		}
		close(done)
		reading.Wait()
		r.Close()
		h.tree.Release(shared.Load().Snapshot)
		h.pass(2 * flushIdleAfter)
		t.Logf("%d Gets, %d pairs, %d Gets of snapshots; %d pages read, %d flushes", hits.Load(), pairs.Load(), ofSnapshots.Load(),
			h.tree.Stats().Read, h.tree.Stats().Flushes)
		if min(hits.Load(), pairs.Load(), ofSnapshots.Load()) < 50 || h.tree.Stats().Read == 0 {
			t.Error("too little was read without the tree, or all was in memory all the time")
		}
		h.check()
		h.checkFrames()
	})
}

// sharedSnapshot is a snapshot and its content.
type sharedSnapshot struct {
	*Snapshot
	versions [3000]int64 // 0: the key is absent
}

func readersKey(i int) []byte { return fmt.Appendf(nil, "%0100d", i) }

func checkReadersValue(t *testing.T, i int, value []byte, found bool, least int64) {
	if !found {
		if least > 0 {
			t.Errorf("%d is not there", i)
		}
		return
	}
	of, version, _ := bytes.Cut(value, []byte("="))
	n, err := strconv.ParseInt(string(version), 10, 64)
	if string(of) != fmt.Sprint(i) || err != nil || n < least {
		t.Errorf("%d has the value %q, at least version %d was acknowledged", i, value, least)
	}
}

// TestReadersWait checks that a frame is reused only after the last reader that can see it has
// left, and that Close waits.
func TestReadersWait(t *testing.T) {
	h := newHarness(t, newMemStore(512), testConfig())
	r := h.tree.Readers()
	h.do(sets(0, 100, "v")...)
	in, ok := r.enter()
	if !ok {
		t.Fatal("cannot enter")
	}
	h.do(set("000007", "w"))
	h.tree.cache.reclaim()
	held := len(h.tree.cache.limbo)
	if held == 0 {
		t.Error("what has been replaced while somebody reads is not kept")
	}
	later, _ := r.enter()
	r.leave(in)
	h.tree.cache.reclaim()
	if n := len(h.tree.cache.limbo); n != 0 {
		t.Errorf("%d frames are kept for a reader who came after", n)
	}
	closed := make(chan bool)
	go func() {
		r.Close()
		close(closed)
	}()
	for {
		in, ok := r.enter()
		if !ok {
			break
		}
		r.leave(in)
	}
	select {
	case <-closed:
		t.Error("closed, with a reader inside")
	default:
	}
	r.leave(later)
	<-closed
}

// TestReadersKeepMemtables checks that a flushed memtable is freed only after the last reader that
// can use it has left.
func TestReadersKeepMemtables(t *testing.T) {
	h := newHarness(t, newMemStore(512), journalConfig())
	r := h.tree.Readers()
	h.do(set("key", "value"))
	in, ok := r.enter()
	if !ok {
		t.Fatal("cannot enter")
	}
	table := r.seen(nil).tables[0]
	h.pass(2 * flushIdleAfter)
	if h.tree.Stats().Flushes == 0 || len(h.tree.limbo) == 0 {
		t.Fatalf("%d flushes, %d memtables are kept for their reader", h.tree.Stats().Flushes, len(h.tree.limbo))
	}
	key := []byte("key")
	if value, found := table.Get(table.Hash(key), key, table.Durable()); found != memtable.Present || string(value) != "value" {
		t.Errorf("a reader that stays sees %q, %v", value, found)
	}
	r.leave(in)
	h.pass(tickEvery)
	if n := len(h.tree.limbo); n > 0 {
		t.Errorf("%d memtables are kept for nobody", n)
	}
}

// TestReadersBelieveNoHint checks that Readers ask the tree if the frame of a child has another
// page by now.
func TestReadersBelieveNoHint(t *testing.T) {
	const keys = 1500
	h := newHarness(t, newMemStore(2048), testConfig())
	h.tree.cfg.CachePages = 80
	r := h.tree.Readers()
	for i := 0; i < keys; i += 50 {
		h.do(sets(i, 50, strings.Repeat("v", 50))...)
	}
	if height := h.tree.view.tree.height; height != 1 {
		t.Fatalf("the height is %d: with more parents a search may go in circles, where it should fail", height)
	}
	answered, asked := 0, 0
	for i := 0; i < keys; i += 20 {
		h.get(fmt.Sprintf("%06d", i)) // its leaf gets the frame of another
		for j := 0; j < keys; j += 20 {
			value, found, ok := r.Get(nil, nil, fmt.Appendf(nil, "%06d", j))
			switch {
			case !ok:
				asked++
			case !found || len(value) != 50:
				t.Fatalf("after a Get of %d a reader of %d sees %q (there: %t)", i, j, value, found)
			default:
				answered++
			}
		}
	}
	if answered == 0 || asked == 0 {
		t.Errorf("%d Gets of readers were answered, for %d the tree has to be asked: this test shows nothing", answered, asked)
	}
}

// TestReadersMany checks that readers without a free slot are told to ask the tree.
func TestReadersMany(t *testing.T) {
	h := newHarness(t, newMemStore(512), testConfig())
	r := h.tree.Readers()
	h.do(set("key", "value"))
	var all []reading
	for range readerSlots {
		in, ok := r.enter()
		if !ok {
			t.Fatalf("only %d can read", len(all))
		}
		all = append(all, in)
	}
	if _, _, ok := r.Get(nil, nil, []byte("key")); ok {
		t.Error("one more than there are slots")
	}
	if r.Scan(&Request{Op: Scan, Max: 100}, &Piece{}) {
		t.Error("one more than there are slots")
	}
	for _, in := range all {
		r.leave(in)
	}
	if value, found, ok := r.Get(nil, []byte("a "), []byte("key")); !ok || !found || string(value) != "a value" {
		t.Errorf("%q, %t, %t", value, found, ok)
	}
}

// BenchmarkReadersGet measures one Get without the tree's goroutine.
func BenchmarkReadersGet(b *testing.B) {
	t := benchTree(b)
	r := t.Readers()
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		var buf []byte
		for pb.Next() {
			value, found, ok := r.Get(nil, buf[:0], benchKey(rand.IntN(benchPairs)))
			if !found || !ok {
				b.Fatal("a key that is there is not found")
			}
			buf = value
		}
	})
}
