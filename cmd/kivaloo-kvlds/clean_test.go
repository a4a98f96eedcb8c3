package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"kivaloo/internal/must"
)

// eager is a storage cost at which every old leaf is rewritten at once.
const eager = "1e12"

// TestFree checks that FREE names the oldest leaf of the committed tree about once a second,
// whether or not it has changed, and never a leaf of an unacknowledged tree.
func TestFree(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	f := p.startFake(t, 512)
	p.start(t)
	c := p.connect(t)
	c.mustChange(t, set("k", "0"), 0)
	f.hold(true)
	before := f.count()
	must.Do(t, c.send(set("k", "1")))
	f.mustSee(t, before+1)
	free := func() (blocks []uint64, at []time.Time) {
		f.look(func() { blocks, at = slices.Clone(f.frees), slices.Clone(f.freed) })
		return blocks, at
	}
	first, _ := free()
	must.Eventually(t, "three FREEs more", func() bool { blocks, _ := free(); return len(blocks) >= len(first)+3 })
	blocks, at := free()
	if took := at[len(first)+2].Sub(at[len(first)]); took < time.Second || took > exitSoon {
		t.Errorf("three FREEs took %v", took)
	}
	f.hold(false)
	f.release(t)
	c.mustReceive(t, c.LastID, 1)
	oldest := f.lastRoot().oldest
	must.Eventually(t, "the new tree's FREE", func() bool { blocks, _ = free(); return blocks[len(blocks)-1] == oldest })

	var acknowledged []uint64
	f.look(func() { acknowledged = slices.Clone(f.oldest) })
	for _, block := range blocks {
		if !slices.Contains(acknowledged, block) {
			t.Errorf("FREE(%d), oldest leaves have been at %v", block, acknowledged)
		}
	}
	if !slices.IsSorted(blocks) || slices.Contains(blocks[:len(first)+3], oldest) {
		t.Errorf("FREEs of %v, the last tree has its oldest leaf at %d", blocks, oldest)
	}
}

// makeOld writes a tree with mostly old leaves, and returns its pairs.
func (p place) makeOld(t *testing.T, f *fakeBlocks) []pair {
	t.Helper()
	d := p.start(t, "-S", "0")
	var pairs []pair
	for i := range 1000 {
		pairs = append(pairs, pair{number(i), fmt.Sprint("value ", i)})
	}
	p.connectOnce(t, func(c *client) {
		c.mustSet(t, pairs...)
		for i := range 150 {
			pairs[0].value = fmt.Sprint(i)
			c.mustChange(t, set(pairs[0].key, pairs[0].value), 0)
		}
	})
	p.end(t, d)
	if r := f.lastRoot(); r.oldest > r.nodes*2 || r.block < 10*r.nodes {
		t.Fatalf("no leaf is old: %+v", r)
	}
	return pairs
}

// TestCleaning checks that old leaves are rewritten while the daemon is idle, if storage costs
// anything, whether or not a client is connected. The content must not change.
func TestCleaning(t *testing.T) {
	t.Parallel()
	free, alone, watched := newPlace(t), newPlace(t), newPlace(t)
	unchanged := free.startFake(t, 512)
	pairs := free.makeOld(t, unchanged)
	before := unchanged.lastRoot()
	cleaned := []*fakeBlocks{alone.startFake(t, 512), watched.startFake(t, 512)}
	for _, f := range cleaned {
		f.fill(unchanged)
	}
	start := time.Now()
	free.start(t, "-S", "0")
	alone.start(t, "-S", eager)
	watched.start(t, "-S", eager)
	watcher := watched.connect(t)
	watcher.mustGet(t, pairs[0].key, pairs[0].value)

	young := before.block + 1 - before.nodes/2
	for _, f := range cleaned {
		must.Eventually(t, "no leaf is old", func() bool { return f.lastRoot().oldest >= young })
	}
	if took := time.Since(start); took > exitSoon {
		t.Errorf("cleaning took %v", took)
	}
	for _, c := range []*client{alone.connect(t), watcher} {
		if got, err := c.all(1<<20, "", ""); err != nil || !slices.Equal(got, pairs) {
			t.Errorf("%d pairs afterwards, %v", len(got), err)
		}
	}
	time.Sleep(time.Until(start.Add(6500 * time.Millisecond)))
	if now := unchanged.lastRoot(); now != before {
		t.Errorf("the root is now %+v, was %+v", now, before)
	}
}

// TestEndWhileCleaningIsPending checks that with -1 the daemon ends with its client, even if leaves
// wait to be rewritten.
func TestEndWhileCleaningIsPending(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	f := p.startFake(t, 512)
	pairs := p.makeOld(t, f)
	before := f.lastRoot()
	f.look(func() { clear(f.reads) })
	d := p.start(t, "-S", eager, "-1")
	c := p.connect(t)
	must.Eventually(t, "old leaves are read", func() bool {
		old := 0
		for block := range f.haveRead() {
			if block < before.nodes {
				old++
			}
		}
		return old > int(before.nodes)/2
	})
	c.Close()
	if status := d.Wait(t); status.ExitStatus() != 0 {
		t.Errorf("ended with %v", status)
	}
	p.clear(t)
	p.start(t, "-S", "0")
	if got, err := p.connect(t).all(1<<20, "", ""); err != nil || !slices.Equal(got, pairs) {
		t.Errorf("%d pairs afterwards, %v", len(got), err)
	}
}
