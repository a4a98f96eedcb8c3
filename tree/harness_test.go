package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kivaloo/disk"
	"kivaloo/internal/must"
	"kivaloo/tree/page"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// tester is the part of *testing.T, *testing.B or *rapid.T that the harness needs.
type tester interface {
	rapid.TB
	Cleanup(func())
}

// harness drives a tree by hand, with its own clock.
type harness struct {
	t      tester
	tree   *Tree
	store  *memStore
	now    time.Duration
	wake   time.Duration // when the tree wants its next step
	held   []*disk.Op    // submitted operations that were not carried out
	client *recorder
	nextID uint64  // of the last request
	faults []error // reported by the tree
}

func testConfig() Config {
	return Config{CachePages: MinCachePages, MaxKey: -1, MaxValue: -1}
}

// errDisk is the error of operations that a test makes fail.
var errDisk = errors.New("the disk is broken")

var quiet = slog.New(slog.DiscardHandler)

func newHarness(t tester, store *memStore, cfg Config) *harness {
	t.Helper()
	h := &harness{t: t, store: store, client: newRecorder()}
	cfg.OnFault = func(err error) { h.faults = append(h.faults, err) }
	tree, err := Open(store, cfg)
	must.Do(t, err)
	t.Cleanup(func() {
		tree.Close()
		*h = harness{} // package testing keeps a reference to it
	})
	h.tree = tree
	return h
}

// step gives the tree requests and a completed operation, and holds what it submits. The requests
// get the numbers up to nextID.
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
	h.hold(out)
}

// hold keeps the operations that the tree submits.
func (h *harness) hold(out Effects) {
	h.wake = out.Wake
	for op := out.First; op != nil; {
		next := op.Link.Next()
		op.SetNext(nil)
		h.held = append(h.held, op)
		op = next
	}
}

// take removes held operation i and returns it.
func (h *harness) take(i int) *disk.Op {
	op := h.held[i]
	h.held = slices.Delete(h.held, i, i+1)
	return op
}

// finish carries out held operation i, and tells the tree.
func (h *harness) finish(i int) {
	op := h.take(i)
	h.store.run(op)
	h.step(op)
}

// heldOf returns the index of the first held operation of a kind, or -1.
func (h *harness) heldOf(kind disk.Kind) int {
	return slices.IndexFunc(h.held, func(op *disk.Op) bool { return op.Kind == kind })
}

// finishAll carries out operations of a kind until the tree submits no more of it. It returns how
// many there were.
func (h *harness) finishAll(kind disk.Kind) (n int) {
	for i := h.heldOf(kind); i >= 0; i = h.heldOf(kind) {
		h.finish(i)
		n++
	}
	return n
}

// settle carries out all held operations until the tree submits no more.
func (h *harness) settle() {
	for len(h.held) > 0 {
		h.finish(0)
	}
}

// do runs requests until they are done.
func (h *harness) do(requests ...Request) {
	h.step(nil, requests...)
	h.settle()
}

// oldest returns the oldest leaf of the committed tree, and rootBlock the block of its root.
func (h *harness) oldest() uint64    { return h.tree.cache.node(h.tree.view.tree.root).oldest }
func (h *harness) rootBlock() uint64 { return h.tree.cache.node(h.tree.view.tree.root).block }

// snapshot takes a snapshot. No append may be under way.
func (h *harness) snapshot(name string) (taken *Snapshot) {
	h.t.Helper()
	h.tree.TakeSnapshot(name, func(s *Snapshot, _ error) { taken = s })
	if taken == nil {
		h.step(nil) // freezes the memtable
	}
	if taken == nil {
		h.t.Fatal("a snapshot has to wait")
	}
	return taken
}

// pass lets time pass in ticks.
func (h *harness) pass(d time.Duration) {
	for end := h.now + d; h.now < end; {
		h.now = min(end, h.now+tickEvery)
		h.step(nil)
		h.settle()
	}
}

// torture returns how often to try something: normal times, or long times in a long run.
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

// sets returns n requests that set keys, numbers from first on, to value.
func sets(first, n int, value string) []Request {
	requests := make([]Request, n)
	for i := range requests {
		requests[i] = set(fmt.Sprintf("%06d", first+i), value)
	}
	return requests
}

// get returns the answer to a Get once the tree is at rest.
func (h *harness) get(key string) (value string, found bool) {
	h.t.Helper()
	h.do(get(key))
	return h.value(h.nextID)
}

// value returns the answer to the Get with an ID.
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

// scan returns the answer to a Range once the tree is at rest.
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

// checkFrames looks for lost frames, and for pins that nobody needs.
func (h *harness) checkFrames() {
	h.t.Helper()
	checkFrames(h.t, h.tree)
}

