package stress

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sync"
)

// index finds records by the places of their keys, so that missing records of a range can be found.
// The key space is divided into parts with few records each, so that goroutines rarely contend.
type index struct {
	shift uint // converts a place to the number of its part
	parts []part
}

type part struct {
	sync.Mutex
	records []uint64 // their numbers, unordered
}

// newIndex returns an index with records 0 to n-1.
func newIndex(n uint64) *index {
	width := bits.Len64(n / recordsInPart)
	x := &index{shift: uint(64 - width), parts: make([]part, 1<<width)}
	for i := range n {
		x.add(i)
	}
	return x
}

func (x *index) add(n uint64) {
	p := &x.parts[mix64(n)>>x.shift]
	p.Lock()
	p.records = append(p.records, n)
	p.Unlock()
}

// appendWithin appends the records from one place to another, both included, in key order.
func (x *index) appendWithin(dst []wanted, first, last uint64) []wanted {
	for i := first >> x.shift; i <= last>>x.shift; i++ {
		p := &x.parts[i]
		p.Lock()
		for _, n := range p.records {
			if place := mix64(n); place >= first && place <= last {
				dst = append(dst, wanted{place: place, n: n})
			}
		}
		p.Unlock()
	}
	slices.SortFunc(dst, func(a, b wanted) int { return cmp.Compare(a.place, b.place) })
	return dst
}

// wanted is a record that a range must have, unless it has been deleted.
type wanted struct {
	place, n uint64
	from     uint32 // acked when the range was sent
}

// rangeCheck compares the answer to a range with what it may be. Each record must be as if it was
// read alone: the answer as a whole need not show one moment.
type rangeCheck struct {
	ledger  *ledger
	judge   func(error)
	scratch []byte // room for a value
	checked int64

	first, last uint64   // places
	wanted      []wanted // all of them
	next        int      // the first of them that the answer has not reached
	reached     bool     // there has been a pair
	place       uint64   // place of that pair
}

// begin records what exists from one place to another, both included, before the range is sent.
func (c *rangeCheck) begin(first, last uint64) {
	c.first, c.last, c.next, c.reached = first, last, 0, false
	c.wanted = c.ledger.index.appendWithin(c.wanted[:0], first, last)
	for i := range c.wanted {
		w := &c.wanted[i]
		w.from = c.ledger.entry(w.n).acked.Load()
	}
}

// pair checks the next pair of the answer, and that wanted records before it may be absent.
func (c *rangeCheck) pair(key, value []byte) {
	c.checked++
	place, ok := placeOf(key)
	if !ok || place < c.first || place > c.last || c.reached && place <= c.place {
		c.judge(fmt.Errorf("%w: range from %q: key %q is out of order or outside", ErrVerify, appendKeyAt(nil, c.first), key))
		return
	}
	c.reached, c.place = true, place
	for c.next < len(c.wanted) && c.wanted[c.next].place < place {
		c.missing()
	}
	from := uint32(0)
	if c.next < len(c.wanted) && c.wanted[c.next].place == place {
		from = c.wanted[c.next].from
		c.next++
	}
	n, run, _, err := parseValue(value, c.scratch)
	switch {
	case err != nil:
		c.judge(err)
	case mix64(n) != place:
		c.judge(fmt.Errorf("%w: key %q has the value of record %d", ErrVerify, key, n))
	case run == c.ledger.run && n >= maxRecords:
		c.judge(fmt.Errorf("%w: record %d was never written", ErrVerify, n))
	case run == c.ledger.run || from > 0:
		c.judge(c.ledger.checkFound(n, c.ledger.entry(n), from, value, c.scratch))
	}
}

// end checks that the answer may end here.
func (c *rangeCheck) end() {
	for c.next < len(c.wanted) {
		c.missing()
	}
}

// missing checks that the next wanted record may be absent.
func (c *rangeCheck) missing() {
	w := &c.wanted[c.next]
	c.next++
	c.checked++
	c.judge(c.ledger.checkAbsent(w.n, c.ledger.entry(w.n), w.from))
}

// placeOf returns the place of a key.
func placeOf(key []byte) (place uint64, ok bool) {
	if len(key) != recordKeyLen || string(key[:len(keyPrefix)]) != keyPrefix {
		return 0, false
	}
	var b [8]byte
	if _, err := hex.Decode(b[:], key[len(keyPrefix):]); err != nil {
		return 0, false
	}
	for _, digit := range b {
		place = place<<8 | uint64(digit)
	}
	return place, true
}

// lastOfScan returns the last place of a range that starts at record n and has, on average, count
// of total records.
func lastOfScan(n, count, total uint64) uint64 {
	last, carry := bits.Add64(mix64(n), math.MaxUint64/total*count-1, 0)
	if carry != 0 {
		return math.MaxUint64
	}
	return last
}

// appendEnd appends the end of a range whose last place is given.
func appendEnd(dst []byte, last uint64) []byte {
	if last == math.MaxUint64 {
		return append(dst, keyPrefix+"g"...) // after all hexadecimal digits
	}
	return appendKeyAt(dst, last+1)
}
