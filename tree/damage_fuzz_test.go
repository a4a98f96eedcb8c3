package tree

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/internal/must"
	"kivaloo/tree/journal"
)

// image is the files of a store to be damaged.
type image struct {
	what      string
	blockSize int
	files     map[string]string
	states    []model // its earlier states; the last is the current content. Empty: unknown
}

func filesOf(fsys *simfs.FS) map[string]string {
	all := map[string]string{}
	for _, name := range fsys.Names() {
		all[name] = string(fsys.Content(name))
	}
	return all
}

// openDamaged opens the store in fsys as a server does.
func openDamaged(fsys *simfs.FS, blockSize int, cfg Config) (*disk.Inline, *Tree, error) {
	return openWith(disk.OpenInline, storeDir, disk.Options{FS: fsys, Log: quiet, BlockSize: blockSize}, blockSize,
		func(int) (Config, error) { return cfg, nil })
}

// makeImage writes a store of several appends, and leaves it as a kill or a stop does.
func makeImage(f *testing.F, what string, blockSize int, journalBytes int64, killed bool) image {
	fsys := simfs.New(storeDir)
	cfg := testConfig()
	cfg.JournalBytes, cfg.stepBytes = journalBytes, 2<<10
	store, tree, err := openDamaged(fsys, blockSize, cfg)
	must.Do(f, err)
	d := &driver{t: f, tree: tree, store: store}
	i := image{what: what, blockSize: blockSize, states: []model{{}}}
	m := model{}
	for round := range 12 {
		requests := sets(37*round%90, 1+round*5%17, fmt.Sprint("value ", round))
		requests = append(requests, Request{Op: Delete, Key: requests[0].Key})
		d.do(requests...)
		m.applyAll(requests)
		i.states = append(i.states, maps.Clone(m))
		if round%5 == 2 { // all of it goes into pages
			d.now += 2 * flushIdleAfter
			d.do()
		}
	}
	if killed {
		i.files = filesOf(fsys)
		tree.Close()
		store.Close()
		return i
	}
	must.Do(f, tree.fold(store))
	store.Close()
	i.files = filesOf(fsys)
	return i
}

// Kinds of damage. Those from misplace on need a forger.
const (
	flipByte   = iota // some bits of a byte are flipped
	zeroSector        // a sector is zeroed
	shorten           // a file is cut short
	removeFile        // a file is removed
	misplace          // a block overwrites another
	forge             // as flipByte, but a journal block gets a right checksum
	renumber          // a file gets the number of another block
	kindsOfDamage
)

// damageBytes is how many bytes of an input describe one damage: its kind, the file, the block in
// it, the place in that, and a value.
const damageBytes = 6

// damage applies the damage described by data to a copy of the files in i. If honest, it leaves out
// the kinds that need a forger.
func (i *image) damage(data []byte, honest bool) *simfs.FS {
	files := map[string][]byte{}
	for name, content := range i.files {
		files[name] = []byte(content)
	}
	for n := 0; len(data) >= damageBytes && n < 8 && len(files) > 0; n++ {
		kind, value := int(data[0])%kindsOfDamage, data[5]
		if honest {
			kind = int(data[0]) % misplace
		}
		names := slices.Sorted(maps.Keys(files))
		name := names[int(data[1])%len(names)]
		content, size := files[name], i.blockSize
		at := int(data[2])*size + int(binary.BigEndian.Uint16(data[3:]))%size
		data = data[damageBytes:]
		whole := at/size*size + size
		switch {
		case kind == removeFile:
			delete(files, name)
		case kind == renumber:
			delete(files, name)
			files[fmt.Sprintf("%.5s%016x", name, uint64(value)<<(at%64))] = content
		case at >= len(content):
		case kind == shorten:
			files[name] = content[:at]
		case kind == zeroSector:
			clear(content[at/512*512 : min(at/512*512+512, len(content))])
		case kind == misplace && whole <= len(content):
			from := int(value) % (len(content) / size) * size
			copy(content[whole-size:whole], content[from:from+size])
		default:
			content[at] ^= value
			if p := content[whole-size : min(whole, len(content))]; kind == forge && len(p) == size && journal.Is(p) {
				binary.BigEndian.PutUint32(p[8:], journal.Sum(p))
			}
		}
	}
	fsys := simfs.New(storeDir)
	for name, content := range files {
		fsys.Put(name, content)
	}
	return fsys
}

// rescued receives what is salvaged.
type rescued model

func (r rescued) Set(key, value []byte) error { r[string(key)] = string(value); return nil }
func (r rescued) Delete(key []byte) error     { delete(r, string(key)); return nil }