func checkFrames(t tester, tree *Tree) {
	t.Helper()
	used, root := 0, tree.cache.node(tree.view.tree.root).block
	for _, s := range []*slab{tree.cache.leaves, tree.cache.parents} {
		for i := uint32(1); i < s.next; i++ {
			nd := s.at(i)
			switch {
			case nd.state == frameFree:
				continue
			case nd.state != frameClean:
				t.Errorf("block %d: state %d at rest", nd.block, nd.state)
			case nd.pins > 0 && nd.block != root:
				t.Errorf("block %d, height %d, root %t, has %d pins", nd.block, nd.height, nd.root, nd.pins)
			}
			used++
		}
	}
	if used != tree.cache.inUse || len(tree.cache.table) != used {
		t.Errorf("%d frames are in use, counted as %d, %d in the table", used, tree.cache.inUse, len(tree.cache.table))
	}
}

func checkStore(t tester, s disk.Store) *Report {
	t.Helper()
	root, err := FindRoot(s, quiet)
	must.Do(t, err)
	r := Check(context.Background(), s, root)
	faults := r.Faults[len(root.Skipped):] // a crash may leave blocks that are skipped
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
	missed    map[uint64]bool   // Gets that found nothing
	done      map[uint64]bool
	order     []uint64 // order of the answers to modifying requests
	pairs     map[uint64]rangeAnswer
	scans     map[uint64]scanAnswer
	changes   map[uint64]watchAnswer
	failed    map[uint64]error
	dropped   map[uint64]bool
	answered  map[uint64]bool
	released  int    // released batches
	asked     uint64 // requests, counted by the test that needs them
	unflushed bool   // an answer has come since the last Flush
	abandoned bool
	onDone    func() // called with every Done; may be nil

	// If there is a model, every change is applied to it when it is answered, and every answer must
	// be right at that moment.
	model model
}

type rangeAnswer struct {
	keys, values []string
	next         string
}

// check returns what is wrong with an answer to q, by the contract of Range, if the store holds m.
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
	switch want := wiretest.Model(m).Between(start, a.next); {
	case a.next != "" && a.next <= start, end != "" && (a.next == "" || a.next > end):
		return fmt.Errorf("range %q to %q: next is %q", start, end, a.next)
	case !slices.Equal(a.keys, want):
		return fmt.Errorf("range %q to %q: %q, want all up to %q: %q", start, end, a.keys, a.next, want)
	case len(a.keys) > 1 && bytes > int(min(q.Max, MaxRangePairBytes)):
		return fmt.Errorf("range %q to %q: %d bytes, max is %d", start, end, bytes, q.Max)
	}
	return nil
}

// scanAnswer is the answer to a Scan. With KeysOnly there are no values, with CountOnly no keys.
type scanAnswer struct {
	n            int
	keys, values []string
	more         bool
	next         string
}

func newScanAnswer(q *Request, n int, more bool, next, pairs []byte) scanAnswer {
	a := scanAnswer{n: n, more: more, next: string(next)}
	for len(pairs) > 0 {
		k := page.String(pairs, 0)
		a.keys, pairs = append(a.keys, string(k)), pairs[1+len(k):]
		if !q.KeysOnly {
			v := page.String(pairs, 0)
			a.values, pairs = append(a.values, string(v)), pairs[1+len(v):]
		}
	}
	return a
}

// check returns what is wrong with an answer to q, by the contract of Scan, if the store holds m.
func (a *scanAnswer) check(m model, q *Request) error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("scan %q to %q, reverse %t: %s", q.Key, q.End, q.Reverse, fmt.Sprintf(format, args...))
	}
	start, end := string(q.Key), string(q.End)
	if a.more {
		if a.next <= start || end != "" && a.next >= end {
			return wrong("it goes on at %q", a.next)
		}
		if q.Reverse {
			start = a.next
		} else {
			end = a.next
		}
	}
	want := wiretest.Model(m).Between(start, end)
	if q.Reverse {
		slices.Reverse(want)
	}
	switch {
	case a.n != len(want):
		return wrong("%d pairs, want %d up to %q", a.n, len(want), a.next)
	case q.Limit > 0 && a.n > int(q.Limit):
		return wrong("%d pairs, limit %d", a.n, q.Limit)
	case q.CountOnly && len(a.keys) > 0:
		return wrong("a count has keys")
	case q.CountOnly:
		return nil
	case !slices.Equal(a.keys, want):
		return wrong("%q, want %q", a.keys, want)
	}
	bytes := 0
	for i, k := range a.keys {
		bytes += 1 + len(k)
		if !q.KeysOnly {
			bytes += 1 + len(a.values[i])
			if m[k] != a.values[i] {
				return wrong("%q holds %q, want %q", k, a.values[i], m[k])
			}
		}
	}
	if a.n > 1 && bytes > int(min(q.Max, MaxRangePairBytes)) {
		return wrong("%d bytes, max is %d", bytes, q.Max)
	}
	return nil
}

