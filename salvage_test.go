package kivaloo_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	kv "kivaloo"
	"kivaloo/internal/must"
	"kivaloo/tree/page"
)

// damagedStore is a store of several generations of keys, together with its content.
type damagedStore struct {
	name   string
	files  *blockFiles
	truth  map[string]string
	keys   []string               // all that ever existed
	past   map[string][]pastValue // the values that a key ever had, in order
	leaves []leafPage             // all leaves, in order
	last   map[uint64]bool        // the leaves of the last tree; nil if unknown
}

// pastValue is a value that a key had from one change of the store on, until its next one.
type pastValue struct {
	change int
	value  string // "": deleted
}

// leafPage is a leaf. No pair in it, and no deletion it reflects, is of a later change than newest.
type leafPage struct {
	block  uint64
	keys   []string
	newest int
}

// covers reports whether a leaf shows the value of a key, or its absence.
func (l *leafPage) covers(key string) bool { return l.keys[0] <= key && key <= l.keys[len(l.keys)-1] }

// makeDamagedStore makes a store by a number of commits and several starts. If killed, it ends as
// after a kill.
func makeDamagedStore(t testing.TB, name string, o kv.Options, killed bool, seed uint64) *damagedStore {
	t.Helper()
	s := &damagedStore{name: name, truth: map[string]string{}, past: map[string][]pastValue{}}
	rng := rand.New(rand.NewPCG(seed, 12))
	dir, copied := t.TempDir(), t.TempDir()
	o.NoSync, o.StorageCost = false, -1
	const lives, keys = 4, 900
	change := 0
	set := func(b *kv.Batch, key, more string) {
		change++
		value := fmt.Sprintf("%d of %s %s", change, key, more)
		b.Set([]byte(key), []byte(value))
		s.truth[key] = value
		s.past[key] = append(s.past[key], pastValue{change, value})
	}
	db, err := kv.Open(dir, o)
	must.Do(t, err)
	for i := range 3 { // roots that are leaves
		var b kv.Batch
		set(&b, fmt.Sprintf("early %d", i), "")
		must.Do(t, db.Apply(t.Context(), &b))
	}
	must.Do(t, db.Close())
	for life := range lives {
		db, err := kv.Open(dir, o)
		must.Do(t, err)
		for range 12 {
			b := new(kv.Batch)
			from := rng.IntN(keys)
			if life == 0 {
				from = 0
			}
			for i := from; i < min(keys, from+150+keys*(lives-1-life)/lives); i++ {
				key := fmt.Sprintf("key %04d", i*7%keys)
				if rng.IntN(8) == 0 {
					change++
					b.Delete([]byte(key))
					delete(s.truth, key)
					s.past[key] = append(s.past[key], pastValue{change, ""})
					continue
				}
				set(b, key, strings.Repeat("v", rng.IntN(30)))
			}
			must.Do(t, db.Apply(t.Context(), b))
		}
		if killed && life == lives-1 {
			copyRunning(t, copied, dir)
			dir = copied
		}
		must.Do(t, db.Close())
	}
	s.keys = slices.Sorted(maps.Keys(s.past))
	s.files = readBlockFiles(t, dir, o.BlockSize)
	s.files.keepSums(t)
	for _, block := range s.files.blocks() {
		if l, ok := readLeaf(block, s.files.page(block)); ok {
			s.leaves = append(s.leaves, l)
		}
	}
	if !killed {
		s.last = map[uint64]bool{}
		s.files.walk(s.files.end()-1, func(d diskPage) { s.last[d.block] = d.height == 0 })
	}
	return s
}

// copyRunning copies the files of a running store, as a kill would leave them. It skips a checksum
// file that the janitor is just renaming.
func copyRunning(t testing.TB, to, from string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	must.Do(t, err)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".tmp") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(from, e.Name()))
		must.Do(t, err)
		must.Do(t, os.WriteFile(filepath.Join(to, e.Name()), text, 0o600))
	}
}

