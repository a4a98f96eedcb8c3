package tree

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kivaloo/actors"
	"kivaloo/disk"
	"kivaloo/disk/simfs"
)

// driver runs a tree on one goroutine, on a store that carries out every operation at once.
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

// do runs requests until they are done, and returns the client with the answers.
func (d *driver) do(requests ...Request) *recorder { return d.doParts(requests) }

// doParts is do for requests in several parts. Each part arrives while the store operations that
// the previous one caused are under way.
func (d *driver) doParts(parts ...[]Request) *recorder {
	if d.done == nil {
		d.done = disk.NewCompletions(actors.NewDoorbell(func() {}))
	}
	d.client = newRecorder()
	d.client.onDone = d.onDone
	var first, last *disk.Op // operations to carry out
	step := func(in Inputs) {
		in.Now = d.now
		out := d.tree.Step(in)
		for op := out.First; op != nil; op = op.Link.Next() {
			op.Done = d.done
		}
		switch {
		case out.First == nil:
			return
		case first == nil:
			first = out.First
		default:
			last.SetNext(out.First)
		}
		last = out.Last
	}
	for done := (*disk.Op)(nil); len(parts) > 0 || done != nil; done = d.done.Drain() {
		if done != nil {
			step(Inputs{Done: done})
		}
		if len(parts) > 0 {
			step(Inputs{Requests: d.chain(parts[0])})
			parts = parts[1:]
		}
		if first != nil {
			d.store.Submit(first, last)
			first = nil
		}
	}
	return d.client
}

// chain numbers requests.
func (d *driver) chain(requests []Request) *Batch {
	for i := range requests {
		d.nextID++
		requests[i].ID = d.nextID
	}
	return &Batch{Client: d.client, Requests: requests}
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

// TestPowerCuts runs whole stores on a simulated file system. It cuts the power between and inside
// any two calls: also during an opening after an earlier cut, when the disk is full, and after it
// has failed. Every acknowledged change must be there afterwards. A batch that was not acknowledged
// must be there as a whole or not at all. Recovery must write nothing. The original must find the
// same, or refuse the store.
func TestPowerCuts(t *testing.T) {
	var seen situations
	t.Cleanup(func() {
		seen.want(t, "while the store is opened", "while the tree is opened", "in a commit", "in a step", "in a step that others follow",
			"in a step after others", "while the next memtable fills", "while it stops", "in a step of a stop",
			"that tears a step", "that tears a step after others", "that tears a page commit", "that tears a commit",
			"that tears a commit behind a whole root", "that leaves an append whole", "that leaves nothing of an append",
			"that the original serves", "that the original refuses")
	})
	for seed := range torture(160, 1500) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 3))
			c := crashRun{
				t: t, rng: rng,
				blockSize: []int{512, 700, 2048}[rng.IntN(3)],
				fsys:      simfs.New(storeDir),
				states:    []model{{}},
				seen:      &seen,
				stepOnly:  seed%2 == 0,
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

// changing lists the calls that recovery must not make on block files.
var changing = []simfs.Op{simfs.Write, simfs.Sync, simfs.SyncDir, simfs.Create, simfs.Rename, simfs.Remove, simfs.Truncate}

// targets are the calls that may end a life: any call, or one of a rarer kind. calls bounds how
// many of these come before.
var targets = []struct {
	is    func(t *Tree, call simfs.Call) bool // nil: any
	calls [2]int
}{
	{nil, [2]int{80, 400}},
	{func(t *Tree, call simfs.Call) bool { return t.writesIn(call) && len(t.appends.pages) > 1 }, [2]int{5, 40}},
	{func(t *Tree, call simfs.Call) bool {
		return t.writesIn(call) && t.appends.step != nil && t.appends.commit
	}, [2]int{2, 8}},
	{func(t *Tree, call simfs.Call) bool { return t.writesIn(call) && t.stopping }, [2]int{2, 8}},
}

// writesIn reports whether a call is in the middle of writing or syncing an append.
func (t *Tree) writesIn(call simfs.Call) bool {
	return t.appends.busy && strings.HasPrefix(call.Name, "blks_") && (call.Op == simfs.Sync || call.Op == simfs.Write && call.Done > 0)
}

// situations counts what was going on when the power was cut.
type situations struct {
	mutex sync.Mutex
	n     map[string]int
}

// note counts a situation, or those of a tree.
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

// situations names what a tree is doing.
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
	add("in a step of a stop", t.stopping && a.busy && a.step != nil)
	return all
}

