package tree

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"kivaloo/disk"
)

// smallFlushes changes a config so that memtables of a few dozen changes are frozen, and each is
// flushed in many steps.
func smallFlushes(cfg Config) Config {
	cfg.memtableBytes, cfg.stepBytes = 2<<10, 3*512
	return cfg
}

// stepped is a tree that moves one effect at a time. After each effect, all ways of reading are
// compared with what is committed.
type stepped struct {
	*harness
	rng     *rand.Rand
	readers *Readers
	piece   Piece
	taken   []takenSnapshot
	local   int // reads that Readers have answered
	seen    map[string]int
}

// TestEveryMoment checks that Gets, Ranges, conditional changes and snapshots see exactly what is
// committed, at every moment of a freeze, a flush step, the swap of the root and the drop of a
// memtable.
func TestEveryMoment(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		seen := map[string]int{} // with any of the seeds
		for seed := range torture(4, 300) {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				s := &stepped{rng: rand.New(rand.NewPCG(seed, 11)), seen: seen}
				s.harness = newHarness(t, newMemStore(512), smallFlushes(cfg))
				s.client.model = model{}
				s.readers = s.tree.Readers()
				t.Cleanup(s.readers.Close)

				for range 3000 {
					s.tree.cache.limit = 40 + int(seed)*20
					s.oneEffect()
					s.note()
					s.compare()
				}
				s.end(t)
			})
		}
		states := []string{"the last step"}
		if cfg.JournalBytes > 0 {
			states = append(states, "a step of several", "half flushed", "two frozen memtables", "a snapshot of memtables")
		}
		for _, state := range states {
			if seen[state] == 0 {
				t.Errorf("%q was never met", state)
			}
		}
	})
}

func (s *stepped) key() []byte { return fmt.Appendf(nil, "%04d", s.rng.IntN(800)) }

// oneEffect lets one thing happen.
func (s *stepped) oneEffect() {
	switch n := s.rng.IntN(10); {
	case n < 6 && len(s.held) > 0:
		s.finish(s.rng.IntN(len(s.held)))
	case n < 7:
		s.now += time.Duration(s.rng.IntN(400)) * time.Millisecond
		s.step(nil)
	case n < 8 && s.rng.IntN(3) == 0 && len(s.taken) < 3:
		s.tree.TakeSnapshot("test", func(snapshot *Snapshot, _ error) {
			reader := newRecorder()
			reader.model = maps.Clone(s.client.model)
			s.taken = append(s.taken, takenSnapshot{snapshot, reader})
		})
	case n < 8 && s.rng.IntN(6) == 0 && len(s.taken) > 0:
		i := s.rng.IntN(len(s.taken))
		if len(s.taken[i].reader.answered) == int(s.asked(i)) {
			s.tree.Release(s.taken[i].Snapshot)
			s.taken = slices.Delete(s.taken, i, i+1)
		}
	default:
		requests := make([]Request, 1+s.rng.IntN(4))
		for i := range requests {
			requests[i] = randomRequest(s.rng, s.client.model, s.key, 60)
		}
		s.step(nil, requests...)
	}
}

// asked returns how many requests the reader of a snapshot has made.
func (s *stepped) asked(i int) uint64 { return s.taken[i].reader.asked }

// note counts the states of the tree that were seen.
func (s *stepped) note() {
	t := s.tree
	switch {
	case t.flush.state == flushAppending && !t.flush.last:
		s.seen["a step of several"]++
	case t.flush.state == flushAppending:
		s.seen["the last step"]++
	}
	if t.flush.state != flushIdle && t.flush.done > 0 {
		s.seen["half flushed"]++
	}
	if len(t.view.tables) > 2 {
		s.seen["two frozen memtables"]++
	}
	if len(s.taken) > 0 && len(s.taken[0].view.Load().tables) > 0 {
		s.seen["a snapshot of memtables"]++
	}
}

