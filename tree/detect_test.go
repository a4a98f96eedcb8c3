package tree

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"kivaloo/disk/simfs"
)

// TestDetectGolden: the block size of what the original has written, also where an append was cut short.
func TestDetectGolden(t *testing.T) {
	for _, g := range goldens {
		if size, err := DetectBlockSize(goldenFS(t, g.name), storeDir); size != g.blockSize || err != nil {
			t.Errorf("%s: %d, %v", g.name, size, err)
		}
	}
}

// TestDetectEverySize has stores of one page, of a few and of several files.
func TestDetectEverySize(t *testing.T) {
	for _, blockSize := range []int{512, 513, 1000, 1023, 1024, 1025, 2047, 2048, 4096, 65535, 65536, 131071, 131072} {
		for _, appends := range []int{0, 1, 2, 20} {
			fsys := simfs.New(storeDir)
			s := openInline(t, fsys, blockSize)
			tr, err := Open(s, testConfig())
			if err != nil {
				t.Fatal(err)
			}
			d := &driver{t: t, tree: tr, store: s}
			for i := range appends {
				// Values that look like pages must not mislead anybody.
				d.do(set(fmt.Sprint("key ", i), magic+strings.Repeat(magic, i%6)), set(magic, magic))
			}
			tr.Close()
			if size, err := DetectBlockSize(fsys, storeDir); size != blockSize || err != nil {
				t.Errorf("blocks of %d bytes, %d appends: detected %d, %v", blockSize, appends, size, err)
			}
		}
	}
}

// TestDetectDamaged: the answer is right, or there is none.
func TestDetectDamaged(t *testing.T) {
	page := emptyRoot(1024)
	full := append(bytes.Clone(page), page...)
	for name, test := range map[string]struct {
		files map[string][]byte
		size  int // 0: none; -1: an error
	}{
		"nothing":              {nil, 0},
		"empty file":           {map[string][]byte{"blks_0000000000000000": {}}, 0},
		"zeros":                {map[string][]byte{"blks_0000000000000000": make([]byte, 2048)}, 0},
		"one page":             {map[string][]byte{"blks_0000000000000000": page}, 1024},
		"half a page":          {map[string][]byte{"blks_0000000000000000": page[:511]}, -1},
		"two pages":            {map[string][]byte{"blks_0000000000000000": full}, 1024},
		"a page and a bit":     {map[string][]byte{"blks_0000000000000000": full[:1500]}, 1024},
		"a page and a letter":  {map[string][]byte{"blks_0000000000000000": full[:1025]}, -1},
		"no pages":             {map[string][]byte{"blks_0000000000000000": bytes.Repeat([]byte("text"), 1000)}, -1},
		"empty file at 7":      {map[string][]byte{"blks_0000000000000007": {}}, -1},
		"first file zeroed":    {map[string][]byte{"blks_0000000000000000": make([]byte, 1024), "blks_0000000000000001": full}, 1024},
		"files that disagree":  {map[string][]byte{"blks_0000000000000000": full[:1025], "blks_0000000000000001": page}, 1024},
		"a file in upper case": {map[string][]byte{"blks_000000000000000A": page}, 0},
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