// noteTorn counts what a cut has left of the tree's current append.
func (s *situations) noteTorn(t *Tree, after *simfs.FS) {
	a := &t.appends
	if !a.busy {
		return
	}
	blocks, _ := rawBlocks(after, t.cache.blockSize)
	step := 0 // pages
	if a.step != nil {
		step = len(a.step.pages)
	}
	left, leftOfStep := 0, 0
	for i, p := range a.pages {
		if bytes.Equal(blocks[a.op.Block+uint64(i)], p) {
			if left++; i < step {
				leftOfStep++
			}
		}
	}
	switch commit := len(a.pages) - step; {
	case left == 0:
		s.note("that leaves nothing of an append", nil)
	case left == len(a.pages):
		s.note("that leaves an append whole", nil)
	case step == 0:
		s.note("that tears a commit", nil)
	case leftOfStep == step && commit > 0:
		s.note("that tears a commit behind a whole root", nil)
	case t.flush.committing():
		s.note("that tears a page commit", nil)
	default:
		s.note("that tears a step", nil)
		if t.flush.done > 0 {
			s.note("that tears a step after others", nil)
		}
	}
}

// want fails the test unless each situation has occurred.
func (s *situations) want(t *testing.T, all ...string) {
	t.Logf("cuts %v", s.n)
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
	broken    bool    // a call may fail in this life
	stepOnly  bool    // after a power cut in an append of a step and a commit, keep only the step, which is rare by chance
	seen      *situations
}

// life opens the store and uses it until the power is cut or the process is killed. It stores the
// remaining state in c.
func (c *crashRun) life() {
	target := targets[c.rng.IntN(len(targets))]
	calls := 1 + c.rng.IntN(target.calls[c.rng.IntN(2)])
	// After a failed sync the process sees data that the disk does not have. If it is then killed
	// and started without a power cut, it is deceived.
	kill := c.rng.IntN(3) == 0
	c.spoil(kill)
	var after *simfs.FS
	var possible []model
	var tr *Tree
	end := func() {
		possible = c.states
		switch {
		case kill:
			after = c.fsys.Kill()
		case c.stepOnly && tr != nil && tr.appends.busy && tr.appends.step != nil && tr.appends.commit:
			after = c.fsys.Left(firstSectors((len(tr.appends.step.pages)*c.blockSize + 511) / 512))
		default:
			after = c.fsys.Crash(c.rng)
		}
	}
	where, there := "while the store is opened", uint64(0)
	c.fsys.SetHook(func(call simfs.Call) error {
		if where == "while the tree is opened" && there > maxBlankBlocks && slices.Contains(changing, call.Op) && strings.HasPrefix(call.Name, "blks_") {
			c.t.Errorf("recovery calls %s of %s", call.Op, call.Name)
		}
		if target.is != nil && (tr == nil || !target.is(tr, call)) {
			return nil
		}
		if calls--; calls == 0 {
			c.seen.note(where, tr)
			end()
			if where == "" {
				c.seen.noteTorn(tr, after)
			}
		}
		return nil
	})
	defer func() {
		if after == nil {
			end()
		}
		c.fsys, c.states = after, possible
		c.original()
	}()

	s, err := disk.OpenInline(storeDir, disk.Options{BlockSize: c.blockSize, FS: c.fsys, Log: quiet, Doubtful: Doubtful})
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
			d.do() // a flush
		}
		if c.rng.IntN(40) == 0 && after == nil {
			c.stop(d, func() bool { return after != nil })
			break
		}
	}
	c.fsys.SetHook(nil)
}

