package tree

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"kivaloo/disk"
)

// journalConfig is for trees that keep a journal.
func journalConfig() Config {
	cfg := testConfig()
	cfg.JournalBytes = DefaultJournalBytes
	cfg.StorageCost = 0
	cfg.CachePages = 4096
	return cfg
}

// checkpointed returns a store that ends with the last append of a checkpoint, during which batches went on; where that append
// begins, and what the store holds.
func checkpointed(t *testing.T, blockSize int) (s *memStore, from uint64, holds model) {
	t.Helper()
	h := newHarness(t, newMemStore(blockSize), journalConfig())
	m := model{}
	do := func(requests ...Request) {
		m.applyAll(requests)
		h.step(nil, requests...)
	}
	for first := 0; !h.tree.checkpoint.running; first += 500 { // until the journal is long enough
		do(sets(first, 500, strings.Repeat("v", 100))...)
		for len(h.held) > 0 && !h.tree.checkpoint.running {
			h.finish(0)
		}
	}
	do(set("during", "1"), Request{Op: Delete, Key: []byte("000007")})
	for h.tree.checkpoint.running {
		h.finish(0)
	}
	saved, from := h.tree.checkpoint.saved, h.store.lastAppend()
	if h.tree.cache.node(saved.root).block < from || saved.next >= from || len(h.client.done) != int(h.nextID) {
		t.Fatalf("replay starts at block %d, the last append at %d; %d of %d changes are made", saved.next, from, len(h.client.done), h.nextID)
	}
	return h.store, from, m
}

// opened opens a store and fails the test unless it holds m; it returns a harness on it.
func opened(t *testing.T, s *memStore, cfg Config, m model) *harness {
	t.Helper()
	h := newHarness(t, s, cfg)
	sameContent(t, h.dump(), m)
	h.check()
	return h
}

// tears is what a power cut can make of a block that was not written yet.
var tears = map[string]func(p []byte){
	"zero": func(p []byte) { clear(p) },
	"garbage at the end": func(p []byte) {
		copy(p[len(p)-min(sectorBytes, len(p)-journalHeader):], bytes.Repeat([]byte{0x5a}, sectorBytes))
	},
}

// TestTornCheckpoint tears the last append of a checkpoint, one block of it and all: whatever is missing, what batches have
// changed meanwhile is there, for the journal has it.
func TestTornCheckpoint(t *testing.T) {
	for _, size := range []int{512, 600} { // without a seal, and with one
		whole, from, m := checkpointed(t, size)
		opened(t, whole.clone(), journalConfig(), m)
		for what, damage := range tears {
			for block := max(from, whole.next()-4); block < whole.next(); block++ {
				t.Run(fmt.Sprintf("%d %s %d", size, what, whole.next()-block), func(t *testing.T) {
					s := whole.clone()
					damage(s.page(block))
					goesOn(t, s, m)
				})
			}
			t.Run(fmt.Sprintf("%d %s all", size, what), func(t *testing.T) {
				s := whole.clone()
				for block := from; block < s.next(); block++ {
					damage(s.page(block))
				}
				goesOn(t, s, m)
			})
		}
		for cut := max(from, whole.next()-4); cut < whole.next(); cut++ {
			t.Run(fmt.Sprintf("%d cut off %d", size, whole.next()-cut), func(t *testing.T) {
				s := whole.clone()
				s.blocks = s.blocks[:cut]
				goesOn(t, s, m)
			})
		}
	}
}

// goesOn opens a store that holds m, in two lives, both of which make changes; the first ends by a crash.
func goesOn(t *testing.T, s *memStore, m model) {
	t.Helper()
	m = maps.Clone(m)
	for life := range 2 {
		h := opened(t, s, journalConfig(), m)
		changes := []Request{set("life", fmt.Sprint(life)), set(fmt.Sprintf("%06d", life), "changed")}
		m.applyAll(changes)
		h.do(changes...)
	}
	opened(t, s, journalConfig(), m)
}

