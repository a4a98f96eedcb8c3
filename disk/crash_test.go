package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/internal/must"
)

const modelBlock = 600 // bytes; not a multiple of a sector, so that blocks are torn too

// model is the expected content of a store.
type model struct {
	content map[uint64][]byte // of all acknowledged blocks from kept on
	next    uint64
	kept    uint64 // blocks before this may be gone
	pending [][]byte
	failed  [][][]byte // pages of appends at next that have failed for lack of space
	salt    uint32     // makes the content of every append different
}

// newPages makes the next append's pages and notes that they may be on disk.
func (m *model) newPages(n int) [][]byte {
	m.salt++
	m.pending = nil
	for i := range n {
		m.pending = append(m.pending, block(m.next+uint64(i), m.salt, modelBlock))
	}
	return m.pending
}

// acknowledge adds the pending append to the required content.
func (m *model) acknowledge() {
	for _, page := range m.pending {
		m.content[m.next] = page
		m.next++
	}
	m.pending, m.failed = nil, nil
}

func (m *model) clone() *model {
	c := *m
	c.content = make(map[uint64][]byte)
	for n, page := range m.content {
		c.content[n] = page
	}
	return &c
}

// check compares a store with the model. An unanswered append may have left further blocks. If only
// the process was killed, they must be of that append, or of one that could not be undone yet.
// check adds them to the model.
func (m *model) check(t *rapid.T, s disk.Store, killed bool) {
	next := s.Info().Next
	if next < m.next {
		t.Fatalf("next is %d, and %d blocks have been acknowledged", next, m.next)
	}
	buf := make([]byte, modelBlock)
	for n := uint64(0); n < next; n++ {
		ok, err := disk.ReadBlock(s, n, buf)
		switch {
		case err != nil:
			t.Fatalf("block %d: %v", n, err)
		case !ok && n >= m.kept:
			t.Fatalf("block %d is not there, kept is %d, next %d", n, m.kept, next)
		case !ok:
		case n < m.next:
			if want := m.content[n]; !bytes.Equal(buf, want) {
				t.Fatalf("block %d has the wrong content", n)
			}
		default:
			from := func(pages [][]byte) bool {
				i := n - m.next
				return i < uint64(len(pages)) && bytes.Equal(buf, pages[i])
			}
			if killed && !from(m.pending) && !slices.ContainsFunc(m.failed, from) {
				t.Fatalf("block %d is not from an append that was under way", n)
			}
			m.content[n] = bytes.Clone(buf)
		}
	}
	for _, n := range []uint64{next, next + 7} {
		if ok, err := disk.ReadBlock(s, n, buf); ok || err != nil {
			t.Fatalf("block %d: ok %v, %v", n, ok, err)
		}
	}
	m.next, m.pending, m.failed = next, nil, nil
}

// step does one random operation.
func (m *model) step(t *rapid.T, s disk.Store) {
	switch rapid.SampledFrom([]string{"append", "append", "append", "free", "misplaced"}).Draw(t, "step") {
	case "append":
		pages := m.newPages(rapid.IntRange(1, 9).Draw(t, "pages"))
		next, ok, err := disk.AppendPages(s, m.next, pages)
		if errors.Is(err, disk.ErrNoSpace) {
			m.failed = append(m.failed, m.pending)
			return
		}
		if err != nil || !ok || next != m.next+uint64(len(pages)) {
			t.Fatalf("append at %d: next %d, ok %v, %v", m.next, next, ok, err)
		}
		m.acknowledge()
	case "free":
		keep := rapid.Uint64Range(0, m.next+2).Draw(t, "keep")
		m.kept = max(m.kept, keep)
		if op := do(s, &disk.Op{Kind: disk.Free, Block: keep})[0]; !op.OK || op.Err != nil {
			t.Fatalf("free before %d: ok %v, %v", keep, op.OK, op.Err)
		}
	case "misplaced":
		first := m.next + rapid.Uint64Range(1, 9).Draw(t, "distance")
		if _, ok, err := disk.AppendPages(s, first, [][]byte{make([]byte, modelBlock)}); ok || err != nil {
			t.Fatalf("append at %d instead of %d: ok %v, %v", first, m.next, ok, err)
		}
	}
}

func openModel(t *rapid.T, fsys *simfs.FS) *disk.Inline {
	s, err := disk.OpenInline(dir, disk.Options{BlockSize: modelBlock, FS: fsys, Log: quiet})
	if err != nil {
		t.Fatalf("open %v: %v", fsys.Names(), err)
	}
	return s
}

