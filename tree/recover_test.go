package tree

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"kivaloo/disk"
	"kivaloo/internal/must"
	"kivaloo/tree/page"
)

// commitLog is a store, with the content of its tree after each append.
type commitLog struct {
	store *memStore
	ends  []uint64 // the block after each append
	holds []model
}

// newCommitLog makes a store with some commits of random size. Nothing in it has been freed.
func newCommitLog(t tester, rng *rand.Rand, commits int) *commitLog {
	t.Helper()
	h := newHarness(t, newMemStore(512), testConfig())
	l := &commitLog{store: h.store}
	m := model{}
	note := func() {
		l.ends = append(l.ends, l.store.next())
		held := model{}
		for k, v := range m {
			held[k] = v
		}
		l.holds = append(l.holds, held)
	}
	note()
	load := sets(0, 200, "loaded")
	m.applyAll(load)
	h.do(load...)
	note()
	for i := range commits {
		batch := make([]Request, 1+rng.IntN(1+rng.IntN(60)))
		for j := range batch {
			batch[j] = randomRequest(rng, m, func() []byte { return fmt.Appendf(nil, "%06d", rng.IntN(1500)) }, 60)
			m.apply(&batch[j])
		}
		batch = append(batch, set("commit", fmt.Sprint(i)))
		m.apply(&batch[len(batch)-1])
		h.do(batch...)
		note()
	}
	return l
}

// cut returns the first n blocks of the store.
func (l *commitLog) cut(n uint64) *memStore {
	s := l.store.clone()
	s.blocks = s.blocks[:n]
	return s
}

// start returns the first block of append i.
func (l *commitLog) start(i int) uint64 {
	if i == 0 {
		return 0
	}
	return l.ends[i-1]
}

// holdsAt opens a store and fails the test unless it holds the content after append i. It returns a
// harness on it.
func (l *commitLog) holdsAt(t tester, s *memStore, i int) *harness {
	t.Helper()
	h := newHarness(t, s, testConfig())
	if h.rootBlock() != l.ends[i]-1 {
		t.Fatalf("root is block %d, want %d", h.rootBlock(), l.ends[i]-1)
	}
	h.check()
	sameContent(t, h.dump(), l.holds[i])
	return h
}

// TestCutAnywhere cuts a store off between any two blocks. All commits that are there as a whole
// must be found.
func TestCutAnywhere(t *testing.T) {
	l := newCommitLog(t, rand.New(rand.NewPCG(1, 0)), 25)
	last := -1
	for n := uint64(1); n <= l.store.next(); n++ {
		if last+1 < len(l.ends) && n == l.ends[last+1] {
			last++
		}
		s := l.cut(n)
		if r := checkStore(t, s); r.Root.Block != l.ends[last]-1 {
			t.Fatalf("cut off at block %d: root %d, want %d", n, r.Root.Block, l.ends[last]-1)
		}
		if n%8 == 0 {
			h := l.holdsAt(t, s, last)
			h.do(set("after", "1")) // continues after the leftovers
			h.check()
		}
	}
}

// tear damages the last append, which starts at block from, as a power cut in the middle of it
// could: some pages are there, others are zero or rubbish. It never leaves a part of a page: a disk
// writes all of 512 bytes or nothing. It reports whether any page was damaged.
func tear(rng *rand.Rand, s *memStore, from uint64) (torn bool) {
	odds := 1 + rng.IntN(10)
	for b := from; b < s.next(); b++ {
		if rng.IntN(odds) > 0 {
			continue
		}
		p := s.page(b)
		torn = true
		clear(p)
		if rng.IntN(2) == 0 {
			for i := range p {
				p[i] = byte(rng.Uint32())
			}
		}
	}
	if rng.IntN(4) == 0 {
		s.blocks = s.blocks[:from+1+rng.Uint64N(s.next()-from)]
		torn = true
	}
	return torn
}