// readLeaf parses a leaf with pairs.
func readLeaf(block uint64, p []byte) (l leafPage, ok bool) {
	layout, err := page.Parse(p)
	if err != nil || page.BeginsSeal(p) || layout.Height > 0 || layout.Keys == 0 {
		return l, false
	}
	l.block = block
	for i, keyAt, valueAt := 0, layout.Body, layout.Second; i < layout.Keys; i++ {
		key, value := page.String(p, keyAt), page.String(p, valueAt)
		keyAt, valueAt = keyAt+1+len(key), valueAt+1+len(value)
		l.keys = append(l.keys, string(key))
		number, _, _ := strings.Cut(string(value), " ")
		change, _ := strconv.Atoi(number)
		l.newest = max(l.newest, change)
	}
	return l, true
}

// clone returns a copy of the files that can be damaged, in a directory of its own.
func (f *blockFiles) clone(dir string) *blockFiles {
	c := *f
	c.dir, c.sums = dir, maps.Clone(f.sums)
	c.names, c.firsts, c.content = slices.Clone(f.names), slices.Clone(f.firsts), nil
	for _, text := range f.content {
		c.content = append(c.content, slices.Clone(text))
	}
	return &c
}

// blocks returns the numbers of all blocks.
func (f *blockFiles) blocks() (all []uint64) {
	for i, first := range f.firsts {
		for n := range len(f.content[i]) / f.blockSize {
			all = append(all, first+uint64(n))
		}
	}
	return all
}

// removeFile removes a file, and also its checksums if sums is set.
func (f *blockFiles) removeFile(i int, sums bool) {
	if sums {
		delete(f.sums, strings.Replace(f.names[i], "blks", "sums", 1))
	}
	f.names, f.firsts, f.content = slices.Delete(f.names, i, i+1), slices.Delete(f.firsts, i, i+1), slices.Delete(f.content, i, i+1)
}

// salvagedStore is a store made from a damaged one.
type salvagedStore struct {
	report *kv.Salvaged
	pairs  map[string]string
}

// salvage salvages the files, and checks that it does not change them.
func (f *blockFiles) salvage(t *testing.T) (*salvagedStore, error) {
	t.Helper()
	f.write(t)
	before := readDirectory(t, f.dir)
	out := filepath.Join(t.TempDir(), "out")
	report, err := kv.Salvage(t.Context(), f.dir, out, kv.SalvageOptions{New: kv.Options{NoSync: true}})
	if after := readDirectory(t, f.dir); !maps.Equal(before, after) {
		t.Fatal("the damaged store has changed")
	}
	if err != nil {
		if _, statErr := os.Stat(out); statErr == nil {
			t.Fatal("there is a new store after an error")
		}
		return nil, err
	}
	s := &salvagedStore{report, map[string]string{}}
	db := openDB(t, out, kv.Options{ReadOnly: true})
	for p, err := range db.Range(t.Context(), nil, nil) {
		must.Do(t, err)
		s.pairs[string(p.Key)] = string(p.Value)
	}
	must.Do(t, db.Close())
	if len(s.pairs) != int(report.Stored) {
		t.Fatalf("the new store has %d pairs, not %d", len(s.pairs), report.Stored)
	}
	return s, nil
}

func readDirectory(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	files, err := os.ReadDir(dir)
	must.Do(t, err)
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(dir, file.Name()))
		must.Do(t, err)
		all[file.Name()] = string(text)
	}
	return all
}

// trust returns the report's verdict on a key.
func (s *salvagedStore) trust(t *testing.T, key string) kv.Trust {
	t.Helper()
	for _, r := range s.report.Ranges {
		if string(r.Start) <= key && (r.End == nil || key < string(r.End)) {
			return r.Trust
		}
	}
	t.Fatalf("no range of the report has %s", key)
	return 0
}

// checkRanges checks that the ranges of a report cover all possible keys, in order.
func (s *salvagedStore) checkRanges(t *testing.T) {
	t.Helper()
	at := []byte{}
	for i, r := range s.report.Ranges {
		if at == nil || !bytes.Equal(r.Start, at) {
			t.Fatalf("range %d begins with %q, and the one before ends with %q", i, r.Start, at)
		}
		at = r.End
	}
	if at != nil {
		t.Fatalf("the ranges end with %q", at)
	}
}

