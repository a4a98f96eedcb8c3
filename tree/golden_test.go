package tree

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/internal/must"
)

// testdata/golden.zip holds stores written by the original programs, one folder each. The number in
// the name is the block size. Those with names like torn are copies of s512-torn-base with an
// altered end.

const storeDir = "/store"

// golden describes a store in golden.zip.
type golden struct {
	name      string
	blockSize int
	root      uint64
	height    int
	nodes     uint64
	oldest    uint64
	pairs     int
	dump      string // SHA-256 of all pairs in order: length byte, key, length byte, value
}

const (
	tornLast   = "8e45ef8070443363b55b9c631a770054f5905ffdfdc414406e68190130a0f660"
	tornBefore = "635cd98bf34e475d93ca402f8318ac835ff01345d3a78ec0a98e6d7c43e8d4a9"
)

var goldens = []golden{
	{"s512-empty", 512, 0, 0, 1, 0, 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
	{"s512-seq", 512, 1471, 3, 428, 486, 3000, "53d9869c983ed6ecea6c8dec6d1ab386f77e320b7f6efbd3f65cd676205ac50c"},
	{"s1024-gens", 1024, 632, 2, 109, 131, 2008, "62d5df620a2e4d0833ed1117c60bde46c5784c9bda359284356a536033375698"},
	{"s2048-bench", 2048, 127, 2, 125, 1, 2000, "5f7f07242c7a38201c7f5a2e6b1496474bd24c412a296576c6eb17d01744ee84"},
	{"s2048-edge", 2048, 32, 2, 32, 1, 144, "dd03fcacb7fd13da2dda34719f1383c4581f17bb0f2a455add89357918b41be4"},
	{"s512-torn-base", 512, 27, 1, 9, 19, 300, tornLast},
	{"s512-torn-root", 512, 18, 1, 9, 10, 300, tornBefore},
	{"s512-torn-multi", 512, 18, 1, 9, 10, 300, tornBefore},
	{"s512-partial-next", 512, 27, 1, 9, 19, 300, tornLast},
	{"s512-empty-newfile", 512, 27, 1, 9, 19, 300, tornLast},
	// The original refuses this one, although nothing acknowledged in it is damaged.
	{"s512-zero-tail", 512, 27, 1, 9, 19, 300, tornLast},
}

// goldenFiles returns the block files of a store in golden.zip, by name.
func goldenFiles(t testing.TB, name string) map[string][]byte {
	t.Helper()
	z, err := zip.OpenReader(filepath.Join("testdata", "golden.zip"))
	must.Do(t, err)
	defer z.Close()
	files := map[string][]byte{}
	for _, f := range z.File {
		if path.Dir(f.Name) != name {
			continue
		}
		r, err := f.Open()
		must.Do(t, err)
		if files[path.Base(f.Name)], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	if len(files) == 0 {
		t.Fatalf("no store %s in golden.zip", name)
	}
	return files
}

// goldenFS returns a file system with a store from golden.zip in storeDir.
func goldenFS(t testing.TB, name string) *simfs.FS {
	t.Helper()
	fsys := simfs.New(storeDir)
	for file, content := range goldenFiles(t, name) {
		fsys.Put(file, content)
	}
	return fsys
}

func openInline(t tester, fsys *simfs.FS, blockSize int) *disk.Inline {
	t.Helper()
	s, err := disk.OpenInline(storeDir, disk.Options{BlockSize: blockSize, FS: fsys, Log: quiet})
	must.Do(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// goldenBlock returns one block of a store in golden.zip.
func goldenBlock(t testing.TB, name string, blockSize int, block uint64) []byte {
	t.Helper()
	p := make([]byte, blockSize)
	if ok, err := disk.ReadBlock(openInline(t, goldenFS(t, name), blockSize), block, p); !ok || err != nil {
		t.Fatalf("block %d of %s: %t, %v", block, name, ok, err)
	}
	return p
}

// TestGoldenTrees opens stores written by the original, including torn ones. It must find the tree
// that the original finds, and every page must be right.
func TestGoldenTrees(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			s := openInline(t, goldenFS(t, g.name), g.blockSize)
			r := checkStore(t, s)
			if r.Root.Block != g.root || r.Root.Height != g.height || r.Root.Nodes != g.nodes || r.Root.Oldest != g.oldest {
				t.Errorf("root %d, height %d, %d nodes, oldest leaf %d; want %+v",
					r.Root.Block, r.Root.Height, r.Root.Nodes, r.Root.Oldest, g)
			}
			if r.Pairs != uint64(g.pairs) {
				t.Errorf("%d pairs, want %d", r.Pairs, g.pairs)
			}
			sum := sha256.New()
			for _, leaf := range leavesOf(t, s) {
				for i, key := range leaf.keys {
					value := leaf.values[i]
					sum.Write(append([]byte{byte(len(key))}, key...))
					sum.Write(append([]byte{byte(len(value))}, value...))
				}
			}
			if got := hex.EncodeToString(sum.Sum(nil)); got != g.dump {
				t.Errorf("dump has SHA-256 %s, want %s", got, g.dump)
			}
		})
	}
}

// TestGoldenGoesOn writes to stores of the original.
func TestGoldenGoesOn(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			s := openInline(t, goldenFS(t, g.name), g.blockSize)
			m := newMemStore(g.blockSize)
			first := s.Info().Next
			for n := range s.Info().Next {
				p := make([]byte, g.blockSize)
				if ok, err := disk.ReadBlock(s, n, p); err != nil {
					t.Fatal(err)
				} else if ok {
					first = min(first, n)
					m.add(p)
				}
			}
			m.first = first
			h := newHarness(t, m, testConfig())
			want := model(h.dump())
			requests := sets(0, 500, "changed")
			want.applyAll(requests)
			h.do(requests...)
			sameContent(t, h.dump(), want)
			h.check()
			all := make([]Request, 0, len(want))
			for k := range want {
				all = append(all, Request{Op: Delete, Key: []byte(k)})
			}
			h.do(all...)
			if r := h.check(); r.Pairs != 0 || r.Pages() != 1 {
				t.Errorf("%d pairs in %d pages after all were deleted", r.Pairs, r.Pages())
			}
		})
	}
}

