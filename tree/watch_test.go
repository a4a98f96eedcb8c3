package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"kivaloo/tree/memtable"
)

// watchAnswer is the answer to a Watch.
type watchAnswer struct {
	ends     []uint64 // positions between commits
	position uint64
	n        int
	changes  []memtable.Change
}

func newWatchAnswer(position uint64, n int, changes []byte) watchAnswer {
	a := watchAnswer{position: position, n: n}
	for rest := append([]byte{}, changes...); len(rest) > 0; {
		var ch memtable.Change
		ends := rest[0]&changeEnds != 0
		if ch, rest = nextChange(rest); ends {
			a.ends, rest = append(a.ends, binary.BigEndian.Uint64(rest)), rest[positionBytes:]
		}
		a.changes = append(a.changes, ch)
	}
	return a
}

// watcher is a client that keeps a copy of a range of the store by watching it.
type watcher struct {
	start, end string
	position   uint64 // 0: it must begin again
	copy       model
	max        uint32
	waits      bool
}

func (w *watcher) clone() watcher {
	c := *w
	c.copy, c.waits = maps.Clone(w.copy), false
	return c
}

// begin copies pairs, which must be everything committed.
func (w *watcher) begin(t *Tree, pairs model) {
	w.position, w.copy, w.waits = t.changes.last+1, w.within(pairs), false
}

// within returns the pairs in the watcher's range.
func (w *watcher) within(pairs model) model {
	in := model{}
	for k, v := range pairs {
		if k >= w.start && (w.end == "" || k < w.end) {
			in[k] = v
		}
	}
	return in
}

func (w *watcher) request(wait time.Duration) Request {
	return Request{Op: Watch, Key: []byte(w.start), End: []byte(w.end), Position: w.position, Wait: wait, Max: w.max}
}

// take applies an answer. If it includes the latest commit, the copy must equal pairs.
func (w *watcher) take(t *Tree, q *Request, a watchAnswer, pairs model) error {
	bytes, last := positionBytes*len(a.ends), w.position
	for _, ch := range a.changes {
		k := string(ch.Key)
		if k < w.start || w.end != "" && k >= w.end {
			return fmt.Errorf("watch %q to %q: a change of %q", w.start, w.end, k)
		}
		bytes += changeLen(ch)
		if w.copy[k] = string(ch.Value); ch.Deleted {
			delete(w.copy, k)
		}
	}
	w.position, w.waits = a.position, false
	switch {
	case a.n != len(a.changes):
		return fmt.Errorf("watch: %d changes, says %d", len(a.changes), a.n)
	case a.n > 0 && a.position == last, a.position == 0:
		return fmt.Errorf("watch: %d changes, and the position is %d after %d", a.n, a.position, last)
	case a.n > 1 && bytes > int(min(q.Max, MaxWatchBytes)):
		return fmt.Errorf("watch: %d bytes, max is %d", bytes, q.Max)
	}
	if want := w.within(pairs); a.position == t.changes.last+1 && !maps.Equal(w.copy, want) {
		return fmt.Errorf("watch %q to %q: at %d after %d with %d changes the copy has %d pairs, want %d", w.start, w.end, a.position, last, a.n, len(w.copy), len(want))
	}
	return nil
}

// watch carries out one Watch that does not wait.
func (h *harness) watch(position uint64, max int) (watchAnswer, error) {
	h.t.Helper()
	h.do(Request{Op: Watch, Position: position, Max: uint32(max)})
	a, ok := h.client.changes[h.nextID]
	err := h.client.failed[h.nextID]
	if !ok && err == nil {
		h.t.Fatal("a Watch that is not to wait is not answered")
	}
	return a, err
}

func (a *watchAnswer) String() string {
	var all []string
	for _, ch := range a.changes {
		if ch.Deleted {
			all = append(all, "-"+string(ch.Key))
		} else {
			all = append(all, string(ch.Key)+"="+string(ch.Value))
		}
	}
	return strings.Join(all, " ")
}

