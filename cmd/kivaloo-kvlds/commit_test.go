package main

import (
	"fmt"
	"testing"
	"time"

	"kivaloo/internal/must"
	"kivaloo/wire"
)

// story has every modifying operation on one key that is absent at first, with the expected status.
var story = []struct {
	request wire.KVRequest
	status  uint32
}{
	{set("x", "1"), 0},
	{add("x", "2"), 1},
	{cas("x", "1", "3"), 0},
	{cas("x", "1", "4"), 1},
	{modify("x", "5"), 0},
	{cad("x", "3"), 1},
	{cad("x", "5"), 0},
	{modify("x", "6"), 1},
	{del("x"), 0},
	{add("x", "7"), 0},
}

// TestStatuses checks that requests see the effects of earlier ones, in one batch and one by one.
func TestStatuses(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	f := p.startFake(t, 512)
	p.start(t, "-w", "1", "-g", fmt.Sprint(len(story)))
	c := p.connect(t)
	before := f.count()
	var requests []wire.KVRequest
	for _, step := range story {
		requests = append(requests, step.request)
	}
	must.Do(t, c.send(requests...))
	for i, record := range c.mustReceive(t, 1, len(story)) {
		if status, err := wire.ParseKVStatus(wire.TypeCAS, record); err != nil || status != story[i].status {
			t.Errorf("step %d: status %d, %v, want %d", i, status, err, story[i].status)
		}
	}
	f.mustSee(t, before+1)
	c.mustGet(t, "x", "7")
}

func TestStatusesOneByOne(t *testing.T) {
	t.Parallel()
	c := startStack(t, 512).connect(t)
	for _, step := range story {
		c.mustChange(t, step.request, step.status)
	}
	c.mustGet(t, "x", "7")
}

// TestNothingToCommit checks that requests that change nothing write nothing. A DELETE of an absent
// key is such a request only if commits write pages: with a journal, the tree does not look up the
// key.
func TestNothingToCommit(t *testing.T) {
	t.Parallel()
	for _, journal := range []string{"0", "64M"} {
		p := newPlace(t)
		f := p.startFake(t, 512)
		p.start(t, "--journal", journal)
		c := p.connect(t)
		before := f.count()
		for _, r := range []wire.KVRequest{modify("k", "v"), cas("k", "v", "w"), cad("k", "v")} {
			c.mustChange(t, r, 1)
		}
		if journal == "0" {
			c.mustChange(t, del("k"), 0)
		}
		f.mustSee(t, before)
	}
}

// TestReadsSeeTheCommittedTree checks that a change is visible if and only if it is acknowledged.
func TestReadsSeeTheCommittedTree(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	f := p.startFake(t, 512)
	p.start(t)
	c := p.connect(t)
	c.mustChange(t, set("k", "old"), 0)
	f.hold(true)
	before := f.count()
	must.Do(t, c.send(set("k", "new"), get("k"), ranged(100, "", ""), params))
	seen := make(map[uint64]string)
	for range 3 {
		id, record, err := c.receive()
		must.Do(t, err)
		seen[id] = string(record)
	}
	for id, want := range map[uint64]string{
		3: "\x00\x00\x00\x00\x03old",
		4: "\x00\x00\x00\x00" + "\x00\x00\x00\x01" + "\x00" + "\x01k\x03old",
		5: "\x00\x00\x00\x40" + "\x00\x00\x00\x60",
	} {
		if seen[id] != want {
			t.Errorf("answer to %d: %q, want %q", id, seen[id], want)
		}
	}
	f.mustSee(t, before+1)
	must.Do(t, c.Silent())
	f.hold(false)
	f.release(t)
	c.mustReceive(t, 2, 1)
	c.mustGet(t, "k", "new")
}

// sets returns n SETs of different keys.
func sets(n int) []wire.KVRequest {
	var requests []wire.KVRequest
	for i := range n {
		requests = append(requests, set(number(i), "v"))
	}
	return requests
}

// mustCommit checks that the sent changes are committed in batches of these sizes. Each batch must
// be answered as a whole and in order.
func (c *client) mustCommit(t *testing.T, f *fakeBlocks, before int, sizes ...int) {
	t.Helper()
	first := uint64(1)
	for i, size := range sizes {
		f.mustSee(t, before+i+1)
		must.Do(t, c.Silent())
		f.release(t)
		c.mustReceive(t, first, size)
		first += uint64(size)
	}
	must.Do(t, c.Silent())
	f.mustSee(t, before+len(sizes))
}