// TestTornBatch tears any of the pieces of the last batch, or leaves them out: it is dropped as a whole, and a later batch
// that has the same sequence number is not mixed up with what is left of it.
func TestTornBatch(t *testing.T) {
	for _, size := range []int{512, 2048} {
		h := newHarness(t, newMemStore(size), journalConfig())
		m := model{}
		before := sets(0, 50, "before")
		m.applyAll(before)
		h.do(before...)
		from := h.store.next()
		h.do(sets(20, 4*size/20, "torn")...)
		pieces := int(h.store.next() - from)
		if pieces < 3 || pieces > 10 {
			t.Fatalf("the batch has %d pieces", pieces)
		}
		for subset := 1; subset < 1<<pieces; subset++ {
			for what, damage := range tears {
				s := h.store.clone()
				for i := range pieces {
					if subset>>i&1 != 0 {
						damage(s.page(from + uint64(i)))
					}
				}
				t.Run(fmt.Sprintf("%d %s %b", size, what, subset), func(t *testing.T) { goesOn(t, s, m) })
			}
		}
		for cut := from; cut < h.store.next(); cut++ {
			s := h.store.clone()
			s.blocks = s.blocks[:cut]
			t.Run(fmt.Sprintf("%d cut off at %d", size, cut-from), func(t *testing.T) { goesOn(t, s, m) })
		}
	}
}

// TestPagesAndJournal has lives that write pages and lives that keep a journal follow each other, each ended by a crash.
func TestPagesAndJournal(t *testing.T) {
	s, m := newMemStore(512), model{}
	for life := range 12 {
		cfg := journalConfig()
		if life%3 == 1 {
			cfg.JournalBytes = 0
		}
		h := opened(t, s, cfg, m)
		if root, err := FindRoot(s, quiet); cfg.JournalBytes == 0 && (err != nil || root.Block != s.next()-1) {
			t.Fatalf("life %d writes pages, and did not begin with a root: %v", life, err)
		}
		for i := range 3 {
			changes := sets(100*life+i, 40, fmt.Sprint(life, i))
			changes = append(changes, set("life", fmt.Sprint(life, i)), Request{Op: Delete, Key: changes[0].Key})
			m.applyAll(changes)
			h.do(changes...)
		}
		if life%4 == 3 {
			h.tree.checkpoint.changed = -checkpointIdle
			h.step(nil)
			h.settle()
		}
	}
	opened(t, s, journalConfig(), m)
}

// TestReplayReadOnly: a tree that may not write shows what the journal says, and changes nothing.
func TestReplayReadOnly(t *testing.T) {
	whole, m := journaled(t, 512)
	for _, journal := range []int64{0, DefaultJournalBytes} {
		s := whole.clone()
		cfg := journalConfig()
		cfg.ReadOnly, cfg.JournalBytes = true, journal
		h := opened(t, s, cfg, m)
		h.tree.Stop()
		h.pass(2 * checkpointIdle)
		if s.next() != whole.next() || len(s.frees) > 0 {
			t.Errorf("journal of %d: %d blocks have been appended, freed: %v", journal, s.next()-whole.next(), s.frees)
		}
	}
}

// TestNotSeenBeforeDurable holds the append of a batch back: nobody sees anything of it. What fails is never seen.
func TestNotSeenBeforeDurable(t *testing.T) {
	for name, journal := range map[string]int64{"journal": DefaultJournalBytes, "pages": 0} {
		for _, fails := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s fails=%t", name, fails), func(t *testing.T) {
				cfg := journalConfig()
				cfg.JournalBytes = journal
				h := newHarness(t, newMemStore(512), cfg)
				h.do(set("a", "old"), set("gone", "not yet"))
				h.step(nil, set("a", "new"), set("b", "new"), Request{Op: Delete, Key: []byte("gone")})
				if h.heldOf(disk.Append) < 0 {
					t.Fatal("no append is under way")
				}
				before := model{"a": "old", "gone": "not yet"}
				other := newRecorder()
				other.model = before // it insists on it
				look := func() {
					h.stepFor(other, nil, get("a"), get("b"), get("gone"), Request{Op: Range, Max: 1000})
				}
				look()
				h.step(nil, set("a", "newer")) // builds the next
				look()
				if len(other.answered) != 8 || len(h.client.done) != 2 {
					t.Fatalf("%d reads and %d changes are answered", len(other.answered), len(h.client.done))
				}
				want := model{"a": "newer", "b": "new"}
				if fails {
					h.store.fail, want = errDisk, before
				}
				h.settle()
				sameContent(t, h.dump(), want)
			})
		}
	}
}