// salvage salvages fsys and checks what holds for any content: nothing is changed, all keys are
// accounted for, and the work is proportional to the content.
func (i *image) salvage(t *testing.T, fsys *simfs.FS) (rescued, *Salvaged) {
	store, err := disk.OpenRemains(storeDir, disk.Options{FS: fsys, Log: quiet, BlockSize: i.blockSize})
	must.Do(t, err)
	defer store.Close()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out := rescued{}
	report, err := Salvage(ctx, store, out, func(done, _ uint64) {
		if done > 1<<20 {
			stop()
		}
	})
	if err != nil {
		if !errors.Is(err, ErrNothingLeft) || len(out) > 0 {
			t.Fatalf("%d pairs, %v", len(out), err)
		}
		return nil, nil
	}
	at, pairs := []byte{}, uint64(0)
	for n, r := range report.Ranges {
		if at == nil || !bytes.Equal(r.Lo, at) {
			t.Fatalf("range %d begins with %q, and the one before ends with %q", n, r.Lo, at)
		}
		at, pairs = r.Hi, pairs+r.Pairs
	}
	for _, n := range report.Pairs {
		pairs -= n
	}
	if at != nil || pairs != 0 || report.More != 0 {
		t.Fatalf("the ranges end with %q, and have %d pairs more than there are", at, int64(pairs))
	}
	return out, report
}

// checkRescued compares what was salvaged with what was there. cut says that the end of the store
// is missing. After a kill nobody can see that, and an earlier state is right too.
func (i *image) checkRescued(t *testing.T, got rescued, report *Salvaged, cut bool) {
	trust := func(k string) Trust {
		n, _ := slices.BinarySearchFunc(report.Ranges, k, func(r SalvagedRange, k string) int {
			if before([]byte(k), r.Hi) {
				return 1
			}
			return -1
		})
		return report.Ranges[n].Trust
	}
	ever := map[[2]string]bool{}
	for _, m := range i.states {
		for k, v := range m {
			ever[[2]string{k, v}] = true
		}
	}
	for k, v := range got {
		// Nobody can see that a page without a checksum was altered.
		if is := trust(k); is != Unchecked && is != Stale && !ever[[2]string{k, v}] {
			t.Errorf("%s is %v: %q, which it never was", k, is, v)
		}
	}
	uncertain := func(k, _ string) bool { return trust(k) != Certain }
	certain := maps.Clone(model(got))
	maps.DeleteFunc(certain, uncertain)
	states := i.states
	if !cut {
		states = states[len(states)-1:]
	}
	for _, m := range states {
		m = maps.Clone(m)
		if maps.DeleteFunc(m, uncertain); maps.Equal(m, certain) {
			return
		}
	}
	t.Errorf("%d pairs are certain, and were never all there is: %v", len(certain), report.Ranges)
}

// isCut reports whether the last of the files is gone or shorter.
func (i *image) isCut(left map[string]string) bool {
	last := ""
	for name := range i.files {
		if strings.HasPrefix(name, "blks_") {
			last = max(last, name)
		}
	}
	return len(left[last]) < len(i.files[last])
}

// read returns what a server would answer from fsys. An error must name the block, the file, or the
// store.
func (i *image) read(t *testing.T, fsys *simfs.FS) (model, error) {
	cfg := testConfig()
	cfg.JournalBytes = 16 << 10
	before := filesOf(fsys)
	store, tree, err := openDamaged(fsys, i.blockSize, cfg)
	if err != nil {
		if !maps.Equal(filesOf(fsys), before) {
			t.Fatalf("refused, and the files have changed: %v", err)
		}
		return nil, err
	}
	defer store.Close()
	defer tree.Close()
	d := &driver{t: t, tree: tree, store: store}
	all := model{}
	for start := ""; ; {
		answers := d.do(Request{Op: Range, Key: []byte(start), Max: MaxRangePairBytes})
		a, ok := answers.pairs[d.nextID]
		if !ok {
			return all, answers.failed[d.nextID]
		}
		for n, k := range a.keys {
			if k < start {
				t.Fatalf("a range from %q has %q", start, k)
			}
			all[k] = a.values[n]
		}
		if a.next != "" && a.next <= start {
			t.Fatalf("a range from %q goes on at %q", start, a.next)
		}
		if start = a.next; start == "" {
			return all, nil
		}
	}
}