// check checks what Salvage promises: no certain key is wrong, and no readable leaf is left out. f
// are the files that s was made from.
func (d *damagedStore) check(t *testing.T, what string, s *salvagedStore, f *blockFiles) (counts [4]int) {
	t.Helper()
	s.checkRanges(t)
	readable, altered := d.left(f)
	for _, key := range d.keys {
		trust := s.trust(t, key)
		counts[trust]++
		want, got := d.truth[key], s.pairs[key]
		block, newest := uint64(0), 0 // the leaf that says most about the key
		for _, l := range readable {
			if l.covers(key) {
				block, newest = l.block, l.newest
			}
		}
		wrong := slices.ContainsFunc(altered, func(l leafPage) bool { return l.covers(key) })
		until, ever := d.until(key, got)
		switch {
		case trust == kv.Certain && got != want, trust == kv.Unchecked && got != want && !wrong:
			t.Fatalf("%s: %s is %v, and is %q; it should be %q\n%s", what, key, trust, got, want, s)
		case !ever && !wrong:
			t.Fatalf("%s: %s is %q, which it never was\n%s", what, key, got, s)
		case until <= newest && !wrong:
			t.Fatalf("%s: %s is %v, and is %q; that was so until change %d, but leaf %d, which can be read, is of change %d; it should be %q\n%s",
				what, key, trust, got, until, block, newest, want, s)
		case d.last[block] && got != want && !wrong:
			t.Fatalf("%s: %s is in leaf %d of the last tree, which can be read, and is %q; it should be %q\n%s", what, key, block, got, want, s)
		}
	}
	return counts
}

// left returns the unchanged leaves, and those altered by the damage.
func (d *damagedStore) left(f *blockFiles) (readable, altered []leafPage) {
	was := map[uint64]leafPage{}
	for _, l := range d.leaves {
		was[l.block] = l
	}
	for _, block := range f.blocks() {
		l, ok := readLeaf(block, f.page(block))
		switch {
		case bytes.Equal(f.page(block), d.files.page(block)):
			if l, ok := was[block]; ok {
				readable = append(readable, l)
			}
		case ok:
			altered = append(altered, l)
		}
	}
	return readable, altered
}

// damaged returns the blocks that have changed.
func (d *damagedStore) damaged(f *blockFiles) (all []uint64) {
	left := f.blocks()
	for _, block := range d.files.blocks() {
		if !slices.Contains(left, block) || !bytes.Equal(f.page(block), d.files.page(block)) {
			all = append(all, block)
		}
	}
	return all
}

// until returns the first change after which a key no longer had the given value.
func (d *damagedStore) until(key, value string) (change int, ever bool) {
	past := append([]pastValue{{}}, d.past[key]...)
	for i, p := range past {
		if p.value != value {
			continue
		}
		change, ever = math.MaxInt, true
		if i+1 < len(past) {
			change = past[i+1].change
		}
	}
	return change, ever
}

func (s *salvagedStore) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "root %d, %v; %d bad, %d mended, %d cut\n", s.report.Root, s.report.NoRoot, s.report.Bad, s.report.Mended, s.report.Cut)
	for _, r := range s.report.Ranges {
		fmt.Fprintf(&b, "%v %q %q %d\n", r.Trust, r.Start, r.End, r.Pairs)
	}
	return b.String()
}

// salvageStores returns stores of all kinds.
func salvageStores(t *testing.T) (all []*damagedStore) {
	for _, size := range []int{512, 2048} {
		for _, journal := range []int64{0, 16 << 10, -1} {
			for _, killed := range []bool{false, true} {
				name := fmt.Sprintf("%d bytes, journal %d, killed %t", size, journal, killed)
				all = append(all, makeDamagedStore(t, name, kv.Options{BlockSize: size, JournalBytes: journal}, killed, uint64(len(all))))
			}
		}
	}
	return all
}

