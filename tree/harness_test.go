package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kivaloo/disk"
	"kivaloo/tree/page"
)

// tester is what the harness needs of *testing.T, *testing.B or *rapid.T.
type tester interface {
	rapid.TB
	Cleanup(func())
}

// harness drives a tree by hand, with a clock of its own.
type harness struct {
	t      tester
	tree   *Tree
	store  *memStore
	now    time.Duration
	wake   time.Duration // when the tree wants its next step
	held   []*disk.Op    // operations that have not been carried out
	client *recorder
	nextID uint64  // of the last request
	faults []error // that the tree has reported
}

func testConfig() Config {
	return Config{CachePages: MinCachePages, MaxKey: -1, MaxValue: -1}
}

// errDisk is what operations fail with that are to fail.
var errDisk = errors.New("the disk is broken")

var quiet = slog.New(slog.DiscardHandler)

func newHarness(t tester, store *memStore, cfg Config) *harness {
	t.Helper()
	h := &harness{t: t, store: store, client: newRecorder()}
	cfg.OnFault = func(err error) { h.faults = append(h.faults, err) }
	tree, err := Open(store, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tree.Close()
		*h = harness{} // package testing holds on to it
	})
	h.tree = tree
	return h
}

// step takes requests and a finished operation in, and holds what the tree submits. The
// requests get the numbers up to nextID.
func (h *harness) step(done *disk.Op, requests ...Request) {
	h.stepFor(h.client, done, requests...)
}

func (h *harness) stepFor(client *recorder, done *disk.Op, requests ...Request) {
	var b *Batch
	if len(requests) > 0 {
		for i := range requests {
			h.nextID++
			requests[i].ID = h.nextID
		}
		b = &Batch{Client: client, Requests: requests}
	}
	out := h.tree.Step(Inputs{Now: h.now, Requests: b, Done: done})
	if client.unflushed {
		h.t.Fatal("a step ends with answers that have not been flushed")
	}
	h.wake = out.Wake
	for op := out.First; op != nil; {
		next := op.Link.Next()
		op.SetNext(nil)
		h.held = append(h.held, op)
		op = next
	}
}

// take returns operation i of those held, which are then one less.
func (h *harness) take(i int) *disk.Op {
	op := h.held[i]
	h.held = slices.Delete(h.held, i, i+1)
	return op
}

// finish carries out operation i of those held, and tells the tree.
func (h *harness) finish(i int) {
	op := h.take(i)
	h.store.run(op)
	h.step(op)
}

// heldOf returns where in held the first operation of a kind is, or -1.
func (h *harness) heldOf(kind disk.Kind) int {
	return slices.IndexFunc(h.held, func(op *disk.Op) bool { return op.Kind == kind })
}

// finishAll carries out everything of a kind until the tree wants no more of it, and returns how many
// operations that were.
func (h *harness) finishAll(kind disk.Kind) (n int) {
	for i := h.heldOf(kind); i >= 0; i = h.heldOf(kind) {
		h.finish(i)
		n++
	}
	return n
}

// settle carries out everything that is held until the tree wants nothing more.
func (h *harness) settle() {
	for len(h.held) > 0 {
		h.finish(0)
	}
}

// do runs requests to their end.
func (h *harness) do(requests ...Request) {
	h.step(nil, requests...)
	h.settle()
}

// oldest is the oldest leaf of the committed tree, and rootBlock where its root is.
func (h *harness) oldest() uint64    { return h.tree.cache.node(h.tree.view.tree.root).oldest }
func (h *harness) rootBlock() uint64 { return h.tree.cache.node(h.tree.view.tree.root).block }

// snapshot takes one, while no append is under way.
func (h *harness) snapshot(name string) (taken *Snapshot) {
	h.t.Helper()
	h.tree.TakeSnapshot(name, func(s *Snapshot) { taken = s })
	if taken == nil {
		h.step(nil) // freezes the memtable
	}
	if taken == nil {
		h.t.Fatal("a snapshot has to wait")
	}
	return taken
}

// pass lets time go by in steps of a tick.
func (h *harness) pass(d time.Duration) {
	for end := h.now + d; h.now < end; {
		h.now = min(end, h.now+tickEvery)
		h.step(nil)
		h.settle()
	}
}

// torture returns how often something is to be tried: normal times, or long times where hours do not matter.
func torture(normal, long uint64) uint64 {
	if os.Getenv("KIVALOO_TORTURE") != "" {
		return long
	}
	return normal
}

func set(key, value string) Request {
	return Request{Op: Set, Key: []byte(key), Value: []byte(value)}
}

