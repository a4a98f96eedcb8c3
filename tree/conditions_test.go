package tree

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"kivaloo/disk"
)

func expect(key, value string) Request {
	return Request{Op: Expect, Key: []byte(key), Old: []byte(value)}
}

// atomic runs requests as one atomic batch until it is done.
func (h *harness) atomic(requests ...Request) {
	h.stepAtomic(requests)
	h.settle()
}

// outcomes runs requests as one atomic batch and returns their answers.
func (h *harness) outcomes(requests ...Request) []bool {
	h.t.Helper()
	h.atomic(requests...)
	outcomes := make([]bool, len(requests))
	for i := range requests {
		done, ok := h.client.done[requests[i].ID]
		if !ok {
			h.t.Fatalf("request %d of the batch is not answered: %v", i, h.client.failed[requests[i].ID])
		}
		outcomes[i] = done
	}
	return outcomes
}

// stepAtomic gives an atomic batch to the tree.
func (h *harness) stepAtomic(requests []Request) {
	for i := range requests {
		h.nextID++
		requests[i].ID = h.nextID
	}
	out := h.tree.Step(Inputs{Now: h.now, Requests: &Batch{Client: h.client, Requests: requests, Atomic: true}})
	h.hold(out)
}

// TestConditions checks that an atomic batch is carried out only if all its conditions hold before
// it. The first false answer must show which condition failed.
func TestConditions(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		h := newHarness(t, newMemStore(512), cfg)
		h.do(set("a", "1"), set("b", "2"))
		remove := Request{Op: Delete, Key: []byte("b")}
		present := func(k string) Request { return Request{Op: ExpectPresent, Key: []byte(k)} }
		absent := func(k string) Request { return Request{Op: ExpectAbsent, Key: []byte(k)} }
		for _, test := range []struct {
			what  string
			batch []Request
			want  []bool
			a, b  string
		}{
			{"a wrong value", []Request{expect("a", "1"), expect("b", "1"), set("a", "x"), remove}, []bool{true, false, false, false}, "1", "2"},
			{"absent", []Request{present("a"), present("c"), set("a", "x")}, []bool{true, false, false}, "1", "2"},
			{"present", []Request{absent("c"), absent("a"), set("a", "x")}, []bool{true, false, false}, "1", "2"},
			{"only conditions", []Request{absent("c"), present("b")}, []bool{true, true}, "1", "2"},
			{"all hold", []Request{expect("a", "1"), absent("c"), set("a", "3"), set("b", "4")}, []bool{true, true, true, true}, "3", "4"},
			{"on a key that the batch changes", []Request{expect("a", "3"), set("a", "5"), expect("a", "3")}, []bool{true, true, true}, "5", "4"},
			{"with conditional changes", []Request{expect("a", "5"), {Op: Add, Key: []byte("a"), Value: []byte("no")}, remove}, []bool{true, false, true}, "5", ""},
			{"deleted", []Request{expect("b", ""), set("a", "no")}, []bool{false, false}, "5", ""},
		} {
			got := h.outcomes(test.batch...)
			a, _ := h.get("a")
			b, _ := h.get("b")
			if !slices.Equal(got, test.want) || a != test.a || b != test.b {
				t.Errorf("%s: answered %t, a = %q, b = %q; want %t, %q, %q", test.what, got, a, b, test.want, test.a, test.b)
			}
		}
	})
}

// TestConditionsModel compares atomic batches with conditions with a map. The cache is too small
// for the pages of one batch, and flushes go on meanwhile.
func TestConditionsModel(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		for seed := range torture(3, 100) {
			rng := rand.New(rand.NewPCG(seed, 8))
			h := newHarness(t, newMemStore(512), smallFlushes(cfg))
			m := model{}
			key := func() []byte { return fmt.Appendf(nil, "%04d", rng.IntN(3000)) }
			for i := 0; i < 3000; i += 100 {
				all := sets(i, 100, fmt.Sprint("first ", i))
				for j := range all {
					all[j].Key = fmt.Appendf(nil, "%04d", i+j)
				}
				m.applyAll(all)
				h.do(all...)
			}
			h.pass(2 * flushIdleAfter)
			h.tree.cache.limit = 60
			for range 150 {
				var batch []Request
				for range 1 + rng.IntN(100) {
					q := randomRequest(rng, m, key, 40)
					if rng.IntN(3) > 0 {
						q = expect(string(q.Key), m[string(q.Key)])
						if _, there := m[string(q.Key)]; !there {
							q.Op = ExpectAbsent
						}
					}
					batch = append(batch, q)
				}
				h.now += 50 * 1e6
				got := h.outcomes(batch...)
				if want := m.applyAtomic(batch); !slices.Equal(got, want) {
					t.Fatalf("answered %t, want %t", got, want)
				}
			}
			sameContent(t, h.dump(), m)
			h.check()
		}
	})
}

// TestConditionsReadTogether checks that the pages for all conditions of a batch are read at once.
func TestConditionsReadTogether(t *testing.T) {
	warm := newHarness(t, newMemStore(512), journalConfig())
	warm.do(sets(0, 250, "some value")...)
	warm.pass(2 * flushIdleAfter)
	h := newHarness(t, warm.store, journalConfig())
	leaves := leavesOf(t, h.store)
	var batch []Request
	for _, leaf := range leaves {
		batch = append(batch, expect(leaf.keys[0], "some value"))
	}
	h.stepAtomic(batch)
	if reads := len(h.held); reads != len(leaves) || reads < 5 {
		t.Errorf("%d reads are under way for %d leaves", reads, len(leaves))
	}
	h.settle()
	if !h.client.done[h.nextID] {
		t.Error("the last condition does not hold")
	}
}

// TestConditionsAfterFailedAppend checks that a waiting batch forgets states of keys that come from
// changes that then failed.
func TestConditionsAfterFailedAppend(t *testing.T) {
	cfg := journalConfig()
	warm := newHarness(t, newMemStore(512), cfg)
	warm.do(sets(0, 100, "some value")...)
	warm.pass(2 * flushIdleAfter)
	h := newHarness(t, warm.store, cfg)
	h.step(nil, set("000001", "lost"))
	h.stepAtomic([]Request{expect("000001", "lost"), expect("000090", "some value"), set("a", "b")}) // waits for a page
	if h.client.answered[h.nextID] {
		t.Fatal("the batch does not wait")
	}
	op := h.take(h.heldOf(disk.Append))
	op.Err = disk.ErrNoSpace
	h.step(op)
	h.now += 2 * noSpaceRetry
	h.settle()
	if done, ok := h.client.done[h.nextID]; !ok || done {
		t.Errorf("a batch that expects a change that was not made: answered %t, done %t, %v", ok, done, h.client.failed[h.nextID])
	}
}