// randomScan returns a Scan of any kind.
func randomScan(rng *rand.Rand, key func() []byte, max int) Request {
	q := Request{Op: Scan, Max: uint32(rng.IntN(1 + rng.IntN(max))), Reverse: rng.IntN(2) == 0}
	if rng.IntN(4) > 0 {
		q.Key = key()
	}
	if rng.IntN(4) > 0 {
		q.End = key()
	}
	switch rng.IntN(6) {
	case 0:
		q.KeysOnly = true
	case 1:
		q.CountOnly = true
	}
	if rng.IntN(3) == 0 {
		q.Limit = uint32(1 + rng.IntN(1+rng.IntN(200)))
	}
	return q
}

func newRecorder() *recorder {
	return &recorder{
		values: map[uint64]string{}, missed: map[uint64]bool{}, done: map[uint64]bool{},
		pairs: map[uint64]rangeAnswer{}, scans: map[uint64]scanAnswer{}, changes: map[uint64]watchAnswer{}, failed: map[uint64]error{}, dropped: map[uint64]bool{},
		answered: map[uint64]bool{},
	}
}

// note checks that a request is answered once.
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

func (r *recorder) Scanned(q *Request, n int, more bool, next, pairs []byte) {
	r.note(q)
	a := newScanAnswer(q, n, more, next, pairs)
	r.scans[q.ID] = a
	if r.model != nil && q.Op == DeleteRange {
		end := string(q.End)
		if more {
			end = a.next
		}
		gone := wiretest.Model(r.model).Between(string(q.Key), end)
		if n != len(gone) || q.Limit > 0 && n > int(q.Limit) {
			panic(fmt.Sprintf("%d keys from %q to %q are deleted, want %d", n, q.Key, end, len(gone)))
		}
		for _, k := range gone {
			delete(r.model, k)
		}
	} else if r.model != nil {
		if err := a.check(r.model, q); err != nil {
			panic(err)
		}
	}
}

func (r *recorder) Changed(q *Request, position uint64, n int, changes []byte) {
	r.note(q)
	r.changes[q.ID] = newWatchAnswer(position, n, changes)
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

// model is what a tree should hold.
type model wiretest.Model

// wireTypes maps modifying requests to their wire types.
var wireTypes = [...]uint32{Set: wire.TypeSet, Add: wire.TypeAdd, Modify: wire.TypeModify,
	CAS: wire.TypeCAS, Delete: wire.TypeDelete, CAD: wire.TypeCAD}

// apply carries out a modifying request, or evaluates a condition, and returns the outcome.
func (m model) apply(q *Request) (done bool) {
	value, present := m[string(q.Key)]
	switch q.Op {
	case Expect:
		return present && value == string(q.Old)
	case ExpectPresent:
		return present
	case ExpectAbsent:
		return !present
	}
	r := wire.KVRequest{Type: wireTypes[q.Op], Key: q.Key, Value: q.Value, Old: q.Old}
	return wiretest.Model(m).Apply(&r) == 0
}

// applyAtomic applies an atomic batch and returns the outcome of each request.
func (m model) applyAtomic(requests []Request) []bool {
	outcomes, met := make([]bool, len(requests)), true
	for i := range requests {
		if q := &requests[i]; q.Op.Condition() {
			outcomes[i] = m.apply(q)
			met = met && outcomes[i]
		}
	}
	for i := range requests {
		if q := &requests[i]; met && !q.Op.Condition() {
			outcomes[i] = m.apply(q)
		}
	}
	return outcomes
}

func (m model) applyAll(requests []Request) {
	for i := range requests {
		m.apply(&requests[i])
	}
}

// randomRequest returns a modifying request that has some chance to succeed.
func randomRequest(rng *rand.Rand, m model, key func() []byte, maxValue int) Request {
	q := Request{Op: Set + OpCode(rng.IntN(6)), Key: key()}
	if rng.IntN(8) == 0 {
		q.Op = Expect + OpCode(rng.IntN(3))
	}
	length := min(8, maxValue) // usually the same length, so that values can be overwritten in place
	if rng.IntN(3) == 0 {
		length = rng.IntN(maxValue + 1)
	}
	value := bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, length)
	if q.Op != Delete && q.Op != CAD && !q.Op.Condition() {
		q.Value = value
	}
	if q.Op == CAS || q.Op == CAD || q.Op == Expect {
		q.Old = []byte(m[string(q.Key)])
		if rng.IntN(4) == 0 {
			q.Old = []byte("something else")
		}
	}
	return q
}

func sameContent(t tester, got map[string]string, want model) {
	t.Helper()
	if diff := wiretest.Model(want).Diff(got); diff != "" {
		t.Fatal(diff)
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
