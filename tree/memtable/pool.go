package memtable

import "kivaloo/tree/offheap"

// Pool makes tables from the memory of freed tables. Fresh memory from the system costs page faults
// and zeroing, which would delay additions to a table. The zero Pool is ready for use. Only one
// goroutine may create, free and add to the tables of a Pool.
type Pool struct {
	segments []offheap.Memory
	index    offheap.Memory
}

// Bytes returns how much memory is kept for the next table.
func (p *Pool) Bytes() int { return len(p.segments)*segmentBytes + len(p.index.Bytes()) }

// Free returns that memory to the system.
func (p *Pool) Free() {
	for _, m := range p.segments {
		offheap.Free(m)
	}
	offheap.Free(p.index)
	*p = Pool{}
}

// segment returns memory for entries, with any content.
func (p *Pool) segment() (offheap.Memory, error) {
	n := len(p.segments)
	if n == 0 {
		return offheap.Alloc(segmentBytes)
	}
	m := p.segments[n-1]
	p.segments = p.segments[:n-1]
	return m, nil
}

// keepSegment takes back a segment of a freed table. It keeps no more segments than a table with
// this limit needs, and frees the others.
func (p *Pool) keepSegment(m offheap.Memory, limit int) {
	if !offheap.Reusable || (len(p.segments)+1)*segmentBytes > limit {
		offheap.Free(m)
		return
	}
	p.segments = append(p.segments, m)
}

func (p *Pool) newIndex(slots int) (*index, error) {
	m := p.index
	if p.index = (offheap.Memory{}); len(m.Bytes()) == 8*slots {
		clear(m.Bytes())
	} else {
		offheap.Free(m)
		var err error
		if m, err = offheap.Alloc(8 * slots); err != nil {
			return nil, err
		}
	}
	return &index{memory: m, mask: uint64(slots) - 1}, nil
}

// keepIndex takes back the memory of an index. Only the latest one is kept.
func (p *Pool) keepIndex(m offheap.Memory) {
	if !offheap.Reusable {
		offheap.Free(m)
		return
	}
	offheap.Free(p.index)
	p.index = m
}
