package tree

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
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
	onDone func() // called with every answer that a change is durable; may be nil
}

// do runs requests to their end, and returns the client that got the answers.
func (d *driver) do(requests ...Request) *recorder {
	if d.done == nil {
		d.done = disk.NewCompletions(actors.NewDoorbell(func() {}))
	}
	d.client = newRecorder()
	d.client.onDone = d.onDone
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
// also while it is being opened after the cut before, when the disk is full, and when it has failed. Every change
// that was acknowledged is there afterwards, and a batch that was not is there as a whole or not at all.
// Recovery writes nothing.
func TestPowerCuts(t *testing.T) {
	var seen situations
	t.Cleanup(func() {
		seen.want(t, "while the store is opened", "while the tree is opened", "in a commit", "in a step", "in a step that others follow",
			"in a step after others", "while it stops")
	})
	for seed := range torture(60, 1500) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 3))
			c := crashRun{
				t: t, rng: rng,
				blockSize: []int{512, 700, 2048}[rng.IntN(3)],
				fsys:      simfs.New(storeDir),
				states:    []model{{}},
				seen:      &seen,
			}
			c.cfg = testConfig()
			c.cfg.AdoptBlank = true
			c.cfg.StorageCost = []float64{0, 1, 1e9}[rng.IntN(3)]
			c.cfg.MaxSpread = []float64{0, 1.5}[rng.IntN(2)]
			c.cfg.JournalBytes = []int64{0, 4 << 10, 32 << 10}[rng.IntN(3)]
			c.cfg.stepBytes = []int{0, 1}[rng.IntN(2)] // one leaf
			for range 5 {
				c.life()
			}
		})
	}
}

// changing is what recovery does not do to block files.
var changing = []simfs.Op{simfs.Write, simfs.Sync, simfs.SyncDir, simfs.Create, simfs.Rename, simfs.Remove, simfs.Truncate}

// situations counts what was going on when the power was cut.
type situations struct {
	mutex sync.Mutex
	n     map[string]int
}

