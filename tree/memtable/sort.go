package memtable

import (
	"bytes"
	"cmp"
	"slices"
	"sort"

	"kivaloo/tree/keys"
)

// runs holds the entries before a position, as sorted runs. It is immutable: adding a run makes a
// new runs.
type runs struct {
	to   Pos
	list []*run
}

// run is a stretch of the arena in key order. If a key has several entries, the newest comes first.
type run struct {
	prefix []byte // prefix that all its keys share
	items  []item
}

// item is one entry of a run. head is the first 8 bytes of its key after the prefix.
type item struct {
	head uint64
	pos  Pos
}

// mergeItems bounds the length of merged runs. Merging longer ones would delay the callers of Sort.
const mergeItems = 32 << 10

// Sort sorts up to max more of the entries before position to, which must be durable, so that a
// Cursor can walk them. It reports whether all of them are sorted now. Any goroutine may call it.
func (t *Table) Sort(to Pos, max int) bool {
	if t.runs.Load().to >= to {
		return true
	}
	t.sorting.Lock()
	defer t.sorting.Unlock()
	old := t.runs.Load()
	p := t.next(old.to, to)
	var items []item
	for ; p < to && len(items) < max; p = t.next(t.after(p), to) {
		if kindOf(t.entry(p)) != dead {
			items = append(items, item{pos: p})
		}
	}
	list := slices.Clone(old.list)
	if len(items) > 0 {
		list = append(list, t.sorted(items))
	}
	// Runs as long as max are left alone. Merging is not worth it for a table sorted as a whole for
	// one walk.
	for n := len(list); n > 1 && len(list[n-1].items) < max && len(list[n-2].items) < 2*len(list[n-1].items) &&
		len(list[n-2].items)+len(list[n-1].items) <= mergeItems; n-- {
		list[n-2] = t.merge(list[n-2].items, list[n-1].items)
		list = list[:n-1]
	}
	t.runs.Store(&runs{to: p, list: list})
	return p >= to
}

func (t *Table) key(p Pos) []byte { return keyOf(t.entry(p)) }

// sorted makes a run of items that may be in any order.
func (t *Table) sorted(items []item) *run {
	first := t.key(items[0].pos)
	common := len(first)
	for _, it := range items[1:] {
		common = keys.CommonPrefix(first[:common], t.key(it.pos))
	}
	r := &run{prefix: first[:common], items: items}
	t.setHeads(r)
	sortByHead(items)
	for from, i := 0, 1; i <= len(items); i++ {
		if i == len(items) || items[i].head != items[from].head {
			if i-from > 1 {
				slices.SortFunc(items[from:i], t.compare)
			}
			from = i
		}
	}
	return r
}

// sortByHead is a radix sort, from the last byte of the heads to the first. A sort by comparison
// would take several times as long.
func sortByHead(items []item) {
	var counts [8][256]int32
	for _, it := range items {
		for b := range 8 {
			counts[b][byte(it.head>>(8*b))]++
		}
	}
	from, to := items, make([]item, len(items))
	for b := range 8 {
		next := &counts[b]
		if int(next[byte(items[0].head>>(8*b))]) == len(items) {
			continue // all have the same byte here
		}
		at := int32(0)
		for i, n := range next {
			next[i], at = at, at+n
		}
		for _, it := range from {
			i := byte(it.head >> (8 * b))
			to[next[i]] = it
			next[i]++
		}
		from, to = to, from
	}
	copy(items, from) // copies onto itself, or from the other half
}

func (t *Table) setHeads(r *run) {
	for i := range r.items {
		r.items[i].head = keys.Head(t.key(r.items[i].pos)[len(r.prefix):])
	}
}

// compare orders items whose heads are equal.
func (t *Table) compare(a, b item) int {
	if c := bytes.Compare(t.key(a.pos), t.key(b.pos)); c != 0 {
		return c
	}
	return cmp.Compare(b.pos, a.pos)
}

// merge makes one run of two. a is the older one.
func (t *Table) merge(a, b []item) *run {
	r := &run{items: make([]item, 0, len(a)+len(b))}
	for len(a) > 0 && len(b) > 0 {
		if bytes.Compare(t.key(a[0].pos), t.key(b[0].pos)) < 0 {
			r.items, a = append(r.items, a[0]), a[1:]
		} else {
			r.items, b = append(r.items, b[0]), b[1:]
		}
	}
	r.items = append(append(r.items, a...), b...)
	// The keys are in order, so all share what the first and the last share.
	first, last := t.key(r.items[0].pos), t.key(r.items[len(r.items)-1].pos)
	r.prefix = first[:keys.CommonPrefix(first, last)]
	t.setHeads(r)
	return r
}

// seek returns the index of the first item of r that is not less than key.
func (t *Table) seek(r *run, key []byte) int {
	if n := len(r.prefix); n > 0 {
		if order := bytes.Compare(key[:min(n, len(key))], r.prefix); order < 0 {
			return 0
		} else if order > 0 {
			return len(r.items)
		}
	}
	head := keys.Head(key[len(r.prefix):])
	return sort.Search(len(r.items), func(i int) bool {
		if it := r.items[i]; it.head != head {
			return it.head > head
		}
		return bytes.Compare(t.key(r.items[i].pos), key) >= 0
	})
}
