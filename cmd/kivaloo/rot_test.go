package main

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kivaloo"
	"kivaloo/internal/must"
	treepage "kivaloo/tree/page"
)

// rotVariable sets how much TestRot and TestRotAfterKill try. "all" means every position of the
// small stores, and some thousands of a large one. A number is the number of trials of each.
const rotVariable = "KIVALOO_ROT"

// rotStore is a store on disk, together with its content.
type rotStore struct {
	blockSize int
	names     []string // of all files, in order
	files     map[string][]byte
	content   map[string]string
	history   []map[string]string // its content before each commit
}

// rotKind describes how a store is made.
type rotKind struct {
	name    string
	options kivaloo.Options
	lives   int // how often it was stopped
	pairs   int // pairs stored by each life
	samples int // the number of flips to try, if not all
}

var rotKinds = []rotKind{
	{"journal 512", kivaloo.Options{BlockSize: 512}, 1, 10, 0},
	{"pages 512", kivaloo.Options{BlockSize: 512, JournalBytes: -1}, 1, 16, 0},
	{"journal 700", kivaloo.Options{BlockSize: 700}, 1, 12, 0},
	{"pages 1024", kivaloo.Options{BlockSize: 1024, JournalBytes: -1}, 1, 16, 0},
	{"large", kivaloo.Options{BlockSize: 2048}, 3, 3000, 4000},
}

// killedKinds are further kinds for TestRotAfterKill.
var killedKinds = []rotKind{
	{"journal 1000", kivaloo.Options{BlockSize: 1000}, 1, 16, 4000},
	{"pages 1000", kivaloo.Options{BlockSize: 1000, JournalBytes: -1}, 1, 16, 4000},
	{"journal 2048", kivaloo.Options{BlockSize: 2048}, 1, 40, 4000},
	{"pages 2048", kivaloo.Options{BlockSize: 2048, JournalBytes: -1}, 1, 40, 4000},
}

// make makes a store. Stores that differ only in salt have the same keys and blocks. If it is not
// stopped, it is left as by a killed process, with pages and a commit that have no checksums yet.
func (k rotKind) make(t *testing.T, salt string, stopped bool) *rotStore {
	t.Helper()
	s := &rotStore{blockSize: k.options.BlockSize, content: map[string]string{}, files: map[string][]byte{}}
	dir := t.TempDir()
	o := k.options
	o.StorageCost = -1
	for life := range k.lives + 1 {
		db, err := kivaloo.Open(dir, o)
		must.Do(t, err)
		for n := range 1 + life {
			s.history = append(s.history, maps.Clone(s.content))
			b := new(kivaloo.Batch)
			for i := range k.pairs {
				key := fmt.Sprintf("key %06d", life*k.pairs*2/3+i)
				value := fmt.Sprintf("%s of life %d, commit %d, pair %d", salt, life, n, i)
				b.Set([]byte(key), []byte(value))
				s.content[key] = value
			}
			must.Do(t, db.Apply(t.Context(), b))
			if n > 0 {
				continue
			}
			snapshot, err := db.Snapshot(t.Context()) // begins a flush
			must.Do(t, err)
			snapshot.Close()
			for db.Stats().Memtables > 0 {
				time.Sleep(time.Millisecond)
			}
		}
		if life == k.lives && !stopped {
			s.read(t, dir)
		}
		must.Do(t, db.Close())
	}
	if stopped {
		s.read(t, dir)
	}
	return s
}

// read reads the files.
func (s *rotStore) read(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must.Do(t, err)
	for _, e := range entries {
		if s.files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
		s.names = append(s.names, e.Name())
	}
}

// place is the place of a block.
type place struct {
	block  uint64
	name   string
	offset int
}

// blocks returns all blocks.
func (s *rotStore) blocks() (all []place) {
	for _, name := range s.names {
		digits, ok := strings.CutPrefix(name, "blks_")
		for at := 0; ok && at < len(s.files[name]); at += s.blockSize {
			first, _ := strconv.ParseUint(digits, 16, 64)
			all = append(all, place{first + uint64(at/s.blockSize), name, at})
		}
	}
	return all
}

