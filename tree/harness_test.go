package tree

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"kivaloo/actors"
	"kivaloo/disk"
)

// memStore is a store in memory. Operations are carried out when run is called, so that a test
// decides when they finish.
type memStore struct {
	blockSize int
	first     uint64
	blocks    [][]byte
	waiting   []*disk.Op
	frees     []uint64
	appends   []int // pages of each
	fail      error // of the next append
	corrupt   map[uint64]error
}

func newMemStore(blockSize int) *memStore {
	return &memStore{blockSize: blockSize, corrupt: map[uint64]error{}}
}

func (s *memStore) next() uint64 { return s.first + uint64(len(s.blocks)) }

func (s *memStore) Info() disk.Info {
	return disk.Info{BlockSize: s.blockSize, Next: s.next(), Last: s.next() - 1}
}

// Submit carries the operations out at once: for Open and Check.
func (s *memStore) Submit(first, last *disk.Op) {
	for op := first; op != nil; {
		next := op.Link.Next()
		op.SetNext(nil)
		s.run(op)
		op.Done.PushOne(op)
		op = next
	}
}

func (s *memStore) Close() error { return nil }

func (s *memStore) run(op *disk.Op) {
	op.OK, op.Err = false, nil
	switch op.Kind {
	case disk.Read:
		op.Err = s.corrupt[op.Block]
		if op.Block >= s.first && op.Block < s.next() {
			op.OK = true
			copy(op.Buf, s.blocks[op.Block-s.first])
		}
	case disk.Append:
		if op.Err, s.fail = s.fail, nil; op.Err != nil {
			return
		}
		op.OK = op.Block == s.next()
		if !op.OK {
			return
		}
		for _, p := range op.Pages {
			s.blocks = append(s.blocks, bytes.Clone(p))
		}
		s.appends = append(s.appends, len(op.Pages))
		op.Next = s.next()
	case disk.Free:
		op.OK = true
		s.frees = append(s.frees, op.Block)
		for s.first < op.Block && len(s.blocks) > 1 {
			s.blocks = s.blocks[1:]
			s.first++
		}
	}
}

// harness drives a tree by hand, with a clock of its own.
type harness struct {
	t      testing.TB
	tree   *Tree
	store  *memStore
	now    time.Duration
	held   []*disk.Op // operations that have not been carried out
	client *recorder
	nextID uint64
}

// recorder is a client that keeps its answers.
type recorder struct {
	values    map[uint64]string // of Gets; absent: not found
	missed    map[uint64]bool
	done      map[uint64]bool
	order     []uint64
	pairs     map[uint64]rangeAnswer
	failed    map[uint64]error
	dropped   []uint64
	released  int
	abandoned bool
}

type rangeAnswer struct {
	keys, values []string
	next         string
}

func newRecorder() *recorder {
	return &recorder{
		values: map[uint64]string{}, missed: map[uint64]bool{}, done: map[uint64]bool{},
		pairs: map[uint64]rangeAnswer{}, failed: map[uint64]error{},
	}
}

func (r *recorder) Value(q *Request, v []byte, found bool) {
	if found {
		r.values[q.ID] = string(v)
	} else {
		r.missed[q.ID] = true
	}
}

func (r *recorder) Done(q *Request, done bool) {
	r.done[q.ID] = done
	r.order = append(r.order, q.ID)
}

func (r *recorder) Pairs(q *Request, n int, next, pairs []byte) {
	a := rangeAnswer{next: string(next)}
	for range n {
		k := stringAt(pairs, 0)
		v := stringAt(pairs, 1+len(k))
		pairs = pairs[2+len(k)+len(v):]
		a.keys, a.values = append(a.keys, string(k)), append(a.values, string(v))
	}
	if len(pairs) != 0 {
		panic("bytes left over behind the pairs")
	}
	r.pairs[q.ID] = a
}

func (r *recorder) Failed(q *Request, err error) { r.failed[q.ID] = err }
func (r *recorder) Dropped(q *Request)           { r.dropped = append(r.dropped, q.ID) }
func (r *recorder) Release(*Batch)               { r.released++ }
func (r *recorder) Flush()                       {}
func (r *recorder) Abandoned() bool              { return r.abandoned }