// TestWatch checks that a Watch is answered with what is committed after its position, as soon as
// that is durable.
func TestWatch(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		h := newHarness(t, newMemStore(512), cfg)
		h.do(set("a", "before"))
		from, err := h.watch(0, 1000)
		if err != nil || from.n != 0 || from.position == 0 {
			t.Fatal(from, err)
		}
		h.step(nil, Request{Op: Watch, Key: []byte("b"), End: []byte("d"), Position: from.position, Wait: time.Minute, Max: 1000})
		waiting := h.nextID
		h.do(set("a", "1"), set("d", "1"))
		if h.client.answered[waiting] {
			t.Fatal("a Watch is answered without a change in its range")
		}
		h.step(nil, set("c", "1"), set("b", "x"), set("a", "2"), set("b", "1"))
		if h.client.answered[waiting] {
			t.Fatal("a Watch is answered before the commit is durable")
		}
		h.settle()
		a, ok := h.client.changes[waiting]
		if got := a.String(); !ok || got != "c=1 b=1" {
			t.Errorf("changes %q", got)
		}
		h.do(Request{Op: Delete, Key: []byte("c")})
		if b, err := h.watch(a.position, 1000); err != nil || b.String() != "-c" {
			t.Errorf("changes %q, %v", b.String(), err)
		}
		all, err := h.watch(from.position, 1000)
		if err != nil || all.String() != "a=1 d=1 c=1 b=1 a=2 -c" {
			t.Errorf("all changes %q, %v", all.String(), err)
		}
		// The positions between the commits.
		rests := []string{"c=1 b=1 a=2 -c", "-c"}
		for i, end := range all.ends {
			if rest, err := h.watch(end, 1000); err != nil || i == len(rests) || rest.String() != rests[i] {
				t.Errorf("after position %d, %d: %q, %v", i, end, rest.String(), err)
			}
		}
		if len(all.ends) != len(rests) {
			t.Errorf("%d positions between commits", len(all.ends))
		}
		// One commit at a time, and parts of one.
		for max, want := range map[int]string{10: "a=1 d=1|c=1 b=1|a=2|-c", 16: "a=1 d=1|c=1 b=1 a=2|-c", 30: "a=1 d=1|c=1 b=1 a=2 -c"} {
			var parts []string
			for at := from.position; ; {
				a, err := h.watch(at, max)
				if err != nil {
					t.Fatal(err)
				}
				if at = a.position; a.n == 0 {
					break
				}
				parts = append(parts, a.String())
			}
			if got := strings.Join(parts, "|"); got != want {
				t.Errorf("in answers of up to %d bytes: %q, want %q", max, got, want)
			}
		}
		h.step(nil, Request{Op: Watch, Position: all.position, Wait: 5 * time.Second, Max: 1000})
		h.pass(4 * time.Second)
		if h.client.answered[h.nextID] {
			t.Error("a Watch is answered too early")
		}
		h.pass(2 * time.Second)
		if a, ok := h.client.changes[h.nextID]; !ok || a.n != 0 || a.position < all.position {
			t.Errorf("after its time: %t, %+v", ok, a)
		}
	})
}

// TestWatchPositions checks that a position is valid after a stop or a kill where that is possible,
// and gone where it is not.
func TestWatchPositions(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		h := newHarness(t, newMemStore(512), cfg)
		h.do(set("a", "1"))
		before, _ := h.watch(0, 1000)
		h.do(set("b", "2"))
		last, _ := h.watch(0, 1000)
		if _, err := h.watch(last.position+1, 1000); !errors.Is(err, ErrPositionGone) {
			t.Errorf("a position that will be: %v", err)
		}
		for _, stop := range []bool{false, true} {
			if stop {
				h.tree.Stop()
				h.step(nil)
				h.finishWithin(200)
			}
			h = newHarness(t, h.store, cfg)
			if a, err := h.watch(last.position, 1000); err != nil || a.n != 0 || a.position != last.position {
				t.Errorf("stop %t: the last position: %v, %+v", stop, err, a)
			}
			switch a, err := h.watch(before.position, 1000); {
			case cfg.JournalBytes > 0 && !stop:
				if err != nil || a.String() != "b=2" {
					t.Errorf("after a kill: %v, %q", err, a.String())
				}
			case !errors.Is(err, ErrPositionGone):
				t.Errorf("stop %t: a position whose changes have been flushed: %v, %+v", stop, err, a)
			}
			h.do(set("c", "3"))
			if a, err := h.watch(last.position, 1000); err != nil || a.String() != "c=3" {
				t.Errorf("stop %t: after the last position: %v, %q", stop, err, a.String())
			}
			last, _ = h.watch(0, 1000)
		}
	})
}

