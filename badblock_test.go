package kivaloo_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	kv "kivaloo"
	"kivaloo/internal/must"
)

// blockFiles is the content of a store on disk, without its checksum files. A test damages it and
// opens it.
type blockFiles struct {
	dir       string
	blockSize int
	names     []string
	firsts    []uint64 // first block of each file
	content   [][]byte
	sums      map[string][]byte // the other files; nil: they go missing
}

// readBlockFiles reads a closed store.
func readBlockFiles(t testing.TB, dir string, blockSize int) *blockFiles {
	t.Helper()
	f := &blockFiles{dir: dir, blockSize: blockSize}
	names, err := filepath.Glob(filepath.Join(dir, "blks_*"))
	must.Do(t, err)
	slices.Sort(names)
	for _, name := range names {
		text, err := os.ReadFile(name)
		must.Do(t, err)
		first, err := strconv.ParseUint(strings.TrimPrefix(filepath.Base(name), "blks_"), 16, 64)
		must.Do(t, err)
		f.names, f.firsts, f.content = append(f.names, filepath.Base(name)), append(f.firsts, first), append(f.content, text)
	}
	return f
}

// page returns the content of a block, which the test may change.
func (f *blockFiles) page(block uint64) []byte {
	i := len(f.firsts) - 1
	for f.firsts[i] > block {
		i--
	}
	at := int(block-f.firsts[i]) * f.blockSize
	return f.content[i][at : at+f.blockSize]
}

// end returns the number of the next block.
func (f *blockFiles) end() uint64 {
	last := len(f.content) - 1
	return f.firsts[last] + uint64(len(f.content[last])/f.blockSize)
}

// write makes f the only content of the directory.
func (f *blockFiles) write(t testing.TB) {
	t.Helper()
	files, err := os.ReadDir(f.dir)
	must.Do(t, err)
	for _, file := range files {
		must.Do(t, os.Remove(filepath.Join(f.dir, file.Name())))
	}
	for name, text := range f.sums {
		must.Do(t, os.WriteFile(filepath.Join(f.dir, name), text, 0o600))
	}
	for i, name := range f.names {
		must.Do(t, os.WriteFile(filepath.Join(f.dir, name), f.content[i], 0o600))
	}
}

// diskPage is a page reached by a walk from the root: see docs/pages.md.
type diskPage struct {
	block   uint64
	height  int
	records int // offset of the first child record
	kids    []uint64
}

// walk calls visit with every page at and below a block, parents before their children.
func (f *blockFiles) walk(block uint64, visit func(diskPage)) {
	p := f.page(block)
	d := diskPage{block: block, height: int(p[8] &^ 0x80)}
	keys, at := int(binary.BigEndian.Uint16(p[6:])), 10
	if p[8]&0x80 != 0 {
		at += 8
	}
	for range keys {
		at += 1 + int(p[at])
	}
	if d.records = at; d.height > 0 {
		for i := range keys + 1 {
			d.kids = append(d.kids, binary.BigEndian.Uint64(p[at+20*i:]))
		}
	}
	visit(d)
	for _, kid := range d.kids {
		f.walk(kid, visit)
	}
}

// copyRecord overwrites the record of one child with that of another.
func (f *blockFiles) copyRecord(to diskPage, i int, from diskPage, j int) {
	copy(f.page(to.block)[to.records+20*i:][:20], f.page(from.block)[from.records+20*j:][:20])
}

const damagedKeys = 1500

func damagedKey(i int) []byte   { return fmt.Appendf(nil, "%050d", i) } // so long that only a few fit in a page, which makes the tree high
func damagedValue(i int) string { return fmt.Sprintf("value %d", i*i) }

