package tree

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"kivaloo/disk"
	"kivaloo/internal/must"
)

// TestNothingNeededIsFreed makes many small commits, with flushes and snapshots, and checks every
// FREE. A FREE must spare the blocks of the last root in the store, of the root that the tree knows
// to be durable, and of snapshots. At random moments, also in the middle of an append, the power is
// cut. Then everything acknowledged must be there.
func TestNothingNeededIsFreed(t *testing.T) {
	var seen situations
	t.Cleanup(func() {
		seen.want(t, "in a commit", "in a step", "in a step with a commit behind it", "in a step that others follow", "in a step after others",
			"while the next memtable fills")
	})
	for seed := range torture(6, 400) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			n := newNeeds(t, seed)
			n.seen = &seen
			for range 800 {
				n.step()
			}
			if n.tree.counts.flushes < 5 || n.freed < 5 || n.cuts < 5 {
				t.Errorf("%d flushes, %d times something was freed, %d cuts", n.tree.counts.flushes, n.freed, n.cuts)
			}
		})
	}
}

// needs is a tree whose FREEs are checked.
type needs struct {
	*harness
	cfg   Config
	rng   *rand.Rand
	known Root     // the last root that the tree was told about
	done  *disk.Op // an append that was carried out without telling the tree
	taken map[*Snapshot]model
	seen  *situations
	cuts  int
	freed int // FREEs that went further than the one before
}

func newNeeds(t *testing.T, seed uint64) *needs {
	rng := rand.New(rand.NewPCG(seed, 5))
	cfg := journalConfig()
	cfg.JournalBytes = []int64{4 << 10, 8 << 10, 16 << 10}[rng.IntN(3)]
	cfg.StorageCost = []float64{1, 1e9}[rng.IntN(2)]
	cfg.MaxSpread = []float64{0, 1.5}[rng.IntN(2)]
	cfg.stepBytes = 4 << 10
	n := &needs{harness: newHarness(t, newMemStore(512+rng.IntN(2)*100), cfg), cfg: cfg, rng: rng, taken: map[*Snapshot]model{}}
	n.client.model = model{}
	n.known = n.lastRoot()
	return n
}

func (n *needs) lastRoot() Root {
	n.t.Helper()
	root, err := FindRoot(n.store, quiet)
	must.Do(n.t, err)
	return root
}

// step makes a few changes, and carries out some operations of the tree.
func (n *needs) step() {
	key := func() []byte { return fmt.Appendf(nil, "%04d", n.rng.IntN(600)) }
	requests := make([]Request, n.rng.IntN(10))
	for i := range requests {
		requests[i] = randomRequest(n.rng, n.client.model, key, 60)
	}
	if n.now += tickEvery / 5; n.rng.IntN(20) == 0 {
		n.tree.whenFlushed(func(error) {})
	}
	n.harness.step(nil, requests...)
	n.snapshots()
	for range n.rng.IntN(8) {
		switch {
		case n.done != nil && n.rng.IntN(2) == 0:
			n.tell()
		case len(n.held) > 0:
			n.carryOut(n.take(n.rng.IntN(len(n.held))))
		}
	}
}

// carryOut carries out op. The tree may be told about an append later.
func (n *needs) carryOut(op *disk.Op) {
	switch op.Kind {
	case disk.Append:
		n.cut(op.Pages)
		n.store.run(op)
		n.done = op
		return
	case disk.Free:
		n.mayFree(op.Block)
	}
	n.store.run(op)
	n.harness.step(op)
}

// tell tells the tree about an append.
func (n *needs) tell() {
	n.t.Helper()
	before, s := maps.Clone(n.client.model), n.store.clone()
	op := n.done
	n.done, n.known = nil, n.lastRoot()
	n.harness.step(op)
	if n.rng.IntN(20) == 0 { // nobody was told, but all of it was there
		n.cuts++
		n.holds(s, n.client.model, n.client.model)
	}
	if n.rng.IntN(20) == 0 { // the next one may have been built, but nothing of it is there
		n.cuts++
		n.holds(n.store.clone(), n.client.model, before)
	}
}

// cut sometimes cuts the power in the middle of an append.
func (n *needs) cut(pages [][]byte) {
	n.t.Helper()
	if n.rng.IntN(20) > 0 {
		return
	}
	n.cuts++
	n.seen.note("", n.tree)
	s := n.store.clone()
	s.add(pages...)
	from := n.store.next()
	for block := from; block < s.next(); block++ {
		if n.rng.IntN(3) == 0 {
			clear(s.page(block))
		}
	}
	clear(s.page(from + n.rng.Uint64N(uint64(len(pages))))) // some of it is missing
	whole := n.store.clone()
	whole.add(pages...)
	n.holds(s, n.client.model, n.content(whole))
}

// mayFree fails the test if something before block is needed.
func (n *needs) mayFree(block uint64) {
	n.t.Helper()
	if block > n.store.first {
		n.freed++
	}
	for what, root := range map[string]Root{"last root in the store": n.lastRoot(), "last root that is known": n.known} {
		if block > root.Oldest || block > root.start.block {
			n.t.Fatalf("blocks before %d are freed; the %s is %d: its oldest leaf %d, replay from %d",
				block, what, root.Block, root.Oldest, root.start.block)
		}
	}
}

// holds fails the test unless a store holds what was acknowledged. While an append is not
// acknowledged, the content after it is right too.
func (n *needs) holds(s *memStore, acknowledged, next model) {
	n.t.Helper()
	if got := n.content(s); !maps.Equal(got, next) {
		sameContent(n.t, got, acknowledged)
	}
}

// content returns what a restart finds in a store.
func (n *needs) content(s *memStore) model {
	n.t.Helper()
	tr, err := Open(s, n.cfg)
	must.Do(n.t, err)
	defer tr.Close()
	d := &driver{t: n.t, tree: tr, store: s}
	all := d.dump()
	checkStore(n.t, s)
	return all
}

// snapshots takes some snapshots, reads them and releases them.
func (n *needs) snapshots() {
	if len(n.taken) < 3 && n.rng.IntN(20) == 0 {
		n.tree.TakeSnapshot("test", func(s *Snapshot, _ error) { n.taken[s] = maps.Clone(n.client.model) })
	}
	for s, holds := range n.taken {
		switch n.rng.IntN(30) {
		case 0:
			n.tree.Release(s)
			delete(n.taken, s)
		case 1, 2, 3:
			reader := newRecorder()
			reader.model = holds // it expects exactly this
			n.stepFor(reader, nil, Request{Op: Range, Max: MaxRangePairBytes, At: s})
		}
	}
}