// TestWatchOtherMode checks that commit numbers rise when a store is opened with a journal, without
// one, and with one again. So no position means something else later.
func TestWatchOtherMode(t *testing.T) {
	store := newMemStore(512)
	seen := map[uint64]string{}
	last := uint64(0)
	for i := range 6 {
		cfg := testConfig()
		if i%2 == 0 {
			cfg = journalConfig()
		}
		h := newHarness(t, store, cfg)
		for j := range 5 {
			h.do(set("key", fmt.Sprint(i, j)))
			a, _ := h.watch(0, 1000)
			if seen[a.position] != "" || a.position <= last {
				t.Fatalf("position %d after %d is there twice", a.position, last)
			}
			last, seen[a.position] = a.position, fmt.Sprint(i, j)
		}
		if i%4 < 2 {
			h.pass(2 * flushIdleAfter)
		}
	}
}

// TestWatchModel has watchers of all speeds keep copies of ranges, while commits and flushes go on
// one effect at a time, and some appends fail. A watcher that is too slow must be told so.
func TestWatchModel(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		gone, parts, answers := 0, 0, 0
		for seed := range torture(6, 300) {
			rng := rand.New(rand.NewPCG(seed, 21))
			s := &stepped{rng: rng, seen: map[string]int{}}
			s.harness = newHarness(t, newMemStore(512), smallFlushes(cfg))
			s.client.model = model{}
			s.tree.changes.limit = 500 + rng.IntN(3000)
			watchers := make([]*watcher, 1+rng.IntN(20))
			ids := make([]uint64, len(watchers))
			clients := make([]*recorder, len(watchers))
			for i := range watchers {
				w := &watcher{start: string(s.key()), end: string(s.key())}
				if rng.IntN(3) == 0 {
					w.start, w.end = "", ""
				}
				w.begin(s.tree, s.client.model)
				watchers[i], clients[i] = w, newRecorder()
			}
			for range 2000 {
				s.oneEffect()
				for i, w := range watchers {
					if id := ids[i]; id != 0 {
						a, ok := clients[i].changes[id]
						switch err := clients[i].failed[id]; {
						case errors.Is(err, ErrPositionGone):
							gone++
							ids[i] = 0
							w.begin(s.tree, s.client.model)
						case err != nil:
							t.Fatal(err)
						case ok:
							answers++
							ids[i] = 0
							q := w.request(0)
							if a.position&partBit != 0 {
								parts++
							}
							if err := w.take(s.tree, &q, a, s.client.model); err != nil {
								t.Fatal(err)
							}
						}
						continue
					}
					if rng.IntN(1+i*i*4) == 0 {
						w.max = uint32(rng.IntN(2000))
						s.stepFor(clients[i], nil, w.request(time.Duration(rng.IntN(3))*time.Second))
						ids[i] = s.nextID
					}
				}
			}
			s.settle()
			for _, snapshot := range s.taken {
				s.tree.Release(snapshot.Snapshot)
			}
		}
		t.Logf("%d answers, %d parts of commits, %d too late", answers, parts, gone)
		if gone == 0 || parts == 0 || answers < 1000 {
			t.Error("too few of a kind")
		}
	})
}

// TestWatchGap checks that only the latest changes of a long memtable are kept, and nothing from
// before the gap.
func TestWatchGap(t *testing.T) {
	h := newHarness(t, newMemStore(512), journalConfig())
	before, _ := h.watch(0, 1000)
	h.tree.changes.limit = 3000
	h.do(set("a", "1"))
	h.pass(2 * flushIdleAfter)
	if a, err := h.watch(before.position, 1000); err != nil || a.String() != "a=1" {
		t.Fatalf("after a flush: %q, %v", a.String(), err)
	}
	var middle watchAnswer
	for i := range 100 {
		h.do(sets(i, 1, "a value of 20 bytes.")...)
		if i == 50 {
			middle, _ = h.watch(0, 1000)
		}
	}
	h.pass(2 * flushIdleAfter)
	if a, err := h.watch(before.position, 1000); !errors.Is(err, ErrPositionGone) {
		t.Errorf("a position before a gap: %d changes, %v", a.n, err)
	}
	if a, err := h.watch(middle.position, 10_000); err != nil || a.n != 49 {
		t.Errorf("a position behind it: %d changes, %v", a.n, err)
	}
}

