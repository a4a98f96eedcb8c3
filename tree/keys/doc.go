// Package keys is internal to kivaloo: other programs use package kivaloo.
//
// It compares keys. Keys are byte strings in bytewise order; a prefix comes before longer
// strings.
package keys

import "encoding/binary"

// Head returns the first 8 bytes of s as a number, padded with zeros. If two heads differ, the
// strings are in the same order. Equal heads do not decide the order.
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

// CommonPrefix returns how many leading bytes a and b share.
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

// ShortestSeparator returns the shortest s with left < s <= right. It is a prefix of right. left
// must be less than right.
func ShortestSeparator(left, right []byte) []byte {
	return right[:CommonPrefix(left, right)+1]
}
