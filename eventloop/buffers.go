package eventloop

import "math/bits"

// spares are unused buffers of one loop, by size: the seven powers of two from
// smallestBufferBytes to largestSpareBytes.
type spares [7][][]byte

// class returns the place for buffers of size bytes, a power of two.
func class(size int) int { return bits.Len(uint(size/smallestBufferBytes)) - 1 }

// get returns an empty buffer with room for n bytes, and at most twice as
// many beyond smallestBufferBytes.
func (s *spares) get(n int) []byte {
	if n > largestSpareBytes {
		return make([]byte, 0, n)
	}
	size := smallestBufferBytes
	for size < n {
		size *= 2
	}
	list := &s[class(size)]
	if last := len(*list) - 1; last >= 0 {
		b := (*list)[last]
		*list = (*list)[:last]
		return b
	}
	return make([]byte, 0, size)
}

// put takes a buffer back that nobody uses any more.
func (s *spares) put(b []byte) {
	size := cap(b)
	if size < smallestBufferBytes || size > largestSpareBytes || size&(size-1) != 0 {
		return
	}
	if list := &s[class(size)]; len(*list) < sparesPerSize {
		*list = append(*list, b[:0])
	}
}

// grow returns b with room for n bytes more, in at least twice its capacity but
// no more than whole bytes if it has to move. It puts the old one back. A very long one moves once more only,
// when a quarter of it is there: the room that it does not use yet is not touched.
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
