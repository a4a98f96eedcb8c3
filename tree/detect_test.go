package tree

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/internal/must"
	"kivaloo/tree/page"
)

// pageMagic is the beginning of every page.
const pageMagic = "KVLDS\x00"

// TestDetectGolden detects the block size of stores written by the original, also where an append
// was cut short.
func TestDetectGolden(t *testing.T) {
	for _, g := range goldens {
		if size, err := DetectBlockSize(goldenFS(t, g.name), storeDir); size != g.blockSize || err != nil {
			t.Errorf("%s: %d, %v", g.name, size, err)
		}
	}
}

// TestDetectEverySize detects the block size of stores of one page, of a few and of several files.
func TestDetectEverySize(t *testing.T) {
	for _, blockSize := range []int{512, 513, 1000, 1023, 1024, 1025, 2047, 2048, 4096, 65535, 65536, 131071, 131072} {
		for _, appends := range []int{0, 1, 2, 20} {
			fsys := simfs.New(storeDir)
			s := openInline(t, fsys, blockSize)
			tr, err := Open(s, testConfig())
			must.Do(t, err)
			d := &driver{t: t, tree: tr, store: s}
			for i := range appends {
				// Values that look like pages must not mislead.
				d.do(set(fmt.Sprint("key ", i), pageMagic+strings.Repeat(pageMagic, i%6)), set(pageMagic, pageMagic))
			}
			tr.Close()
			if size, err := DetectBlockSize(fsys, storeDir); size != blockSize || err != nil {
				t.Errorf("blocks of %d bytes, %d appends: detected %d, %v", blockSize, appends, size, err)
			}
		}
	}
}

// TestDetectDamaged checks that the result is right, or that there is none.
func TestDetectDamaged(t *testing.T) {
	root := page.EmptyRoot(1024)
	full := append(bytes.Clone(root), root...)
	for name, test := range map[string]struct {
		files map[string][]byte
		size  int // 0: none; -1: an error
	}{
		"nothing":              {nil, 0},
		"empty file":           {map[string][]byte{"blks_0000000000000000": {}}, 0},
		"zeros":                {map[string][]byte{"blks_0000000000000000": make([]byte, 2048)}, 0},
		"one page":             {map[string][]byte{"blks_0000000000000000": root}, 1024},
		"half a page":          {map[string][]byte{"blks_0000000000000000": root[:511]}, -1},
		"two pages":            {map[string][]byte{"blks_0000000000000000": full}, 1024},
		"a page and a bit":     {map[string][]byte{"blks_0000000000000000": full[:1500]}, -1},
		"a page lost":          {map[string][]byte{"blks_0000000000000000": bytes.Join([][]byte{root, make([]byte, 1024), full}, nil)}, 1024},
		"a page and a letter":  {map[string][]byte{"blks_0000000000000000": full[:1025]}, -1},
		"no pages":             {map[string][]byte{"blks_0000000000000000": bytes.Repeat([]byte("text"), 1000)}, -1},
		"empty file at 7":      {map[string][]byte{"blks_0000000000000007": {}}, -1},
		"first file zeroed":    {map[string][]byte{"blks_0000000000000000": make([]byte, 1024), "blks_0000000000000001": full}, 1024},
		"files that disagree":  {map[string][]byte{"blks_0000000000000000": full[:1025], "blks_0000000000000001": root}, 1024},
		"a file in upper case": {map[string][]byte{"blks_000000000000000A": root}, 0},
	} {
		fsys := simfs.New(storeDir)
		for file, content := range test.files {
			fsys.Put(file, content)
		}
		size, err := DetectBlockSize(fsys, storeDir)
		if (err != nil) != (test.size < 0) || err == nil && size != test.size {
			t.Errorf("%s: %d, %v; want %d", name, size, err, test.size)
		}
	}
	if _, err := DetectBlockSize(simfs.New("/elsewhere"), storeDir); err == nil {
		t.Error("a directory that does not exist has a block size")
	}
}

// TestDetectTorn cuts stores short and removes sectors of their last file, as power cuts do, after
// FREE has left only the last few files. The result must be right, or there must be none.
func TestDetectTorn(t *testing.T) {
	right, refused := 0, 0
	for seed := range torture(100, 20000) {
		rng := rand.New(rand.NewPCG(seed, 5))
		blockSize := []int{512, 513, 1000, 1024, 2048, 4096, 131071}[rng.IntN(7)]
		fsys := simfs.New(storeDir)
		s := openInline(t, fsys, blockSize)
		tr, err := Open(s, testConfig())
		must.Do(t, err)
		d := &driver{t: t, tree: tr, store: s}
		for range 1 + rng.IntN(6) {
			d.do(sets(rng.IntN(100), 1+rng.IntN(80), pageMagic+strings.Repeat("v", rng.IntN(80)))...)
		}
		tr.Close()
		var files []string
		for _, name := range fsys.Names() {
			if strings.HasPrefix(name, "blks_") {
				files = append(files, name)
			}
		}
		keep := 1 + rng.IntN(len(files))
		left := simfs.New(storeDir)
		for i, name := range files[len(files)-keep:] {
			content := fsys.Content(name)
			if i == keep-1 {
				content = tearFile(rng, content)
			}
			left.Put(name, content)
		}
		size, err := DetectBlockSize(left, storeDir)
		switch {
		case err != nil:
			refused++
		case size == blockSize:
			right++
		case size == 0: // nothing but zeros
		case keep == 1 && size == len(left.Content(files[len(files)-1])):
			// Everything is taken for one page, so an opening with this block size cuts nothing
			// off.
		default:
			t.Errorf("seed %d, blocks of %d bytes, %d of %d files: detected %d", seed, blockSize, keep, len(files), size)
		}
	}
	if right < refused {
		t.Errorf("%d right, %d refused", right, refused)
	}
}

// TestDetectMissingFile detects the block size of a store that lacks a file in the middle. The
// numbers of the others can then fit another size. The size must be right or unknown, so that the
// right one is accepted.
func TestDetectMissingFile(t *testing.T) {
	for missing := 1; missing < 6; missing++ {
		fsys := simfs.New(storeDir)
		three := bytes.Repeat(page.EmptyRoot(4096), 3)
		fsys.Put("blks_0000000000000000", three)
		fsys.Put(fmt.Sprintf("blks_%016x", 3+missing), three)
		d, err := fsys.OpenDir(storeDir)
		must.Do(t, err)
		for what, find := range map[string]func(disk.Dir) (int, error){"remains": RecogniseRemains, "asked": Recognise(4096, 0)} {
			if size, err := find(d); size != 4096 || err != nil {
				t.Errorf("%d blocks are missing: %s: %d bytes, %v", missing, what, size, err)
			}
		}
		if size, err := detectIn(d); size != 4096 && !errors.Is(err, ErrUnknownBlockSize) {
			t.Errorf("%d blocks are missing: %d bytes, %v", missing, size, err)
		}
	}
}

// tearFile returns what a power cut may leave of a file.
func tearFile(rng *rand.Rand, content []byte) []byte {
	content = content[:rng.IntN(len(content)+1)]
	for at := 0; at < len(content); at += 512 {
		if rng.IntN(10) == 0 {
			clear(content[at:min(at+512, len(content))])
		}
	}
	return content
}