// unsummedStore makes a store of some hundred pages without checksums and seals. Its last commit is
// small, so that a start checks few pages. parents are all pages with children except the root,
// from left to right.
func unsummedStore(t testing.TB) (files *blockFiles, parents []diskPage) {
	t.Helper()
	const blockSize = 512
	dir := t.TempDir()
	db := openDB(t, dir, kv.Options{BlockSize: blockSize, JournalBytes: -1, NoSync: true, StorageCost: -1})
	b := new(kv.Batch)
	for i := range damagedKeys {
		b.Set(damagedKey(i), []byte(damagedValue(i)))
	}
	must.Do(t, db.Apply(t.Context(), b))
	must.Do(t, db.Set(t.Context(), []byte("z"), nil))
	must.Do(t, db.Delete(t.Context(), []byte("z")))
	must.Do(t, db.Close())
	files = readBlockFiles(t, dir, blockSize)
	for block := files.firsts[0] + 1; block+1 < files.end(); block++ {
		files.dropSeal(block)
	}
	root := files.end() - 1
	files.walk(root, func(d diskPage) {
		if d.height > 0 && d.block != root && d.block < root-8 {
			parents = append(parents, d)
		}
	})
	if len(parents) < 4 {
		t.Fatalf("%d parents", len(parents))
	}
	return files, parents
}

// dropSeal replaces a seal with an unused leaf, and puts that in front of the page before it. In an
// append of the original, the last child directly precedes the root.
func (f *blockFiles) dropSeal(block uint64) {
	seal := f.page(block)
	name := bytes.Index(seal, []byte("kivaloo seal"))
	if name < 0 {
		return
	}
	copy(seal[name:], "kivaloo leaf")
	child, root := f.page(block-1), f.page(block+1)
	moved := bytes.Clone(child)
	copy(child, seal)
	copy(seal, moved)
	number := func(block uint64) []byte { return binary.BigEndian.AppendUint64(nil, block) }
	copy(root, bytes.ReplaceAll(root, number(block-1), number(block)))
}

// readDamaged opens a store and reads all of it twice, in random order. The second time the pages
// are in memory. It returns how many reads failed. No read may give a wrong answer. With change it
// also writes.
func (f *blockFiles) readDamaged(t *testing.T, what string, rng *rand.Rand, change bool) (failed int) {
	t.Helper()
	f.write(t)
	db, err := kv.Open(f.dir, kv.Options{JournalBytes: -1, NoSync: true, StorageCost: -1})
	if err != nil {
		return damagedKeys
	}
	defer db.Close()
	changed := make(map[int]bool)
	for range 2 {
		for _, i := range rng.Perm(damagedKeys) {
			switch value, err := db.Get(t.Context(), damagedKey(i)); {
			case errors.Is(err, kv.ErrNotFound):
				t.Fatalf("%s: %s is not found", what, damagedKey(i))
			case err != nil:
				failed++
			case string(value) != damagedValue(i) && !changed[i]:
				t.Fatalf("%s: %s is %q", what, damagedKey(i), value)
			}
			if change && i%16 == 0 {
				if db.Set(t.Context(), damagedKey(i), []byte("changed")) == nil {
					changed[i] = true
				} else if _, err := db.Get(t.Context(), damagedKey(i)); err == nil {
					t.Fatalf("%s: %s can be read, and not changed", what, damagedKey(i))
				}
			}
		}
		n, last := 0, error(nil)
		for p, err := range db.Range(t.Context(), nil, nil) {
			if last = err; err == nil && string(p.Key) != string(damagedKey(n)) {
				t.Fatalf("%s: pair %d of a range has key %s", what, n, p.Key)
			}
			n++
		}
		if last == nil && n != damagedKeys {
			t.Fatalf("%s: a range has %d pairs", what, n)
		}
		if failed > 0 && last == nil {
			t.Fatalf("%s: a range over what cannot be read succeeds", what)
		}
	}
	if failed > 0 && db.Verify(t.Context()) == nil {
		t.Fatalf("%s: %d reads fail, and Verify finds nothing", what, failed)
	}
	return failed
}

