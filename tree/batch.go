package tree

import (
	"bytes"
	"cmp"
	"slices"
)

// ref is one request of a batch of a client.
type ref struct {
	b *Batch
	i int32
}

func (r ref) request() *Request { return &r.b.Requests[r.i] }

// item is one entry of the sorted batch: a modifying request, or a leaf that is
// to be rewritten only to get it away from where it is.
type item struct {
	head uint64 // of the key, after what all keys of the batch share
	key  []byte
	req  int32 // into write.requests, or touchLeaf
	leaf uint64
}

const touchLeaf = -1

// outcome is what a batch makes of one key: what the key will hold, absolutely.
type outcome struct {
	key    []byte
	value  []byte
	at     uint32 // offset in the leaf of a value of the same length, of which it takes the place; 0: there is none
	action action
}

type action uint8

const (
	put    action = iota // key gets value
	remove               // key is there and goes
	carry                // as put, but of the batch before, which has it in the journal
	touch                // nothing changes but the place of the leaf that key falls into
)

// sortItems sorts by key; requests for one key stay in the order they arrived,
// after any touch.
func sortItems(items []item) {
	if len(items) < 2 {
		return
	}
	common := len(items[0].key)
	for _, it := range items[1:] {
		common = min(common, commonPrefix(items[0].key, it.key))
	}
	sorted := true
	for i := range items {
		items[i].head = keyHead(items[i].key[common:])
		sorted = sorted && (i == 0 || compareItems(items[i-1], items[i]) <= 0)
	}
	if !sorted { // an ordered load comes in order
		slices.SortFunc(items, compareItems)
	}
}

func compareItems(a, b item) int {
	switch {
	case a.head < b.head:
		return -1
	case a.head > b.head:
		return 1
	}
	if order := bytes.Compare(a.key, b.key); order != 0 {
		return order
	}
	return cmp.Compare(a.req, b.req)
}

// locate walks the base tree once for the whole batch, decides what every request
// does, and gathers the outcomes in w. It returns false when pages are missing; they have
// been asked for, and it is to be called again when they are there.
func (t *Tree) locate(w *write) bool {
	w.outcomes, w.overwrites, w.leaves = w.outcomes[:0], w.overwrites[:0], w.leaves[:0]
	complete := t.locateIn(w, w.base.root, w.items)
	for leaves := w.leaves; len(leaves) > 0; {
		n := min(len(leaves), leafGroup)
		t.lookUp()
		complete = t.holdLeaves(w, leaves[:n]) && complete
		t.touchSlots(leaves[:n])
		for _, l := range leaves[:n] {
			if l.id != noNode {
				nd, first := t.cache.node(l.id), len(w.outcomes)
				t.judgeLeaf(w, nd, l.items)
				t.settleLeaf(w, l.id, nd, first)
			}
		}
		leaves = leaves[n:]
	}
	return complete
}

// leafItems is a leaf, and the items that fall into it.
type leafItems struct {
	parent *node // nil: the leaf is the root
	kid    int   // of parent
	id     nodeID
	items  []item
}

// locateIn gathers the leaves below a page in w.leaves.
func (t *Tree) locateIn(w *write, id nodeID, items []item) bool {
	c := t.cache
	nd := c.node(id)
	t.pin(w, id, nd)
	if nd.height == 0 {
		w.leaves = append(w.leaves, leafItems{id: id, items: items})
		return true
	}
	complete := true
	for len(items) > 0 {
		i := c.childFor(nd, items[0].key)
		n := len(items)
		if i < int(nd.keys) {
			n = countBefore(items, c.key(nd, i))
		}
		if nd.height == 1 {
			w.leaves = append(w.leaves, leafItems{parent: nd, kid: i, id: c.children(nd)[i], items: items[:n]})
		} else if child := c.child(nd, i); child != noNode {
			complete = t.locateIn(w, child, items[:n]) && complete
		} else {
			complete = t.waitToLocate(w, nd, i, items[:n]) && complete
		}
		items = items[n:]
	}
	return complete
}

// waitToLocate has child kid of a parent fetched, where the way to items ends. It returns true if that cannot be had: then the
// items are refused.
func (t *Tree) waitToLocate(w *write, parent *node, kid int, items []item) bool {
	err := t.fetchForWrite(w, t.cache.wantChild(parent, kid))
	if err != nil {
		w.refuse(items, err)
	}
	return err != nil
}