// note counts a situation, or those that a tree is in.
func (s *situations) note(where string, t *Tree) {
	all := []string{where}
	if t != nil && where == "" {
		all = t.situations()
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.n == nil {
		s.n = map[string]int{}
	}
	for _, what := range all {
		s.n[what]++
	}
}

// situations says what a tree is doing.
func (t *Tree) situations() (all []string) {
	a, f := &t.appends, &t.flush
	add := func(what string, holds bool) {
		if holds {
			all = append(all, what)
		}
	}
	add("in a commit", a.busy && a.commit)
	add("in a step", a.busy && a.step != nil)
	add("in a step with a commit behind it", a.busy && a.step != nil && a.commit)
	add("in a step that others follow", a.busy && a.step != nil && !f.last)
	add("in a step after others", a.busy && a.step != nil && f.done > 0)
	add("while the next memtable fills", len(t.view.tables) > 1 && !t.active().Empty())
	add("while it stops", t.stopping)
	return all
}

func (s *situations) want(t *testing.T, all ...string) {
	for _, what := range all {
		if s.n[what] == 0 {
			t.Errorf("no cut %s: %v", what, s.n)
		}
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
	broken    bool    // a call may have failed in this life
	seen      *situations
}

// life opens the store, uses it until the power is cut or the process is killed, and leaves in c what that has left.
func (c *crashRun) life() {
	calls := 1 + c.rng.IntN([]int{80, 400}[c.rng.IntN(2)])
	// A sync that has failed leaves the process with data that it sees and the disk does not have: to be killed
	// then, and to start again without a power cut, is to be lied to.
	kill := c.rng.IntN(3) == 0
	c.spoil(kill)
	var after *simfs.FS
	var possible []model
	end := func() {
		if possible = c.states; kill {
			after = c.fsys.Kill()
		} else {
			after = c.fsys.Crash(c.rng)
		}
	}
	var tr *Tree
	where, there := "while the store is opened", uint64(0)
	c.fsys.SetHook(func(call simfs.Call) error {
		if where == "while the tree is opened" && there > maxBlankBlocks && slices.Contains(changing, call.Op) && strings.HasPrefix(call.Name, "blks_") {
			c.t.Errorf("recovery calls %s of %s", call.Op, call.Name)
		}
		if calls--; calls == 0 {
			c.seen.note(where, tr)
			end()
		}
		return nil
	})
	defer func() {
		if after == nil {
			end()
		}
		c.fsys, c.states = after, possible
	}()

	s, err := disk.OpenInline(storeDir, disk.Options{BlockSize: c.blockSize, FS: c.fsys, Log: quiet})
	if err != nil {
		c.failed(err)
		return
	}
	defer s.Close()
	where, there = "while the tree is opened", s.Info().Next
	tr, err = Open(s, c.cfg)
	where = ""
	if err != nil {
		c.failed(err)
		return
	}
	defer tr.Close()
	d := &driver{t: c.t, tree: tr, store: s}
	held := d.dump()
	if !c.mayHold(held) {
		c.t.Fatalf("after the cut it holds %d pairs, and none of the %d states that it may have", len(held), len(c.states))
	}
	checkStore(c.t, s)
	c.states = []model{held}
	for after == nil && c.batch(d) {
		if c.rng.IntN(3) == 0 && after == nil {
			d.now += 2 * flushIdleAfter
			d.do() // flushes
		}
		if c.rng.IntN(40) == 0 && after == nil {
			c.stop(d, func() bool { return after != nil })
			break
		}
	}
	c.fsys.SetHook(nil)
}

// stop has the tree come to rest in order. Unless it is cut off meanwhile the last block is a root then, and nothing is to be
// replayed.
func (c *crashRun) stop(d *driver, cut func() bool) {
	d.tree.Stop()
	for wakes := 0; d.tree.Busy(); wakes++ {
		if wakes > 1000 {
			c.t.Fatalf("does not come to rest: %s", restState(d.tree))
		}
		d.now += tickEvery
		d.do()
	}
	if err := d.tree.Unflushed(); cut() || err != nil {
		c.failed(err)
		return
	}
	root, err := FindRoot(d.store, quiet)
	if err != nil || root.Block != d.store.Info().Next-1 {
		c.t.Fatalf("after a stop the root is block %d of %d: %v", root.Block, d.store.Info().Next, err)
	}
}

// spoil has the disk run full, or fail, at some moment of the life that begins; at most times neither.
func (c *crashRun) spoil(kill bool) {
	c.fsys.SetCapacity(-1)
	c.broken = true
	switch c.rng.IntN(8) {
	case 0:
		used := int64(0)
		for _, name := range c.fsys.Names() {
			used += int64(len(c.fsys.Content(name)))
		}
		c.fsys.SetCapacity(used + c.rng.Int64N(40*int64(c.blockSize)))
	case 1:
		c.fsys.Fail(simfs.Write, 1+c.rng.IntN(20), syscall.EIO)
	case 2:
		if c.broken = !kill; !kill {
			c.fsys.Fail(simfs.Sync, 1+c.rng.IntN(20), syscall.EIO)
		}
	default:
		c.broken = false
	}
}

// failed takes an error that there may only be when something was broken.
func (c *crashRun) failed(err error) {
	c.t.Helper()
	if err != nil && !c.broken || errors.Is(err, disk.ErrCorrupt) {
		c.t.Fatal(err)
	}
}

func (c *crashRun) mayHold(held model) bool {
	for _, m := range c.states {
		if maps.Equal(m, held) {
			return true
		}
	}
	return false
}

// batch makes some changes; until they are acknowledged both what was and what will be may be found. It returns false
// when no more can be made in this life.
func (c *crashRun) batch(d *driver) bool {
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
	d.onDone = func() { c.states = []model{next} } // the step that says so may make more calls
	answers := d.do(requests...)
	if err := answers.failed[requests[0].ID]; err != nil {
		// They fail together, and where it is for lack of space the store is back to what it was.
		c.failed(err)
		if len(answers.failed) != len(requests) {
			c.t.Fatalf("%d of %d requests failed: %v", len(answers.failed), len(requests), err)
		}
		if errors.Is(err, disk.ErrNoSpace) {
			c.states = []model{before}
		}
		return errors.Is(err, disk.ErrNoSpace)
	}
	for i := range requests {
		if got, ok := answers.done[requests[i].ID]; !ok || got != want[i] {
			c.t.Fatalf("%+v: answered %t: %t, want %t; failed: %v", requests[i], ok, got, want[i], answers.failed)
		}
	}
	return true
}

// restState says what a tree still waits for.
func restState(t *Tree) string {
	return fmt.Sprintf("flush %d, append under way %t, queue %d, waiting %d, reads %d, free %t, waiters %d, refusal %v, stuck %t, clean %t, active empty %t, tables %d",
		t.flush.state, t.appends.busy, len(t.writer.queue), len(t.writer.waiting), t.pager.underWay, t.clean.freeing, len(t.flush.waiters),
		t.refusal, t.stuck, t.appends.clean, t.active().Empty(), len(t.view.tables))
}