// TestSalvageWhole salvages undamaged stores: nothing is lost or stale.
func TestSalvageWhole(t *testing.T) {
	for _, d := range salvageStores(t) {
		t.Run(d.name, func(t *testing.T) {
			s, err := d.files.clone(t.TempDir()).salvage(t)
			must.Do(t, err)
			counts := d.check(t, "whole", s, d.files)
			if !maps.Equal(s.pairs, d.truth) || counts[kv.Stale]+counts[kv.Lost] > 0 {
				t.Errorf("%d pairs, not %d\n%s", len(s.pairs), len(d.truth), s)
			}
			if !s.report.Certain() { // shown by checksums or seals
				t.Errorf("not all is certain\n%s", s)
			}
		})
	}
}

// TestSalvage damages stores in every way.
func TestSalvage(t *testing.T) {
	damages := map[string]func(rng *rand.Rand, f *blockFiles){
		"flipped bit": func(rng *rand.Rand, f *blockFiles) {
			all := f.blocks()
			block := all[rng.IntN(len(all))]
			f.page(block)[rng.IntN(f.blockSize)] ^= 1 << rng.IntN(8)
		},
		"flipped bits": func(rng *rand.Rand, f *blockFiles) {
			all := f.blocks()
			for range 1 + rng.IntN(5) {
				block := all[rng.IntN(len(all))]
				for range 2 {
					f.page(block)[rng.IntN(f.blockSize)] ^= 1 << rng.IntN(8)
				}
			}
		},
		"zeroed sector": func(rng *rand.Rand, f *blockFiles) {
			all := f.blocks()
			block := all[rng.IntN(len(all))]
			clear(f.page(block)[rng.IntN(f.blockSize/512)*512:][:512])
		},
		"zeroed blocks": func(rng *rand.Rand, f *blockFiles) {
			all := f.blocks()
			at := rng.IntN(len(all))
			for _, block := range all[at:min(len(all), at+1+rng.IntN(50))] {
				clear(f.page(block))
			}
		},
		"swapped blocks": func(rng *rand.Rand, f *blockFiles) {
			all := f.blocks()
			a, b := all[rng.IntN(len(all))], all[rng.IntN(len(all))]
			kept := slices.Clone(f.page(a))
			copy(f.page(a), f.page(b))
			copy(f.page(b), kept)
		},
		"stale block": func(rng *rand.Rand, f *blockFiles) {
			all := f.blocks()
			a, b := all[rng.IntN(len(all))], all[rng.IntN(len(all))]
			copy(f.page(max(a, b)), f.page(min(a, b)))
		},
		"missing file": func(rng *rand.Rand, f *blockFiles) {
			i := rng.IntN(len(f.names) - 1)
			f.removeFile(i, rng.IntN(2) == 0)
		},
		"truncated file": func(rng *rand.Rand, f *blockFiles) {
			i := rng.IntN(len(f.names) - 1)
			f.content[i] = f.content[i][:rng.IntN(len(f.content[i]))]
		},
		"damaged end": func(rng *rand.Rand, f *blockFiles) {
			all := f.blocks()
			end := all[len(all)-min(len(all), 2+rng.IntN(40)):]
			for range 1 + rng.IntN(4) {
				p := f.page(end[rng.IntN(len(end))])
				for i := range p {
					p[i] = byte(rng.Uint32())
				}
			}
		},
		"zeroed roots": func(rng *rand.Rand, f *blockFiles) {
			all := f.blocks()
			for _, block := range all[rng.IntN(len(all)):] {
				if p := f.page(block); bytes.HasPrefix(p, []byte("KVLDS\x00")) && p[8]&0x80 != 0 || bytes.HasPrefix(p, []byte("KVROOT")) {
					clear(p)
				}
			}
		},
	}
	names := slices.Sorted(maps.Keys(damages))
	damages["several"] = func(rng *rand.Rand, f *blockFiles) {
		for range 2 + rng.IntN(3) {
			damages[names[rng.IntN(len(names))]](rng, f)
		}
	}
	first, rounds := 0, 2
	if os.Getenv("KIVALOO_TORTURE") != "" {
		rounds = 60
	}
	if seed, err := strconv.Atoi(os.Getenv("KIVALOO_SEED")); err == nil { // repeats a round that failed
		first, rounds = seed, seed+1
	}
	for _, d := range salvageStores(t) {
		for name, damage := range damages {
			t.Run(d.name+"/"+name, func(t *testing.T) {
				var counts [4]int
				for round := first; round < rounds; round++ {
					f := d.files.clone(t.TempDir())
					rng := rand.New(rand.NewPCG(uint64(round), uint64(len(name))))
					damage(rng, f)
					what := fmt.Sprintf("round %d, blocks %v", round, d.damaged(f))
					s, err := f.salvage(t)
					if err != nil {
						t.Fatalf("%s: %v", what, err)
					}
					for trust, n := range d.check(t, what, s, f) {
						counts[trust] += n
					}
				}
				t.Logf("certain, unchecked, stale, lost: %v", counts)
			})
		}
	}
}

