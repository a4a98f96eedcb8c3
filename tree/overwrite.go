package tree

import (
	"bytes"
	"runtime"
	"slices"
	"sort"
)

// Most pages never change. A leaf that only the committed tree has, and that is not in the store yet, may take values of the
// same length in place: then no page is copied, and none of those above it. Such a change waits with its batch, and is made
// at the moment at which the batch is published. So the committed tree never shows what is not durable.
//
// Until then the next batch is built. It finds what the batch before is going to write in that batch's overwrites, and pages that
// it copies get that with the copy.
//
// Readers look at pages at any time. They note the count of Readers.writes before they read and after: if it has changed, or
// overwriting is going on, what they have read may be neither of before nor of after, and they read again. So a batch shows to
// them as a whole, too. Reading without a lock what is written meanwhile relies on loads not being reordered, which not all
// processors promise; where they do not, nothing is overwritten beside Readers.

// overwrite is a value that is to be written over another.
type overwrite struct {
	outcome
	leaf nodeID
}

const loadsInOrder = runtime.GOARCH == "amd64"

// mayOverwrite reports whether a leaf is of the tree at hand alone.
func (t *Tree) mayOverwrite(w *write, nd *node) bool {
	if nd.state != frameFresh || w.copies || t.cache.readers != nil && !loadsInOrder {
		return false
	}
	cp := &t.checkpoint
	if cp.running && nd.born <= t.born(&cp.saving.version) {
		return false
	}
	return len(t.snapshots) == 0 || nd.born > t.born(&t.snapshots[len(t.snapshots)-1].version) // they are in the order of their age
}

// settleLeaf takes the outcomes for one leaf, those from first on, out of those that pages are built for, if they can be
// written over what is there. If they cannot, it adds what the batch under way is going to write there.
func (t *Tree) settleLeaf(w *write, id nodeID, nd *node, first int) {
	own := w.outcomes[first:]
	if len(own) == 0 {
		return
	}
	if t.mayOverwrite(w, nd) && !slices.ContainsFunc(own, func(o outcome) bool { return o.at == 0 }) {
		for _, o := range own {
			w.overwrites = append(w.overwrites, overwrite{o, id})
		}
		nd.written = w.serial
		w.outcomes = w.outcomes[:first]
		return
	}
	if !t.writesComeTo(nd) {
		return
	}
	for _, o := range t.writes.syncing.overwrites {
		if o.leaf == id && !slices.ContainsFunc(own, func(mine outcome) bool { return bytes.Equal(mine.key, o.key) }) {
			// That batch, and what it refers to, may be gone before this one is built.
			w.outcomes = append(w.outcomes, outcome{key: bytes.Clone(o.key), value: bytes.Clone(o.value), at: o.at, action: carry})
		}
	}
	slices.SortFunc(w.outcomes[first:], func(a, b outcome) int { return bytes.Compare(a.key, b.key) })
}

// writesComeTo reports whether the batch under way may be going to write into a leaf. The one that is being built, which may
// have been located before, notes in the same place that it is.
func (t *Tree) writesComeTo(nd *node) bool {
	return t.writes.syncing != nil && int32(nd.written-t.writes.syncing.serial) >= 0
}

// written returns what the batch under way is going to write over the value of key, if it is.
func (w *write) written(key []byte) ([]byte, bool) {
	i := sort.Search(len(w.overwrites), func(i int) bool { return bytes.Compare(w.overwrites[i].key, key) >= 0 })
	if i == len(w.overwrites) || !bytes.Equal(w.overwrites[i].key, key) {
		return nil, false
	}
	return w.overwrites[i].value, true
}

// mayCopy reports whether the page of nd, which no outcome is for, can be read to make another of it. If this batch or the
// one before is going to write into it, that is not so: then w is built anew, without overwriting, or when the batch
// before has been published.
func (t *Tree) mayCopy(w *write, nd *node) bool {
	switch {
	case nd.height > 0:
	case t.writesComeTo(nd):
		w.after = true
		return false
	case nd.written == w.serial && len(w.overwrites) > 0:
		w.collided = true
		return false
	}
	return true
}

// whenStill calls f when no batch is under way that is going to overwrite something: at once if there is none, else before the
// next batch is begun.
func (t *Tree) whenStill(f func()) {
	if len(t.waitStill) == 0 && t.isStill() {
		f()
		return
	}
	t.waitStill = append(t.waitStill, f)
}

func (t *Tree) isStill() bool {
	for _, w := range []*write{t.writes.building, t.writes.syncing} {
		if w != nil && len(w.overwrites) > 0 {
			return false
		}
	}
	return true
}

// still tells those who wait that the moment has come, if it has.
func (t *Tree) still() {
	if len(t.waitStill) == 0 || !t.isStill() {
		return
	}
	waiting := t.waitStill
	t.waitStill = nil
	for _, f := range waiting {
		f()
	}
}

// writeOver makes the overwrites of a batch that is durable.
func (t *Tree) writeOver(w *write) {
	touched, c := 0, t.cache
	for group := w.overwrites; len(group) > 0; {
		n := min(len(group), overwriteGroup)
		for _, o := range group[:n] {
			touched += int(c.page(c.node(o.leaf))[o.at])
		}
		for _, o := range group[:n] {
			copy(c.page(c.node(o.leaf))[o.at+1:], o.value)
		}
		group = group[n:]
	}
	t.reads.touched = uint64(touched)
}