// compare reads in all ways.
func (s *stepped) compare() {
	s.t.Helper()
	s.read(nil, s.client, s.client.model)
	s.step(nil, get(string(s.key())), Request{Op: Range, Key: s.key(), Max: uint32(s.rng.IntN(4000))}, randomScan(s.rng, s.key, 4000))
	for i := range s.taken {
		reader := s.taken[i].reader
		s.read(s.taken[i].Snapshot, reader, reader.model)
		if s.rng.IntN(4) == 0 {
			reader.asked++
			q := randomScan(s.rng, s.key, 4000)
			if q.At = s.taken[i].Snapshot; s.rng.IntN(2) == 0 {
				q = Request{Op: Get, Key: s.key(), At: q.At}
			}
			s.stepFor(reader, nil, q)
		}
	}
}

// read compares the results of Readers, as far as pages are in memory.
func (s *stepped) read(at *Snapshot, _ *recorder, want model) {
	s.t.Helper()
	for range 3 {
		key := s.key()
		value, found, ok := s.readers.Get(at, nil, key)
		if !ok {
			continue
		}
		s.local++
		if v, there := want[string(key)]; found != there || string(value) != v {
			s.t.Fatalf("Readers: %q holds %q, %t; want %q, %t", key, value, found, v, there)
		}
	}
	q := randomScan(s.rng, s.key, 4000)
	if q.At = at; !s.readers.Scan(&q, &s.piece) {
		return
	}
	s.local++
	a := s.piece.answer()
	if err := a.check(want, &q); err != nil {
		s.t.Fatal("Readers: ", err)
	}
}

// answer returns the content of p.
func (p *Piece) answer() scanAnswer {
	a := scanAnswer{n: p.N, more: !p.Last, next: string(p.Next)}
	for k, v := range p.All() {
		a.keys, a.values = append(a.keys, string(k)), append(a.values, string(v))
	}
	return a
}

func (s *stepped) end(t *testing.T) {
	s.settle()
	s.pass(2 * flushIdleAfter)
	for _, snapshot := range s.taken {
		s.tree.Release(snapshot.Snapshot)
	}
	if len(s.client.failed) > 0 {
		t.Fatal(s.client.failed)
	}
	sameContent(t, s.dump(), s.client.model)
	s.check()
	s.checkFrames()
	if s.local < 3000 {
		t.Errorf("Readers have answered only %d reads", s.local)
	}
}

// TestFlushCarriesOver checks that a change whose leaf cannot be read stays readable and durable,
// whatever is flushed meanwhile. It must go into its leaf when that becomes readable again. Without
// a journal it must fail.
func TestFlushCarriesOver(t *testing.T) {
	for what, damage := range damages {
		t.Run(what, func(t *testing.T) {
			h, leaves := damagedStore(t)
			h = newHarness(t, h.store, smallFlushes(journalConfig()))
			want := model(newHarness(t, h.store.clone(), testConfig()).dump())
			bad := leaves[len(leaves)/3]
			before := slices.Clone(h.store.page(bad.block))
			damage.do(h.store, bad.block)
			changed := model{} // as far as the damaged leaf would show
			change := func(requests ...Request) {
				want.applyAll(requests)
				changed.applyAll(requests)
				h.do(requests...)
				for _, r := range requests {
					if !h.client.done[r.ID] {
						t.Fatalf("%q: %v", r.Key, h.client.failed[r.ID])
					}
				}
			}
			compare := func(what string) {
				t.Helper()
				for key, value := range changed {
					if v, _ := h.get(key); v != value {
						t.Errorf("%s: %q holds %q, want %q", what, key, v, value)
					}
				}
			}
			for round := range 5 {
				for i, leaf := range leaves {
					if i%7 == round || leaf.block == bad.block {
						change(set(leaf.keys[0], fmt.Sprint("round ", round)))
					}
				}
				h.pass(2 * flushIdleAfter)
				compare("after a flush")
			}
			if h.tree.counts.flushes == 0 || len(h.faults) != 1 {
				t.Errorf("%d flushes, reported: %v", h.tree.counts.flushes, h.faults)
			}
			unread := h.store.unread
			crashed := h.store.clone()
			crashed.unread = maps.Clone(unread)
			h = newHarness(t, crashed, journalConfig())
			compare("after a crash")
			h.pass(2 * flushIdleAfter)
			compare("after a crash and a flush")

			clear(h.store.unread)
			copy(h.store.page(bad.block), before)
			h.do(set("one more", "to flush"))
			want["one more"] = "to flush"
			h.pass(2 * flushIdleAfter)
			sameContent(t, h.dump(), want)
			h.tree.Stop()
			for range 5 {
				h.pass(time.Second)
			}
			if !endsInRoot(h.store) {
				t.Error("not flushed although all can be read")
			}
			sameContent(t, newHarness(t, h.store.clone(), testConfig()).dump(), want)
		})
	}
}

