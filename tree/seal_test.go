package tree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"kivaloo/disk"
	"kivaloo/internal/must"
	"kivaloo/tree/journal"
	"kivaloo/tree/page"
)

// TestSealFindsLostSectors checks that a root that lost the last sectors of its values is found.
// Only the seal shows that.
func TestSealFindsLostSectors(t *testing.T) {
	for _, blockSize := range []int{700, 1024, 2048, 4096} {
		s := newMemStore(blockSize)
		h := newHarness(t, s, testConfig())
		var want []model
		for round := range 2 {
			m := model{}
			for i := range blockSize / 50 {
				m[fmt.Sprintf("%02d", i)] = strings.Repeat(fmt.Sprint(round), 40)
				h.do(set(fmt.Sprintf("%02d", i), m[fmt.Sprintf("%02d", i)]))
			}
			want = append(want, m)
		}
		if h.tree.view.tree.height != 0 {
			t.Fatalf("height %d: a single page is to be tried", h.tree.view.tree.height)
		}
		last := h.rootBlock()
		lost := 0
		for from := 512; from < blockSize; from += 512 {
			torn := s.clone()
			clear(torn.page(last)[from:min(from+512, blockSize)])
			if string(torn.page(last)) == string(s.page(last)) {
				continue // only padding
			}
			lost++
			root, err := FindRoot(torn, quiet)
			if err != nil || root.Block >= last {
				t.Errorf("%d bytes, sector at %d lost: root %d, %v; want one before %d", blockSize, from, root.Block, err, last)
			}
			copy(torn.page(last - 1)[512:], "rubbish") // the seal is torn too
			if root, err := FindRoot(torn, quiet); err != nil || root.Block >= last {
				t.Errorf("%d bytes, sector at %d lost, seal torn: root %d, %v; want one before %d", blockSize, from, root.Block, err, last)
			}
		}
		if lost == 0 {
			t.Errorf("%d bytes: no sector has been lost", blockSize)
		}
		torn := s.clone()
		clear(torn.page(last - 1)) // the seal itself
		if root, err := FindRoot(torn, quiet); err != nil || root.Block >= last {
			t.Errorf("%d bytes, seal lost: root %d, %v; want one before %d", blockSize, root.Block, err, last)
		}
		if root, err := FindRoot(s, quiet); err != nil || root.Block != last {
			t.Errorf("%d bytes, nothing lost: root %d, %v; want %d", blockSize, root.Block, err, last)
		}
		sameContent(t, newHarness(t, s.clone(), testConfig()).dump(), want[1])
	}
}

// TestFlippedBitOfSeal flips each bit of the seal of the last commit. Nothing may be lost silently.
func TestFlippedBitOfSeal(t *testing.T) {
	for _, blockSize := range []int{512, 700} {
		h := newHarness(t, newMemStore(blockSize), testConfig())
		m := model{}
		for i := range 12 {
			requests := sets(17*i, 40, fmt.Sprint("value ", i))
			h.do(requests...)
			m.applyAll(requests)
			if i < 4 {
				continue
			}
			seal := h.rootBlock() - 1
			for bit := range 8 * 60 {
				s := h.store.clone()
				s.page(seal)[bit/8] ^= 1 << (bit % 8)
				if err := lostBy(s, seal, m); err != nil {
					t.Errorf("%d bytes, bit %d of the seal at block %d: %v", blockSize, bit, seal, err)
				}
			}
		}
	}
}

// TestTornRecordBeforeTornRoot tears both a flush record and the root after it: the beginning is
// there, the rest is rubbish. Such a root must not be used, although its page can be read.
func TestTornRecordBeforeTornRoot(t *testing.T) {
	for _, blockSize := range []int{1024, 2048, 4096} {
		s := newMemStore(blockSize)
		h := newHarness(t, s, journalConfig())
		m := model{}
		for i := range blockSize / 50 {
			m[fmt.Sprintf("%02d", i)] = strings.Repeat("v", 40)
			h.do(set(fmt.Sprintf("%02d", i), m[fmt.Sprintf("%02d", i)]))
		}
		h.now += 2 * flushIdleAfter
		h.step(nil)
		h.finishAll(disk.Append) // and frees nothing, because the cut comes first
		root := h.rootBlock()
		if h.tree.view.tree.height != 0 || !isJournal(s.page(root-1)) {
			t.Fatalf("height %d: a single page behind a flush record is to be tried", h.tree.view.tree.height)
		}
		torn := s.clone()
		copy(torn.page(root - 1)[512:], "rubbish")
		copy(torn.page(root)[512:1024], strings.ReplaceAll(string(torn.page(root)[512:1024]), "v", "r"))
		if found, err := FindRoot(torn, quiet); err != nil || found.Block >= root {
			t.Errorf("%d bytes: root %d, %v; want one before %d", blockSize, found.Block, err, root)
		}
		sameContent(t, contentOf(t, torn), m)
	}
}