func (s *rotStore) at(p place) []byte { return s.files[p.name][p.offset:][:s.blockSize] }

// nameOf returns the name that check uses for the place of a byte.
func (s *rotStore) nameOf(name string, offset int) string {
	if digits, ok := strings.CutPrefix(name, "blks_"); ok {
		first, _ := strconv.ParseUint(digits, 16, 64)
		return fmt.Sprintf("block %d (", first+uint64(offset/s.blockSize))
	}
	return name
}

// damage is a damage that a disk can do.
type damage struct {
	what    string
	changed map[string][]byte // files, with their new content
	named   []string          // what check has to name
	flip    bool              // of one bit
	leaf    bool              // it copies a root that is a leaf to another place
	twin    bool              // it uses blocks of the twin
}

// change returns the damage that writes text into a file.
func (s *rotStore) change(what, name string, offset int, text []byte) damage {
	b := slices.Clone(s.files[name])
	copy(b[offset:], text)
	return damage{
		what: fmt.Sprintf("%s at %d of %s", what, offset, name), changed: map[string][]byte{name: b},
		named: []string{s.nameOf(name, offset)},
	}
}

// flips returns the number of bits that can be flipped.
func (s *rotStore) flips() (n int) {
	for _, b := range s.files {
		n += 8 * len(b)
	}
	return n
}

// flip returns the damage of one bit.
func (s *rotStore) flip(bit int) damage {
	for _, name := range s.names {
		b := s.files[name]
		if bit < 8*len(b) {
			d := s.change(fmt.Sprintf("bit %d flipped", bit%8), name, bit/8, []byte{b[bit/8] ^ 1<<(bit%8)})
			d.flip = true
			return d
		}
		bit -= 8 * len(b)
	}
	panic("there is no such bit")
}

// others yields all other damages: lost sectors, swapped blocks, blocks overwritten by another
// block, blocks of a twin with the same history and other values, and a seal lost together with a
// value of its append.
func (s *rotStore) others(twin *rotStore) iter.Seq[damage] {
	return func(yield func(damage) bool) {
		give := func(d damage, ok bool) bool { return !ok || yield(d) }
		for _, name := range s.names {
			for at := 0; at < len(s.files[name]); at += 512 {
				if !give(s.lose(name, at, 0)) || !give(s.lose(name, at, 0xa5)) {
					return
				}
			}
		}
		blocks := s.blocks()
		for i, p := range blocks {
			for j, q := range blocks {
				if !give(s.replace(p, q)) || i < j && !give(s.swap(p, q)) {
					return
				}
			}
			if !give(s.replaceByTwin(p, twin)) {
				return
			}
		}
		for d := range s.lostSeals() {
			if !yield(d) {
				return
			}
		}
	}
}

// other returns one of the others.
func (s *rotStore) other(rng *rand.Rand, twin *rotStore) damage {
	blocks, seals := s.blocks(), slices.Collect(s.lostSeals())
	for {
		p, q := blocks[rng.IntN(len(blocks))], blocks[rng.IntN(len(blocks))]
		name := s.names[rng.IntN(len(s.names))]
		var d damage
		var ok bool
		switch rng.IntN(5) {
		case 0:
			if n := len(s.files[name]); n > 0 { // a checksum file may be empty
				d, ok = s.lose(name, rng.IntN(n)/512*512, byte(rng.IntN(2))*0xa5)
			}
		case 1:
			d, ok = s.replace(p, q)
		case 2:
			d, ok = s.swap(p, q)
		case 3:
			d, ok = s.replaceByTwin(p, twin)
		case 4:
			if n := len(seals); n > 0 {
				d, ok = seals[rng.IntN(n)], true
			}
		}
		if ok {
			return d
		}
	}
}

// lose returns the damage of a sector. It returns false if that changes nothing.
func (s *rotStore) lose(name string, at int, b byte) (damage, bool) {
	sector := s.files[name][at:min(at+512, len(s.files[name]))]
	d := s.change(fmt.Sprintf("sector of %02x", b), name, at, bytes.Repeat([]byte{b}, len(sector)))
	d.named = nil
	for i := range sector { // it may belong to two blocks
		if n := s.nameOf(name, at+i); sector[i] != b && !slices.Contains(d.named, n) {
			d.named = append(d.named, n)
		}
	}
	return d, len(d.named) > 0
}