// TestSalvageSeesLoss removes and cuts off what a salvage cannot read any more, but leaves a sign
// of it in another file or in a name. Then nothing may be called certain.
func TestSalvageSeesLoss(t *testing.T) {
	for _, killed := range []bool{false, true} {
		d := makeDamagedStore(t, "", kv.Options{BlockSize: 512}, killed, 3)
		last := len(d.files.names) - 1
		sums := func(i int) string { return strings.Replace(d.files.names[i], "blks", "sums", 1) }
		for what, do := range map[string]func(f *blockFiles) (possible bool){
			"the last file, and a byte of its checksums": func(f *blockFiles) bool {
				f.removeFile(last, false)
				if len(f.sums[sums(last)]) == 0 {
					return false
				}
				f.sums[sums(last)] = slices.Clone(f.sums[sums(last)])
				f.sums[sums(last)][40] ^= 1
				return true
			},
			"a byte of the last file": func(f *blockFiles) bool {
				f.content[last] = f.content[last][:len(f.content[last])-1]
				return true
			},
			"all of the last file but its name": func(f *blockFiles) bool {
				f.content[last] = nil
				return true
			},
			"nothing, but an old file is back": func(f *blockFiles) bool {
				f.names, f.firsts = append([]string{"blks_0000000000000001"}, f.names...), append([]uint64{1}, f.firsts...)
				for i := range f.firsts[1:] { // as in a store after many changes
					f.firsts[i+1] += 1 << 30
					f.names[i+1] = fmt.Sprintf("blks_%016x", f.firsts[i+1])
				}
				f.content = append([][]byte{bytes.Join(f.content, nil)}, f.content...)
				f.sums = map[string][]byte{}
				return true
			},
		} {
			f := d.files.clone(t.TempDir())
			if !do(f) {
				continue
			}
			if s, err := f.salvage(t); err != nil || len(s.report.Signs) == 0 || s.report.Certain() || s.report.Pairs[kv.Certain] > 0 {
				t.Errorf("killed %t, lost: %s: %v, %v", killed, what, err, s)
			}
		}
	}
}

// TestSalvageRefuses checks that Salvage makes nothing if there is nothing to save or the target is
// unsuitable.
func TestSalvageRefuses(t *testing.T) {
	d := makeDamagedStore(t, "", kv.Options{BlockSize: 512}, false, 1)
	d.files.dir = t.TempDir()
	d.files.write(t)
	if _, err := kv.Salvage(t.Context(), d.files.dir, filepath.Join(d.files.dir, "out"), kv.SalvageOptions{}); err == nil {
		t.Error("into the damaged store itself")
	}
	full := t.TempDir()
	must.Do(t, os.WriteFile(filepath.Join(full, "a"), nil, 0o600))
	if _, err := kv.Salvage(t.Context(), d.files.dir, full, kv.SalvageOptions{}); !errors.Is(err, kv.ErrNotEmpty) {
		t.Errorf("into a directory that is not empty: %v", err)
	}
	for _, text := range d.files.content {
		clear(text)
	}
	if s, err := d.files.salvage(t); err == nil {
		t.Errorf("zeros are salvaged: %v", s)
	}
}

