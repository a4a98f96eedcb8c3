package tree

import (
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"

	"kivaloo/disk"
	"kivaloo/tree/page"
)

// history is what clients know about a store.
type history struct {
	pairs     model        // content after every acknowledged change
	sum       uint64       // sum of pairs
	pending   []sentChange // sent and not acknowledged, in the order in which the tree got them
	outcomes  []outcome    // of the atomic batch being acknowledged
	blockSize int          // of the store; 0: there is none
	watcher   watcher      // a client that lives through all lives
}

// sentChange is a modifying request of a client.
type sentChange struct {
	q      *Request
	batch  *Batch // its batch, if that is atomic
	failed bool   // failed with an error that leaves open whether it was made
}

// outcome is the expected answer to a modifying request.
type outcome struct {
	q    *Request
	done bool
}

func newHistory(pairs model) *history { return &history{pairs: pairs, sum: pairs.sum()} }

func (h *history) clone() *history {
	return &history{pairs: maps.Clone(h.pairs), sum: h.sum, pending: slices.Clone(h.pending), blockSize: h.blockSize, watcher: h.watcher.clone()}
}

// sum returns equal sums for models with equal content.
func (m model) sum() (sum uint64) {
	for k, v := range m {
		sum += pairSum(k, v)
	}
	return sum
}

var simSeed = maphash.MakeSeed()

func pairSum(key, value string) uint64 { return maphash.String(simSeed, key+"\x00"+value) }

// apply applies a change to pairs with a sum. It returns the new sum and the outcome.
func apply(m model, sum uint64, q *Request) (uint64, bool) {
	old, was := m[string(q.Key)]
	ok := m.apply(q)
	now, is := m[string(q.Key)]
	if was {
		sum -= pairSum(string(q.Key), old)
	}
	if is {
		sum += pairSum(string(q.Key), now)
	}
	return sum, ok
}

// mayHold reports whether a store may hold these pairs after a crash. It must have all acknowledged
// changes, and a first part of the others, in the order in which they were sent, without splitting
// a batch.
func (h *history) mayHold(held model) bool {
	want := held.sum()
	if want == h.sum {
		return true
	}
	m, sum := maps.Clone(h.pairs), h.sum
	for rest := h.pending; len(rest) > 0; {
		if sum, _, rest = applyFirst(m, sum, rest); sum == want {
			return true
		}
	}
	return false
}

// applyFirst applies the first of some changes, or the whole atomic batch that it begins, to pairs
// with a sum. It returns the new sum, the outcomes and the remaining changes.
func applyFirst(m model, sum uint64, changes []sentChange) (uint64, []outcome, []sentChange) {
	first := changes[0]
	if first.batch == nil {
		sum, done := apply(m, sum, first.q)
		return sum, []outcome{{first.q, done}}, changes[1:]
	}
	requests := first.batch.Requests
	var outcomes []outcome
	for i, done := range m.applyAtomic(requests) {
		outcomes = append(outcomes, outcome{&requests[i], done})
	}
	return m.sum(), outcomes, changes[len(requests):]
}

// differences describes how the content of a store differs from everything acknowledged.
func (h *history) differences(held model) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(h.pairs)) {
		if v, ok := held[k]; !ok || v != h.pairs[k] {
			all = append(all, fmt.Sprintf("%s: %q, %t; acknowledged %q", k, v, ok, h.pairs[k]))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(held)) {
		if _, ok := h.pairs[k]; !ok {
			all = append(all, fmt.Sprintf("%s: %q; acknowledged as not there", k, held[k]))
		}
	}
	for _, c := range h.pending {
		all = append(all, fmt.Sprintf("pending: op %d of %s, %q, %q", c.q.Op, c.q.Key, c.q.Value, c.q.Old))
	}
	return fmt.Sprint(all)
}

// connection is one client of a store in a simulation.
type connection struct {
	l         *life
	abandoned bool
	at        model // what its reads must see; nil: everything acknowledged
	read      model // pairs of the Ranges of all; nil: not kept
	next      string
	failed    error // of the last request that failed
}

func (c *connection) Release(*Batch)  {}
func (c *connection) Flush()          {}
func (c *connection) Abandoned() bool { return c.abandoned }

func (c *connection) pairs() model {
	if c.at != nil {
		return c.at
	}
	return c.l.past.pairs
}

func (c *connection) Value(q *Request, v []byte, found bool) {
	c.l.answers++
	if want, ok := c.pairs()[string(q.Key)]; found != ok || string(v) != want {
		c.l.fatalf("get %q: %q, %t; want %q, %t", q.Key, v, found, want, ok)
	}
}

