package tree

import "kivaloo/tree/memtable"

// version is one whole tree in the store.
type version struct {
	root   nodeID // pinned as long as somebody has the version
	nodes  uint64 // pages, root included
	height int
}

// view is what a reader sees: a tree, and the changes that it does not hold yet. A view never
// changes, but the newest of its tables does: a reader sees what is durable in it when it looks.
//
// A flush moves changes from a table into the tree, so the views before and after a flush step show
// the same pairs.
type view struct {
	tree   version
	tables []*memtable.Table // the newest first
}

// get returns what the tables say of a key.
func (v *view) get(hash uint64, key []byte) ([]byte, memtable.Found) {
	for _, t := range v.tables {
		if value, found := t.Get(hash, key, t.Durable()); found != memtable.Unknown {
			return value, found
		}
	}
	return nil, memtable.Unknown
}