// lostSealStore is a store of three commits. The last one has changed every leaf.
type lostSealStore struct {
	*memStore
	root  Root
	first uint64  // first block of its append
	was   []model // content after the second and after the third commit
}

func newLostSealStore(t *testing.T, blockSize, pairs int, cfg Config) lostSealStore {
	h := newHarness(t, newMemStore(blockSize), cfg)
	s := lostSealStore{memStore: h.store}
	for i := range 3 {
		before := s.clone()
		requests := sets(0, pairs, strings.Repeat(fmt.Sprint("value ", i), 9))
		h.do(requests...)
		if cfg.JournalBytes > 0 {
			h.now += 2 * flushIdleAfter
			h.step(nil)
			h.finishAll(disk.Append)
		}
		s.blocks = append(before.blocks[:s.memStore.first-before.first], s.blocks...) // as before the FREE
		s.memStore.first = before.first
		m := model{}
		m.applyAll(requests)
		s.was = append(s.was, m)
	}
	s.first = s.lastAppend()
	s.was = s.was[1:]
	var err error
	s.root, err = FindRoot(s.memStore, quiet)
	must.Do(t, err)
	if s.root.recorded != (cfg.JournalBytes > 0) || s.root.Block != s.next()-1 {
		t.Fatalf("the root is block %d of %d, with a flush record: %t", s.root.Block, s.next(), s.root.recorded)
	}
	return s
}

// seal returns the block of the last seal.
func (s *lostSealStore) seal() uint64 {
	if s.root.recorded {
		return s.root.Block - 2
	}
	return s.root.Block - 1
}

// takers returns what can replace the last seal: what an unwritten sector may hold, and what damage
// leaves.
func (s *lostSealStore) takers() map[string][]byte {
	flipped, otherKey := slices.Clone(s.page(s.seal())), slices.Clone(s.page(s.seal()))
	flipped[0] ^= 1
	otherKey[page.HeadBytes+2] ^= 3
	all := map[string][]byte{
		"zeros": make([]byte, s.blockSize), "rubbish": bytes.Repeat([]byte{0xa5}, s.blockSize),
		"the seal, its magic flipped": flipped, "the seal, its key changed": otherKey,
	}
	for at := s.memStore.first; at < s.seal(); at++ {
		p := s.page(at)
		if kind := kindOf(p); kind != "journal" && kind != "record" && (kind != "root" || s.root.Height > 0) {
			all["a "+kind+" from before"] = p
		}
	}
	return all
}

// falsify changes a value in a leaf of the last append, or in the root.
func (s *lostSealStore) falsify(t *testing.T) *memStore {
	damaged := s.clone()
	for at := s.first; at <= s.root.Block; at++ {
		if i := bytes.Index(damaged.page(at), []byte("value 2")); i >= 0 {
			copy(damaged.page(at)[i:], "WRONG")
			return damaged
		}
	}
	t.Fatal("no leaf of the last append")
	return nil
}

// answers returns the answer to a range of all keys, or the error.
func answers(t *testing.T, s *memStore) (got model, err error) {
	cfg := testConfig()
	cfg.ReadOnly = true
	tr, err := Open(s, cfg)
	if err != nil {
		return nil, err
	}
	defer tr.Close()
	d := &driver{t: t, tree: tr, store: s}
	got = model{}
	for start := ""; ; {
		answers := d.do(Request{Op: Range, Key: []byte(start), Max: MaxRangePairBytes})
		a, ok := answers.pairs[d.nextID]
		if !ok {
			return nil, answers.failed[d.nextID]
		}
		for i, k := range a.keys {
			got[k] = a.values[i]
		}
		if start = a.next; start == "" {
			return got, nil
		}
	}
}