// TestTornAppend checks that a torn last append has happened as a whole or not at all. The same
// must hold for the next one.
func TestTornAppend(t *testing.T) {
	whole, before := 0, 0
	for seed := range torture(60, 20000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		l := newCommitLog(t, rng, 1+rng.IntN(8))
		last := len(l.ends) - 1
		s := l.store.clone()
		torn := tear(rng, s, l.start(last))
		root, err := FindRoot(s, quiet)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if root.Block == l.ends[last]-1 {
			whole++
			l.holdsAt(t, s, last)
			continue
		}
		if !torn {
			t.Fatalf("seed %d: nothing is damaged, but the last commit is gone", seed)
		}
		before++
		h := l.holdsAt(t, s, last-1)
		// Leftovers must not come back: not by another commit, and not by one that is torn too.
		m := l.holds[last-1]
		h.do(set("next", "1"))
		from := s.lastAppend()
		next := s.clone()
		if tear(rng, next, from); !endsInRoot(next) {
			l.holdsAt(t, next, last-1)
		}
		m["next"] = "1"
		again := newHarness(t, s, testConfig())
		sameContent(t, again.dump(), m)
		again.check()
	}
	if whole < 3 || before < 20 {
		t.Errorf("%d appends were whole, %d torn", whole, before)
	}
}

// TestOlderIsNotTaken checks that only a tree that nobody was told about may be skipped. If the
// damaged page is from an older append, the tree that refers to it must still be used.
func TestOlderIsNotTaken(t *testing.T) {
	l := newCommitLog(t, rand.New(rand.NewPCG(4, 0)), 20)
	last := len(l.ends) - 1
	root, err := FindRoot(l.store, quiet)
	must.Do(t, err)
	damaged := 0
	walkStore(t, l.store, func(v visited) {
		if v.block >= l.start(last) {
			return
		}
		damaged++
		s := l.store.clone()
		clear(s.page(v.block))
		found, err := FindRoot(s, quiet)
		if err != nil || found.Block != root.Block {
			t.Errorf("block %d damaged: root %d, %v; want %d", v.block, found.Block, err, root.Block)
		}
		if r := Check(t.Context(), s, found); len(r.Faults) != 1 || r.Faults[0].Block != v.block {
			t.Errorf("block %d damaged: found %v", v.block, r.Faults)
		}
	})
	if damaged < 10 {
		t.Errorf("only %d pages are of older appends", damaged)
	}
}

// TestUnreadableStore checks that a temporarily unreadable block does not make the start use an
// older tree, because that would lose acknowledged changes.
func TestUnreadableStore(t *testing.T) {
	l := newCommitLog(t, rand.New(rand.NewPCG(3, 0)), 10)
	needed := map[uint64]bool{}
	walkStore(t, l.store, func(v visited) {
		if v.block >= l.start(len(l.ends)-1) {
			needed[v.block] = true
		}
	})
	if len(needed) < 3 {
		t.Fatalf("the last append has %d pages", len(needed))
	}
	for b := range needed {
		s := l.store.clone()
		s.unread[b] = errDisk
		if root, err := FindRoot(s, quiet); !errors.Is(err, errDisk) {
			t.Errorf("block %d cannot be read: root %d, %v", b, root.Block, err)
		}
		if tree, err := Open(s, testConfig()); !errors.Is(err, errDisk) {
			t.Errorf("block %d cannot be read: opened, %v", b, err)
			tree.Close()
		}
	}
}