func allocatedBytes() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// FuzzDamagedStore opens and salvages stores with up to eight damages. Whatever the damage, even by
// a forger of checksums: looking at the store changes nothing, an error says where, and all keys
// are accounted for with work proportional to the store. Without a forger nothing is wrongly called
// certain, and a store of this program answers with a state that it once held, or not at all.
func FuzzDamagedStore(f *testing.F) {
	images := []image{
		makeImage(f, "journal, killed", 512, 4<<10, true),
		makeImage(f, "journal, killed, sealed", 600, 4<<10, true),
		makeImage(f, "pages, killed, sealed", 700, 0, true),
		makeImage(f, "journal, stopped", 512, 4<<10, false),
		makeImage(f, "pages, stopped, sealed", 1024, 0, false),
	}
	for _, name := range []string{"s512-torn-base", "s512-torn-multi", "s512-empty"} {
		golden := image{what: name, blockSize: 512, files: map[string]string{}}
		for file, content := range goldenFiles(f, name) {
			golden.files[file] = string(content)
		}
		images = append(images, golden)
	}
	for n := range images {
		for kind := range byte(kindsOfDamage) {
			for _, block := range []byte{0, 3, 20} {
				f.Add(uint8(n), kind < misplace, []byte{kind, 1, block, 0, 60, 0x10, kind, 0, block + 2, 0, 9, 1})
			}
		}
		f.Add(uint8(n), true, []byte{})
		f.Add(uint8(n), false, []byte{renumber, 0, 0, 0, 60, 1})
		f.Add(uint8(n), false, []byte{renumber, 255, 0, 0, 48, 1})
	}
	f.Fuzz(func(t *testing.T, n uint8, honest bool, data []byte) {
		i := &images[int(n)%len(images)]
		fsys := i.damage(data, honest)
		before, was := filesOf(fsys), allocatedBytes()
		d, err := fsys.OpenDir(storeDir)
		must.Do(t, err)
		if size, err := RecogniseRemains(d); err == nil && (size < disk.MinBlockSize || size > disk.MaxBlockSize) {
			t.Fatalf("a block size of %d", size)
		}
		d.Close()
		got, report := i.salvage(t, fsys)
		if report != nil && honest && len(i.states) > 0 {
			i.checkRescued(t, got, report, i.isCut(before))
		}
		if !maps.Equal(filesOf(fsys), before) {
			t.Fatal("what was only looked at has changed")
		}
		all, err := i.read(t, fsys)
		switch {
		case err != nil && !strings.Contains(err.Error(), "block") && !strings.Contains(err.Error(), storeDir):
			t.Fatalf("the error does not say where: %v", err)
		case err == nil && honest && len(i.states) > 0 &&
			!slices.ContainsFunc(i.states, func(m model) bool { return maps.Equal(m, all) }):
			t.Fatalf("%s: it holds %d pairs, as it never did", i.what, len(all))
		}
		if grown := allocatedBytes() - was; grown > 64<<20 {
			t.Fatalf("%d bytes were allocated", grown)
		}
	})
}

// FuzzBlockSize detects the block size in one or two files of any content. A result must be within
// bounds, and right if the first block is whole.
func FuzzBlockSize(f *testing.F) {
	for _, name := range []string{"s512-torn-base", "s512-torn-multi", "s2048-edge"} {
		for _, content := range goldenFiles(f, name) {
			f.Add(content[:min(len(content), 5000)], uint64(1), uint32(0), uint16(0))
			f.Add(content[:min(len(content), 5000)], uint64(1), uint32(1024), uint16(700))
		}
	}
	f.Add(bytes.Repeat([]byte("KVLDS\x00"), 500), uint64(0), uint32(0), uint16(0))
	f.Add(bytes.Repeat([]byte("KVJRN\x00"), 500), uint64(0), uint32(600), uint16(0))
	f.Fuzz(func(t *testing.T, data []byte, first uint64, cut uint32, size uint16) {
		whole := 0
		if size > 0 {
			whole = disk.MinBlockSize + int(size)
			record := make([]byte, whole)
			journal.PutFlush(record, journal.Block{Seq: 1, Number: first, First: first, Previous: noBlock}, first, 1, 2)
			data = slices.Concat(record, record, data)
		}
		fsys := simfs.New(storeDir)
		fsys.Put(fmt.Sprintf("blks_%016x", first), data)
		if at := int(cut) % (len(data) + 1); at > 0 {
			fsys.Put(fmt.Sprintf("blks_%016x", first), data[:at])
			fsys.Put(fmt.Sprintf("blks_%016x", first+1+uint64(cut)%100), data[at:])
			whole = 0
		}
		before := fsys.Sum()
		d, err := fsys.OpenDir(storeDir)
		must.Do(t, err)
		defer d.Close()
		for what, find := range map[string]func(disk.Dir) (int, error){"remains": RecogniseRemains, "store": detectIn} {
			found, err := find(d)
			switch {
			case err != nil && !errors.Is(err, ErrUnknownBlockSize):
				t.Fatalf("%s: %v", what, err)
			case err == nil && found != 0 && (found < disk.MinBlockSize || found > disk.MaxBlockSize):
				t.Fatalf("%s: blocks of %d bytes", what, found)
			case err == nil && whole > 0 && found != whole:
				t.Fatalf("%s: blocks of %d bytes are taken for %d", what, whole, found)
			}
		}
		if fsys.Sum() != before {
			t.Fatal("what was only looked at has changed")
		}
	})
}
