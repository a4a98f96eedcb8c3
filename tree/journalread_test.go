package tree

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
)

// journaled returns a store that was left with changes in its journal only: four batches of one block, and then one that
// needs more.
func journaled(t *testing.T, blockSize int) (*memStore, model) {
	t.Helper()
	s, cfg := newMemStore(blockSize), testConfig()
	cfg.JournalBytes = DefaultJournalBytes
	tr, err := Open(s, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	d := &driver{t: t, tree: tr, store: s}
	d.do(set("a", "1"), set("b", "2"))
	d.do(set("c", "3"))
	d.do(Request{Op: Delete, Key: []byte("a")}, set("b", "4"))
	d.do(set("d", "5"))
	d.do(sets(0, 2*blockSize/60, strings.Repeat("v", 60))...)
	return s, d.dump()
}

// flip damages a block.
func flip(s *memStore, block uint64) { s.page(block)[100] ^= 1 }

func TestCheckJournal(t *testing.T) {
	const size = 512
	full, _ := journaled(t, size)
	long := full.next() - 5 // blocks of the last batch: before it are the root and four of one block
	changes := 6 + 2*size/60
	for name, test := range map[string]struct {
		damage func(s *memStore)
		want   Journal
		err    error
	}{
		"whole": {func(*memStore) {}, Journal{Batches: 5, Changes: changes, Blocks: 4 + long}, nil},
		"last piece missing": {func(s *memStore) { s.blocks = s.blocks[:len(s.blocks)-1] },
			Journal{Batches: 4, Changes: 6, Blocks: 4, Cut: long - 1}, nil},
		"last piece damaged": {func(s *memStore) { flip(s, s.next()-1) }, Journal{Batches: 4, Changes: 6, Blocks: 4, Cut: long}, nil},
		"last piece zero":    {func(s *memStore) { clear(s.page(s.next() - 1)) }, Journal{Batches: 4, Changes: 6, Blocks: 4, Cut: long - 1}, nil},
		"first piece damaged": {func(s *memStore) { flip(s, 5) },
			Journal{Batches: 4, Changes: 6, Blocks: 4, Cut: long}, nil},
		"batch in the middle damaged": {func(s *memStore) { flip(s, 2) }, Journal{}, disk.ErrCorrupt},
		"batch in the middle zero":    {func(s *memStore) { clear(s.page(3)) }, Journal{}, disk.ErrCorrupt},
		"record of no kind": {func(s *memStore) {
			p := s.page(2)
			p[journalHeader] = 9
			finishJournal(p, journalPiece, 2, 2, 0, 1, 6)
		}, Journal{}, disk.ErrCorrupt},
		"unreadable": {func(s *memStore) { s.unread[4] = errDisk }, Journal{}, errDisk},
	} {
		t.Run(name, func(t *testing.T) {
			s := full.clone()
			root, err := FindRoot(s, quiet)
			if err != nil {
				t.Fatal(err)
			}
			test.damage(s)
			j, err := CheckJournal(context.Background(), s, root)
			if !errors.Is(err, test.err) {
				t.Fatalf("%v; want %v", err, test.err)
			}
			test.want.From, test.want.Behind, test.want.Kept = 1, s.next()-1, true
			if err == nil && j != test.want {
				t.Errorf("%+v; want %+v", j, test.want)
			}
		})
	}
}

// TestCheckNoJournal: those who write pages leave none.
func TestCheckNoJournal(t *testing.T) {
	h := newHarness(t, newMemStore(512), testConfig())
	h.do(set("a", "1"))
	root, err := FindRoot(h.store, quiet)
	if err != nil {
		t.Fatal(err)
	}
	want := Journal{From: root.Block + 1}
	if j, err := CheckJournal(context.Background(), h.store, root); err != nil || j != want {
		t.Errorf("%+v, %v; want %+v", j, err, want)
	}
}

// TestFold: afterwards there is no journal, the last block is a root, and nothing is missing.
func TestFold(t *testing.T) {
	for _, size := range []int{512, 4096} {
		for name, cut := range map[string]func(s *memStore){
			"whole":              func(*memStore) {},
			"last batch cut":     func(s *memStore) { s.blocks = s.blocks[:len(s.blocks)-1] },
			"only part of batch": func(s *memStore) { s.blocks = s.blocks[:1]; s.add(cutBatch(size)) },
		} {
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				s, _ := journaled(t, size)
				cut(s)
				want := contentOf(t, s)
				if err := Fold(s, testConfig()); err != nil {
					t.Fatal(err)
				}
				root, err := FindRoot(s, quiet)
				if err != nil || root.Block != s.next()-1 || len(root.Skipped) > 0 {
					t.Fatalf("root at block %d, passed over %v, %v; want the last of %d", root.Block, root.Skipped, err, s.next())
				}
				if j, err := CheckJournal(context.Background(), s, root); err != nil || j.Batches > 0 || j.Behind > 0 {
					t.Errorf("there is still %+v, %v", j, err)
				}
				checkStore(t, s)
				sameContent(t, contentOf(t, s), want)
				next := s.next()
				if err := Fold(s, testConfig()); err != nil || s.next() != next {
					t.Errorf("folding a folded store: %v, next block %d; want %d", err, s.next(), next)
				}
			})
		}
	}
}

