package main

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/disk"
	"kivaloo/internal/must"
	"kivaloo/tree"
)

// dump returns a hash of all pairs, each as length byte, key, length byte, value.
func (c *client) dump(t *testing.T) string {
	t.Helper()
	pairs, err := c.all(1<<20, "", "")
	must.Do(t, err)
	h := sha256.New()
	for _, p := range pairs {
		fmt.Fprintf(h, "%c%s%c%s", len(p.key), p.key, len(p.value), p.value)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// TestRecovery opens stores written by the original. Some have lost a part of their end. Each opens
// with its last complete tree, and continues from there.
func TestRecovery(t *testing.T) {
	t.Parallel()
	const (
		empty    = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
		latest   = "8e45ef8070443363b55b9c631a770054f5905ffdfdc414406e68190130a0f660"
		previous = "635cd98bf34e475d93ca402f8318ac835ff01345d3a78ec0a98e6d7c43e8d4a9"
	)
	for name, want := range map[string]struct {
		dump string
		root uint64 // after one more SET, whose append has a seal before its root
		says string // while it looks for the root
	}{
		"s512-empty":         {empty, 2, ""},
		"s512-torn-base":     {latest, 30, ""},
		"s512-torn-root":     {previous, 29, "block=26"},
		"s512-torn-multi":    {previous, 25, "block=22"},
		"s512-partial-next":  {latest, 30, ""},
		"s512-empty-newfile": {latest, 30, ""},
		// The original refuses it. No append leaves zeros, so the tree before them is the last.
		"s512-zero-tail": {latest, 31, "block=28"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			must.Do(t, os.CopyFS(p.path("d"), os.DirFS("../../disk/testdata/"+name)))
			blocks, _ := p.launch(t, "kivaloo-lbs", "b.pid", p.blocksArgs(512)...)
			kvlds, said := p.launch(t, "kivaloo-kvlds", "s.pid", p.args("-S", "0")...)
			if !strings.Contains(said, want.says) || want.says == "" && said != "" {
				t.Errorf("said %q, want %q", said, want.says)
			}
			p.connectOnce(t, func(c *client) {
				if got := c.dump(t); got != want.dump {
					t.Errorf("dump %s, want %s", got, want.dump)
				}
				c.mustChange(t, set("0007", "new"), 0)
			})
			for _, d := range []*daemontest.Daemon{kvlds, blocks} {
				d.Kill()
				d.Wait(t)
			}
			if root := p.root(t); root.Block != want.root {
				t.Errorf("root at block %d, want %d", root.Block, want.root)
			}
		})
	}
}

// root checks the tree in the directory, which no process may have open, and returns its root.
func (p place) root(t *testing.T) tree.Root {
	t.Helper()
	store, err := disk.Open(p.path("d"), disk.Options{BlockSize: 512})
	must.Do(t, err)
	defer store.Close()
	root, err := tree.FindRoot(store, slog.New(slog.DiscardHandler))
	must.Do(t, err)
	if r := tree.Check(t.Context(), store, root); len(r.Faults) > 0 {
		t.Errorf("tree at block %d: %v", root.Block, r.Faults)
	}
	return root
}

// TestNoRoot checks that a store without a root is refused and not changed.
func TestNoRoot(t *testing.T) {
	t.Parallel()
	leaf := append([]byte("KVLDS\x00"), make([]byte, 506)...) // a page, but no root
	for name, block := range map[string][]byte{"no page": make([]byte, 512), "no root page": leaf} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			file := p.path("d/blks_0000000000000000")
			must.Do(t, os.WriteFile(file, block, 0o600))
			p.startBlocks(t, 512)
			mustRefuse(t, p.run(t, p.args()...), "no root of a tree")
			if got, err := os.ReadFile(file); err != nil || string(got) != string(block) || len(p.files(t)) != 1 {
				t.Errorf("the store was changed: %d bytes, %v, files %v", len(got), err, p.files(t))
			}
		})
	}
}