// TestSalvageOldRoot writes an old root over one of the last blocks. The root is a leaf and so has
// a value for every key. Still, no readable leaf may be left out.
func TestSalvageOldRoot(t *testing.T) {
	for _, d := range salvageStores(t) {
		t.Run(d.name, func(t *testing.T) {
			all := d.files.blocks()
			var roots []uint64
			for _, block := range all {
				if l, err := page.Parse(d.files.page(block)); err == nil && l.Root && l.Height == 0 {
					roots = append(roots, block)
				}
			}
			if len(roots) < 2 {
				t.Fatalf("roots that are leaves: %v", roots)
			}
			every := 29
			if os.Getenv("KIVALOO_TORTURE") != "" {
				every = 1
			}
			n := 0
			for _, root := range roots {
				for _, at := range all[len(all)-40:] {
					for _, how := range []string{"copied", "swapped", "behind zeros"} {
						if n++; n%every != 0 {
							continue
						}
						f := d.files.clone(t.TempDir())
						copy(f.page(at), d.files.page(root))
						switch how {
						case "swapped":
							copy(f.page(root), d.files.page(at))
						case "behind zeros":
							clear(f.page(at - 1))
						}
						what := fmt.Sprintf("root %d %s to %d of %d", root, how, at, all[len(all)-1])
						s, err := f.salvage(t)
						if err != nil {
							t.Fatalf("%s: %v", what, err)
						}
						d.check(t, what, s, f)
					}
				}
			}
		})
	}
}

// storeKilled makes a store by some commits, and leaves it as a kill does.
func storeKilled(t testing.TB, o kv.Options, commits ...map[string]string) *blockFiles {
	t.Helper()
	dir, copied := t.TempDir(), t.TempDir()
	o.StorageCost = -1
	db, err := kv.Open(dir, o)
	must.Do(t, err)
	for _, pairs := range commits {
		var b kv.Batch
		for key, value := range pairs {
			b.Set([]byte(key), []byte(value))
		}
		must.Do(t, db.Apply(t.Context(), &b))
	}
	copyRunning(t, copied, dir)
	must.Do(t, db.Close())
	f := readBlockFiles(t, copied, o.BlockSize)
	f.keepSums(t)
	return f
}

// pairsOf returns n pairs with the given value.
func pairsOf(n int, value string) map[string]string {
	pairs := map[string]string{}
	for i := range n {
		pairs[fmt.Sprintf("key %04d", i)] = value
	}
	return pairs
}

// TestSalvageMendsBySeal flips single bits of pages whose only checksum is their append's seal. The
// seal shows the flipped bit, so nothing is lost, whichever bit it was.
func TestSalvageMendsBySeal(t *testing.T) {
	for _, size := range []int{512, 1024} {
		for pairs, step := range map[int]int{3: 97, 60: 499} { // one leaf, and several
			name := fmt.Sprintf("%d bytes, %d pairs", size, pairs)
			want := pairsOf(pairs, "second value")
			whole := storeKilled(t, kv.Options{BlockSize: size, JournalBytes: -1}, pairsOf(pairs, "first value"), want)
			all := whole.blocks()
			last := all[len(all)-1]
			for _, block := range all {
				if l, err := page.Parse(whole.page(block)); err == nil && l.Root && block < last && block > 0 {
					all = all[slices.Index(all, block)+1:]
				}
			}
			if len(all) < 2 {
				t.Fatalf("%s: the last append is %v", name, all)
			}
			for _, block := range all {
				for bit := int(block); bit < 8*size; bit += step {
					f := whole.clone(t.TempDir())
					f.page(block)[bit/8] ^= 1 << (bit % 8)
					s, err := f.salvage(t)
					if err != nil {
						t.Fatalf("%s: block %d, bit %d: %v", name, block, bit, err)
					}
					if !maps.Equal(s.pairs, want) {
						t.Fatalf("%s: block %d, bit %d: %v\n%s", name, block, bit, s.pairs, s)
					}
					_, seal := page.ParseSeal(block, whole.page(block))
					if !s.report.Certain() && !seal {
						t.Fatalf("%s: block %d, bit %d: not all is certain\n%s", name, block, bit, s)
					}
				}
			}
		}
	}
}

