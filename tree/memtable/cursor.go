package memtable

import (
	"bytes"

	"kivaloo/tree/keys"
)

// Cursor walks the keys of one or more tables in order, ascending or descending. For each key it
// shows the newest change before the position that Add was given. Any goroutine may use it, but
// only one at a time.
type Cursor struct {
	sources  []source // a heap: the key that comes first is on top
	rank     int      // tables added
	shared   int      // length of the prefix that all keys of the sources share
	prefix   []byte   // that prefix
	descends bool     // keys are in descending order
}

// source is the part of a run that a Cursor has not walked yet.
type source struct {
	head  uint64 // of the current key, after Cursor.shared bytes, so most comparisons need no key; inverted if keys descend
	table *Table
	items []item // what is left. Ascending: the current entry is the first. Descending: items[rest:] have the current key
	rest  int    // descending: the items before this index have smaller keys
	pos   Pos    // of the current entry
	own   int    // bytes of the prefix that the heads of items leave out
	end   Pos
	rank  int // of the table; newer tables have lower ranks
}

func (s *source) key() []byte { return s.table.key(s.pos) }

// Reset removes all tables from c. Its keys ascend from now on.
func (c *Cursor) Reset() {
	clear(c.sources)
	c.sources, c.rank = c.sources[:0], 0
	c.prefix, c.descends = nil, false
}

// Add adds the changes of a table before position end, from key start on. Sort must have sorted
// them. Add newer tables before older ones, and all of them before the first Next.
func (c *Cursor) Add(t *Table, end Pos, start []byte) {
	for _, r := range t.runs.Load().list {
		c.add(t, end, r, r.items[t.seek(r, start):])
	}
	c.rank++
}

// AddDown is Add for keys that descend, from the last one before key below on; an empty below means
// from the last key. A Cursor has only tables added by Add or only tables added by AddDown.
func (c *Cursor) AddDown(t *Table, end Pos, below []byte) {
	c.descends = true
	for _, r := range t.runs.Load().list {
		n := len(r.items)
		if len(below) > 0 {
			n = t.seek(r, below)
		}
		c.add(t, end, r, r.items[:n])
	}
	c.rank++
}

// add adds some items of a run.
func (c *Cursor) add(t *Table, end Pos, r *run, items []item) {
	if len(items) == 0 {
		return
	}
	s := source{table: t, items: items, own: len(r.prefix), end: end, rank: c.rank}
	c.share(r.prefix)
	if c.settle(&s) {
		c.sources = append(c.sources, s)
		c.up(len(c.sources) - 1)
	}
}

// share shortens the shared prefix of all sources for a new run with the given prefix. Heads begin
// after the shared prefix, so they are computed again if it has become shorter.
func (c *Cursor) share(prefix []byte) {
	if len(c.sources) == 0 {
		c.prefix, c.shared = prefix, len(prefix)
		return
	}
	n := keys.CommonPrefix(c.prefix, prefix)
	if n == c.shared {
		return
	}
	c.prefix, c.shared = prefix[:n], n
	for i := range c.sources { // their order stays
		c.sources[i].setHead(n, c.descends)
	}
}

// setHead computes the head of the current key, after its first shared bytes.
func (s *source) setHead(shared int, down bool) {
	i := 0
	if down {
		i = s.rest
	}
	if s.head = s.items[i].head; s.own != shared {
		s.head = keys.Head(s.key()[shared:])
	}
	if down {
		s.head = ^s.head
	}
}

// settle goes to the first entry left that is before the end, and reports whether there is one.
func (c *Cursor) settle(s *source) bool {
	if c.descends {
		if !s.settleDown() {
			return false
		}
	} else {
		for len(s.items) > 0 && s.items[0].pos >= s.end {
			s.items = s.items[1:]
		}
		if len(s.items) == 0 {
			return false
		}
		s.pos = s.items[0].pos
	}
	s.setHead(c.shared, c.descends)
	return true
}

// settleDown is settle for keys that descend. The entries of a key are next to each other, and the
// newest comes first.
func (s *source) settleDown() bool {
	for n := len(s.items); n > 0; n = s.rest {
		s.items = s.items[:n]
		last := s.items[n-1]
		s.pos = last.pos
		found := last.pos < s.end
		for s.rest = n - 1; s.rest > 0; s.rest-- {
			it := s.items[s.rest-1]
			if it.head != last.head || !bytes.Equal(s.table.key(it.pos), s.table.key(last.pos)) {
				break
			}
			if it.pos < s.end {
				s.pos, found = it.pos, true
			}
		}
		if found {
			return true
		}
	}
	return false
}

// Done reports whether c has passed the last key.
func (c *Cursor) Done() bool { return len(c.sources) == 0 }

// Key returns the current key. c must not be done.
func (c *Cursor) Key() []byte { return c.sources[0].key() }

// Change returns the current change. c must not be done.
func (c *Cursor) Change() Change {
	s := &c.sources[0]
	e := s.table.entry(s.pos)
	return Change{Key: keyOf(e), Value: valueOf(e), Deleted: kindOf(e) == tombstone}
}

// Next goes to the next key.
func (c *Cursor) Next() {
	before := c.sources[0]
	for {
		s := &c.sources[0]
		if c.descends {
			s.items = s.items[:s.rest]
		} else {
			s.items = s.items[1:]
		}
		if !c.settle(s) {
			last := len(c.sources) - 1
			c.sources[0], c.sources[last] = c.sources[last], source{}
			c.sources = c.sources[:last]
		}
		if c.down(); len(c.sources) == 0 || c.sources[0].head != before.head || !bytes.Equal(c.Key(), before.key()) {
			return
		}
	}
}

func (c *Cursor) less(i, j int) bool {
	a, b := &c.sources[i], &c.sources[j]
	if a.head != b.head {
		return a.head < b.head
	}
	if order := bytes.Compare(a.key(), b.key()); order != 0 {
		return order < 0 != c.descends
	}
	if a.rank != b.rank {
		return a.rank < b.rank
	}
	return a.pos > b.pos
}

func (c *Cursor) up(i int) {
	for parent := (i - 1) / 2; i > 0 && c.less(i, parent); parent = (i - 1) / 2 {
		c.sources[i], c.sources[parent] = c.sources[parent], c.sources[i]
		i = parent
	}
}

func (c *Cursor) down() {
	for i := 0; ; {
		least := i
		for kid := 2*i + 1; kid <= 2*i+2 && kid < len(c.sources); kid++ {
			if c.less(kid, least) {
				least = kid
			}
		}
		if least == i {
			return
		}
		c.sources[i], c.sources[least] = c.sources[least], c.sources[i]
		i = least
	}
}