// TestLeaseOutlivesRestart: the tree that a backup reads is the last one that was saved, so changes that are in the journal only
// do not keep a backup from going on after a crash.
func TestLeaseOutlivesRestart(t *testing.T) {
	s := newMemStore(512)
	h := newHarness(t, s, journalConfig())
	h.do(sets(0, 100, "then")...)
	h.do(Request{Op: Backup, Max: 200})
	first := h.client.pairs[h.nextID]
	id := h.tree.leaseID(&h.tree.checkpoint.saved)
	h.do(sets(0, 200, "later")...)
	h = newHarness(t, s, journalConfig())
	if v, _ := h.get("000050"); v != "later" {
		t.Errorf("%q", v)
	}
	h.do(Request{Op: Backup, Snapshot: id, Key: []byte(first.next), Max: MaxRangePairBytes})
	rest := h.client.pairs[h.nextID]
	if n := len(first.keys) + len(rest.keys); n != 100 || len(first.keys) == 0 || rest.next != "" {
		t.Errorf("%d pairs, after %d; failed: %v", n, len(first.keys), h.client.failed)
	}
	for _, v := range rest.values {
		if v != "then" {
			t.Errorf("%q", v)
		}
	}
}

// TestRootWithoutItsPages: of the last append of a checkpoint the root is there, and other pages are not. The root before it
// is taken, and what batches have changed since is replayed.
func TestRootWithoutItsPages(t *testing.T) {
	for _, size := range []int{512, 600} { // without a seal, and with one
		whole, m := savedAtOnce(t, size)
		from := whole.lastAppend()
		found, err := FindRoot(whole, quiet)
		if err != nil || found.Block < from {
			t.Fatalf("the last append begins at %d, the root is %d: %v", from, found.Block, err)
		}
		var leaves, parents, journal []uint64
		for block := from; block < whole.next(); block++ {
			switch p := whole.page(block); {
			case block == found.Block:
			case isJournal(p):
				journal = append(journal, block)
			default:
				if h, err := parseHead(p); err == nil && h.height > 0 {
					parents = append(parents, block)
				} else {
					leaves = append(leaves, block) // or the seal
				}
			}
		}
		if len(leaves) < 10 || len(parents) == 0 || len(journal) == 0 {
			t.Fatalf("%d leaves, %d parents, %d blocks of the journal", len(leaves), len(parents), len(journal))
		}
		cases := map[string][]uint64{
			"no leaves": leaves, "no parents": parents, "nothing": slices.Concat(leaves, parents, journal),
			"no pages": slices.Concat(leaves, parents), "only leaves": slices.Concat(parents, journal),
		}
		for i := 0; i < len(leaves); i += len(leaves) / 8 {
			cases[fmt.Sprint("all but leaf ", i)] = leaves[i : i+1]
		}
		for name, lost := range cases {
			for what, damage := range tears {
				t.Run(fmt.Sprintf("%d %s: %s", size, name, what), func(t *testing.T) {
					s := whole.clone()
					for _, block := range lost {
						damage(s.page(block))
					}
					root, err := FindRoot(s, quiet)
					if err != nil || root.Block >= from {
						t.Fatalf("root %d is taken, the last append begins at %d: %v", root.Block, from, err)
					}
					goesOn(t, s, m)
				})
			}
		}
	}
}

