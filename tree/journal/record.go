package journal

import (
	"fmt"

	"kivaloo/disk"
)

// A record is the outcome of one key: an op, a length byte and the key, and after a set a length
// byte and the value. It is absolute, so replaying a record that a tree already holds is harmless.
const (
	opSet    = 1
	opDelete = 2
)

var errShort = fmt.Errorf("%w: journal: a record runs past the end of its commit", disk.ErrCorrupt)

// Record is one change. Key and Value alias the payload.
type Record struct {
	Key, Value []byte
	Deleted    bool
}

// Next parses the first record of a commit's payload and returns the rest.
func Next(b []byte) (r Record, rest []byte, err error) {
	if len(b) < 2 || len(b) < 2+int(b[1]) {
		return r, nil, errShort
	}
	op := b[0]
	r.Key, b = b[2:2+int(b[1])], b[2+int(b[1]):]
	switch op {
	case opDelete:
		r.Deleted = true
		return r, b, nil
	case opSet:
		if len(b) < 1 || len(b) < 1+int(b[0]) {
			return r, nil, errShort
		}
		r.Value = b[1 : 1+int(b[0])]
		return r, b[1+int(b[0]):], nil
	}
	return r, nil, fmt.Errorf("%w: journal: a record of op %d", disk.ErrCorrupt, op)
}