func TestBatches(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options []string
		sets    int
		batches []int
	}{
		"enough for a batch":   {[]string{"-w", "1", "-g", "5"}, 12, []int{5, 7}},
		"what comes in time":   {[]string{"-w", "0.2"}, 12, []int{12}},
		"what comes in a read": {nil, 12, []int{12}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			f := p.startFake(t, 512)
			p.start(t, test.options...)
			c := p.connect(t)
			f.hold(true)
			before := f.count()
			must.Do(t, c.send(sets(test.sets)...))
			c.mustCommit(t, f, before, test.batches...)
		})
	}
}

// TestBatchesInASmallCache checks batches that write pages. A commit may need a quarter of the
// cache: 256 pages, 3 for each request in a tree of height 2.
func TestBatchesInASmallCache(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	f := p.startFake(t, 512)
	loader := p.start(t)
	p.connectOnce(t, func(c *client) {
		var pairs []pair
		for i := range 1500 {
			pairs = append(pairs, pair{number(i), "some bytes"})
		}
		c.mustSet(t, pairs...)
	})
	p.end(t, loader)
	p.start(t, "-w", "0.2", "-C", "1024", "-S", "0", "--journal", "0")
	if height := f.lastRoot().height; height != 2 {
		t.Fatalf("the tree has height %d", height)
	}
	c := p.connect(t)
	f.hold(true)
	before := f.count()
	must.Do(t, c.send(sets(200)...))
	c.mustCommit(t, f, before, 85, 85, 30)
}

// TestWindow checks that at most 4096 requests are processed at a time. All later requests wait.
func TestWindow(t *testing.T) {
	t.Parallel()
	for _, waiting := range []int{4095, 4096} {
		t.Run(fmt.Sprint(waiting), func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			f := p.startFake(t, 512)
			p.start(t)
			c := p.connect(t)
			c.mustChange(t, set("k", "v"), 0)
			f.hold(true)
			before := f.count()
			must.Do(t, c.send(append(sets(waiting), get("k"))...))
			sought := c.LastID
			if waiting == 4095 {
				c.mustReceive(t, sought, 1)
				return
			}
			f.mustSee(t, before+1)
			must.Do(t, c.Silent())
			f.hold(false)
			f.release(t)
			for range waiting + 1 {
				id, _, err := c.receive()
				must.Do(t, err)
				if id == sought {
					sought = 0
				}
			}
			if sought != 0 {
				t.Error("the GET was not answered")
			}
		})
	}
}

// TestCommitDelay checks that the commit timer starts with the first waiting change, and that reads
// do not wait.
func TestCommitDelay(t *testing.T) {
	t.Parallel()
	s := startStack(t, 512, "-w", "0.5")
	c := s.connect(t)
	for range 2 {
		start := time.Now()
		must.Do(t, c.send(set("k", "v"), get("none")))
		c.mustReceive(t, c.LastID, 1)
		c.mustReceive(t, c.LastID-1, 1)
		if took := time.Since(start); took < 500*time.Millisecond {
			t.Errorf("committed after %v", took)
		}
	}
}

// TestMinimumCommit checks that a batch that is large enough does not wait for the timer.
func TestMinimumCommit(t *testing.T) {
	t.Parallel()
	s := startStack(t, 512, "-w", "1", "-g", "5")
	c := s.connect(t)
	start := time.Now()
	const rounds = 30
	for range rounds {
		first := c.LastID + 1
		must.Do(t, c.send(sets(5)...))
		c.mustReceive(t, first, 5)
	}
	if took := time.Since(start); took > rounds*time.Second/2 {
		t.Errorf("%d batches took %v", rounds, took)
	}
}

// TestCommitDelayOfAFullWindow checks that of 6000 changes at most 4096 are in the first commit,
// and that the others wait for the timer again.
func TestCommitDelayOfAFullWindow(t *testing.T) {
	t.Parallel()
	s := startStack(t, 512, "-w", "1")
	c := s.connect(t)
	start := time.Now()
	sent := make(chan error, 1)
	go func() { sent <- c.send(sets(6000)...) }()
	c.mustReceive(t, 1, 1)
	first := time.Since(start)
	c.mustReceive(t, 2, 4095)
	c.mustReceive(t, 4097, 1)
	if second := time.Since(start); first < time.Second || second < 2*time.Second {
		t.Errorf("answers after %v and %v", first, second)
	}
	c.mustReceive(t, 4098, 6000-4097)
	must.Do(t, <-sent)
}

func TestIDsAreEchoed(t *testing.T) {
	t.Parallel()
	c := startStack(t, 512).connect(t)
	for _, id := range []uint64{0, 1, 1, 1 << 63, 1<<64 - 1, 1<<64 - 1} {
		c.LastID = id - 1
		if err := c.change(set("k", "v"), 0); err != nil {
			t.Error(err)
		}
	}
}
