package main

import (
	"encoding/binary"

	"kivaloo/wire"
)

// answerSizes has the longest answer so far, in bytes, to each type of request with possibly long
// answers. It predicts how much memory the answers to a client's requests will take. A client that
// requests much and reads nothing is not read from before they take too much. All types that no
// protocol has share noType.
type answerSizes map[uint32]int

// expect returns how long the answer to a request may be.
func (a answerSizes) expect(typ uint32, record []byte) int {
	if typ == wire.TypeRange && len(record) >= 8 {
		return int(min(binary.BigEndian.Uint32(record[4:]), maxRangeBytes))
	}
	typ = knownType(typ)
	if !mayBeLong(typ) {
		return 0
	}
	if n, ok := a[typ]; ok {
		return n
	}
	return firstAnswerBytes
}

// learn takes note of the length of an answer.
func (a answerSizes) learn(typ uint32, n int) {
	if typ = knownType(typ); mayBeLong(typ) {
		a[typ] = max(a[typ], n)
	}
}

// mayBeLong reports whether answers to a type of request can be longer than a few hundred
// bytes, and the request does not say how long.
func mayBeLong(typ uint32) bool {
	switch typ {
	case wire.TypeLBSGet, wire.TypeS3Get, wire.TypeS3Range, wire.TypeDDBGet, wire.TypeDDBGetC, noType:
		return true
	}
	return false
}
