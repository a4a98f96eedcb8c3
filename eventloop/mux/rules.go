package mux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kivaloo/wire"
)

// ErrRefused means that the source does not allow requests of this type. It is wrapped.
var ErrRefused = errors.New("request refused")

// Allowed is a set of request types of the key-value protocol.
type Allowed uint32

const (
	// Everything allows all types.
	Everything Allowed = 1<<len(allowedTypes) - 1
)

// allowedTypes lists the types in the order of their bits in Allowed.
var allowedTypes = [...]uint32{
	wire.TypeGet, wire.TypeSet, wire.TypeRange, wire.TypeParams, wire.TypeCAS,
	wire.TypeAdd, wire.TypeModify, wire.TypeDelete, wire.TypeCAD,
	wire.TypeApply, wire.TypeDeleteRange, wire.TypeGetAt, wire.TypeScan, wire.TypeSnapshot,
	wire.TypeRelease, wire.TypeWatch, wire.TypeUnwatch,
}

// typeWord returns the name of a type in a list.
func typeWord(typ uint32) string {
	word := strings.ToLower(strings.TrimPrefix(wire.TypeName(typ), "KVLDS_"))
	return strings.ReplaceAll(word, "_", "-")
}

// ParseAllowed parses a list of types such as "get,range,params".
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

// String returns the list in the form that ParseAllowed parses.
func (a Allowed) String() string {
	var words []string
	for i, typ := range allowedTypes {
		if a&(1<<i) != 0 {
			words = append(words, typeWord(typ))
		}
	}
	return strings.Join(words, ",")
}

// has reports whether typ is allowed. An unknown type never is. SCAN is with RANGE, because it
// reads the same pairs, and clients prefer it if the target offers it.
func (a Allowed) has(typ uint32) bool {
	return a&(1<<place(typ)) != 0 || typ == wire.TypeScan && a.has(wire.TypeRange)
}

// place returns the index of a type in allowedTypes, or their number.
func place(typ uint32) int {
	for i, t := range allowedTypes {
		if t == typ {
			return i
		}
	}
	return len(allowedTypes)
}

// Rules are the target's requirements. Without Rules requests are not parsed.
type Rules struct {
	// MaxKey and MaxValue are the longest key and value that can be stored, in bytes.
	MaxKey, MaxValue int
	// Extensions is the set of extensions that the target offers.
	Extensions uint32
}

// check returns an error unless the target will answer q and the source may ask it.
func (r *Rules) check(q *wire.KVRequest, allowed Allowed) error {
	if !allowed.has(q.Type) {
		return fmt.Errorf("%w: only %s are allowed here, not %s", ErrRefused, allowed, typeWord(q.Type))
	}
	switch q.Type {
	case wire.TypeSet, wire.TypeCAS, wire.TypeAdd, wire.TypeModify:
		if len(q.Key) > r.MaxKey {
			return fmt.Errorf("%w: key of %d bytes, the longest allowed is %d", wire.ErrBadRecord, len(q.Key), r.MaxKey)
		}
		if len(q.Value) > r.MaxValue {
			return fmt.Errorf("%w: value of %d bytes, the longest allowed is %d", wire.ErrBadRecord, len(q.Value), r.MaxValue)
		}
	}
	if wire.IsExtension(q.Type) && r.Extensions&wire.Extensions1 == 0 {
		return fmt.Errorf("%w: the server behind this kivaloo-mux does not offer %s", ErrRefused, typeWord(q.Type))
	}
	return nil
}

// limit returns an upper bound for the length of the answer to q, if it matters. An answer may be
// shorter than requested, so limit reduces the limit in record, from which q was parsed, to room.
func limit(q *wire.KVRequest, record []byte, room int) (answerBytes int) {
	switch q.Type {
	case wire.TypeRange, wire.TypeScan:
	case wire.TypeWatch:
		if q.Wait > 0 {
			room = min(room, watchAnswerBytes)
		}
	default:
		return 0
	}
	if q.Max > uint32(room) {
		q.Max = uint32(room)
		wire.AppendKVRequest(record[:0], q)
	}
	return int(q.Max) + rangeAnswerBytes
}

// waits reports whether record is a WATCH that may wait for changes.
func waits(record []byte) bool {
	const waitAt = 4 + 8 // after type and position
	return len(record) >= waitAt+4 && binary.BigEndian.Uint32(record) == wire.TypeWatch &&
		binary.BigEndian.Uint32(record[waitAt:]) > 0
}

// maxRecord is the longest record of a request, in bytes.
func (r *Rules) maxRecord() uint32 {
	if r == nil {
		return 1<<32 - 1
	}
	return wire.MaxKVRequestLen
}