// replace returns the damage that copies block q over block p.
func (s *rotStore) replace(p, q place) (damage, bool) {
	d := s.change(fmt.Sprintf("block %d", q.block), p.name, p.offset, s.at(q))
	l, err := treepage.ParseHead(s.at(q))
	d.leaf = err == nil && l.Root && l.Height == 0
	return d, !bytes.Equal(s.at(p), s.at(q))
}

func (s *rotStore) replaceByTwin(p place, twin *rotStore) (damage, bool) {
	if p.offset+s.blockSize > len(twin.files[p.name]) {
		return damage{}, false
	}
	d := s.change("block of a twin", p.name, p.offset, twin.at(p))
	d.twin = true
	return d, !bytes.Equal(s.at(p), twin.at(p))
}

// lostSeals yields damages of a seal together with a value in its append. The seal is replaced by
// nothing, by rubbish, or by an older page that is no root.
func (s *rotStore) lostSeals() iter.Seq[damage] {
	return func(yield func(damage) bool) {
		takers := [][]byte{make([]byte, s.blockSize), bytes.Repeat([]byte{0xa5}, s.blockSize)}
		blocks := s.blocks()
		for i, p := range blocks {
			l, err := treepage.ParseHead(s.at(p))
			if err != nil || l.Root {
				continue
			}
			seal, ok := treepage.ParseSeal(p.block, s.at(p))
			if !ok {
				takers = append(takers[:min(len(takers), 3)], s.at(p))
				continue
			}
			for _, q := range blocks[i-int(p.block-seal.First) : min(i+3, len(blocks))] {
				at := bytes.Index(s.at(q), []byte(" of life"))
				if at < 0 || q.name != p.name || q.block == p.block {
					continue
				}
				for n, taker := range takers {
					d := s.change(fmt.Sprintf("value of block %d changed, and the seal at %d, by %d", q.block, p.block, n), q.name, q.offset+at, []byte(" OF LIFE"))
					copy(d.changed[p.name][p.offset:], taker)
					d.named = append(d.named, s.nameOf(p.name, p.offset))
					if !yield(d) {
						return
					}
				}
			}
		}
	}
}

// swap returns the damage that swaps two blocks.
func (s *rotStore) swap(p, q place) (damage, bool) {
	d, ok := s.replace(p, q)
	back, _ := s.replace(q, p)
	d.leaf = d.leaf || back.leaf
	second, same := d.changed[q.name]
	if !same {
		second = slices.Clone(s.files[q.name])
	}
	copy(second[q.offset:], s.at(p))
	d.changed[q.name] = second
	d.what += ", swapped"
	d.named = append(d.named, s.nameOf(q.name, q.offset))
	return d, ok
}

// rotTrial is a directory in which damages are tried.
type rotTrial struct {
	*rotStore
	dir     string
	written map[string]bool // files that differ from those of the store
}

func (s *rotStore) trial(t *testing.T) *rotTrial {
	r := &rotTrial{rotStore: s, dir: t.TempDir(), written: map[string]bool{}}
	for name := range s.files {
		r.written[name] = true
	}
	return r
}

// put writes the store with a damage.
func (r *rotTrial) put(t *testing.T, d damage) {
	t.Helper()
	for name := range d.changed {
		r.written[name] = true
	}
	for name := range r.written {
		content, ok := d.changed[name]
		if !ok {
			content = r.files[name]
			delete(r.written, name)
		}
		must.Do(t, os.WriteFile(filepath.Join(r.dir, name), content, 0o600))
	}
}

// outcome is the outcome of a damage.
type outcome struct {
	named   bool   // check found a fault, and named all damage
	faults  bool   // check found a fault
	said    string // by check
	refused error  // by a start
	failed  int    // reads that failed
	wrong   string // a wrong answer, if any
	lost    int    // if there is: the number of commits missing at the end, if nothing else is wrong
}