// TestRotIsNoTear damages a block of the last commit whose checksum shows that it was durable. The
// commit must not be taken for one that was never acknowledged. If the block is the root, nothing
// older may be served instead.
func TestRotIsNoTear(t *testing.T) {
	for _, size := range []int{512, 600} { // pages of one sector, and of more
		h := newHarness(t, newMemStore(size), testConfig())
		for i := 0; i < 600; i += 60 {
			h.do(sets(i, 60, "some value")...)
		}
		h.do(sets(200, 200, "another")...)
		from, root := h.store.lastAppend(), h.rootBlock()
		if root-from < 3 {
			t.Fatalf("the last append has %d pages", root-from+1)
		}
		pages := map[uint64]bool{}
		walkStore(t, h.store, func(v visited) { pages[v.block] = true })
		for b := from; b <= root; b++ {
			s := h.store.clone()
			s.unread[b] = disk.ErrRot
			found, err := FindRoot(s, quiet)
			if b == root {
				if !errors.Is(err, disk.ErrRot) || !strings.Contains(err.Error(), fmt.Sprintf("block %d", b)) {
					t.Errorf("the root is rotten: root %d, %v", found.Block, err)
				}
				continue
			}
			if err != nil || found.Block != root {
				t.Errorf("block %d is rotten: root %d, %v; want %d", b, found.Block, err, root)
				continue
			}
			if r := Check(t.Context(), s, found); pages[b] && (len(r.Faults) != 1 || r.Faults[0].Block != b) {
				t.Errorf("block %d is rotten: found %v", b, r.Faults)
			}
		}
	}
}

// TestFreedMeansDurable checks that the last tree counts as durable if the tree before it has been
// freed. A bad page in it must not be taken for a commit that was cut short.
func TestFreedMeansDurable(t *testing.T) {
	l := newCommitLog(t, rand.New(rand.NewPCG(5, 0)), 200)
	last := len(l.ends) - 1
	rootOf := func(i int) Root {
		root, err := FindRoot(l.cut(l.ends[i]), quiet)
		must.Do(t, err)
		return root
	}
	for rootOf(last).Oldest == rootOf(last-1).Oldest {
		last--
	}
	before := rootOf(last - 1)
	l.store = l.cut(l.ends[last])
	bad := uint64(0)
	walkStore(t, l.store, func(v visited) {
		if v.height == 0 && v.block >= l.start(last) {
			bad = v.block
		}
	})
	for _, freed := range []uint64{before.Oldest, before.Oldest + 1} {
		s := l.store.clone()
		clear(s.page(bad))
		s.run(&disk.Op{Kind: disk.Free, Block: freed})
		root, err := FindRoot(s, quiet)
		want := l.ends[last-1] - 1
		if freed > before.Oldest {
			want = l.ends[last] - 1
		}
		if err != nil || root.Block != want {
			t.Errorf("freed before %d: root %d, %v; want %d", freed, root.Block, err, want)
		}
	}
}

// TestWholeRootIsNotPassedOver removes blocks from the beginning of a store, as if files were lost,
// and damages another block, whose checksum shows that it was durable. The append of the last root
// is whole, so that root must be found, or the start refused. With a journal, an older root will do
// if all of its tree may be there, and the journal has all changes since.
func TestWholeRootIsNotPassedOver(t *testing.T) {
	inBothModes(t, func(t *testing.T, cfg Config) {
		h := newHarness(t, newMemStore(512), cfg)
		for i := range 60 {
			h.do(sets(i*37%600, 10, fmt.Sprint("value ", i))...)
			h.pass(time.Second / 2)
		}
		for _, stopped := range []bool{false, true} {
			if stopped {
				h.tree.Stop()
				h.pass(3 * time.Second)
			}
			whole, err := FindRoot(h.store, quiet)
			must.Do(t, err)
			start := h.store.next() // of the append of the root
			for i := len(h.store.appends) - 1; start > whole.Block; i-- {
				start -= uint64(h.store.appends[i])
			}
			for lost := h.store.first; lost <= whole.Block; lost++ {
				for bad := lost; bad < h.store.next(); bad++ {
					s := h.store.clone()
					s.run(&disk.Op{Kind: disk.Free, Block: lost})
					if bad > lost { // otherwise only the beginning is lost
						s.unread[bad] = disk.ErrRot
					}
					root, err := FindRoot(s, quiet)
					var named *BlockError
					switch {
					case bad == lost && lost > whole.Oldest && lost <= start && (!errors.As(err, &named) || named.Block >= lost):
						t.Fatalf("all before block %d is lost, and the oldest leaf is block %d: root %d, %v", lost, whole.Oldest, root.Block, err)
					case err == nil && root.Block != whole.Block && (root.lastSeq != whole.lastSeq || root.Oldest < lost):
						t.Fatalf("all before block %d is lost, and block %d: root %d, not %d", lost, bad, root.Block, whole.Block)
					}
				}
			}
		}
	})
}

