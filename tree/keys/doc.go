// Package keys compares keys: byte strings, ordered bytewise, a prefix before what it begins.
package keys

import "encoding/binary"

// Head is the first 8 bytes of s as a number, padded with zeros. Heads order as the strings do, but
// equal heads say nothing.
func Head(s []byte) uint64 {
	if len(s) >= 8 {
		return binary.BigEndian.Uint64(s)
	}
	var h uint64
	for i, b := range s {
		h |= uint64(b) << (56 - 8*i)
	}
	return h
}

// CommonPrefix is how many bytes a and b share from the start.
func CommonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for i+8 <= n && binary.LittleEndian.Uint64(a[i:]) == binary.LittleEndian.Uint64(b[i:]) {
		i += 8
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// ShortestSeparator returns the shortest s with left < s <= right, as a part of right. left must be
// less than right.
func ShortestSeparator(left, right []byte) []byte {
	return right[:CommonPrefix(left, right)+1]
}
