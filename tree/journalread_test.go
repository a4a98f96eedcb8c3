package tree

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/internal/must"
	"kivaloo/tree/journal"
)

// journaled returns a store with changes in its journal only: four commits of one block each, and
// one that needs more. It also returns the content before the last commit and after it.
func journaled(t *testing.T, blockSize int) (s *memStore, before, all model) {
	t.Helper()
	h := newHarness(t, newMemStore(blockSize), journalConfig())
	all = model{}
	for i, requests := range [][]Request{
		{set("a", "1"), set("b", "2")}, {set("c", "3")}, {{Op: Delete, Key: []byte("a")}, set("b", "4")}, {set("d", "5")},
		sets(0, 2*blockSize/60, strings.Repeat("v", 60)),
	} {
		if i == 4 {
			before = maps.Clone(all)
		}
		all.applyAll(requests)
		h.do(requests...)
	}
	return h.store, before, all
}

// contentOf returns the pairs that an opening of a store finds. It changes nothing.
func contentOf(t *testing.T, s *memStore) model {
	t.Helper()
	cfg := testConfig()
	cfg.ReadOnly = true
	tr, err := Open(s, cfg)
	must.Do(t, err)
	defer tr.Close()
	return (&driver{t: t, tree: tr, store: s}).dump()
}

// TestCheckJournal counts the content of a journal, and expects an error if something acknowledged
// is missing.
func TestCheckJournal(t *testing.T) {
	const size = 512
	full, before, all := journaled(t, size)
	long := full.next() - 5 // blocks of the last commit: the root and four commits of one block come before it
	changes := 6 + 2*size/60
	scratch := func(s *memStore, block uint64) { copy(s.page(block)[100:], "xxx") }
	torn := Journal{From: 1, Commits: 4, Changes: 6, Blocks: 4, Kept: true}
	for name, test := range map[string]struct {
		damage func(s *memStore)
		want   Journal
		holds  model
		err    error
	}{
		"whole":                        {func(*memStore) {}, Journal{From: 1, Commits: 5, Changes: changes, Blocks: 4 + long, Kept: true}, all, nil},
		"last piece missing":           {func(s *memStore) { s.blocks = s.blocks[:len(s.blocks)-1] }, torn, before, nil},
		"last piece damaged":           {func(s *memStore) { scratch(s, s.next()-1) }, torn, before, nil},
		"last piece zero":              {func(s *memStore) { clear(s.page(s.next() - 1)) }, torn, before, nil},
		"first piece damaged":          {func(s *memStore) { scratch(s, 5) }, torn, before, nil},
		"one bit of the last piece":    {func(s *memStore) { s.page(s.next() - 1)[100] ^= 1 }, Journal{}, nil, disk.ErrRot},
		"one bit of the first piece":   {func(s *memStore) { s.page(5)[100] ^= 1 }, Journal{}, nil, disk.ErrRot},
		"commit in the middle damaged": {func(s *memStore) { scratch(s, 2) }, Journal{}, nil, disk.ErrCorrupt},
		"commit in the middle zero":    {func(s *memStore) { clear(s.page(3)) }, Journal{}, nil, disk.ErrCorrupt},
		"first commit zero":            {func(s *memStore) { clear(s.page(1)) }, Journal{}, nil, disk.ErrCorrupt},
		"unreadable":                   {func(s *memStore) { s.unread[4] = errDisk }, Journal{}, nil, errDisk},
	} {
		t.Run(name, func(t *testing.T) {
			s := full.clone()
			test.damage(s)
			var j Journal
			root, err := FindRoot(s, quiet)
			if err == nil {
				j, err = CheckJournal(context.Background(), s, root)
			}
			if !errors.Is(err, test.err) {
				t.Fatalf("%v; want %v", err, test.err)
			}
			if err != nil {
				return
			}
			test.want.Cut, test.want.Behind = j.Cut, s.next()-1
			if j != test.want || (j.Cut > 0) != (name != "whole" && name != "last piece missing") && name != "last piece missing" {
				t.Errorf("%+v; want %+v", j, test.want)
			}
			sameContent(t, contentOf(t, s), test.holds)
		})
	}
}

// TestDetectJournal detects the block size of stores that have only files that begin with journal
// blocks, after a crash and FREE. The blocks are whole or damaged.
func TestDetectJournal(t *testing.T) {
	for _, size := range []int{512, 513, 1000, 4096, 65536, 131072} {
		piece := func(block uint64) []byte {
			// Values that look like pages and journals must not mislead.
			var w journal.Writer
			w.Begin(size)
			w.Set([]byte("key"), []byte(strings.Repeat(pageMagic+"KVJRN\x00", 20)))
			return append([]byte(nil), w.Finish(journal.Block{Seq: block, Number: block, First: block, Previous: block - 1})[0]...)
		}
		for name, test := range map[string]struct {
			files map[uint64][]uint64 // by the first block that a file's name says, the blocks in it
			cut   int                 // bytes
			want  int                 // -1: an error
		}{
			"one block":             {map[uint64][]uint64{7: {7}}, 0, size},
			"some blocks":           {map[uint64][]uint64{7: {7, 8, 9}}, 0, size},
			"one and a part":        {map[uint64][]uint64{7: {7, 8}}, 100, size},
			"two files":             {map[uint64][]uint64{7: {7, 8}, 9: {9}}, 0, size},
			"of another place":      {map[uint64][]uint64{7: {8}}, 0, -1},
			"cut":                   {map[uint64][]uint64{7: {7}}, 1, -1},
			"first of two is wrong": {map[uint64][]uint64{7: {8, 8}, 9: {9}}, 0, size},
		} {
			fsys := simfs.New(storeDir)
			for first, blocks := range test.files {
				var content []byte
				for _, block := range blocks {
					content = append(content, piece(block)...)
				}
				fsys.Put(fmt.Sprintf("blks_%016x", first), content[:len(content)-test.cut])
			}
			got, err := DetectBlockSize(fsys, storeDir)
			if (err != nil) != (test.want < 0) || err == nil && got != test.want {
				t.Errorf("blocks of %d bytes, %s: %d, %v; want %d", size, name, got, err, test.want)
			}
		}
	}
}