func get(key string) Request { return Request{Op: Get, Key: []byte(key)} }

// sets returns n requests that set keys that are numbers from first on to value.
func sets(first, n int, value string) []Request {
	requests := make([]Request, n)
	for i := range requests {
		requests[i] = set(fmt.Sprintf("%06d", first+i), value)
	}
	return requests
}

// get returns what a Get answers at the end.
func (h *harness) get(key string) (value string, found bool) {
	h.t.Helper()
	h.do(get(key))
	return h.value(h.nextID)
}

// value returns what the Get with an ID has answered.
func (h *harness) value(id uint64) (value string, found bool) {
	h.t.Helper()
	value, found = h.client.values[id]
	if !found && !h.client.missed[id] {
		h.t.Fatalf("request %d has no answer: %v", id, h.client.failed[id])
	}
	return value, found
}

// dump returns all pairs, by Range.
func (h *harness) dump() map[string]string {
	h.t.Helper()
	all := map[string]string{}
	for start := ""; ; {
		a := h.scan(start, "", 1<<20)
		for i, k := range a.keys {
			all[k] = a.values[i]
		}
		if start = a.next; start == "" {
			return all
		}
	}
}

// scan returns what a Range answers at the end.
func (h *harness) scan(start, end string, max uint32) rangeAnswer {
	h.t.Helper()
	h.do(Request{Op: Range, Key: []byte(start), End: []byte(end), Max: max})
	a, ok := h.client.pairs[h.nextID]
	if !ok {
		h.t.Fatalf("range from %q was not answered: %v", start, h.client.failed[h.nextID])
	}
	return a
}

// check fails the test if the store is not what it should be.
func (h *harness) check() *Report {
	h.t.Helper()
	return checkStore(h.t, h.store)
}

// checkFrames looks for frames that have been lost, or are pinned for nothing.
func (h *harness) checkFrames() {
	h.t.Helper()
	used := 0
	for _, s := range []*slab{h.tree.cache.leaves, h.tree.cache.parents} {
		for i := uint32(1); i < s.next; i++ {
			nd := s.at(i)
			switch {
			case nd.state == frameFree:
				continue
			case nd.state != frameClean:
				h.t.Errorf("block %d: state %d at rest", nd.block, nd.state)
			case nd.pins > 0 && nd.block != h.rootBlock():
				h.t.Errorf("block %d, height %d, root %t, has %d pins", nd.block, nd.height, nd.root, nd.pins)
			}
			used++
		}
	}
	if used != h.tree.cache.inUse || len(h.tree.cache.table) != used {
		h.t.Errorf("%d frames are in use, counted as %d, %d in the table", used, h.tree.cache.inUse, len(h.tree.cache.table))
	}
}

func checkStore(t tester, s disk.Store) *Report {
	t.Helper()
	root, err := FindRoot(s, quiet)
	if err != nil {
		t.Fatal(err)
	}
	r := Check(context.Background(), s, root)
	faults := r.Faults[len(root.Skipped):] // what was skipped is what a crash may leave
	for _, f := range faults {
		t.Error(f)
	}
	if len(faults) > 0 {
		t.FailNow()
	}
	return r
}

// recorder is a client that keeps its answers.
type recorder struct {
	values    map[uint64]string // of Gets that found something
	missed    map[uint64]bool   // Gets that did not
	done      map[uint64]bool
	order     []uint64 // of the answers to modifying requests
	pairs     map[uint64]rangeAnswer
	failed    map[uint64]error
	dropped   map[uint64]bool
	answered  map[uint64]bool
	released  int    // batches
	asked     uint64 // requests, for the test that counts them
	unflushed bool   // an answer has come since the last Flush
	abandoned bool
	onDone    func() // called with every Done; may be nil

	// With a model, it is told every change when that is answered, and every answer must be right
	// at the moment that it is given.
	model model
}

type rangeAnswer struct {
	keys, values []string
	next         string
}