// cutBatch returns the first of two pieces of a batch, for block 1.
func cutBatch(size int) []byte {
	p := make([]byte, size)
	finishJournal(p, journalPiece, 1, 1, 0, 2, payloadBytes(size))
	return p
}

// contentOf returns the pairs that an opening of a store finds. It changes nothing.
func contentOf(t *testing.T, s *memStore) model {
	t.Helper()
	cfg := testConfig()
	cfg.ReadOnly = true
	tr, err := Open(s, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	return (&driver{t: t, tree: tr, store: s}).dump()
}

// TestDetectJournal has stores of which a crash and FREE have left only files that begin with blocks of the journal, whole
// and with damage.
func TestDetectJournal(t *testing.T) {
	for _, size := range []int{512, 513, 1000, 4096, 65536, 131072} {
		piece := func(block uint64) []byte {
			p := make([]byte, size)
			// Values that look like pages and journals must not mislead anybody.
			copy(p[journalHeader:], strings.Repeat(magic+journalMagic, 30))
			finishJournal(p, journalPiece, block, block, 0, 1, 360)
			return p
		}
		several := func(blocks ...uint64) (all []byte) {
			for _, b := range blocks {
				all = append(all, piece(b)...)
			}
			return all
		}
		for name, test := range map[string]struct {
			files map[string][]byte
			want  int // -1: an error
		}{
			"one block":             {map[string][]byte{"blks_0000000000000007": piece(7)}, size},
			"some blocks":           {map[string][]byte{"blks_0000000000000007": several(7, 8, 9)}, size},
			"one and a part":        {map[string][]byte{"blks_0000000000000007": several(7, 8)[:size+100]}, size},
			"one and zeros":         {map[string][]byte{"blks_0000000000000007": append(piece(7), make([]byte, 2*size)...)}, size},
			"two files":             {map[string][]byte{"blks_0000000000000007": several(7, 8), "blks_0000000000000009": piece(9)}, size},
			"a page, then journal":  {map[string][]byte{"blks_0000000000000007": append(emptyRoot(size), piece(8)...)}, size},
			"journal, then a page":  {map[string][]byte{"blks_0000000000000007": append(piece(7), emptyRoot(size)...)}, size},
			"of another place":      {map[string][]byte{"blks_0000000000000007": piece(8)}, -1},
			"cut":                   {map[string][]byte{"blks_0000000000000007": piece(7)[:size-1]}, -1},
			"first of two is wrong": {map[string][]byte{"blks_0000000000000007": several(8, 8), "blks_0000000000000009": piece(9)}, size},
		} {
			fsys := simfs.New(storeDir)
			for file, content := range test.files {
				fsys.Put(file, content)
			}
			got, err := DetectBlockSize(fsys, storeDir)
			if (err != nil) != (test.want < 0) || err == nil && got != test.want {
				t.Errorf("blocks of %d bytes, %s: %d, %v; want %d", size, name, got, err, test.want)
			}
		}
	}
}

// TestDescribeJournal shows both kinds of block, and one that is damaged.
func TestDescribeJournal(t *testing.T) {
	show := func(p []byte) string {
		var out strings.Builder
		if err := Describe(&out, 1, p); err != nil {
			return err.Error()
		}
		return out.String()
	}
	record, damaged := make([]byte, 512), cutBatch(512)
	writeCheckpoint(record, 5, 1, 9)
	damaged[511] ^= 1
	for _, test := range []struct {
		page []byte
		want string
	}{
		{cutBatch(512), "block 1: journal, batch 1, piece 1 of 2, 474 bytes of changes\n"},
		{record, "block 1: checkpoint record, last batch 5: the journal is replayed from block 9 on\n"},
		{damaged, "block 1: " + disk.ErrCorrupt.Error() + ": journal: checksum is wrong"},
	} {
		if got := show(test.page); got != test.want {
			t.Errorf("%q; want %q", got, test.want)
		}
	}
}