// savedAtOnce returns a store that ends with a checkpoint in one append, of which all changes are in the journal too; and what
// it holds.
func savedAtOnce(t *testing.T, blockSize int) (*memStore, model) {
	t.Helper()
	h, m := newHarness(t, newMemStore(blockSize), journalConfig()), model{}
	for round := range 2 {
		for first := 0; first < 900; first += 150 {
			changes := sets(first, 150, strings.Repeat(fmt.Sprint(round), 20+round))
			changes = append(changes, Request{Op: Delete, Key: changes[7].Key})
			m.applyAll(changes)
			h.do(changes...)
		}
		h.tree.checkpoint.changed = -checkpointIdle
		h.step(nil)
		h.settle()
	}
	if h.tree.counts.checkpoints != 2 {
		t.Fatalf("%d checkpoints", h.tree.counts.checkpoints)
	}
	return h.store, m
}

// cutStore keeps what a power cut would leave at each append.
type cutStore struct {
	*memStore
	cuts []*memStore
}

func (s *cutStore) Submit(first, last *disk.Op) {
	for op := first; op != nil; op = op.Link.Next() {
		if op.Kind != disk.Append {
			continue
		}
		for torn := range 3 { // nothing of it, the second half, all but the last block
			c := s.clone()
			if torn > 0 {
				c.add(op.Pages...)
			}
			switch from := s.next(); torn {
			case 1:
				for i := range len(op.Pages) / 2 {
					clear(c.page(from + uint64(i)))
				}
			case 2:
				c.blocks = c.blocks[:len(c.blocks)-1]
			}
			s.cuts = append(s.cuts, c)
		}
	}
	s.memStore.Submit(first, last)
}

// TestCutWhileReplaying opens a store of which the journal is so long that pages have to be saved before all of it is replayed,
// and cuts the power at each append that this makes; and again at one of those that the next attempt makes.
func TestCutWhileReplaying(t *testing.T) {
	for _, size := range []int{512, 600} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			s, m := longJournal(t, size)
			small := journalConfig()
			small.CachePages = MinCachePages
			cuts := func(s *memStore) []*memStore {
				recovering := &cutStore{memStore: s}
				tr, err := Open(recovering, small)
				if err != nil {
					t.Fatal(err)
				}
				defer tr.Close()
				d := &driver{t: t, tree: tr, store: s}
				sameContent(t, d.dump(), m)
				checkStore(t, s)
				return recovering.cuts
			}
			first := cuts(s)
			if len(first) < 3*3 {
				t.Fatalf("%d appends while it replays", len(first)/3)
			}
			for i, cut := range first {
				again := cuts(cut)
				if len(again) > 0 && i%5 == 0 {
					cuts(again[(7*i)%len(again)])
				}
			}
		})
	}
}

// longJournal returns a store of which the journal changes many more pages than the smallest cache has, and what it holds.
func longJournal(t *testing.T, blockSize int) (*memStore, model) {
	t.Helper()
	const pairs = 14000
	cfg := journalConfig()
	cfg.CachePages = 1 << 15
	h, m := newHarness(t, newMemStore(blockSize), cfg), model{}
	do := func(requests []Request) {
		m.applyAll(requests)
		h.do(requests...)
	}
	for first := 0; first < pairs; first += 1000 {
		do(sets(first, 1000, strings.Repeat("v", 100)))
	}
	h.tree.checkpoint.changed = -checkpointIdle
	h.step(nil)
	h.settle()
	saved := h.tree.counts.checkpoints
	for round := range 2 { // the second half is said anew
		var batch []Request
		for i := 0; i < pairs; i += 5 {
			batch = append(batch, sets(i, 1, fmt.Sprint("changed ", round, i))...)
			if i%35 == 0 {
				batch = append(batch, Request{Op: Delete, Key: fmt.Appendf(nil, "%06d", i+1)})
			}
		}
		for part := range slices.Chunk(batch, 500) {
			do(part)
		}
	}
	if h.tree.counts.checkpoints != saved || h.tree.checkpoint.running {
		t.Fatal("the journal has been given up meanwhile")
	}
	return h.store.clone(), m
}