func testConfig() Config {
	return Config{CachePages: MinCachePages, MaxKey: -1, MaxValue: -1}
}

func newHarness(t testing.TB, store *memStore, cfg Config) *harness {
	t.Helper()
	tree, err := Open(store, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return &harness{t: t, tree: tree, store: store, client: newRecorder()}
}

// step takes requests and finished operations in, and holds what the tree submits.
func (h *harness) step(done *disk.Op, requests ...Request) {
	var b *Batch
	if len(requests) > 0 {
		for i := range requests {
			h.nextID++
			requests[i].ID = h.nextID
		}
		b = &Batch{Client: h.client, Requests: requests}
	}
	out := h.tree.Step(Inputs{Now: h.now, Requests: b, Done: done})
	for op := out.First; op != nil; {
		next := op.Link.Next()
		op.SetNext(nil)
		h.held = append(h.held, op)
		op = next
	}
}

// settle carries out everything that is held until the tree wants nothing more.
func (h *harness) settle() {
	for len(h.held) > 0 {
		op := h.held[0]
		h.held = h.held[1:]
		h.store.run(op)
		h.step(op)
	}
}

// do runs requests to their end.
func (h *harness) do(requests ...Request) {
	h.step(nil, requests...)
	h.settle()
}

// pass lets time go by in steps of a tick.
func (h *harness) pass(d time.Duration) {
	for end := h.now + d; h.now < end; {
		h.now = min(end, h.now+tickEvery)
		h.step(nil)
		h.settle()
	}
}

// dump returns all pairs, by Range.
func (h *harness) dump() map[string]string {
	all := map[string]string{}
	for start := ""; ; {
		h.do(Request{Op: Range, Key: []byte(start), Max: 1 << 20})
		a, ok := h.client.pairs[h.nextID]
		if !ok {
			h.t.Fatalf("range from %q was not answered: %v", start, h.client.failed[h.nextID])
		}
		for i, k := range a.keys {
			all[k] = a.values[i]
		}
		if start = a.next; start == "" {
			return all
		}
	}
}

// check fails the test if the store is not what it should be.
func (h *harness) check() *Report {
	h.t.Helper()
	return checkStore(h.t, h.store)
}

func checkStore(t testing.TB, s disk.Store) *Report {
	t.Helper()
	root, err := FindRoot(s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r := Check(s, root)
	for _, f := range r.Faults {
		t.Error(f)
	}
	if len(r.Faults) > 0 {
		t.FailNow()
	}
	return r
}

// model is a map that is told the same requests.
type model map[string]string

func (m model) apply(q *Request) bool {
	k, v := string(q.Key), string(q.Value)
	old, there := m[k]
	ok := true
	switch q.Op {
	case Set:
		m[k] = v
	case Add:
		if ok = !there; ok {
			m[k] = v
		}
	case Modify:
		if ok = there; ok {
			m[k] = v
		}
	case CAS:
		if ok = there && old == string(q.Old); ok {
			m[k] = v
		}
	case Delete:
		delete(m, k)
	case CAD:
		if ok = there && old == string(q.Old); ok {
			delete(m, k)
		}
	}
	return ok
}

// randomRequest returns a modifying request, one that has some chance to hold.
func randomRequest(rng *rand.Rand, m model, key func() []byte, maxValue int) Request {
	q := Request{Op: Set + OpCode(rng.IntN(6)), Key: key()}
	value := bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, rng.IntN(maxValue+1))
	if q.Op != Delete && q.Op != CAD {
		q.Value = value
	}
	if q.Op == CAS || q.Op == CAD {
		q.Old = []byte(m[string(q.Key)])
		if rng.IntN(4) == 0 {
			q.Old = []byte("something else")
		}
	}
	return q
}

func sameContent(t testing.TB, got map[string]string, want model) {
	t.Helper()
	if maps.Equal(got, want) {
		return
	}
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if v, ok := got[k]; !ok || v != want[k] {
			t.Fatalf("key %q holds %q (there: %t), want %q", k, v, ok, want[k])
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			t.Fatalf("key %q is there, but should not be", k)
		}
	}
}

var _ = actors.NewGroup
var _ = fmt.Sprint