func (c *connection) Pairs(q *Request, n int, next, pairs []byte) {
	c.l.answers++
	a := rangeAnswer{next: string(next)}
	for range n {
		k := page.String(pairs, 0)
		v := page.String(pairs, 1+len(k))
		pairs = pairs[2+len(k)+len(v):]
		a.keys, a.values = append(a.keys, string(k)), append(a.values, string(v))
	}
	if c.next = a.next; c.read != nil {
		for i, k := range a.keys {
			c.read[k] = a.values[i]
		}
		return
	}
	if err := a.check(c.pairs(), q); err != nil {
		c.l.fatalf("%v", err)
	}
}

// Done is called in the order in which the requests were sent, over all connections.
func (c *connection) Done(q *Request, done bool) {
	c.l.answers++
	if q.Op == TakeLease || q.Op == ReleaseLease {
		return
	}
	h := c.l.past
	if len(h.outcomes) == 0 {
		h.acknowledge()
	}
	if len(h.outcomes) == 0 || h.outcomes[0].q != q {
		c.l.fatalf("op %d on %q is answered before its turn", q.Op, q.Key)
	}
	if want := h.outcomes[0].done; done != want {
		c.l.fatalf("op %d on %q is answered %t, want %t", q.Op, q.Key, done, want)
	}
	h.outcomes = h.outcomes[1:]
}

// acknowledge applies the first change that has not failed, or the whole atomic batch that it
// begins. Earlier changes have failed. If this one changes something, there was an append, and
// before that the effects of the failed changes were undone.
func (h *history) acknowledge() {
	i := 0
	for i < len(h.pending) && h.pending[i].failed {
		i++
	}
	if i == len(h.pending) {
		return
	}
	failed, rest := h.pending[:i:i], h.pending[i:]
	h.sum, h.outcomes, rest = applyFirst(h.pairs, h.sum, rest)
	if slices.ContainsFunc(h.outcomes, func(o outcome) bool { return o.done && !o.q.Op.Condition() }) {
		failed = nil
	}
	h.pending = append(failed, rest...)
}

func (c *connection) Scanned(q *Request, n int, more bool, next, pairs []byte) {
	c.l.answers++
	if q.Op == DeleteRange {
		c.deleted(n, more)
		return
	}
	a := newScanAnswer(q, n, more, next, pairs)
	if err := a.check(c.pairs(), q); err != nil {
		c.l.fatalf("%v", err)
	}
}

// Changed is the answer to the watcher.
func (c *connection) Changed(q *Request, position uint64, n int, changes []byte) {
	c.l.answers++
	a := newWatchAnswer(position, n, changes)
	if err := c.l.past.watcher.take(c.l.tree, q, a, c.l.past.pairs); err != nil {
		c.l.fatalf("%v", err)
	}
}

// deleted handles the answer to the current DeleteRange.
func (c *connection) deleted(n int, more bool) {
	h, want := c.l.past, 0
	h.acknowledge()
	want, h.outcomes = len(h.outcomes), nil
	if n > want || n < want && !more || slices.ContainsFunc(h.pending, func(p sentChange) bool { return !p.failed }) {
		c.l.fatalf("%d keys are deleted, want %d; more %t", n, want, more)
	}
	c.l.deleting = false
}

// Failed handles a failed change. After a shortage, a refusal, or an unreadable page, the change
// was not made. After any other failure it may have been.
func (c *connection) Failed(q *Request, err error) {
	c.l.answers++
	if q.Op == Watch && errors.Is(err, ErrPositionGone) {
		c.l.past.watcher.position = 0
		c.l.count.gone.Add(1)
		return
	}
	c.l.failed(err)
	c.failed = err
	var page *BlockError
	undone := errors.Is(err, disk.ErrNoSpace) && !errors.Is(err, disk.ErrLeftBehind)
	if undone || errors.Is(err, ErrReadOnly) || errors.As(err, &page) {
		c.forget(q)
		return
	}
	h := c.l.past
	h.pending = slices.Clone(h.pending) // other lives share it
	for i := range h.pending {
		if p := &h.pending[i]; p.q == q || q.Op == DeleteRange {
			c.l.deleting = false
			p.failed = true
		}
	}
}

func (c *connection) Dropped(q *Request) {
	c.l.answers++
	if !c.abandoned {
		c.l.fatalf("op %d on %q is dropped", q.Op, q.Key)
	}
	c.forget(q)
}

// forget removes a change that was not made.
func (c *connection) forget(q *Request) {
	h := c.l.past
	if q.Op == DeleteRange { // nothing else is pending
		c.l.deleting = false
		h.pending = slices.DeleteFunc(slices.Clone(h.pending), func(p sentChange) bool { return !p.failed })
		return
	}
	h.pending = slices.DeleteFunc(slices.Clone(h.pending), func(p sentChange) bool { return p.q == q })
}