// TestModel checks that a store behaves like a map, also if it is reopened, and if the disk is full
// at times.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fsys := simfs.New(dir)
		m := &model{content: make(map[uint64][]byte)}
		s := openModel(t, fsys)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "before") {
			case 0:
				must.Do(t, s.Close())
				if n := fsys.Handles(); n != 0 {
					t.Fatalf("%d files left open", n)
				}
				s = openModel(t, fsys)
			case 1:
				fsys.SetCapacity(rapid.Int64Range(0, 200*modelBlock).Draw(t, "capacity"))
			case 2:
				fsys.SetCapacity(-1)
			}
			m.step(t, s)
			if m.next != s.Info().Next {
				t.Fatalf("next is %d, not %d", s.Info().Next, m.next)
			}
		}
		m.check(t, s, true)
		s.Close()
	})
}

// TestCrash cuts the power or kills the process at any time, also during a start. Everything
// acknowledged must be there, and the store must open.
func TestCrash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fsys := simfs.New(dir)
		m := &model{content: make(map[uint64][]byte)}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for life := range rapid.IntRange(1, 5).Draw(t, "lives") {
			kill := rapid.Bool().Draw(t, "kill")
			cut := rapid.IntRange(0, 60).Draw(t, "cut at call")
			var after *simfs.FS
			var expected *model
			crash := func() {
				if expected = m.clone(); kill {
					after = fsys.Kill()
				} else {
					after = fsys.Crash(rng)
				}
			}
			calls := 0
			short := simfs.Op("") // what is short
			fsys.SetHook(func(c simfs.Call) error {
				if calls == cut {
					crash()
				}
				calls++
				if c.Op == short {
					return syscall.ENOSPC
				}
				return nil
			})
			s := openModel(t, fsys)
			m.check(t, s, false) // what the previous start has found is still there
			for range 25 {
				if after != nil {
					break
				}
				short = rapid.SampledFrom([]simfs.Op{"", "", "", simfs.Create, simfs.SyncDir, simfs.Remove}).Draw(t, "short")
				m.step(t, s)
			}
			if after == nil {
				crash()
			}
			s.Close()

			fsys, m = after, expected
			s = openModel(t, fsys)
			m.check(t, s, kill)
			// From here on the store must work normally, whatever the crash has left.
			s.Close()
			if n := fsys.Handles(); n != 0 {
				t.Fatalf("life %d: %d files left open", life, n)
			}
		}
	})
}

// TestCrashWithoutSync checks that the crash test can fail: a store that does not sync does not
// survive it.
func TestCrashWithoutSync(t *testing.T) {
	lost := 0
	for seed := range uint64(50) {
		fsys := simfs.New(dir)
		s, err := disk.OpenInline(dir, disk.Options{BlockSize: modelBlock, FS: fsys, NoSync: true, Log: quiet})
		must.Do(t, err)
		add(t, s, 20)
		add(t, s, 20)
		closeStore(t, s)
		after := fsys.Crash(rand.New(rand.NewPCG(seed, 0)))
		s, err = disk.OpenInline(dir, disk.Options{BlockSize: modelBlock, FS: after, Log: quiet})
		if err != nil {
			if !errors.Is(err, disk.ErrCorrupt) {
				t.Fatal(err)
			}
			lost++
			continue
		}
		buf := make([]byte, modelBlock)
		for n := range uint64(40) {
			ok, err := disk.ReadBlock(s, n, buf)
			if err != nil && !errors.Is(err, disk.ErrCorrupt) {
				t.Fatal(err)
			}
			if !ok || !bytes.Equal(buf, block(n, 0, modelBlock)) {
				lost++
				break
			}
		}
		closeStore(t, s)
	}
	if lost < 10 || lost > 49 {
		t.Errorf("%d of 50 crashes without sync have lost something", lost)
	}
}

// TestDamagedChainIsRefused checks that damage in the middle of the chain is refused, and that
// nothing is changed.
func TestDamagedChainIsRefused(t *testing.T) {
	for seed := range uint64(20) {
		fsys := simfs.New(dir)
		s := openInline(t, fsys, 512)
		for range 30 {
			add(t, s, 3)
		}
		closeStore(t, s)
		rng := rand.New(rand.NewPCG(seed, 0))
		infos, err := disk.ScanDir(fsys, dir)
		must.Do(t, err)
		victim := infos[1+rng.IntN(len(infos)-2)]
		if rng.IntN(2) == 0 {
			must.Do(t, fsys.Remove(victim.Name))
		} else {
			fsys.Put(victim.Name, make([]byte, rng.Int64N(victim.Size)))
		}
		before := fmt.Sprint(fsys.Names())
		fsys.SetHook(func(c simfs.Call) error {
			switch c.Op {
			case simfs.Write, simfs.Truncate, simfs.Create, simfs.Rename, simfs.Remove:
				t.Errorf("%+v in a store that is refused", c)
			}
			return nil
		})
		if _, err := disk.OpenInline(dir, disk.Options{BlockSize: 512, FS: fsys, Log: quiet}); !errors.Is(err, disk.ErrCorrupt) {
			t.Errorf("seed %d: %v", seed, err)
		}
		if after := fmt.Sprint(fsys.Names()); after != before {
			t.Errorf("seed %d: files %s, were %s", seed, after, before)
		}
	}
}
