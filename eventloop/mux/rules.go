package mux

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"kivaloo/wire"
)

// ErrRefused: a request of a type that its source does not allow. It comes wrapped.
var ErrRefused = errors.New("request refused")

// Allowed is a set of request types of the key-value protocol.
type Allowed uint16

const (
	// Ordinary allows all types that every server of the protocol knows.
	Ordinary Allowed = 1<<9 - 1
	// Everything allows backups too. A target that does not offer them, like the original's, would close the
	// connection, on which all clients depend; so it takes somebody who knows the target to allow it.
	Everything Allowed = 1<<10 - 1
)

// allowedTypes has the types in the order of their bits in Allowed.
var allowedTypes = [...]uint32{
	wire.TypeGet, wire.TypeSet, wire.TypeRange, wire.TypeParams, wire.TypeCAS,
	wire.TypeAdd, wire.TypeModify, wire.TypeDelete, wire.TypeCAD, wire.TypeBackup,
}

// typeWord is what a type is called in a list.
func typeWord(typ uint32) string {
	return strings.ToLower(strings.TrimPrefix(wire.TypeName(typ), "KVLDS_"))
}

// ParseAllowed reads a list of types like "get,range,params".
func ParseAllowed(list string) (Allowed, error) {
	var a Allowed
	for word := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(allowedTypes[:], func(typ uint32) bool { return typeWord(typ) == word })
		if i < 0 {
			return 0, fmt.Errorf("%q is not a type of request; write a list of %s", word, Everything)
		}
		a |= 1 << i
	}
	return a, nil
}

// String returns the list that ParseAllowed reads.
func (a Allowed) String() string {
	var words []string
	for i, typ := range allowedTypes {
		if a&(1<<i) != 0 {
			words = append(words, typeWord(typ))
		}
	}
	return strings.Join(words, ",")
}

// has reports whether typ is in the set. A type that is no request's is in none.
func (a Allowed) has(typ uint32) bool { return a&(1<<place(typ)) != 0 }

// place returns where a type is in allowedTypes, or behind all of them.
func place(typ uint32) int {
	for i, t := range allowedTypes {
		if t == typ {
			return i
		}
	}
	return len(allowedTypes)
}

// Rules are what the target requires of requests. Without it they are not looked at.
type Rules struct {
	// MaxKey and MaxValue are the longest key and value that can be stored, in bytes.
	MaxKey, MaxValue int
}

// check returns an error unless the target will answer the request in record, which it has to
// be allowed to get; and an upper bound for the size of the answer, where that matters. The answer
// may be shorter than what was asked for, so check writes into record that it is to take no more than room.
func (r *Rules) check(record []byte, allowed Allowed, room int) (answerBytes int, err error) {
	if r == nil {
		return 0, nil
	}
	q, err := wire.ParseKVRequest(record)
	if err != nil {
		return 0, err
	}
	if !allowed.has(q.Type) {
		return 0, fmt.Errorf("%w: only %s are allowed here, not %s", ErrRefused, allowed, typeWord(q.Type))
	}
	switch q.Type {
	case wire.TypeSet, wire.TypeCAS, wire.TypeAdd, wire.TypeModify:
		if len(q.Key) > r.MaxKey {
			return 0, fmt.Errorf("%w: key of %d bytes, the longest allowed is %d", wire.ErrBadRecord, len(q.Key), r.MaxKey)
		}
		if len(q.Value) > r.MaxValue {
			return 0, fmt.Errorf("%w: value of %d bytes, the longest allowed is %d", wire.ErrBadRecord, len(q.Value), r.MaxValue)
		}
	case wire.TypeRange, wire.TypeBackup:
		if q.Max > uint32(room) {
			q.Max = uint32(room)
			wire.AppendKVRequest(record[:0], &q)
		}
		return int(q.Max) + rangeAnswerBytes, nil
	}
	return 0, nil
}

// maxRecord is the longest record of a request, in bytes.
func (r *Rules) maxRecord() uint32 {
	if r == nil {
		return 1<<32 - 1
	}
	return wire.MaxKVRequestLen
}
