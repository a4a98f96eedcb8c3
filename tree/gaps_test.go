package tree

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"kivaloo/disk"
	"kivaloo/internal/must"
)

// gapStore is a store like the original's lbs-s3. An append leaves gaps in the block numbers, and
// reading a block that does not exist is fatal.
type gapStore struct {
	t          tester
	size       int
	next, last uint64
	blocks     map[uint64][]byte
}

// appendNumbers is how many block numbers each append takes, however long it is.
const appendNumbers = 1 << 24

func newGapStore(t tester, size int) *gapStore {
	return &gapStore{t: t, size: size, last: disk.NoBlock, blocks: map[uint64][]byte{}}
}

// after returns the content for another life.
func (s *gapStore) after() *gapStore {
	c := *s
	c.blocks = maps.Clone(s.blocks)
	return &c
}

func (s *gapStore) Info() disk.Info { return disk.Info{BlockSize: s.size, Next: s.next, Last: s.last} }
func (s *gapStore) Close() error    { return nil }

func (s *gapStore) Submit(first, _ *disk.Op) {
	for op := first; op != nil; {
		next := op.Link.Next()
		op.SetNext(nil)
		s.run(op)
		op.Done.PushOne(op)
		op = next
	}
}

func (s *gapStore) run(op *disk.Op) {
	op.OK, op.Err = true, nil
	switch op.Kind {
	case disk.Read:
		p, there := s.blocks[op.Block]
		if !there {
			s.t.Errorf("block %d+%d is read, which does not exist", op.Block/appendNumbers, op.Block%appendNumbers)
			op.OK = false
		}
		copy(op.Buf, p)
	case disk.Append:
		if op.OK = op.Block == s.next; !op.OK {
			return
		}
		for i, p := range op.Pages {
			s.last = op.Block + uint64(i)
			s.blocks[s.last] = append([]byte(nil), p...)
		}
		s.next += appendNumbers
		op.Next = s.next
	case disk.Free:
		maps.DeleteFunc(s.blocks, func(block uint64, _ []byte) bool { return block < op.Block })
	}
}

// TestGaps puts a store with gaps in its block numbers through everything. It is reopened after
// each append, and must never read a block that does not exist.
func TestGaps(t *testing.T) {
	for _, size := range []int{512, 600} { // pages of one sector, and of more
		for name, journal := range map[string]int64{"journal": 4 << 10, "pages": 0} {
			t.Run(fmt.Sprint(size, " ", name), func(t *testing.T) {
				cfg := testConfig()
				cfg.JournalBytes, cfg.StorageCost, cfg.MaxSpread = journal, 1e9, 1.5
				s, m := newGapStore(t, size), model{}
				for round := range 40 {
					tr, err := Open(s, cfg)
					if err != nil {
						t.Fatalf("round %d: %v", round, err)
					}
					d := &driver{t: t, tree: tr, store: s}
					sameContent(t, d.dump(), m)
					checkStore(t, s)
					gapLife(d, m, round)
					if round%8 == 7 {
						tr.Stop()
						d.pass(3 * time.Second)
						if root, err := FindRoot(s, quiet); tr.Busy() || err != nil || root.Block != s.last || root.Partial {
							t.Fatalf("round %d: busy %t; root %d of %d, partial %t: %v", round, tr.Busy(), root.Block, s.last, root.Partial, err)
						}
					}
					tr.Close() // usually in the middle of something
					s = s.after()
				}
				if r := checkStore(t, s); r.Root.Height < 2 {
					t.Errorf("height %d", r.Root.Height)
				}
			})
		}
	}
}

// gapLife makes changes, flushes them, and reads a snapshot.
func gapLife(d *driver, m model, round int) {
	change := func(requests ...Request) {
		m.applyAll(requests)
		d.do(requests...)
	}
	if round < 4 { // the root is a leaf
		change(set("a", fmt.Sprint(round)))
		if round > 1 {
			d.pass(2 * time.Second)
			change(set("c", fmt.Sprint(round)))
		}
		return
	}
	change(sets(100*round, 100, strings.Repeat("v", 40))...)
	change(sets(37*round, 20, fmt.Sprint(round))...)
	if round%3 == 0 {
		d.pass(7 * time.Second) // a flush, and cleaning
		change(set("b", fmt.Sprint(round)))
	}
	if round%4 == 0 {
		then := maps.Clone(m)
		var taken *Snapshot
		d.tree.TakeSnapshot("test", func(s *Snapshot, _ error) { taken = s })
		d.do()
		change(sets(0, 30, fmt.Sprint("later ", round))...)
		if taken == nil {
			d.t.Fatal("no snapshot")
		}
		q := Request{Op: Range, Max: MaxRangePairBytes, At: taken}
		a := d.do(q).pairs[d.nextID]
		if err := a.check(then, &q); err != nil || len(a.keys) == 0 {
			d.t.Fatalf("snapshot: %d pairs, %v", len(a.keys), err)
		}
		d.tree.Release(taken)
		change(Request{Op: Delete, Key: []byte("b")})
	}
	root, err := FindRoot(d.store, quiet)
	must.Do(d.t, err)
	if _, err := CheckJournal(context.Background(), d.store, root); err != nil {
		d.t.Fatal(err)
	}
}

// pass lets time pass in ticks.
func (d *driver) pass(wait time.Duration) {
	for end := d.now + wait; d.now < end; {
		d.now += tickEvery
		d.do()
	}
}