// try returns the outcome of a damage.
func (r *rotTrial) try(t *testing.T, d damage) outcome {
	t.Helper()
	r.put(t, d)
	check := kivalooRun("", "check", "--sums", r.dir)
	o := outcome{faults: check.status == 1, said: check.out + check.stderr}
	o.named = o.faults
	for _, name := range d.named {
		o.named = o.named && strings.Contains(o.said, name)
	}
	db, err := kivaloo.Open(r.dir, kivaloo.Options{ReadOnly: true, CacheBytes: 1024 * r.blockSize})
	if o.refused = err; err != nil {
		return o
	}
	defer db.Close()
	if o.wrong, o.failed = differs(t, db, r.content); o.wrong != "" {
		for n := len(r.history); n > 0 && o.lost == 0; n-- {
			if older, _ := differs(t, db, r.history[n-1]); older == "" {
				o.lost = len(r.history) - n + 1
			}
		}
	}
	return o
}

// differs compares all answers of a store with its expected content. It returns one difference, and
// the number of failed reads.
func differs(t *testing.T, db *kivaloo.DB, content map[string]string) (wrong string, failed int) {
	t.Helper()
	for key, value := range content {
		got, err := db.Get(t.Context(), []byte(key))
		var corrupt *kivaloo.CorruptionError
		switch {
		case errors.As(err, &corrupt):
			failed++
		case err != nil || string(got) != value:
			return fmt.Sprintf("%s is %q, %v", key, got, err), failed
		}
	}
	seen := 0
	for pair, err := range db.Range(t.Context(), nil, nil) {
		if err != nil {
			return "", failed + 1
		}
		if value, ok := content[string(pair.Key)]; !ok || value != string(pair.Value) {
			return fmt.Sprintf("there is %s with %q", pair.Key, pair.Value), failed
		}
		seen++
	}
	if seen != len(content) {
		return fmt.Sprintf("%d pairs of %d", seen, len(content)), failed
	}
	return "", failed
}

// damages calls try with damages of a store: all of them, or a sample.
func (k rotKind) damages(t *testing.T, s, twin *rotStore, try func(d damage)) {
	t.Helper()
	all := os.Getenv(rotVariable) == "all" || os.Getenv("KIVALOO_TORTURE") != ""
	if all && k.samples == 0 {
		for bit := range s.flips() {
			try(s.flip(bit))
		}
		for d := range s.others(twin) {
			try(d)
		}
		return
	}
	samples := 50
	if k.samples > 0 {
		samples = 10 // each takes long
	}
	if n, err := strconv.Atoi(os.Getenv(rotVariable)); err == nil {
		samples = n
	} else if all {
		samples = k.samples
	}
	rng := rand.New(rand.NewPCG(uint64(samples), 1))
	for range samples {
		try(s.flip(rng.IntN(s.flips())))
		try(s.other(rng, twin))
	}
}

// TestRot damages cleanly stopped stores. It flips each bit, loses each sector, swaps any two
// blocks, and overwrites each block with another one, of an older time or another history. Check
// must name the damage. No read may give a wrong answer. If check says that nothing is lost,
// nothing may be lost.
func TestRot(t *testing.T) {
	for _, k := range rotKinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			s, twin := k.make(t, "value", true), k.make(t, "VALUE", true)
			trial := s.trial(t)
			tried, refused, failed, harmless := 0, 0, 0, 0
			k.damages(t, s, twin, func(d damage) {
				o := trial.try(t, d)
				switch {
				case !o.named:
					t.Errorf("%s: check names no %q: %s", d.what, d.named, o.said)
				case o.wrong != "":
					t.Errorf("%s: %s", d.what, o.wrong)
				case o.refused != nil:
					if !strings.Contains(o.refused.Error(), "block") {
						t.Errorf("%s: the error names no block: %v", d.what, o.refused)
					}
					refused++
				case o.failed > 0:
					failed++
				default:
					harmless++
				}
				if lost := o.refused != nil || o.failed > 0; lost == strings.Contains(o.said, "neither the tree nor the journal needs") {
					t.Errorf("%s: refused %v, %d reads failed: %s", d.what, o.refused, o.failed, o.said)
				}
				if tried++; tried%50 == 0 {
					trial.restart(t, d, o)
				}
				if t.Failed() {
					t.FailNow()
				}
			})
			t.Logf("%d bytes, %d damages: a start is refused %d times, reads fail %d times, nothing needs the block %d times; 0 silent",
				s.flips()/8, tried, refused, failed, harmless)
		})
	}
}

