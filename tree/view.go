package tree

import "kivaloo/tree/memtable"

// version is one whole tree in the store.
type version struct {
	root   nodeID // pinned while the version is in use
	nodes  uint64 // number of pages, including the root
	height int
}

// view is what a reader sees: a tree, and the changes that it does not hold yet. A view never
// changes, except that its newest memtable grows. Of that a reader sees what was durable when it
// looked.
//
// A flush moves changes from a memtable into the tree, so the views before and after a flush step
// show the same pairs.
type view struct {
	tree   version
	tables []*memtable.Table // newest first
}

// get returns the state of a key in the memtables.
func (v *view) get(hash uint64, key []byte) ([]byte, memtable.Found) {
	for _, t := range v.tables {
		if value, found := t.Get(hash, key, t.Durable()); found != memtable.Unknown {
			return value, found
		}
	}
	return nil, memtable.Unknown
}