// TestParentBitFlips flips single bits in the child records of parents. Every answer must be right,
// or an error.
func TestParentBitFlips(t *testing.T) {
	files, parents := unsummedStore(t)
	rng := rand.New(rand.NewPCG(1, 10))
	flips, failed := 60, 0
	if os.Getenv("KIVALOO_TORTURE") != "" {
		flips = 2000
	}
	for n := range flips {
		d := parents[rng.IntN(len(parents))]
		p := files.page(d.block)
		at := d.records + rng.IntN(20*len(d.kids))
		if rng.IntN(8) == 0 {
			at = rng.IntN(10)
		}
		bit := byte(1) << rng.IntN(8)
		p[at] ^= bit
		if files.readDamaged(t, fmt.Sprintf("block %d of height %d, offset %d, bit %#x", d.block, d.height, at, bit), rng, n%2 == 0) > 0 {
			failed++
		}
		p[at] ^= bit
	}
	if failed == 0 {
		t.Error("nothing has failed")
	}
}

// TestParentNamesAnother gives a parent the record of a page that is not below it: of another
// height, of the same height, and of a page that another parent has too.
func TestParentNamesAnother(t *testing.T) {
	for _, height := range []int{1, 2} {
		files, parents := unsummedStore(t)
		byHeight := map[int][]diskPage{}
		for _, d := range parents {
			byHeight[d.height] = append(byHeight[d.height], d)
		}
		for from := 1; from <= 2; from++ {
			to, other := byHeight[height][0], byHeight[from][len(byHeight[from])-1]
			before := slices.Clone(files.page(to.block))
			for i := range len(to.kids) {
				j := len(other.kids) - 1 - i%len(other.kids)
				if to.block == other.block && i == j {
					continue
				}
				files.copyRecord(to, i, other, j)
				what := fmt.Sprintf("child %d of height %d has the record of child %d of height %d", i, height, j, from)
				if n := files.readDamaged(t, what, rand.New(rand.NewPCG(uint64(i), 10)), i%2 == 0); n == 0 {
					t.Errorf("%s: nothing fails", what)
				}
				copy(files.page(to.block), before)
			}
		}
	}
}

// TestIdleStoreWithDamagedLeaf checks that cleaning does not make a store grow when an old leaf
// cannot be read, and that the log says what is wrong.
func TestIdleStoreWithDamagedLeaf(t *testing.T) {
	if os.Getenv("KIVALOO_TORTURE") == "" {
		t.Skip("it waits for the cleaner: set KIVALOO_TORTURE")
	}
	files, _ := unsummedStore(t)
	files.write(t)
	db := openDB(t, files.dir, kv.Options{JournalBytes: -1, NoSync: true, StorageCost: -1})
	for round := range 5 { // creates garbage
		b := new(kv.Batch)
		for i := damagedKeys / 2; i < damagedKeys; i++ {
			b.Set(damagedKey(i), fmt.Appendf(nil, "value of round %d", round))
		}
		must.Do(t, db.Apply(t.Context(), b))
	}
	must.Do(t, db.Close())
	files = readBlockFiles(t, files.dir, files.blockSize)
	oldest := files.end()
	files.walk(files.end()-1, func(d diskPage) {
		if d.height == 0 {
			oldest = min(oldest, d.block)
		}
	})
	files.page(oldest)[9] ^= 0xff
	files.write(t)
	log := &lockedBuffer{}
	db = openDB(t, files.dir, kv.Options{StorageCost: 1e9, NoSync: true, Log: slog.New(slog.NewTextHandler(log, nil))})
	time.Sleep(30 * time.Second)
	s := db.Stats()
	if s.Written > s.Pages/4 {
		t.Errorf("%d blocks were written, for a tree of %d pages", s.Written, s.Pages)
	}
	if s.StuckBytes == 0 {
		t.Error("nothing is stuck")
	}
	if n := strings.Count(log.String(), "cannot be freed"); n != 1 {
		t.Errorf("the log says it %d times:\n%s", n, log.String())
	}
}