// TestGoldenPages parses every page that the original wrote, including obsolete ones, and encodes
// it again.
func TestGoldenPages(t *testing.T) {
	pages := 0
	for _, g := range goldens {
		for name, content := range goldenFiles(t, g.name) {
			for at := 0; at+g.blockSize <= len(content); at += g.blockSize {
				p := content[at : at+g.blockSize]
				if !bytes.HasPrefix(p, []byte("KVLDS\x00")) {
					if g.name != "s512-zero-tail" {
						t.Errorf("%s/%s, offset %d: not a page", g.name, name, at)
					}
					continue
				}
				if again := decode(t, p).encode(g.blockSize); !bytes.Equal(again, p) {
					t.Errorf("%s/%s, offset %d: comes out different", g.name, name, at)
				}
				pages++
			}
		}
	}
	if pages < 1800 {
		t.Errorf("only %d pages have been looked at", pages)
	}
}

// TestGoldenChildBeforeRoot checks that the original writes a child right before a root that has
// children. So any other such root had a seal.
func TestGoldenChildBeforeRoot(t *testing.T) {
	roots := 0
	for _, g := range goldens {
		blocks, _ := rawBlocks(goldenFS(t, g.name), g.blockSize)
		for at, p := range blocks {
			root, err := readRoot(at, p)
			if err != nil || root.Height == 0 {
				continue
			}
			if roots++; root.lostSeal() {
				t.Errorf("%s: the newest child of the root in block %d is block %d", g.name, at, root.newest)
			}
		}
	}
	if roots < 20 {
		t.Errorf("only %d roots have been looked at", roots)
	}
}

// TestDescribe describes a page of each kind.
func TestDescribe(t *testing.T) {
	for _, test := range []struct {
		block uint64
		want  []string
	}{
		{27, []string{"block 27: root parent, height 1, 7 keys, prefix length 0, 213 of 512 bytes used",
			"nodes in the tree: 9", "0  child at block 19, oldest leaf 19, 346 bytes", `"0042"`}},
		{20, []string{"block 20: leaf, height 0, 42 keys, prefix length 2, 346 of 512 bytes used", `0  "0042" = "g2"`}},
	} {
		var out strings.Builder
		if err := Describe(&out, test.block, goldenBlock(t, "s512-torn-base", 512, test.block)); err != nil {
			t.Error(err)
		}
		for _, want := range test.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("block %d is described without %q:\n%s", test.block, want, out.String())
			}
		}
	}
	for _, p := range [][]byte{nil, make([]byte, 17), make([]byte, 512), []byte("KVLDS\x00\xff\xff\x00\x00\x05abcdefghi")} {
		if err := Describe(io.Discard, 1, p); err == nil {
			t.Errorf("%q is described", p)
		}
	}
}
