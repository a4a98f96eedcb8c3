package tree

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"kivaloo/disk"
)

// TestChaos has everything happen at once: a cache that is much too small, operations that finish in any
// order, reads that fail and appends for which there is no space, cleaning, and batches that are built ahead. Every
// answer must be right when it is given, and there must be one to every request.
func TestChaos(t *testing.T) {
	for seed := range torture(8, 2000) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			c := newChaos(t, seed)
			for range 700 {
				c.step()
			}
			c.end()
		})
	}
}

type chaos struct {
	*harness
	rng   *rand.Rand
	space int // of keys
	noise bool
}

func newChaos(t *testing.T, seed uint64) *chaos {
	rng := rand.New(rand.NewPCG(seed, 2))
	cfg := testConfig()
	cfg.CachePages = 1 << 16
	cfg.StorageCost = []float64{0, 1, 1e9}[rng.IntN(3)]
	cfg.MaxSpread = []float64{0, 2}[rng.IntN(2)]
	cfg.CommitDelay = time.Duration(rng.IntN(2)) * 20 * time.Millisecond
	cfg.MinCommit = rng.IntN(2) * 10
	cfg.JournalBytes = []int64{0, 8 << 10, 256 << 10}[rng.IntN(3)]
	h := newHarness(t, newMemStore(512+rng.IntN(2)*100), cfg)
	h.client.model = model{}
	c := &chaos{harness: h, rng: rng, space: 500 + rng.IntN(3000), noise: rng.IntN(3) > 0}
	// The batches may be as large as they are with a large cache.
	h.tree.cache.limit = 32 + rng.IntN(200)
	return c
}

func (c *chaos) key() []byte { return fmt.Appendf(nil, "%05d", c.rng.IntN(c.space)) }

func (c *chaos) request() Request {
	switch c.rng.IntN(10) {
	case 0, 1, 2:
		return Request{Op: Get, Key: c.key()}
	case 3:
		return Request{Op: Range, Key: c.key(), Max: uint32(c.rng.IntN(5000))}
	}
	return randomRequest(c.rng, c.client.model, c.key, 50)
}

// step lets some requests come, some time pass and some operations finish.
func (c *chaos) step() {
	c.now += time.Duration(c.rng.IntN(60)) * time.Millisecond
	n := c.rng.IntN(12)
	if c.rng.IntN(100) == 0 && len(c.tree.writes.queue) < batchWindow {
		n = 2*batchWindow + c.rng.IntN(100)
	}
	batch := make([]Request, n)
	for i := range batch {
		batch[i] = c.request()
	}
	c.harness.step(nil, batch...)
	for range c.rng.IntN(12) {
		if len(c.held) == 0 {
			return
		}
		c.trouble()
		c.finish(c.rng.IntN(len(c.held)))
		clear(c.store.unread)
		c.store.fail = nil
	}
}

// trouble makes the next operation fail, at times.
func (c *chaos) trouble() {
	if !c.noise || c.rng.IntN(20) > 0 {
		return
	}
	c.store.fail = disk.ErrNoSpace
	for b := range c.store.blocks {
		c.store.unread[c.store.first+uint64(b)] = errDisk
	}
}

// end lets all come to rest and looks at what has become of it.
func (c *chaos) end() {
	c.settle()
	if c.tree.writes.refusal != nil { // a change that goes through shows that there is space again
		c.now += noSpaceRetry
		c.do(set("a", "b"))
	}
	c.tree.Stop()
	for wakes := 0; c.tree.Busy() || c.tree.checkpoint.sweeping; wakes++ {
		if wakes > 10000 {
			c.t.Fatal("does not come to rest")
		}
		c.now = c.wake
		c.harness.step(nil)
		c.settle()
	}
	if n := len(c.client.answered); uint64(n) != c.nextID {
		c.t.Fatalf("%d answers to %d requests", n, c.nextID)
	}
	for id, err := range c.client.failed {
		if !errors.Is(err, errDisk) && !errors.Is(err, disk.ErrNoSpace) {
			c.t.Fatalf("request %d: %v", id, err)
		}
	}
	if !c.noise && len(c.client.failed)+len(c.faults) > 0 {
		c.t.Fatalf("%d requests failed, reported: %v", len(c.client.failed), c.faults)
	}
	sameContent(c.t, c.dump(), c.client.model)
	c.check()
	c.checkFrames()
}