// holdLeaves pins the pages of some leaves, and has those fetched that are not in memory: their id is noNode then. It looks at
// all of them first, so that the processor waits for the memory of many at a time: see getMany.
func (t *Tree) holdLeaves(w *write, leaves []leafItems) bool {
	c, touched := t.cache, uint64(0)
	for i := range leaves {
		nd := c.node(leaves[i].id) // of id 0, too, there is a frame
		touched += nd.block + nd.touchIndex()
	}
	t.reads.touched = touched
	complete := true
	for i := range leaves {
		l := &leaves[i]
		if l.parent == nil {
			continue
		}
		if l.id = c.child(l.parent, l.kid); l.id == noNode {
			complete = t.waitToLocate(w, l.parent, l.kid, l.items) && complete
			continue
		}
		t.pin(w, l.id, c.node(l.id))
	}
	return complete
}

// touchSlots fetches the keys and values that items are about.
func (t *Tree) touchSlots(leaves []leafItems) {
	c, touched := t.cache, 0
	for i := range leaves {
		if leaves[i].id == noNode {
			continue
		}
		nd := c.node(leaves[i].id)
		p := c.page(nd)
		for _, it := range leaves[i].items {
			if s := c.locate(nd, it.key); s.number >= 0 {
				touched += int(p[s.key]) + int(p[s.value])
			}
		}
	}
	t.reads.touched += uint64(touched)
}

// countBefore returns how many of items, of which the first is, are before key.
func countBefore(items []item, key []byte) int {
	// Most often it is one, or few: gallop.
	step, n := 1, 1
	for n+step <= len(items) && bytes.Compare(items[n+step-1].key, key) < 0 {
		n += step
		step *= 2
	}
	for step > 0 {
		for n+step > len(items) {
			step /= 2
			if step == 0 {
				return n
			}
		}
		if bytes.Compare(items[n+step-1].key, key) < 0 {
			n += step
		}
		step /= 2
	}
	return n
}

// judgeLeaf decides the items that fall into one leaf.
func (t *Tree) judgeLeaf(w *write, nd *node, items []item) {
	for len(items) > 0 {
		if items[0].req == touchLeaf {
			if items[0].leaf == nd.block {
				w.outcomes = append(w.outcomes, outcome{key: items[0].key, action: touch})
			}
			items = items[1:]
			continue
		}
		n := 1
		for n < len(items) && items[n].head == items[0].head && bytes.Equal(items[n].key, items[0].key) {
			n++
		}
		at, there := t.cache.valueOffset(nd, items[0].key)
		var before []byte
		if there {
			before = stringAt(t.cache.page(nd), at)
			if t.writesComeTo(nd) {
				if value, ok := t.writes.syncing.written(items[0].key); ok {
					before = value
				}
			}
		}
		after, remains := w.judgeKey(items[:n], before, there)
		switch {
		case remains && !(there && bytes.Equal(before, after)):
			o := outcome{key: items[0].key, value: after, action: put}
			if there && len(before) == len(after) {
				o.at = uint32(at)
			}
			w.outcomes = append(w.outcomes, o)
		case there && !remains:
			w.outcomes = append(w.outcomes, outcome{key: items[0].key, action: remove})
		}
		items = items[n:]
	}
}

// judgeKey runs the requests for one key, in order, from the value it has. It notes on
// each whether its condition held, and returns what the key holds in the end.
func (w *write) judgeKey(items []item, value []byte, there bool) ([]byte, bool) {
	for _, it := range items {
		r := w.requests[it.req].request()
		r.changed = true
		switch r.Op {
		case Set:
			value, there = r.Value, true
		case Add:
			if r.changed = !there; r.changed {
				value, there = r.Value, true
			}
		case Modify:
			if r.changed = there; r.changed {
				value = r.Value
			}
		case CAS:
			if r.changed = there && bytes.Equal(value, r.Old); r.changed {
				value = r.Value
			}
		case Delete:
			there = false
		case CAD:
			if r.changed = there && bytes.Equal(value, r.Old); r.changed {
				there = false
			}
		}
	}
	return value, there
}

// refuseTogether fails the requests that belong together with one that has been refused, and takes them out of
// the batch. It reports whether there were any: then all has to be judged anew.
func (w *write) refuseTogether() bool {
	failed := make(map[*Batch]error)
	for _, r := range w.requests {
		if r.b.Atomic && r.request().err != nil {
			failed[r.b] = r.request().err
		}
	}
	refused := false
	w.items = slices.DeleteFunc(w.items, func(it item) bool {
		if it.req == touchLeaf {
			return false
		}
		r := w.requests[it.req]
		err := failed[r.b]
		if err == nil {
			return false
		}
		r.request().err = err
		refused = true
		return true
	})
	return refused
}

// refuse fails the requests among items: their leaf cannot be had.
func (w *write) refuse(items []item, err error) {
	for _, it := range items {
		if it.req != touchLeaf {
			w.requests[it.req].request().err = err
		}
	}
}
