package tree

import (
	"bytes"
	"fmt"
	"strings"

	"kivaloo/disk/simfs"
	"kivaloo/tree/page"
)

// originalFinds returns what the original's daemons serve from a store: the tree of the newest page
// with the root bit, searched for from the last block down. They stop at a block that is no page,
// at the start or when a request needs it. They know nothing of the journal, of seals and of
// checksums.
func originalFinds(t tester, blocks map[uint64][]byte, next uint64) (all model, ends bool) {
	all = model{}
	var walk func(block uint64)
	walk = func(block uint64) {
		p := blocks[block]
		if ends = ends || !originalTakes(p); ends {
			return
		}
		a := decode(t, p)
		for _, r := range a.records {
			walk(r.Block)
		}
		for i := range a.values {
			all[a.keys[i]] = a.values[i]
		}
	}
	for block := next; block > 0; block-- {
		p, there := blocks[block-1]
		if !there {
			continue
		}
		if !originalTakes(p) {
			return nil, true
		}
		if decode(t, p).root {
			walk(block - 1)
			return all, ends
		}
	}
	return all, next > 0 // it creates a new store if there are no blocks
}

// originalTakes reports whether the original takes a block for a page.
func originalTakes(p []byte) bool {
	if !bytes.HasPrefix(p, []byte(pageMagic)) {
		return false
	}
	_, err := page.Parse(p)
	return err == nil
}

// rawBlocks returns the blocks in the files of a store, and the number after the last. The store
// must have blocks.
func rawBlocks(fsys *simfs.FS, size int) (blocks map[uint64][]byte, next uint64) {
	blocks = map[uint64][]byte{}
	for _, name := range fsys.Names() { // in order
		number, ok := strings.CutPrefix(name, "blks_")
		if !ok || len(number) != 16 {
			continue
		}
		fmt.Sscanf(number, "%x", &next)
		for content := fsys.Content(name); len(content) >= size; content = content[size:] {
			blocks[next] = content[:size]
			next++
		}
	}
	return blocks, next
}

// original fails the test if the original would serve the store without something acknowledged. If
// a page is longer than a sector, the original cannot tell a part of a page from a page, so it is
// not asked.
func (c *crashRun) original() {
	if c.blockSize != 512 {
		return
	}
	blocks, next := rawBlocks(c.fsys, c.blockSize)
	switch all, ends := originalFinds(c.t, blocks, next); {
	case ends:
		c.seen.note("that the original refuses", nil)
	case c.mayHold(all):
		c.seen.note("that the original serves", nil)
	default:
		c.t.Fatalf("after a cut the original finds %d pairs, and none of the %d states that it may", len(all), len(c.states))
	}
}
