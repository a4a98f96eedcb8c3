package main

import (
	"encoding/binary"

	"kivaloo/wire"
)

// answerSizes has the longest answer so far, in bytes, to each type of request with possibly long
// answers. It predicts the memory for the answers to pending requests. So reading from a client
// that requests much and reads nothing can pause in time. All types that no protocol has share
// noType.
type answerSizes map[uint32]int

// expect predicts the length of the answer to a request.
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

// learn notes the length of an answer.
func (a answerSizes) learn(typ uint32, n int) {
	if typ = knownType(typ); mayBeLong(typ) {
		a[typ] = max(a[typ], n)
	}
}

// mayBeLong reports whether answers to a type of request can be longer than a few hundred bytes,
// without a limit in the request.
func mayBeLong(typ uint32) bool {
	switch typ {
	case wire.TypeLBSGet, wire.TypeS3Get, wire.TypeS3Range, wire.TypeDDBGet, wire.TypeDDBGetC, noType:
		return true
	}
	return false
}