// TestWatchIsBounded checks that what is kept for watchers stays within its limit, and is dropped
// after a while without Watches. Too many Watches must be refused, and those of abandoned clients
// dropped.
func TestWatchIsBounded(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		h := newHarness(t, newMemStore(512), smallFlushes(cfg))
		for i := range 100 {
			h.do(sets(i*10, 10, "value")...)
		}
		h.pass(2 * flushIdleAfter)
		if c := &h.tree.changes; c.kept != 0 || len(c.runs) > 1 {
			t.Errorf("%d bytes in %d runs are kept for nobody", c.kept, len(c.runs))
		}
		_, _ = h.watch(0, 0)
		most := 0
		h.tree.changes.limit = 20_000
		for i := range 500 {
			h.do(sets(i*10, 10, "value")...)
			most = max(most, h.tree.changes.kept)
		}
		h.pass(2 * flushIdleAfter)
		if most > 20_000 || most < 5000 {
			t.Errorf("%d bytes were kept", most)
		}
		h.pass(watchKeep)
		if c := &h.tree.changes; c.kept != 0 || c.keeps {
			t.Errorf("%d bytes are kept long after the last Watch", c.kept)
		}
		for range maxWatches + 1 {
			h.step(nil, Request{Op: Watch, Wait: time.Minute})
		}
		if err := h.client.failed[h.nextID]; !errors.Is(err, ErrTooManyWatches) || len(h.client.failed) != 1 {
			t.Errorf("%d failed, the last one with %v", len(h.client.failed), err)
		}
		h.client.abandoned = true
		h.pass(2 * tickEvery)
		if n := len(h.client.dropped); n != maxWatches {
			t.Errorf("%d are dropped", n)
		}
		h.client.abandoned = false
		h.step(nil, Request{Op: Watch, Wait: time.Minute})
		h.tree.Stop()
		h.step(nil)
		h.finishWithin(100)
		if _, ok := h.client.changes[h.nextID]; !ok || h.tree.Busy() {
			t.Error("a stop does not end a Watch")
		}
	})
}

// TestEndWatches checks that clients can end their Watches, whether they wait or were just pushed.
// Others must go on.
func TestEndWatches(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		h := newHarness(t, newMemStore(512), cfg)
		h.do(sets(0, 10, "value")...)
		ids := []uint64{}
		for range 3 {
			h.step(nil, Request{Op: Watch, Wait: time.Minute})
			ids = append(ids, h.nextID)
		}
		end := func(n int) func(*Tree) {
			return func(t *Tree) {
				t.EndWatches(func(c Client, q *Request) bool { return c == h.client && q.ID == ids[n] })
			}
		}
		answered := func() (all string) {
			for _, id := range ids {
				_, ok := h.client.changes[id]
				all += fmt.Sprint(ok, " ")
			}
			return all
		}
		stepWith := func(b *Batch) { h.hold(h.tree.Step(Inputs{Now: h.now, Requests: b})) }
		stepWith(&Batch{Client: h.client, Call: end(1)})
		if got := answered(); got != "false true false " {
			t.Errorf("the second was ended; answered: %s", got)
		}
		// In one step with the Watch.
		h.nextID++
		ids = append(ids, h.nextID)
		watch := &Batch{Client: h.client, Requests: []Request{{ID: h.nextID, Op: Watch, Wait: time.Minute}}}
		watch.SetNext(&Batch{Client: h.client, Call: end(3)})
		stepWith(watch)
		if got := answered(); got != "false true false true " {
			t.Errorf("the fourth was ended; answered: %s", got)
		}
		h.do(sets(0, 1, "another")...)
		if got := answered(); got != "true true true true " {
			t.Errorf("there was a change; answered: %s", got)
		}
	})
}
