package tree

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"kivaloo/disk"
)

// TestChaos has everything happen at once: a cache that is much too small, operations that finish
// in any order, reads that fail and appends without space, cleaning, and batches built ahead. Every
// answer must be right when it is given, and every request must get one.
func TestChaos(t *testing.T) {
	for seed := range torture(8, 400) {
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
	space int // number of different keys
	noise bool

	taken   []takenSnapshot
	readers []*recorder // of the snapshots, and of backups
	backup  *backupRun  // nil: no backup is running
	backups int         // completed backups
}

// takenSnapshot is a snapshot and the client that reads it. The client expects what there was when
// it was taken.
type takenSnapshot struct {
	*Snapshot
	reader *recorder
}

// backupRun is a backup in progress. It takes several requests.
type backupRun struct {
	*recorder
	request []Request // the current request
	pairs   model     // pairs of the earlier requests
	moments []model   // states it may show: those from its beginning until it had its lease
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
	// Batches may be as large as with a large cache.
	h.tree.cache.limit = 32 + rng.IntN(200)
	return c
}

func (c *chaos) key() []byte { return fmt.Appendf(nil, "%05d", c.rng.IntN(c.space)) }

func (c *chaos) request() Request {
	switch c.rng.IntN(10) {
	case 0, 1, 2:
		return Request{Op: Get, Key: c.key()}
	case 3:
		if c.rng.IntN(2) == 0 {
			return randomScan(c.rng, c.key, 5000)
		}
		return Request{Op: Range, Key: c.key(), Max: uint32(c.rng.IntN(5000))}
	}
	return randomRequest(c.rng, c.client.model, c.key, 50)
}

// step lets some requests arrive, some time pass and some operations finish.
func (c *chaos) step() {
	c.now += time.Duration(c.rng.IntN(60)) * time.Millisecond
	n := c.rng.IntN(12)
	if c.rng.IntN(100) == 0 && len(c.tree.writer.queue) < 2048 {
		n = 2*2048 + c.rng.IntN(100)
	}
	batch := make([]Request, n)
	for i := range batch {
		batch[i] = c.request()
	}
	c.harness.step(nil, batch...)
	c.snapshots()
	c.goOnWithBackup()
	for range c.rng.IntN(12) {
		if len(c.held) == 0 {
			return
		}
		c.trouble()
		c.finish(c.rng.IntN(len(c.held)))
		clear(c.store.unread)
		c.store.fail = nil
		c.goOnWithBackup()
	}
}

// snapshots takes some snapshots, reads them and releases them, even while they are being read.
func (c *chaos) snapshots() {
	if len(c.taken) < 4 && c.rng.IntN(25) == 0 {
		c.tree.TakeSnapshot("test", func(s *Snapshot, err error) {
			if err != nil {
				c.mayFail(0, err)
				return
			}
			reader := newRecorder()
			reader.model = maps.Clone(c.client.model) // no batch is under way
			c.taken, c.readers = append(c.taken, takenSnapshot{s, reader}), append(c.readers, reader)
		})
	}
	for i := len(c.taken) - 1; i >= 0; i-- {
		s := c.taken[i]
		if c.rng.IntN(2) == 0 {
			c.stepFor(s.reader, nil, Request{Op: Get, Key: c.key(), At: s.Snapshot},
				Request{Op: Range, Key: c.key(), Max: uint32(c.rng.IntN(5000)), At: s.Snapshot})
		}
		if c.rng.IntN(40) == 0 {
			c.tree.Release(s.Snapshot)
			c.taken = slices.Delete(c.taken, i, i+1)
		}
	}
}

// goOnWithBackup sometimes begins a backup, and continues the current one by a request.
func (c *chaos) goOnWithBackup() {
	b := c.backup
	if b == nil {
		if c.rng.IntN(100) == 0 {
			b = &backupRun{recorder: newRecorder(), pairs: model{}, moments: []model{maps.Clone(c.client.model)}}
			c.backup, c.readers = b, append(c.readers, b.recorder)
			c.askForBackup(Request{Op: TakeLease})
		}
		return
	}
	q := b.request[0]
	if last := b.moments[len(b.moments)-1]; q.Op == TakeLease && !maps.Equal(last, c.client.model) {
		b.moments = append(b.moments, maps.Clone(c.client.model))
	}
	if !b.answered[q.ID] {
		return
	}
	if b.failed[q.ID] != nil {
		c.backup = nil // its snapshot is kept for a while
		return
	}
	a := b.scans[q.ID]
	for i, k := range a.keys {
		b.pairs[k] = a.values[i]
	}
	switch {
	case q.Op == TakeLease || a.more:
		c.askForBackup(Request{Op: Scan, Snapshot: q.Snapshot, Key: []byte(a.next), Max: uint32(2000 + c.rng.IntN(20000))})
		return
	case q.Op == Scan:
		c.askForBackup(Request{Op: ReleaseLease, Snapshot: q.Snapshot})
		return
	}
	if !slices.ContainsFunc(b.moments, func(m model) bool { return maps.Equal(m, b.pairs) }) {
		c.t.Fatalf("a backup of %d pairs is like none of the %d moments that it may be of", len(b.pairs), len(b.moments))
	}
	c.backup = nil
	c.backups++
}

func (c *chaos) askForBackup(q Request) {
	b := c.backup
	b.request = []Request{q}
	c.stepFor(b.recorder, nil, b.request...)
}

// trouble sometimes makes the next operation fail, more often during a flush.
func (c *chaos) trouble() {
	odds := 20
	if c.tree.flush.state != flushIdle {
		odds = 10
	}
	if !c.noise || c.rng.IntN(odds) > 0 {
		return
	}
	c.store.fail = disk.ErrNoSpace
	for b := range c.store.blocks {
		c.store.unread[c.store.first+uint64(b)] = errDisk
	}
}

// end lets everything come to rest and checks the result.
func (c *chaos) end() {
	for len(c.held) > 0 || c.backup != nil || len(c.tree.snapshotsWanted) > 0 {
		c.now += tickEvery
		c.harness.step(nil)
		if c.goOnWithBackup(); len(c.held) > 0 {
			c.finish(0)
		} else if b := c.backup; b != nil && !b.answered[b.request[0].ID] {
			c.t.Fatal("a backup waits for nothing")
		}
	}
	for _, s := range c.taken {
		c.stepFor(s.reader, nil, Request{Op: Range, Max: MaxRangePairBytes, At: s.Snapshot})
		c.settle()
		c.tree.Release(s.Snapshot)
	}
	c.pass(leaseTime + 2*tickEvery) // the leases of failed backups expire
	if c.tree.refusal != nil {      // a successful change shows that there is space again
		c.now += noSpaceRetry
		c.do(set("a", "b"))
	}
	c.tree.Stop()
	for wakes := 0; c.tree.Busy(); wakes++ {
		if wakes > 10000 {
			c.t.Fatal("does not come to rest")
		}
		c.now = c.wake
		c.harness.step(nil)
		c.settle()
	}
	answers := len(c.client.answered)
	for _, r := range c.readers {
		answers += len(r.answered)
		for id, err := range r.failed {
			if !errors.Is(err, ErrSnapshotGone) {
				c.mayFail(id, err)
			}
		}
	}
	if uint64(answers) != c.nextID {
		c.t.Fatalf("%d answers to %d requests", answers, c.nextID)
	}
	for id, err := range c.client.failed {
		c.mayFail(id, err)
	}
	if !c.noise && len(c.client.failed)+len(c.faults) > 0 {
		c.t.Fatalf("%d requests failed, reported: %v", len(c.client.failed), c.faults)
	}
	sameContent(c.t, c.dump(), c.client.model)
	c.check()
	c.checkFrames()
	if !c.noise && c.backups == 0 {
		c.t.Error("no backup has come to its end")
	}
}

// mayFail accepts an error that may only occur when something was broken.
func (c *chaos) mayFail(id uint64, err error) {
	c.t.Helper()
	if !c.noise || !errors.Is(err, errDisk) && !errors.Is(err, disk.ErrNoSpace) {
		c.t.Fatalf("request %d: %v", id, err)
	}
}
