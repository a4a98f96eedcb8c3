package tree

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"kivaloo/actors"
	"kivaloo/disk"
	"kivaloo/disk/simfs"
)

// driver runs a tree on a store that carries everything out at once, on one goroutine.
type driver struct {
	t      tester
	tree   *Tree
	store  disk.Store
	done   *disk.Completions
	now    time.Duration
	nextID uint64
	client *recorder
}

// do runs requests to their end, and returns the client that got the answers.
func (d *driver) do(requests ...Request) *recorder {
	if d.done == nil {
		d.done = disk.NewCompletions(actors.NewDoorbell(func() {}))
	}
	d.client = newRecorder()
	for i := range requests {
		d.nextID++
		requests[i].ID = d.nextID
	}
	in := Inputs{Now: d.now, Requests: &Batch{Client: d.client, Requests: requests}}
	for {
		out := d.tree.Step(in)
		for op := out.First; op != nil; op = op.Link.Next() {
			op.Done = d.done
		}
		if out.First != nil {
			d.store.Submit(out.First, out.Last)
		}
		in = Inputs{Now: d.now, Done: d.done.Drain()}
		if in.Done == nil {
			return d.client
		}
	}
}

// dump returns all pairs.
func (d *driver) dump() model {
	d.t.Helper()
	all := model{}
	for start := ""; ; {
		answers := d.do(Request{Op: Range, Key: []byte(start), Max: MaxRangePairBytes})
		a, ok := answers.pairs[d.nextID]
		if !ok {
			d.t.Fatalf("range from %q: %v", start, answers.failed[d.nextID])
		}
		for i, k := range a.keys {
			all[k] = a.values[i]
		}
		if start = a.next; start == "" {
			return all
		}
	}
}

// TestPowerCuts runs whole stores on a file system that is cut off between and inside any two calls,
// also while it is being opened after the cut before. Every change that was acknowledged is there
// afterwards, and a batch that was not is there as a whole or not at all.
func TestPowerCuts(t *testing.T) {
	for seed := range torture(60, 4000) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 3))
			c := crashRun{
				t: t, rng: rng,
				blockSize: []int{512, 700, 2048}[rng.IntN(3)],
				fsys:      simfs.New(storeDir),
				states:    []model{{}},
			}
			c.cfg = testConfig()
			c.cfg.AdoptBlank = true
			c.cfg.StorageCost = []float64{0, 1, 1e9}[rng.IntN(3)]
			c.cfg.MaxSpread = []float64{0, 1.5}[rng.IntN(2)]
			for range 5 {
				c.life()
			}
		})
	}
}

// crashRun is the history of one store.
type crashRun struct {
	t         *testing.T
	rng       *rand.Rand
	blockSize int
	cfg       Config
	fsys      *simfs.FS
	states    []model // what it may hold
}

// life opens the store, uses it until the power is cut, and leaves in c what the cut has left.
func (c *crashRun) life() {
	calls := 1 + c.rng.IntN(80)
	var after *simfs.FS
	var possible []model
	c.fsys.SetHook(func(simfs.Call) error {
		if calls--; calls == 0 {
			after, possible = c.fsys.Crash(c.rng), c.states
		}
		return nil
	})
	defer func() { c.fsys, c.states = after, possible }()

	s, err := disk.OpenInline(storeDir, disk.Options{BlockSize: c.blockSize, FS: c.fsys, Log: quiet})
	if err != nil {
		c.t.Fatal(err)
	}
	defer s.Close()
	tr, err := Open(s, c.cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	defer tr.Close()
	d := &driver{t: c.t, tree: tr, store: s}
	held := d.dump()
	if !c.mayHold(held) {
		c.t.Fatalf("after the cut it holds %d pairs, and none of the %d states that it may have", len(held), len(c.states))
	}
	checkStore(c.t, s)
	c.states = []model{held}
	for after == nil {
		c.batch(d)
	}
	c.fsys.SetHook(nil)
}

func (c *crashRun) mayHold(held model) bool {
	for _, m := range c.states {
		if maps.Equal(m, held) {
			return true
		}
	}
	return false
}

// batch makes some changes; until they are acknowledged both what was and what will be may be found.
func (c *crashRun) batch(d *driver) {
	d.now += time.Duration(c.rng.IntN(1500)) * time.Millisecond
	before := c.states[0]
	next := maps.Clone(before)
	key := func() []byte { return fmt.Appendf(nil, "%04d", c.rng.IntN(400)) }
	requests := make([]Request, 1+c.rng.IntN(60)) // few enough for one batch
	want := make([]bool, len(requests))
	for i := range requests {
		requests[i] = randomRequest(c.rng, next, key, 60)
		want[i] = next.apply(&requests[i])
	}
	c.states = []model{before, next}
	answers := d.do(requests...)
	for i := range requests {
		if got, ok := answers.done[requests[i].ID]; !ok || got != want[i] {
			c.t.Fatalf("%+v: answered %t: %t, want %t; failed: %v", requests[i], ok, got, want[i], answers.failed)
		}
	}
	c.states = []model{next}
}
