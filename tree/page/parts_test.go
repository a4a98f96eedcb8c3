package page

import (
	"testing"

	"kivaloo/internal/must"
)

// parts is a parsed page.
type parts struct {
	height  int
	prefix  int
	root    bool
	nodes   uint64
	keys    []string
	values  []string // of a leaf
	records []Child  // of a parent
}

// decode parses a page.
func decode(t testing.TB, p []byte) parts {
	t.Helper()
	l, err := Parse(p)
	must.Do(t, err)
	a := parts{height: l.Height, prefix: l.Prefix, root: l.Root, nodes: l.Nodes}
	at := l.Body
	for range l.Keys {
		a.keys = append(a.keys, string(String(p, at)))
		at += 1 + int(p[at])
	}
	if l.Height > 0 {
		for i := range l.Keys + 1 {
			a.records = append(a.records, GetChild(p[l.Second+i*ChildBytes:]))
		}
		return a
	}
	for range l.Keys {
		a.values = append(a.values, string(String(p, at)))
		at += 1 + int(p[at])
	}
	return a
}

// encode encodes a page.
func (a parts) encode(blockSize int) []byte {
	p := make([]byte, blockSize)
	at := PutHead(p, len(a.keys), a.height, a.prefix, a.root)
	if a.root {
		PutRoot(p, a.nodes, false)
	}
	for _, k := range a.keys {
		at = PutString(p, at, []byte(k))
	}
	for _, v := range a.values {
		at = PutString(p, at, []byte(v))
	}
	for _, r := range a.records {
		PutChild(p[at:], r)
		at += ChildBytes
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
