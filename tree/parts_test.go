package tree

import "kivaloo/disk"

// parts is a page taken apart.
type parts struct {
	height  int
	prefix  int
	root    bool
	nodes   uint64
	keys    []string
	values  []string // of a leaf
	records []record // of a parent
}

// decode takes a page apart.
func decode(t tester, p []byte) parts {
	t.Helper()
	l, err := parseLayout(p)
	if err != nil {
		t.Fatal(err)
	}
	a := parts{height: l.height, prefix: l.prefix, root: l.root, nodes: l.nodes}
	at := l.body
	for range l.keys {
		a.keys = append(a.keys, string(stringAt(p, at)))
		at += 1 + int(p[at])
	}
	if l.height > 0 {
		for i := range l.keys + 1 {
			a.records = append(a.records, getRecord(p[l.keysEnd+i*recordBytes:]))
		}
		return a
	}
	for range l.keys {
		a.values = append(a.values, string(stringAt(p, at)))
		at += 1 + int(p[at])
	}
	return a
}

// encode puts a page together.
func (a parts) encode(blockSize int) []byte {
	p := make([]byte, blockSize)
	at := putHead(p, len(a.keys), a.height, a.prefix, a.root)
	if a.root {
		putNodes(p, a.nodes)
	}
	for _, k := range a.keys {
		at = putString(p, at, []byte(k))
	}
	for _, v := range a.values {
		at = putString(p, at, []byte(v))
	}
	for _, r := range a.records {
		putRecord(p[at:], r)
		at += recordBytes
	}
	return p
}

// size is the length in bytes of the page without its padding, by the definition of the format.
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

// visited is a page of a tree as a walk comes to it.
type visited struct {
	parts
	block  uint64
	lo, hi string // bounds of its keys; an empty hi is no bound
}

// walkStore calls visit with every page of the tree in a store, parents before their children, left to
// right. It trusts the pages: Check is for those that do not.
func walkStore(t tester, s disk.Store, visit func(v visited)) {
	t.Helper()
	root, err := FindRoot(s, quiet)
	if err != nil {
		t.Fatal(err)
	}
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
			walk(r.block, lo, kidHi)
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