// TestGapsAtTheTop checks that block numbers without a block at the end are skipped, up to a limit.
func TestGapsAtTheTop(t *testing.T) {
	for gap, found := range map[int]bool{1: true, 63: true, 64: true, 1000: true, maxScanGap: true, maxScanGap + 1: false} {
		l := newCommitLog(t, rand.New(rand.NewPCG(4, 0)), 3)
		s := l.store.clone()
		s.blocks = append(s.blocks, make([][]byte, gap)...)
		if found {
			l.holdsAt(t, s, len(l.ends)-1)
		} else if _, err := FindRoot(s, quiet); !errors.Is(err, errNoRoot) {
			t.Errorf("gap of %d: %v", gap, err)
		}
	}
}

// TestFreedStore checks that a start does not need blocks before the oldest leaf, but needs the
// leaf itself.
func TestFreedStore(t *testing.T) {
	l := newCommitLog(t, rand.New(rand.NewPCG(5, 0)), 200)
	s := l.store
	last := len(l.ends) - 1
	root, err := FindRoot(s, quiet)
	must.Do(t, err)
	if root.Oldest == 0 || root.Oldest >= l.start(last) {
		t.Fatalf("oldest leaf %d, root %d", root.Oldest, root.Block)
	}
	s.run(&disk.Op{Kind: disk.Free, Block: root.Oldest})
	l.holdsAt(t, s, last)
	s.run(&disk.Op{Kind: disk.Free, Block: root.Oldest + 1})
	if found, err := FindRoot(s, quiet); err == nil {
		t.Errorf("root %d is found, without its oldest leaf", found.Block)
	}
}

