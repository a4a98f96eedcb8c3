package eventloop

import (
	"math/bits"

	"kivaloo/wire"
)

// spares are unused buffers of one loop, by size: the seven powers of two from
// smallestBufferBytes to largestSpareBytes. One more is for long records.
type spares struct {
	sizes [7][][]byte
	long  []byte // longer than largestSpareBytes, or nil
	lent  []byte // the last buffer given away by Keep, with a record after the header, or nil
}

// lend notes that the handler now owns b.
func (s *spares) lend(b []byte) {
	if cap(b) <= longSpareBytes {
		s.lent = b
	}
}

// giveBack takes back the buffer of a record, if it was the last one lent.
func (s *spares) giveBack(record []byte) {
	if len(record) > 0 && len(s.lent) > wire.HeaderSize && &s.lent[wire.HeaderSize] == &record[0] {
		s.put(s.lent)
		s.lent = nil
	}
}

// class returns the place for buffers of size bytes, a power of two.
func class(size int) int { return bits.Len(uint(size/smallestBufferBytes)) - 1 }

// get returns an empty buffer with room for n bytes. Above smallestBufferBytes it has at most twice
// that, unless it is the long spare.
func (s *spares) get(n int) []byte {
	if n > largestSpareBytes {
		if b := s.long; cap(b) >= n {
			s.long = nil
			return b
		}
		return make([]byte, 0, n)
	}
	size := smallestBufferBytes
	for size < n {
		size *= 2
	}
	list := &s.sizes[class(size)]
	if last := len(*list) - 1; last >= 0 {
		b := (*list)[last]
		*list = (*list)[:last]
		return b
	}
	return make([]byte, 0, size)
}

// put takes back an unused buffer.
func (s *spares) put(b []byte) {
	size := cap(b)
	if size > max(largestSpareBytes, cap(s.long)) && size <= longSpareBytes {
		s.long = b[:0]
		return
	}
	if size < smallestBufferBytes || size > largestSpareBytes || size&(size-1) != 0 {
		return
	}
	if list := &s.sizes[class(size)]; len(*list) < sparesPerSize {
		*list = append(*list, b[:0])
	}
}

// grow returns b with room for n more bytes. If b has to move, the new buffer has at least twice
// its capacity, but at most whole bytes, and b goes back to the spares. A huge buffer gets all of
// its whole bytes once it has a quarter of them. So it moves only once more, and the room that it
// does not use yet is never touched.
func (s *spares) grow(b []byte, n int, whole int64) []byte {
	need := len(b) + n
	if need <= cap(b) {
		return b
	}
	size := 2 * int64(cap(b))
	if size >= hugeBytes && 2*size >= whole {
		size = whole
	}
	grown := s.get(max(need, int(min(whole, size))))
	grown = append(grown, b...)
	s.put(b)
	return grown
}