// TestCommitOfLostLeaf checks that without a journal only the changes of an unreadable leaf fail,
// and that a crash leaves exactly the others.
func TestCommitOfLostLeaf(t *testing.T) {
	h, leaves := damagedStore(t)
	bad := leaves[len(leaves)/3]
	h.store.unread[bad.block] = errDisk
	h.do(set(bad.keys[0], "lost"), set(leaves[0].keys[0], "made"))
	if h.client.failed[1] == nil || !h.client.done[2] {
		t.Errorf("failed: %v, done: %v", h.client.failed, h.client.done)
	}
	clear(h.store.unread)
	h = newHarness(t, h.store.clone(), testConfig())
	if v, _ := h.get(bad.keys[0]); v != "some value" {
		t.Errorf("what has failed holds %q", v)
	}
	if v, _ := h.get(leaves[0].keys[0]); v != "made" {
		t.Errorf("what was made holds %q", v)
	}
}

// TestStopWhileFlushing checks that a stop during a flush ends with a root that holds everything,
// and that no flush is counted without a journal.
func TestStopWhileFlushing(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		h := newHarness(t, newMemStore(2048), smallFlushes(cfg))

		h.do(sets(0, 300, "value")...)
		for range 10 {
			if i := h.heldOf(disk.Append); i >= 0 {
				h.finish(i)
			}
			h.step(nil, sets(100, 30, "newer")...)
		}
		h.tree.Stop()
		h.settle()
		h.pass(2 * flushIdleAfter)
		if h.tree.Busy() || !endsInRoot(h.store) {
			t.Errorf("busy: %t; the last block is a root: %t", h.tree.Busy(), endsInRoot(h.store))
		}
		if n := h.tree.Stats().Flushes; (n > 0) != (cfg.JournalBytes > 0) {
			t.Errorf("%d flushes", n)
		}
		sameContent(t, newHarness(t, h.store.clone(), cfg).dump(), h.dump())
	})
}

// TestFoldBesideRequests checks that a start without a journal flushes what it replayed, however
// much that is, also if changes wait from the start.
func TestFoldBesideRequests(t *testing.T) {
	cfg := journalConfig()
	cfg.JournalBytes, cfg.memtableBytes = 64<<20, 64<<20
	h := newHarness(t, newMemStore(2048), cfg)
	for first := 0; first <= shortFlush; first += 1 << 10 {
		h.do(sets(first, 1<<10, "value")...)
	}
	h = newHarness(t, h.store.clone(), testConfig())
	h.step(nil, set("000000", "changed"))
	h.finishWithin(10_000)
	if !h.client.done[h.nextID] {
		t.Fatalf("a change is not made: %v", h.client.failed)
	}
	if v, _ := newHarness(t, h.store.clone(), testConfig()).get("000000"); v != "changed" {
		t.Errorf("%q", v)
	}
}
