package wire

import (
	"encoding/binary"
	"fmt"
)

// HelloID is the ID of a client's first request, PARAMS. It tells a server that the client knows
// extensions. A server that offers some says so in its answer (AppendKVHello). To the original's
// servers the ID means nothing.
//
// For servers that read lines the ID is an empty line followed by a line. They answer at once, with
// a greeting or an error. Otherwise they would wait for the end of the line for ever.
var HelloID = binary.BigEndian.Uint64([]byte("\r\nPING\r\n"))

// Extensions1 is the bit in a hello that offers all extension requests of this file.
const Extensions1 = 1 << 0

// Status of the answer to an extension request. The connection stays open after each of them.
const (
	StatusDone    = 0
	StatusNo      = 1 // APPLY: a condition did not hold; GET_AT: the key is absent
	StatusGone    = 2 // the server no longer has the snapshot, or the changes after a position
	StatusTooMany = 3 // the server can keep no more snapshots, or no more watches, now; it gives a reason
	StatusFailed  = 4 // the server could not do it, or only a part; it gives a reason
	StatusRefused = 5 // the server would not do it, and nothing has been changed; it gives a reason
)

// Flags of SCAN.
const (
	ScanReverse   = 1 << 0 // in descending order
	ScanKeysOnly  = 1 << 1 // without values
	ScanCountOnly = 1 << 2 // only the number of pairs; not together with ScanKeysOnly

	scanFlags = ScanReverse | ScanKeysOnly | ScanCountOnly
)

// Kinds of conditions.
const (
	IfAbsent  = 0 // the key is absent
	IfPresent = 1 // the key has some value
	IfEquals  = 2 // the key has this value
)

// Kinds of changes, on the wire.
const (
	changeSet    = 0
	changeDelete = 1
	changeEnds   = 2 // added to one of them: a position follows
)

// List is N encoded conditions or changes, one after the other.
type List struct {
	N    uint32
	Data []byte
}

// Condition is a condition of an APPLY.
type Condition struct {
	Kind  byte // IfAbsent, IfPresent, IfEquals
	Key   []byte
	Value []byte // for IfEquals
}

// Change is a change of a key.
type Change struct {
	Delete bool
	Key    []byte
	Value  []byte // unused by Delete
	// Position is set if the change is the last of its commit in an answer to WATCH that goes on
	// with another commit: where a WATCH after this commit begins. APPLY does not have it.
	Position uint64
}

// IsExtension reports whether a type is that of an extension request. Only servers that offer
// Extensions1 know these.
func IsExtension(typ uint32) bool {
	switch typ {
	case TypeApply, TypeDeleteRange, TypeGetAt, TypeScan, TypeSnapshot, TypeRelease, TypeWatch, TypeUnwatch:
		return true
	}
	return false
}

// extension parses the fields of an extension request whose record has length bytes. It returns
// false if r.Type is not an extension.
//
//	APPLY         | u32 n | n conditions | u32 m | m changes |
//	DELETE_RANGE  | u32 max | KEY start | KEY end |
//	GET_AT        | u64 snapshot | KEY key |
//	SCAN          | u64 snapshot | u8 flags | u32 max | u32 limit | KEY start | KEY end |
//	SNAPSHOT      |
//	RELEASE       | u64 snapshot |
//	WATCH         | u64 position | u32 wait | u32 max | KEY start | KEY end |
//	UNWATCH       | u64 ID of the WATCH's packet |
//
//	condition     | u8 0, 1 | KEY key |      | u8 2 | KEY key | KEY value |
//	change        | u8 0 | KEY key | KEY value |      | u8 1 | KEY key |
func (f *fields) extension(r *KVRequest, length int) bool {
	switch r.Type {
	case TypeApply:
		if length > MaxKVRequestLen {
			f.wrong(fmt.Sprintf("at most %d are allowed", MaxKVRequestLen))
		}
		r.Conditions = f.list(conditions, MaxApplyItems)
		r.Changes = f.list(changes, MaxApplyItems-r.Conditions.N)
	case TypeDeleteRange:
		r.Max = f.u32("the number of keys")
		r.Key = f.key("the start key")
		r.End = f.key("the end key")
	case TypeGetAt:
		r.Snapshot = f.u64("the snapshot")
		r.Key = f.key("the key")
	case TypeScan:
		r.Snapshot = f.u64("the snapshot")
		r.Flags = f.u8("the flags")
		if fault := flagsFault(r.Flags); fault != "" {
			f.wrong(fault)
		}
		r.Max = f.u32("the size wanted")
		r.Limit = f.u32("the number of pairs")
		r.Key = f.key("the start key")
		r.End = f.key("the end key")
	case TypeSnapshot:
	case TypeRelease:
		r.Snapshot = f.u64("the snapshot")
	case TypeWatch:
		r.Position = f.u64("the position")
		r.Wait = f.u32("the time to wait")
		r.Max = f.u32("the size wanted")
		r.Key = f.key("the start key")
		r.End = f.key("the end key")
	case TypeUnwatch:
		r.Watch = f.u64("the ID")
	default:
		return false
	}
	return true
}

// flagsFault returns what is wrong with the flags of a SCAN, or "".
func flagsFault(flags byte) string {
	switch {
	case flags&^scanFlags != 0:
		return fmt.Sprintf("unknown flags %#x", flags&^scanFlags)
	case flags&ScanKeysOnly != 0 && flags&ScanCountOnly != 0:
		return "the flags ask for keys only and for a count only"
	}
	return ""
}

