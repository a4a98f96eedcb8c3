package tree

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"kivaloo/disk"
)

// TestReaders has goroutines read pages while the tree replaces and evicts them: every value
// belongs to its key, and is at least as new as what had been acknowledged before.
func TestReaders(t *testing.T) {
	const keys, readers, batch = 20_000, 3, 200
	rounds := int(torture(60, 30_000))
	s, err := disk.Open(t.TempDir(), disk.Options{BlockSize: 512, NoSync: true, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cfg := testConfig()
	cfg.StorageCost, cfg.MaxSpread = 1e6, 2
	tree, err := Open(s, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	r := tree.Readers()
	defer r.Close()
	a := NewActor(tree, s)
	ctx, cancel := context.WithCancel(t.Context())
	var acknowledged [keys]atomic.Int64
	var group sync.WaitGroup
	group.Go(func() {
		if err := a.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	var reading sync.WaitGroup
	done := make(chan bool)
	var hits, pairs atomic.Int64
	for range readers {
		reading.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				i := rand.IntN(keys)
				if rand.IntN(20) > 0 {
					least := acknowledged[i].Load()
					value, found, ok := r.Get(nil, nil, readersKey(i))
					if ok {
						hits.Add(1)
						checkReadersValue(t, i, value, found, least)
					}
					continue
				}
				var p Piece
				if !r.Range(nil, &p, readersKey(i), nil, 3000) {
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
			}
		})
	}
	c := newCaller()
	for round := range rounds {
		requests := make([]Request, batch)
		numbers := rand.Perm(keys)[:batch]
		for j, i := range numbers {
			requests[j] = Request{ID: uint64(round*batch + j), Op: Set, Key: readersKey(i), Value: fmt.Appendf(nil, "%d=%d", i, round+1)}
		}
		c.push(a, requests...)
		<-c.released
		for _, i := range numbers {
			acknowledged[i].Store(int64(round + 1))
		}
	}
	close(done)
	reading.Wait()
	cancel()
	group.Wait()
	if hits.Load() < 100 || pairs.Load() < 100 {
		t.Errorf("only %d Gets and %d pairs were read without the tree", hits.Load(), pairs.Load())
	}
	if tree.Stats().Read == 0 {
		t.Error("all was in memory all the time")
	}
	checkStore(t, s)
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

// TestReadersWait: a frame is not used again before the last one has left who can look at it, and Close waits.
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

// TestReadersMany: those for whom there is no slot are told so.
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
	if r.Range(nil, &Piece{}, nil, nil, 100) {
		t.Error("one more than there are slots")
	}
	for _, in := range all {
		r.leave(in)
	}
	if value, found, ok := r.Get(nil, []byte("a "), []byte("key")); !ok || !found || string(value) != "a value" {
		t.Errorf("%q, %t, %t", value, found, ok)
	}
}

// BenchmarkReadersGet is one Get without the tree's goroutine.
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