// check returns what is wrong with an answer to q, by the contract of Range, with the content of m.
func (a *rangeAnswer) check(m model, q *Request) error {
	start, end := string(q.Key), string(q.End)
	bytes := 0
	for i, k := range a.keys {
		bytes += 2 + len(k) + len(a.values[i])
		if v, ok := m[k]; !ok || v != a.values[i] {
			return fmt.Errorf("range %q to %q: pair %q, %q is not there", start, end, k, a.values[i])
		}
	}
	if end != "" && start >= end {
		if len(a.keys) > 0 || a.next != end {
			return fmt.Errorf("range %q to %q: %d pairs, next %q", start, end, len(a.keys), a.next)
		}
		return nil
	}
	switch want := m.between(start, a.next); {
	case a.next != "" && a.next <= start, end != "" && (a.next == "" || a.next > end):
		return fmt.Errorf("range %q to %q: next is %q", start, end, a.next)
	case !slices.Equal(a.keys, want):
		return fmt.Errorf("range %q to %q: %q, want all up to %q: %q", start, end, a.keys, a.next, want)
	case len(a.keys) > 1 && bytes > int(min(q.Max, MaxRangePairBytes)):
		return fmt.Errorf("range %q to %q: %d bytes, max is %d", start, end, bytes, q.Max)
	}
	return nil
}

func newRecorder() *recorder {
	return &recorder{
		values: map[uint64]string{}, missed: map[uint64]bool{}, done: map[uint64]bool{},
		pairs: map[uint64]rangeAnswer{}, failed: map[uint64]error{}, dropped: map[uint64]bool{},
		answered: map[uint64]bool{},
	}
}

// note insists that a request is answered once.
func (r *recorder) note(q *Request) {
	if r.answered[q.ID] {
		panic(fmt.Sprintf("request %d is answered twice", q.ID))
	}
	r.answered[q.ID] = true
	r.unflushed = true
}

func (r *recorder) Value(q *Request, v []byte, found bool) {
	r.note(q)
	if want, ok := r.model[string(q.Key)]; r.model != nil && (found != ok || string(v) != want) {
		panic(fmt.Sprintf("get %q: %q, %t; want %q, %t", q.Key, v, found, want, ok))
	}
	if found {
		r.values[q.ID] = string(v)
	} else {
		r.missed[q.ID] = true
	}
}

func (r *recorder) Done(q *Request, done bool) {
	r.note(q)
	if r.model != nil && r.model.apply(q) != done {
		panic(fmt.Sprintf("op %d on %q is answered %t", q.Op, q.Key, done))
	}
	if r.onDone != nil {
		r.onDone()
	}
	r.done[q.ID] = done
	r.order = append(r.order, q.ID)
}

func (r *recorder) Pairs(q *Request, n int, next, pairs []byte) {
	r.note(q)
	a := rangeAnswer{next: string(next)}
	for range n {
		k := page.String(pairs, 0)
		v := page.String(pairs, 1+len(k))
		pairs = pairs[2+len(k)+len(v):]
		a.keys, a.values = append(a.keys, string(k)), append(a.values, string(v))
	}
	if len(pairs) != 0 {
		panic("bytes left over behind the pairs")
	}
	r.pairs[q.ID] = a
	if r.model != nil {
		if err := a.check(r.model, q); err != nil {
			panic(err)
		}
	}
}

func (r *recorder) Failed(q *Request, err error) {
	r.note(q)
	r.failed[q.ID] = err
	if q.Op.Modifies() {
		r.order = append(r.order, q.ID)
	}
}

func (r *recorder) Dropped(q *Request) {
	r.note(q)
	r.dropped[q.ID] = true
}

func (r *recorder) Release(*Batch)  { r.released++ }
func (r *recorder) Flush()          { r.unflushed = false }
func (r *recorder) Abandoned() bool { return r.abandoned }

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

// between returns the keys from start up to, not including, end, in order; an empty end is none.
func (m model) between(start, end string) (keys []string) {
	for k := range m {
		if k >= start && (end == "" || k < end) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

func (m model) applyAll(requests []Request) {
	for i := range requests {
		m.apply(&requests[i])
	}
}

// randomRequest returns a modifying request, one that has some chance to hold.
func randomRequest(rng *rand.Rand, m model, key func() []byte, maxValue int) Request {
	q := Request{Op: Set + OpCode(rng.IntN(6)), Key: key()}
	length := min(8, maxValue) // most often the same, so that there is something to overwrite
	if rng.IntN(3) == 0 {
		length = rng.IntN(maxValue + 1)
	}
	value := bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, length)
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

func sameContent(t tester, got map[string]string, want model) {
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

// journalConfig is testConfig with a journal.
func journalConfig() Config {
	cfg := testConfig()
	cfg.JournalBytes = 1 << 20
	return cfg
}

// inBothModes runs a test without a journal and with one.
func inBothModes(t *testing.T, f func(t *testing.T, cfg Config)) {
	t.Run("no journal", func(t *testing.T) { f(t, testConfig()) })
	t.Run("journal", func(t *testing.T) { f(t, journalConfig()) })
}