// The possible items of a List.
const (
	conditions = "conditions"
	changes    = "changes"
	watched    = "watched changes"
)

// list parses a count, of at most most, and that many items.
func (f *fields) list(of string, most uint32) List {
	n := f.u32("the number of items")
	if n > most {
		f.wrong(fmt.Sprintf("%d %s are too many", n, of))
	}
	start := f.rest
	for i := uint32(0); i < n && f.fault == ""; i++ {
		if of == conditions {
			f.condition()
		} else {
			f.change(of == watched)
		}
	}
	if f.fault != "" {
		return List{}
	}
	length := len(start) - len(f.rest)
	return List{N: n, Data: start[:length:length]}
}

func (f *fields) condition() (c Condition) {
	c.Kind = f.u8("a condition")
	if c.Kind > IfEquals {
		f.wrong(fmt.Sprintf("a condition of the unknown kind %d", c.Kind))
	}
	c.Key = f.key("the key of a condition")
	if c.Kind == IfEquals {
		c.Value = f.key("the value of a condition")
	}
	return c
}

// change parses a change, of an answer to WATCH or of an APPLY.
func (f *fields) change(watched bool) (c Change) {
	kind := f.u8("a change")
	if kind > changeDelete+changeEnds || kind > changeDelete && !watched {
		f.wrong(fmt.Sprintf("a change of the unknown kind %d", kind))
	}
	c.Delete = kind&changeDelete != 0
	c.Key = f.key("the key of a change")
	if !c.Delete {
		c.Value = f.key("the value of a change")
	}
	if kind&changeEnds != 0 {
		if c.Position = f.u64("the position after a change"); c.Position == 0 {
			f.wrong("position 0")
		}
	}
	return c
}

// CutCondition parses the first condition of a List's data, which must not be empty. It cannot fail
// on a parsed request.
func CutCondition(data []byte) (c Condition, rest []byte, err error) {
	f := fields{rest: data}
	c = f.condition()
	if f.fault != "" {
		return Condition{}, nil, f.describe("list of conditions", len(data))
	}
	return c, f.rest, nil
}

// CutChange parses the first change of a List's data, which must not be empty. It cannot fail on a
// parsed request or answer.
func CutChange(data []byte) (c Change, rest []byte, err error) {
	f := fields{rest: data}
	c = f.change(true)
	if f.fault != "" {
		return Change{}, nil, f.describe("list of changes", len(data))
	}
	return c, f.rest, nil
}

// AppendCondition appends c to the data of a List.
func AppendCondition(dst []byte, c Condition) []byte {
	dst = appendKey(append(dst, c.Kind), c.Key)
	if c.Kind == IfEquals {
		dst = appendKey(dst, c.Value)
	}
	return dst
}

// AppendChange appends c to the data of a List.
func AppendChange(dst []byte, c Change) []byte {
	kind := byte(changeSet)
	if c.Delete {
		kind = changeDelete
	}
	if c.Position != 0 {
		kind |= changeEnds
	}
	dst = appendKey(append(dst, kind), c.Key)
	if !c.Delete {
		dst = appendKey(dst, c.Value)
	}
	if c.Position != 0 {
		dst = appendU64(dst, c.Position)
	}
	return dst
}

// checkExtension is Check for the fields of extension requests. It assumes that Lists were built
// with AppendCondition and AppendChange.
func (r *KVRequest) checkExtension() error {
	switch r.Type {
	case TypeScan:
		if fault := flagsFault(r.Flags); fault != "" {
			return fmt.Errorf("%w: %s: %s", ErrBadRecord, TypeName(r.Type), fault)
		}
	case TypeApply:
		if n := uint64(r.Conditions.N) + uint64(r.Changes.N); n > MaxApplyItems {
			return fmt.Errorf("%w: %s: %d conditions and changes, at most %d are allowed",
				ErrBadRecord, TypeName(r.Type), n, MaxApplyItems)
		}
		return checkLen(r.Type, "record", typeLen+4+len(r.Conditions.Data)+4+len(r.Changes.Data), MaxKVRequestLen)
	}
	return nil
}

// appendExtension appends the fields of an extension request.
func appendExtension(dst []byte, r *KVRequest) []byte {
	switch r.Type {
	case TypeApply:
		dst = append(appendU32(dst, r.Conditions.N), r.Conditions.Data...)
		dst = append(appendU32(dst, r.Changes.N), r.Changes.Data...)
	case TypeDeleteRange:
		dst = appendU32(dst, r.Max)
		dst = appendKey(appendKey(dst, r.Key), r.End)
	case TypeGetAt:
		dst = appendU64(dst, r.Snapshot)
		dst = appendKey(dst, r.Key)
	case TypeScan:
		dst = appendU64(dst, r.Snapshot)
		dst = append(dst, r.Flags)
		dst = appendU32(appendU32(dst, r.Max), r.Limit)
		dst = appendKey(appendKey(dst, r.Key), r.End)
	case TypeSnapshot:
	case TypeRelease:
		dst = appendU64(dst, r.Snapshot)
	case TypeWatch:
		dst = appendU64(dst, r.Position)
		dst = appendU32(appendU32(dst, r.Wait), r.Max)
		dst = appendKey(appendKey(dst, r.Key), r.End)
	case TypeUnwatch:
		dst = appendU64(dst, r.Watch)
	default:
		panic(fmt.Sprintf("wire: key-value request of type %#x", r.Type))
	}
	return dst
}