// TestRotAfterKill damages stores of killed processes in the same ways. Their last blocks have no
// checksums. A flipped bit must be found, or lose nothing. Other damage may look like a torn
// append: then the last commit is missing, and nothing else is wrong. Without a journal more
// commits may be missing, and check names their blocks. A copy of an old root that is a leaf looks
// like a commit of the original. Only that damage hides commits silently.
func TestRotAfterKill(t *testing.T) {
	for _, k := range slices.Concat(rotKinds[:4], killedKinds) {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			s, twin := k.make(t, "value", false), k.make(t, "VALUE", false)
			trial := s.trial(t)
			tried, counts := 0, map[string]int{}
			k.damages(t, s, twin, func(d damage) {
				o := trial.try(t, d)
				tried++
				result := o.result()
				counts[d.kind()+": "+result]++
				may := map[string]bool{"refused": true, "reads fail": true, "nothing lost, named": true, "nothing lost, not named": true}
				if !d.flip {
					may["the last commit lost"] = true
					may["commits lost, named"] = k.options.JournalBytes < 0
					may["commits lost, not named"] = d.leaf
					may["commits lost, named"] = may["commits lost, named"] || d.leaf
				}
				if !d.twin && !may[result] || strings.Contains(o.said, "nothing is lost") {
					t.Fatalf("%s: %s: %s; check says %s", d.what, result, o.wrong, o.said)
				}
			})
			t.Logf("%d bytes, %d damages", s.flips()/8, tried)
			for _, what := range slices.Sorted(maps.Keys(counts)) {
				t.Logf("%6d %s", counts[what], what)
			}
		})
	}
}

// kind names the kind of a damage.
func (d damage) kind() string {
	switch {
	case d.flip:
		return "flipped bit"
	case d.twin:
		return "block of a twin"
	}
	return "other"
}

// result names the outcome of a damage.
func (o outcome) result() string {
	named := map[bool]string{true: ", named", false: ", not named"}[o.faults]
	switch {
	case o.refused != nil:
		return "refused"
	case o.wrong != "" && o.lost == 0:
		return "wrong answer" + named
	case o.lost == 1:
		return "the last commit lost"
	case o.lost > 1:
		return "commits lost" + named
	case o.failed > 0:
		return "reads fail"
	}
	return "nothing lost" + named
}

// restart starts and stops a damaged store: that repairs no damage.
func (r *rotTrial) restart(t *testing.T, d damage, before outcome) {
	t.Helper()
	db, err := kivaloo.Open(r.dir, kivaloo.Options{StorageCost: -1})
	if (err == nil) != (before.refused == nil) {
		t.Errorf("%s: a start that writes: %v; one that does not: %v", d.what, err, before.refused)
	}
	if err != nil {
		return
	}
	if _, failed := differs(t, db, r.content); failed != before.failed {
		t.Errorf("%s: %d reads failed, and before, %d", d.what, failed, before.failed)
	}
	if err := db.Close(); err != nil {
		t.Fatalf("%s: %v", d.what, err)
	}
	for name := range r.files {
		r.written[name] = true
	}
	after := kivalooRun("", "check", "--sums", r.dir)
	if strings.HasPrefix(d.named[0], "sums_") {
		// The janitor has rewritten the file, if it noticed the damage and had time.
		if after.status != 0 && !strings.Contains(after.out, d.named[0]) || strings.Contains(after.out, "without") {
			t.Errorf("%s: after a restart: %s%s", d.what, after.out, after.stderr)
		}
		return
	}
	for _, name := range d.named {
		if after.status != 1 || !strings.Contains(after.out, name) {
			t.Errorf("%s: after a restart: %s%s", d.what, after.out, after.stderr)
		}
	}
}
