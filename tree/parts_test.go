package tree

import (
	"kivaloo/disk"
	"kivaloo/internal/must"
	"kivaloo/tree/page"
)

// parts is a parsed page.
type parts struct {
	height  int
	prefix  int
	root    bool
	nodes   uint64
	keys    []string
	values  []string     // of a leaf
	records []page.Child // of a parent
}

// decode parses a page.
func decode(t tester, p []byte) parts {
	t.Helper()
	l, err := page.Parse(p)
	must.Do(t, err)
	a := parts{height: l.Height, prefix: l.Prefix, root: l.Root, nodes: l.Nodes}
	at := l.Body
	for range l.Keys {
		a.keys = append(a.keys, string(page.String(p, at)))
		at += 1 + int(p[at])
	}
	if l.Height > 0 {
		for i := range l.Keys + 1 {
			a.records = append(a.records, page.GetChild(p[l.Second+i*page.ChildBytes:]))
		}
		return a
	}
	for range l.Keys {
		a.values = append(a.values, string(page.String(p, at)))
		at += 1 + int(p[at])
	}
	return a
}

// encode encodes a page.
func (a parts) encode(blockSize int) []byte {
	p := make([]byte, blockSize)
	at := page.PutHead(p, len(a.keys), a.height, a.prefix, a.root)
	if a.root {
		page.PutRoot(p, a.nodes, false)
	}
	for _, k := range a.keys {
		at = page.PutString(p, at, []byte(k))
	}
	for _, v := range a.values {
		at = page.PutString(p, at, []byte(v))
	}
	for _, r := range a.records {
		page.PutChild(p[at:], r)
		at += page.ChildBytes
	}
	return p
}

// size returns the length of the page without its padding, in bytes, as the format defines it.
func (a parts) size() int {
	n := 10
	if a.root {
		n += 8
	}
	for _, k := range a.keys {
		n += len(k) + 1
	}
	for _, v := range a.values {
		n += len(v) + 1
	}
	return n + 20*len(a.records)
}

// visited is a page that a walk of a tree visits.
type visited struct {
	parts
	block  uint64
	lo, hi string // bounds of its keys; an empty hi means no bound
}

// walkStore calls visit with every page of the tree in a store, parents before their children, left
// to right. It trusts the pages; use Check if they may be damaged.
func walkStore(t tester, s disk.Store, visit func(v visited)) {
	t.Helper()
	root, err := FindRoot(s, quiet)
	must.Do(t, err)
	var walk func(block uint64, lo, hi string)
	walk = func(block uint64, lo, hi string) {
		p := make([]byte, s.Info().BlockSize)
		if ok, err := disk.ReadBlock(s, block, p); !ok || err != nil {
			t.Fatalf("read block %d: %t, %v", block, ok, err)
		}
		v := visited{parts: decode(t, p), block: block, lo: lo, hi: hi}
		visit(v)
		for i, r := range v.records {
			kidHi := hi
			if i < len(v.keys) {
				kidHi = v.keys[i]
			}
			walk(r.Block, lo, kidHi)
			lo = kidHi
		}
	}
	walk(root.Block, "", "")
}

// leavesOf returns the leaves of the tree in a store, left to right.
func leavesOf(t tester, s disk.Store) (leaves []visited) {
	t.Helper()
	walkStore(t, s, func(v visited) {
		if v.height == 0 {
			leaves = append(leaves, v)
		}
	})
	return leaves
}
