package tree

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"kivaloo/disk"
	"kivaloo/tree/journal"
	"kivaloo/tree/page"
)

// logOf returns a store with a root that is not its first block, and after it the journal of six
// commits. Each has one block, or the middle ones have three. marks are the first blocks of the
// commits. holds is the content before each commit and after the last.
func logOf(t *testing.T, size, pages int, text string) (s *memStore, marks []uint64, holds []model) {
	t.Helper()
	h := newHarness(t, newMemStore(size), journalConfig())
	all := model{}
	do := func(requests ...Request) {
		all.applyAll(requests)
		h.do(requests...)
	}
	do(sets(0, pages*size/40+1, text)...)
	h.now += 2 * flushIdleAfter
	h.step(nil)
	h.settle()
	if !endsInRoot(h.store) {
		t.Fatal("no root")
	}
	for i := range 6 {
		marks, holds = append(marks, h.store.next()), append(holds, maps.Clone(all))
		if pages > 1 && i > 0 && i < 5 {
			do(sets(1000*i, 2*size/40, text)...)
		} else {
			do(set(fmt.Sprintf("commit %d", i), text))
		}
	}
	return h.store, marks, append(holds, all)
}

// TestForeignBlock puts blocks that do not belong there into the journal of a killed store: at the
// first place, in the middle, and at the last. A power cut loses blocks, but never writes a whole
// journal block to another place. So a start must be refused with an error that names the block.
// The exception is what looks like an append that was cut short: then the last commit is missing.
// If the store ends early, the commits that are left must be there.
func TestForeignBlock(t *testing.T) {
	const refused, torn = "refused", "torn"
	for _, test := range []struct {
		damage string
		do     func(s, other *memStore, at, end uint64)
		last   string // outcome at the last place; elsewhere the start is refused
	}{
		{"swapped with the block before", func(s, _ *memStore, at, _ uint64) {
			p, q := s.page(at), s.page(at-1)
			for i := range p {
				p[i], q[i] = q[i], p[i]
			}
		}, refused},
		{"swapped with the last block", func(s, _ *memStore, at, end uint64) {
			if at == end-1 {
				at--
			}
			p, q := s.page(at), s.page(end-1)
			for i := range p {
				p[i], q[i] = q[i], p[i]
			}
		}, refused},
		{"the block before, once more", func(s, _ *memStore, at, _ uint64) { copy(s.page(at), s.page(at-1)) }, refused},
		{"a stale block", func(s, _ *memStore, at, _ uint64) { copy(s.page(at), s.page(at-3)) }, refused},
		{"an old block of the journal", func(s, _ *memStore, at, _ uint64) { copy(s.page(at), s.page(1)) }, refused},
		{"an old root", func(s, _ *memStore, at, _ uint64) { copy(s.page(at), s.page(lastRoot(s))) }, refused},
		{"a block of another store", func(s, other *memStore, at, _ uint64) {
			copy(s.page(at), other.page(other.next()-3))
		}, refused},
		{"a seal", func(s, _ *memStore, at, _ uint64) { page.PutSeal([][]byte{s.page(at), s.page(0)}, 0, at, noBlock) }, torn},
		{"the first sector zero", func(s, _ *memStore, at, _ uint64) { clear(s.page(at)[:512]) }, torn},
		{"the last sector rubbish", func(s, _ *memStore, at, _ uint64) {
			p := s.page(at)
			copy(p[len(p)-512:], strings.Repeat("rubbish ", 64))
		}, torn},
		{"all of it zero", func(s, _ *memStore, at, _ uint64) { clear(s.page(at)) }, torn},
		{"cut off from there on", func(s, _ *memStore, at, _ uint64) { s.blocks = s.blocks[:at-s.first] }, torn},
	} {
		for _, size := range []int{512, 2048} {
			for _, pages := range []int{1, 20} {
				whole, marks, holds := logOf(t, size, pages, "text")
				other, _, _ := logOf(t, size, pages+2, "another")
				end := whole.next()
				places := map[string]uint64{"first": marks[0], "middle": marks[2] + (marks[3]-marks[2])/2, "last": end - 1}
				for place, at := range places {
					t.Run(fmt.Sprintf("%s/%d/%d pages/%s", test.damage, size, pages, place), func(t *testing.T) {
						s := whole.clone()
						test.do(s, other, at, end)
						got, err := reopened(t, s)
						want := refused
						if place == "last" || s.next() < end {
							want = test.last
						}
						is := func(m model) bool { return maps.Equal(m, got) }
						switch named := err != nil && errors.Is(err, disk.ErrCorrupt) && strings.Contains(err.Error(), "block "); {
						case want == refused && !named:
							t.Errorf("%d pairs of %d, error: %v", len(got), len(holds[6]), err)
						case want == torn && s.next() == end && !is(holds[5]), want == torn && !slices.ContainsFunc(holds[:6], is):
							t.Errorf("%d pairs, want %d; %v", len(got), len(holds[5]), err)
						}
					})
				}
			}
		}
	}
}

// reopened returns what a start finds in a store.
func reopened(t *testing.T, s *memStore) (model, error) {
	cfg := testConfig()
	cfg.ReadOnly = true
	tr, err := Open(s, cfg)
	if err != nil {
		return nil, err
	}
	defer tr.Close()
	return (&driver{t: t, tree: tr, store: s}).dump(), nil
}

// lastRoot returns the block of the last root.
func lastRoot(s *memStore) uint64 {
	for at := s.next(); ; at-- {
		if kind := kindOf(s.page(at - 1)); kind == "root" || kind == "partial root" {
			return at - 1
		}
	}
}

// TestMissingCommit removes commits from a journal. The other blocks are good and fit each other,
// so only the commit numbers show the gap. A commit missing at the end of the store cannot be
// noticed.
func TestMissingCommit(t *testing.T) {
	whole, marks, holds := logOf(t, 2048, 1, "v")
	for i, at := range marks {
		s := whole.clone()
		s.blocks = s.blocks[:at]
		for next := at + 1; next < whole.next(); next++ {
			s.add(movedBack(t, next, whole.page(next)))
		}
		_, err := FindRoot(s, quiet)
		if i < len(marks)-1 && !errors.Is(err, disk.ErrCorrupt) {
			t.Errorf("commit %d of %d is missing, and the start says %v", i+1, len(marks), err)
		}
		if i == len(marks)-1 {
			sameContent(t, contentOf(t, s), holds[i])
		}
	}
}

// movedBack returns a commit of one block as it would be one block earlier, in an append of its
// own.
func movedBack(t *testing.T, at uint64, p []byte) []byte {
	b, err := journal.ParseAt(at, p)
	if err != nil || b.Pieces != 1 {
		t.Fatal(b, err)
	}
	var w journal.Writer
	w.Begin(len(p))
	for rest := b.Payload; len(rest) > 0; {
		var r journal.Record
		if r, rest, err = journal.Next(rest); err != nil || r.Deleted {
			t.Fatal(r, err)
		}
		w.Set(r.Key, r.Value)
	}
	return w.Finish(journal.Block{Seq: b.Seq, Number: b.Number - 1, First: b.First - 1, Previous: b.Previous - 1})[0]
}