// TestLostSeal checks that an append with a lost seal and a wrong value is not taken for one of the
// original, whatever replaced the seal. If it may be torn, the tree before it and the journal are
// used. If that tree has been freed, reads fail. If only the seal is lost and there is a flush
// record, everything is there.
func TestLostSeal(t *testing.T) {
	for _, blockSize := range []int{512, 700, 1024, 4096} {
		for name, cfg := range map[string]Config{"journal": journalConfig(), "pages": testConfig()} {
			for _, pairs := range []int{5, 100} {
				whole := newLostSealStore(t, blockSize, pairs, cfg)
				falsified := whole
				falsified.memStore = whole.falsify(t)
				for what, p := range whole.takers() {
					what = fmt.Sprintf("%d bytes, %s, height %d, %s", blockSize, name, whole.root.Height, what)
					whole.lose(t, what, p, false)
					falsified.lose(t, what+", and a wrong value", p, true)
				}
			}
		}
	}
}

// lose replaces the seal by p, and compares the answers of the store with the allowed ones.
func (s lostSealStore) lose(t *testing.T, what string, p []byte, wrong bool) {
	t.Helper()
	s.memStore = s.clone()
	copy(s.page(s.seal()), p)
	got, err := answers(t, s.memStore)
	switch {
	case err != nil && !errors.Is(err, errCopied): // another root would be accepted
		t.Errorf("%s: %v", what, err)
	case err != nil, maps.Equal(got, s.was[1]) && (s.root.recorded || !wrong):
	case !maps.Equal(got, s.was[0]) || s.root.recorded:
		t.Errorf("%s: wrong answers", what)
	}
	clear(s.blocks[:s.first-s.memStore.first])
	got, err = answers(t, s.memStore)
	switch {
	case err == nil && (wrong || !maps.Equal(got, s.was[1])):
		t.Errorf("%s, the tree before freed: wrong answers", what)
	case err != nil && !errors.Is(err, disk.ErrCorrupt), err != nil && !wrong && s.root.recorded:
		t.Errorf("%s, the tree before freed: %v", what, err)
	}
}

// TestVersion2 reads a flush record of version 2, which has no checksum of the pages. The seal has
// one.
func TestVersion2(t *testing.T) {
	s := newLostSealStore(t, 700, 70, journalConfig())
	record := s.page(s.root.Block - 1)
	record[6], record[53] = 2, 16 // version, length of the payload
	clear(record[journal.HeaderBytes+16:])
	binary.BigEndian.PutUint32(record[8:], journal.Sum(record))
	pages := s.blocks[s.first-s.memStore.first:]
	page.PutSeal(pages, len(pages)-3, s.first, s.root.previous)
	root, err := FindRoot(s.memStore, quiet)
	if err != nil || root.Block != s.root.Block || !root.pages.lost || len(root.Skipped) > 0 {
		t.Fatalf("root %d, %v; want %d", root.Block, err, s.root.Block)
	}
	s.root = root
	for what, p := range s.takers() {
		s := s
		s.memStore = s.falsify(t)
		copy(s.page(s.seal()), p)
		clear(s.blocks[:s.first-s.memStore.first])
		if _, err := answers(t, s.memStore); !errors.Is(err, disk.ErrCorrupt) {
			t.Errorf("%s in place of the seal, and a wrong value: %v", what, err)
		}
	}
}

// TestLeafRootInPlaceOfSeal checks that an old root that is a leaf is not taken for the last root
// if it follows a page of its append.
func TestLeafRootInPlaceOfSeal(t *testing.T) {
	h := newHarness(t, newMemStore(700), testConfig())
	h.do(set("a", "1"))
	old := slices.Clone(h.store.page(h.rootBlock()))
	h.do(sets(0, 70, "value")...)
	before := h.rootBlock()
	h.do(sets(0, 70, "other")...)
	copy(h.store.page(h.rootBlock()-1), old)
	copy(h.store.page(h.rootBlock()), "rubbish")
	if root, err := FindRoot(h.store, quiet); err != nil || root.Block != before {
		t.Errorf("root %d, %v; want %d", root.Block, err, before)
	}
}