// TestNoRoot checks that a store with blocks but no tree is refused, with an error that says what
// may be wrong.
func TestNoRoot(t *testing.T) {
	l := newCommitLog(t, rand.New(rand.NewPCG(6, 0)), 12)
	for what, damage := range map[string]func(s *memStore){
		"no root bits, no seals": func(s *memStore) {
			for b, p := range s.blocks {
				if p[8] &^= 0x80; page.BeginsSeal(p) {
					clear(s.blocks[b])
				}
			}
		},
		"all zero": func(s *memStore) {
			for b := range s.blocks {
				clear(s.blocks[b])
			}
		},
		"no root":   func(s *memStore) { s.first, s.blocks = 1, s.blocks[1:l.ends[1]-1] },
		"no blocks": func(s *memStore) { s.first, s.blocks = 7, nil },
	} {
		s := l.store.clone()
		damage(s)
		_, err := Open(s, testConfig())
		if !errors.Is(err, errNoRoot) || !errors.Is(err, disk.ErrCorrupt) || !strings.Contains(err.Error(), "block size 512") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := FindRoot(newMemStore(512), quiet); !errors.Is(err, errNoRoot) {
		t.Errorf("empty store: %v", err)
	}
}

// TestSkipped checks that skipped blocks are reported, except those that an earlier start has dealt
// with.
func TestSkipped(t *testing.T) {
	l := newCommitLog(t, rand.New(rand.NewPCG(7, 0)), 4)
	s := l.store.clone()
	last := len(l.ends) - 1
	clear(s.page(l.start(last)))
	var out strings.Builder
	root, err := FindRoot(s, slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil || root.Block != l.ends[last-1]-1 {
		t.Fatalf("root %d, %v", root.Block, err)
	}
	var blocks []uint64
	for _, f := range root.Skipped {
		blocks = append(blocks, f.Block)
	}
	if want := []uint64{l.ends[last] - 1, l.start(last)}; !slices.Equal(blocks, want) {
		t.Errorf("passed over: %v, want %d", root.Skipped, want)
	}
	if !strings.Contains(out.String(), fmt.Sprintf("block=%d", l.ends[last]-1)) {
		t.Errorf("said: %s", out.String())
	}
	h := newHarness(t, s, testConfig())
	h.do(set("after", "1"))
	if root, err = FindRoot(s, quiet); err != nil || len(root.Skipped) > 0 {
		t.Errorf("passed over after another commit: %v, %v", root.Skipped, err)
	}
}

// twoCommits returns a store without a journal whose last two commits each took an append of
// several pages, and the first blocks of these.
func twoCommits(t *testing.T) (s *memStore, first, second uint64) {
	h := newHarness(t, newMemStore(2048), testConfig())
	h.do(sets(0, 70, strings.Repeat("first commit", 15))...)
	first = h.store.next()
	h.do(sets(0, 50, strings.Repeat("second commit", 15))...)
	second = h.store.next()
	h.do(set("000060", "third commit"))
	if appends := h.store.appends; len(appends) != 4 || appends[2] < 6 {
		t.Fatalf("appends of %v pages", appends)
	}
	return h.store, first, second
}

// TestTwoDamagedAppends checks that, without a journal, a start skips the last append if it can be
// torn, but not also the one before. That one was acknowledged. Seals name the previous append.
func TestTwoDamagedAppends(t *testing.T) {
	whole, first, second := twoCommits(t)
	end := whole.next()
	for what, blocks := range map[string][]uint64{
		"last root, a leaf":     {end - 1, first},
		"last root, seal":       {end - 1, second - 2},
		"last root, root":       {end - 1, second - 1},
		"leaf, a leaf":          {second, first},
		"all of the last, leaf": {second, end - 1, first},
	} {
		s := whole.clone()
		for _, block := range blocks {
			clear(s.page(block))
		}
		var bad *BlockError
		if root, err := FindRoot(s, quiet); !errors.As(err, &bad) || bad.Block != second-1 {
			t.Errorf("%s: root %d, %v; want an error about block %d", what, root.Block, err, second-1)
		}
	}
}

// TestTwoTornAppends checks that a store still opens after two torn appends in a row. The first one
// stays in the store.
func TestTwoTornAppends(t *testing.T) {
	whole, first, second := twoCommits(t)
	s := whole.clone()
	s.blocks = s.blocks[:second-1-s.first] // without its root
	h := newHarness(t, s, testConfig())
	again := s.next()
	h.do(sets(0, 50, "once more")...)
	for lost := again; lost < s.next(); lost++ {
		torn := s.clone()
		clear(torn.page(lost))
		root, err := FindRoot(torn, quiet)
		if err != nil || root.Block != first-1 {
			t.Errorf("without block %d: root %d, %v; want %d", lost, root.Block, err, first-1)
		}
	}
}

// TestOldRootAfterPartialRoot copies a root that is a leaf over the last commit after a root that
// lacks changes. The copy must not be taken for the tree: a real root there would have a flush
// record.
func TestOldRootAfterPartialRoot(t *testing.T) {
	h := newHarness(t, newMemStore(2048), journalConfig())
	h.do(set("a", "1"))
	h.tree.whenFlushed(func(error) {})
	h.do(set("b", "2")) // while a is flushed
	h.do(set("c", "3"))
	s := h.store
	before, err := (&recovery{store: s, blocks: newBlockReader(s)}).rootBehind(s.next())
	if err != nil || before == nil || !before.Partial || before.Block == s.next()-1 {
		t.Fatalf("the root before the last commit: block %d, partial %t, %v", before.Block, before.Partial, err)
	}
	for at := before.Block + 1; at < s.next(); at++ {
		damaged := s.clone()
		damaged.blocks = damaged.blocks[:at+1]
		copy(damaged.page(at), s.page(0))
		if root, err := FindRoot(damaged, quiet); err == nil && root.Block != before.Block {
			t.Errorf("copied to block %d: root %d", at, root.Block)
		}
	}
}

// TestPagesWithoutRoot checks the error for a store that ends in pages whose root is missing.
func TestPagesWithoutRoot(t *testing.T) {
	s, _, second := twoCommits(t)
	s.blocks = s.blocks[:s.next()-1-s.first]
	root, err := FindRoot(s, quiet)
	if err != nil || root.Block != second-1 || len(root.Skipped) != 1 || root.Skipped[0].Block != s.next()-1 {
		t.Errorf("root %d, skipped %v, %v", root.Block, root.Skipped, err)
	}
}

// TestFirstPage checks that a store that was never written gets an empty tree, or a clear error.
func TestFirstPage(t *testing.T) {
	s := newMemStore(512)
	h := newHarness(t, s, testConfig())
	if len(h.dump()) != 0 || s.next() != 1 {
		t.Errorf("%d blocks", s.next())
	}
	if want := goldenBlock(t, "s512-empty", 512, 0); string(s.page(0)) != string(want) {
		t.Errorf("the first page is %x, the original writes %x", s.page(0), want)
	}
	s = newMemStore(512)
	s.fail = errDisk
	if _, err := Open(s, testConfig()); !errors.Is(err, errDisk) {
		t.Error(err)
	}
}

// TestOpenRefuses checks that Open refuses what could not work.
func TestOpenRefuses(t *testing.T) {
	for what, test := range map[string]struct {
		blockSize int
		first     uint64
		cfg       func(*Config)
	}{
		"small blocks":  {511, 0, func(*Config) {}},
		"large blocks":  {131073, 0, func(*Config) {}},
		"block numbers": {512, maxBlock, func(*Config) {}},
		"long keys":     {512, 0, func(c *Config) { c.MaxKey = 83 }},
		"long values":   {512, 0, func(c *Config) { c.MaxValue = 105 }},
		"longest key":   {2048, 0, func(c *Config) { c.MaxKey = 256 }},
		"longest value": {2048, 0, func(c *Config) { c.MaxValue = 256 }},
		"small cache":   {512, 0, func(c *Config) { c.CachePages = MinCachePages - 1 }},
		"large cache":   {512, 0, func(c *Config) { c.CachePages = MaxCachePages + 1 }},
		"default cache": {131072, 0, func(c *Config) { c.CachePages = 1023 }},
	} {
		s := newMemStore(test.blockSize)
		s.first = test.first
		cfg := testConfig()
		test.cfg(&cfg)
		if tree, err := Open(s, cfg); err == nil {
			t.Errorf("%s: opened", what)
			tree.Close()
		}
		if len(s.blocks) > 0 {
			t.Errorf("%s: something has been written", what)
		}
	}
	for _, test := range []struct{ blockSize, key, value int }{
		{512, 64, 104}, {512, 82, 86}, {1024, 128, 192}, {2048, 255, 255}, {512, 0, 0}, {131072, 255, 255},
	} {
		if err := CheckMaxLengths(test.blockSize, test.key, test.value); err != nil {
			t.Error(err)
		}
	}
}

// TestCutDuringFirstPage checks that a power cut before anything was acknowledged does not leave an
// unusable directory.
func TestCutDuringFirstPage(t *testing.T) {
	for _, blockSize := range []int{512, 2048} {
		s := newMemStore(blockSize)
		for range maxBlankBlocks {
			s.blocks = append(s.blocks, make([]byte, blockSize))
		}
		if _, err := Open(s, testConfig()); !errors.Is(err, errNoRoot) {
			t.Errorf("blocks of %d bytes: opened without having been asked to: %v", blockSize, err)
		}
		cfg := testConfig()
		cfg.AdoptBlank = true
		h := newHarness(t, s, cfg)
		h.check()
		h.do(set("a", "b"))
		h.check()
		again := newHarness(t, s.clone(), testConfig())
		if v, found := again.get("a"); v != "b" || !found {
			t.Errorf("blocks of %d bytes: holds %q, %t", blockSize, v, found)
		}
	}
}

// TestDamagedRootsPagesFail damages the append of a last root that was durable, because the tree
// before it has been freed. Reads of the pages of this append must fail: of all pages, or of the
// one with a flipped bit. A check must name them.
func TestDamagedRootsPagesFail(t *testing.T) {
	inBothModes(t, damageRootsPages)
}

func damageRootsPages(t *testing.T, cfg Config) {
	h := newHarness(t, newMemStore(1024), cfg)
	want := model{}
	for round := range 3 { // the last one rewrites all leaves
		load := sets(0, 400, fmt.Sprint("value ", round))
		want.applyAll(load)
		h.do(load...)
		h.now += 2 * flushIdleAfter
		h.step(nil)
		h.settle()
	}
	root := h.rootBlock()
	whole := h.store
	whole.run(&disk.Op{Kind: disk.Free, Block: h.oldest()})
	leaf := uint64(0)
	walkStore(t, whole, func(v visited) {
		if v.height == 0 && v.block > leaf {
			leaf = v.block
		}
	})
	for what, damage := range map[string]func(value []byte){
		"one bit": func(value []byte) { value[0] ^= 1 },
		"letters": func(value []byte) { copy(value, "wrong") },
	} {
		s := whole.clone()
		p := s.page(leaf)
		damage(p[strings.LastIndex(string(p), "value "):])
		found, err := FindRoot(s, quiet)
		if what == "one bit" && cfg.JournalBytes == 0 { // without a flush record the start looks for nothing older
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("block %d", leaf)) {
				t.Errorf("%s: root %d, %v", what, found.Block, err)
			}
			continue
		}
		if err != nil || found.Block != root {
			t.Fatalf("%s: root %d, want %d; %v", what, found.Block, root, err)
		}
		report, named := Check(t.Context(), s, found), false
		for _, f := range report.Faults {
			named = named || f.Block == leaf || f.Block >= found.doubtful.First && f.Block < root
		}
		if !named {
			t.Errorf("%s: the check finds %v", what, report.Faults)
		}
		again := newHarness(t, s, cfg)
		failed := 0
		for k, v := range want {
			again.do(get(k))
			if err := again.client.failed[again.nextID]; err != nil {
				failed++
			} else if got, ok := again.value(again.nextID); got != v || !ok {
				t.Fatalf("%s: %s is %q, want %q", what, k, got, v)
			}
		}
		if failed == 0 || what == "one bit" && failed > 60 {
			t.Errorf("%s: %d reads failed", what, failed)
		}
	}
}

// TestUnreadableRecord makes changes after a start that could not read a flush record. The next
// start must find them, whether it can read that record or not.
func TestUnreadableRecord(t *testing.T) {
	for _, size := range []int{512, 600} { // pages of one sector, and of more
		for _, readable := range []bool{false, true} {
			store := newMemStore(size)
			h := newHarness(t, store, journalConfig())
			for i := range 20 {
				h.do(sets(i, 1, "some value")...)
			}
			h.pass(2 * flushIdleAfter)
			record := h.rootBlock() - 1
			store.unread[record] = disk.ErrRot
			h = newHarness(t, store, journalConfig())
			for i := range 3 {
				h.do(sets(i, 1, "changed")...)
			}
			want := model(h.dump())
			if readable {
				delete(store.unread, record)
			}
			h = newHarness(t, store, journalConfig())
			sameContent(t, h.dump(), want)
			h.do(sets(10, 1, "changed again")...)
			want["000010"] = "changed again"
			h.pass(2 * flushIdleAfter)
			sameContent(t, newHarness(t, store, journalConfig()).dump(), want)
		}
	}
}