// TestSalvageSwapped swaps the store's first page with the last commit. No commit may be hidden.
func TestSalvageSwapped(t *testing.T) {
	whole := storeKilled(t, kv.Options{BlockSize: 1024}, map[string]string{"a": "1"}, map[string]string{"b": "2"}, map[string]string{"c": "3"})
	all := whole.blocks()
	if len(all) != 4 {
		t.Fatalf("blocks %v", all)
	}
	for at := range 3 {
		f := whole.clone(t.TempDir())
		copy(f.page(uint64(at)), whole.page(3))
		copy(f.page(3), whole.page(uint64(at)))
		s, err := f.salvage(t)
		must.Do(t, err)
		if want := map[string]string{"a": "1", "b": "2", "c": "3"}; !maps.Equal(s.pairs, want) {
			t.Errorf("block %d: %v\n%s", at, s.pairs, s)
		}
	}
}

// TestSalvageTooLong checks that a pair longer than the store ever allowed is left out, and nothing
// else.
func TestSalvageTooLong(t *testing.T) {
	value := strings.Repeat("v", 90)
	f := storeKilled(t, kv.Options{BlockSize: 512, JournalBytes: -1}, map[string]string{"a": value, "b": value, "c": value})
	all := f.blocks()
	root := f.page(all[len(all)-1])
	l, err := page.Parse(root)
	must.Do(t, err)
	clear(f.page(all[len(all)-2])) // the seal
	root[l.Second] = 2*90 + 1      // makes the first value include the second
	s, err := f.salvage(t)
	must.Do(t, err)
	if want := map[string]string{"b": value, "c": ""}; !maps.Equal(s.pairs, want) || s.report.Unfit != 1 || s.report.Certain() {
		t.Errorf("%v, %d left out\n%s", s.pairs, s.report.Unfit, s)
	}
}

// TestCopyLongPairs checks that a store made for pairs longer than its default block size allows is
// restored and salvaged with its own block size. With a smaller one, the error names a sufficient
// size.
func TestCopyLongPairs(t *testing.T) {
	o := kv.Options{BlockSize: 1024, MaxKey: 64, MaxValue: 255}
	dir := t.TempDir()
	db := openDB(t, dir, o)
	want := map[string]string{}
	for i := range 50 {
		key := fmt.Sprint(i, strings.Repeat("k", 60))
		want[key] = strings.Repeat("v", 255)
		must.Do(t, db.Set(t.Context(), []byte(key), []byte(want[key])))
	}
	var backup bytes.Buffer
	must.Do(t, db.Backup(t.Context(), &backup, kv.BackupOptions{}))
	must.Do(t, db.Close())
	db = openDB(t, dir, kv.Options{})
	copied := filepath.Join(t.TempDir(), "out")
	must.Do(t, db.Checkpoint(t.Context(), copied))
	must.Do(t, db.Close())
	restored, salvaged := filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "out")
	must.Do(t, kv.Restore(t.Context(), bytes.NewReader(backup.Bytes()), restored, kv.Options{BlockSize: 1024}, kv.RestoreOptions{}))
	_, err := kv.Salvage(t.Context(), dir, salvaged, kv.SalvageOptions{})
	must.Do(t, err)
	for _, dir := range []string{copied, restored, salvaged} {
		got := map[string]string{}
		db := openDB(t, dir, kv.Options{ReadOnly: true})
		for p, err := range db.Range(t.Context(), nil, nil) {
			must.Do(t, err)
			got[string(p.Key)] = string(p.Value)
		}
		if !maps.Equal(got, want) {
			t.Errorf("%d pairs, not %d", len(got), len(want))
		}
	}
	out := filepath.Join(t.TempDir(), "out")
	err = kv.Restore(t.Context(), bytes.NewReader(backup.Bytes()), out, kv.Options{BlockSize: 512}, kv.RestoreOptions{})
	if !errors.Is(err, kv.ErrTooLong) || !strings.Contains(err.Error(), "blocks of 2048 take all pairs") {
		t.Errorf("restore with 512: %v", err)
	}
	_, err = kv.Salvage(t.Context(), dir, out, kv.SalvageOptions{New: kv.Options{BlockSize: 512}})
	if !errors.Is(err, kv.ErrTooLong) {
		t.Errorf("salvage with 512: %v", err)
	}
}