// keepSums has write include the other files of the store too, those with checksums. summed reports
// whether a block has a checksum.
func (f *blockFiles) keepSums(t testing.TB) (summed func(block uint64) bool) {
	f.sums = map[string][]byte{}
	names, err := filepath.Glob(filepath.Join(f.dir, "*"))
	must.Do(t, err)
	for _, name := range names {
		if strings.HasPrefix(filepath.Base(name), "blks_") {
			continue
		}
		text, err := os.ReadFile(name)
		must.Do(t, err)
		f.sums[filepath.Base(name)] = text
	}
	return func(block uint64) bool {
		for i := len(f.firsts) - 1; i >= 0; i-- {
			if f.firsts[i] <= block {
				return f.sums[strings.Replace(f.names[i], "blks", "sums", 1)] != nil
			}
		}
		return false
	}
}

// TestOneBadBlock damages one block at a time after a clean stop, the oldest leaf among them. The
// store must open. Reads of the block must fail and name it, and all others succeed.
func TestOneBadBlock(t *testing.T) {
	for name, o := range map[string]kv.Options{
		"journal": {BlockSize: 512, StorageCost: -1},
		"pages":   {BlockSize: 512, StorageCost: -1, JournalBytes: -1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for first := 0; first < damagedKeys; first += 300 { // several files
				db := openDB(t, dir, o)
				b := new(kv.Batch)
				for i := first; i < first+300; i++ {
					b.Set(damagedKey(i), []byte(damagedValue(i)))
				}
				must.Do(t, db.Apply(t.Context(), b))
				must.Do(t, db.Close())
			}
			files := readBlockFiles(t, dir, o.BlockSize)
			summed := files.keepSums(t)
			var leaves []diskPage
			files.walk(files.end()-1, func(d diskPage) {
				if d.height == 0 && summed(d.block) {
					leaves = append(leaves, d)
				}
			})
			if len(leaves) < 10 {
				t.Fatalf("%d leaves have checksums", len(leaves))
			}
			slices.SortFunc(leaves, func(a, b diskPage) int { return int(a.block) - int(b.block) })
			some := []int{len(leaves) - 1} // of the last commit
			for i := 0; i < len(leaves); i += len(leaves) / 8 {
				some = append(some, i)
			}
			for _, i := range some {
				p := files.page(leaves[i].block)
				p[len(p)/2] ^= 1
				files.write(t)
				db, err := kv.Open(dir, o)
				must.Do(t, err)
				failed := 0
				for n := range damagedKeys {
					value, err := db.Get(t.Context(), damagedKey(n))
					var corrupt *kv.CorruptionError
					switch {
					case errors.As(err, &corrupt) && corrupt.Block == leaves[i].block:
						failed++
					case err != nil || string(value) != damagedValue(n):
						t.Fatalf("block %d: %s is %q, %v", leaves[i].block, damagedKey(n), value, err)
					}
				}
				if failed == 0 || failed > 20 {
					t.Errorf("block %d: %d reads failed", leaves[i].block, failed)
				}
				must.Do(t, db.Close())
				p[len(p)/2] ^= 1
			}
			// Every read needs the root. Nothing older may be served instead.
			root := files.end() - 1
			files.page(root)[100] ^= 1
			files.write(t)
			db, err := kv.Open(dir, o)
			if err != nil {
				if corrupt := (*kv.CorruptionError)(nil); !errors.As(err, &corrupt) || corrupt.Block != root {
					t.Errorf("the root is damaged: %v", err)
				}
				return
			}
			defer db.Close()
			if n := len(gather(t, db.Range(t.Context(), nil, nil))); n != damagedKeys {
				t.Errorf("the root is damaged: %d pairs of %d", n, damagedKeys)
			}
		})
	}
}