// firstSectors makes a power cut leave everything written, but only the first n sectors.
func firstSectors(n int) simfs.Choose {
	return func(q simfs.Question) int {
		if q.About == simfs.Sector {
			if n--; n < 0 {
				return 0
			}
		}
		return 1
	}
}

// stop brings the tree to rest. Unless it is cut off, the last block is then a root, and there is
// nothing to replay.
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

// spoil sometimes makes the disk run full, or fail, at some moment of the new life.
func (c *crashRun) spoil(kill bool) {
	c.fsys.SetCapacity(-1)
	c.broken = true
	switch c.rng.IntN(8) {
	case 0:
		c.fsys.SetRoom(c.rng.Int64N(40 * int64(c.blockSize)))
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

// failed accepts an error that may only occur when something was broken.
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

// batch makes some changes in several parts. Each part arrives while the append of the previous
// one, or one of a flush, is under way. Until they are acknowledged, the state before and the state
// after may both be found. It returns false when no more changes can be made in this life.
func (c *crashRun) batch(d *driver) bool {
	d.now += time.Duration(c.rng.IntN(1500)) * time.Millisecond
	key := func() []byte { return fmt.Appendf(nil, "%04d", c.rng.IntN(400)) }
	now := c.states[0]
	states := []model{now} // before the first part, and after each
	most := 60             // few enough for one commit without a journal
	if c.cfg.JournalBytes > 0 {
		most = []int{60, 200}[c.rng.IntN(2)] // as many blocks as a step
	}
	parts := make([][]Request, 1+c.rng.IntN(8))
	var want []bool
	ends := make([]int, len(parts)) // number of requests up to each part's end
	for i := range parts {
		now = maps.Clone(now)
		if i > 0 || c.rng.IntN(2) == 0 { // a flush may begin first
			parts[i] = make([]Request, c.rng.IntN(most))
		}
		for j := range parts[i] {
			parts[i][j] = randomRequest(c.rng, now, key, 60)
			want = append(want, now.apply(&parts[i][j]))
		}
		states, ends[i] = append(states, now), len(want)
	}
	c.states = states
	answered := 0
	d.onDone = func() { // the step that answers may make more calls
		answered++
		c.states = states[1+sort.SearchInts(ends, answered):]
	}
	answers := d.doParts(parts...)
	for i, part := range parts {
		for j, q := range part {
			n := ends[i] - len(part) + j
			if err := answers.failed[q.ID]; err != nil {
				// All later requests fail too. If the disk is full, the store is back to its
				// earlier state.
				if c.failed(err); j > 0 || len(answers.failed) != len(want)-n {
					c.t.Fatalf("from request %d of %d on, %d in this part, %d have failed: %v", n, len(want), j, len(answers.failed), err)
				}
				if errors.Is(err, disk.ErrNoSpace) {
					c.states = states[i : i+1]
				}
				return errors.Is(err, disk.ErrNoSpace)
			}
			if got, ok := answers.done[q.ID]; !ok || got != want[n] {
				c.t.Fatalf("%+v: answered %t: %t, want %t", q, ok, got, want[n])
			}
		}
	}
	c.states = states[len(parts):]
	return true
}

// restState describes what a tree still waits for.
func restState(t *Tree) string {
	return fmt.Sprintf("flush %d, append under way %t, queue %d, waiting %d, reads %d, free %t, waiters %d, refusal %v, stuck %t, clean %t, active empty %t, tables %d",
		t.flush.state, t.appends.busy, len(t.writer.queue), len(t.writer.waiting), t.pager.underWay, t.clean.freeing, len(t.flush.waiters),
		t.refusal, t.carriedWhy, t.appends.end == endsComplete, t.active().Empty(), len(t.view.tables))
}
