package memtable

import "bytes"

// Cursor walks the keys of one or more tables in order. Of each key it shows the newest change that
// is durable at the position given with Add. It may be used by any goroutine, one at a time.
type Cursor struct {
	sources []source // a heap: the least key first
	rank    int      // tables added
}

// source is one run, as far as a Cursor has come in it.
type source struct {
	key   []byte
	table *Table
	items []item // from the one at hand on
	end   Pos
	rank  int // of the table: newer ones are lower
}

// Reset takes all tables out of c.
func (c *Cursor) Reset() {
	clear(c.sources)
	c.sources, c.rank = c.sources[:0], 0
}

// Add adds a table with all changes before end, as Sort has prepared them, from key start on. Newer
// tables are added before older ones, and all of them before the first Next.
func (c *Cursor) Add(t *Table, end Pos, start []byte) {
	for _, r := range t.runs.Load().list {
		s := source{table: t, items: r.items[t.seek(r, start):], end: end, rank: c.rank}
		if s.settle() {
			c.sources = append(c.sources, s)
			c.up(len(c.sources) - 1)
		}
	}
	c.rank++
}

// settle passes over entries behind the end, and reports whether there is one before it.
func (s *source) settle() bool {
	for len(s.items) > 0 && s.items[0].pos >= s.end {
		s.items = s.items[1:]
	}
	if len(s.items) == 0 {
		return false
	}
	s.key = s.table.key(s.items[0].pos)
	return true
}

// Done reports whether there is no further key.
func (c *Cursor) Done() bool { return len(c.sources) == 0 }

// Key returns the key at hand. c must not be done.
func (c *Cursor) Key() []byte { return c.sources[0].key }

// Change returns the change at hand. c must not be done.
func (c *Cursor) Change() Change {
	s := &c.sources[0]
	e := s.table.entry(s.items[0].pos)
	return Change{Key: s.key, Value: valueOf(e), Deleted: kindOf(e) == tombstone}
}

// Next goes to the next key.
func (c *Cursor) Next() {
	for key := c.sources[0].key; ; {
		s := &c.sources[0]
		s.items = s.items[1:]
		if !s.settle() {
			last := len(c.sources) - 1
			c.sources[0], c.sources[last] = c.sources[last], source{}
			c.sources = c.sources[:last]
		}
		if c.down(); len(c.sources) == 0 || !bytes.Equal(c.sources[0].key, key) {
			return
		}
	}
}

func (c *Cursor) less(i, j int) bool {
	a, b := &c.sources[i], &c.sources[j]
	if order := bytes.Compare(a.key, b.key); order != 0 {
		return order < 0
	}
	if a.rank != b.rank {
		return a.rank < b.rank
	}
	return a.items[0].pos > b.items[0].pos
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
