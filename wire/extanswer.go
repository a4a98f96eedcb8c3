package wire

import "fmt"

// Refusal is the error for an extension request that the server has answered with StatusGone,
// StatusTooMany, StatusFailed or StatusRefused.
type Refusal struct {
	Type   uint32 // of the request
	Status uint32
	Reason string // the server's reason; empty with StatusGone
}

func (r *Refusal) Error() string {
	switch r.Status {
	case StatusGone:
		return TypeName(r.Type) + ": it is gone"
	case StatusTooMany:
		return TypeName(r.Type) + ": there are too many: " + r.Reason
	case StatusRefused:
		return TypeName(r.Type) + ": refused: " + r.Reason
	}
	return TypeName(r.Type) + ": the server failed: " + r.Reason
}

// AppendKVHello appends the answer to a PARAMS whose ID is HelloID: the longest key and value, in
// bytes, and the set of extensions.
func AppendKVHello(dst []byte, maxKey, maxValue, extensions uint32) []byte {
	return appendU32(AppendKVParams(dst, maxKey, maxValue), extensions)
}

// ParseKVHello parses the answer to a PARAMS whose ID was HelloID. A server without extensions,
// such as the original's, answers as to any PARAMS.
func ParseKVHello(record []byte) (maxKey, maxValue, extensions uint32, err error) {
	f := fields{rest: record}
	maxKey = f.u32("the longest key")
	maxValue = f.u32("the longest value")
	if len(f.rest) > 0 {
		extensions = f.u32("the extensions")
	}
	return maxKey, maxValue, extensions, f.done("answer to KVLDS_PARAMS", len(record))
}

// Answers to extension requests:
//
//	every one     | u32 2 |      | u32 3 | KEY reason |      | u32 4 or 5 | KEY reason |
//	APPLY         | u32 0 |      | u32 1 | u32 index |
//	DELETE_RANGE  | u32 0 | u64 deleted | u8 more | KEY next |
//	GET_AT        | u32 0 | KEY value |      | u32 1 |
//	SCAN          | u32 0 | u64 n | u8 more | KEY next | n pairs, or n keys, or nothing |
//	SNAPSHOT      | u32 0 | u64 snapshot |
//	RELEASE       | u32 0 |
//	WATCH         | u32 0 | u64 position | u32 n | n changes |
//	UNWATCH       | u32 0 |

// AppendRefusal appends the answer to an extension request refused with StatusGone, StatusTooMany,
// StatusFailed or StatusRefused. The first has no reason. A reason is cut to the greatest possible
// length.
func AppendRefusal(dst []byte, status uint32, reason string) []byte {
	dst = appendU32(dst, status)
	if status == StatusGone {
		return dst
	}
	return appendKey(dst, []byte(reason[:min(len(reason), maxReasonLen)]))
}

// AppendConflict appends the answer to an APPLY whose condition index, counted from 0, is the first
// that did not hold.
func AppendConflict(dst []byte, index uint32) []byte {
	return appendU32(appendU32(dst, StatusNo), index)
}

// Deleted is the answer to DELETE_RANGE.
type Deleted struct {
	N    uint64 // number of deleted keys
	Next []byte // where the rest of the range begins; empty: nothing is left
}

// AppendDeleted appends the answer to a DELETE_RANGE.
func AppendDeleted(dst []byte, a Deleted) []byte {
	return appendNext(appendU64(appendU32(dst, StatusDone), a.N), a.Next)
}

// Scanned is the answer to SCAN.
type Scanned struct {
	N uint64 // number of pairs

	// Next is where the rest of the range begins or, in a reverse SCAN, ends. Empty: nothing is
	// left.
	Next []byte
	// Pairs is N times a length byte, the key, a length byte, the value. With ScanKeysOnly the
	// values and their length bytes are left out. With ScanCountOnly it is empty.
	Pairs []byte
}

// AppendScanned appends the answer to a SCAN.
func AppendScanned(dst []byte, a *Scanned) []byte {
	return append(appendNext(appendU64(appendU32(dst, StatusDone), a.N), a.Next), a.Pairs...)
}

// AppendSnapshot appends the answer to a SNAPSHOT.
func AppendSnapshot(dst []byte, snapshot uint64) []byte {
	return appendU64(appendU32(dst, StatusDone), snapshot)
}

// Watched is the answer to WATCH.
type Watched struct {
	Position uint64 // for the next WATCH; not 0
	Changes  List   // for CutChange
}

// AppendWatched appends the answer to a WATCH.
func AppendWatched(dst []byte, a *Watched) []byte {
	dst = appendU64(appendU32(dst, StatusDone), a.Position)
	return append(appendU32(dst, a.Changes.N), a.Changes.Data...)
}

// appendNext appends whether anything is left, and where it begins.
func appendNext(dst, next []byte) []byte {
	more := byte(0)
	if len(next) > 0 {
		more = 1
	}
	return appendKey(append(dst, more), next)
}

// The parsers below fail with a *Refusal, or with an error that wraps ErrBadRecord. Their results
// alias the record.

// ParseApplied parses the answer to an APPLY with this many conditions. conflict is the index of
// the first condition that did not hold, or -1 if the changes were made.
func ParseApplied(record []byte, conditions uint32) (conflict int, err error) {
	a := answer{typ: TypeApply, record: record}
	if a.begin(StatusNo) == StatusDone {
		return -1, a.end()
	}
	index := a.u32("the number of a condition")
	if index >= conditions {
		a.wrong(fmt.Sprintf("condition %d of %d", index, conditions))
	}
	return int(index), a.end()
}

// ParseDeleted parses the answer to DELETE_RANGE.
func ParseDeleted(record []byte) (d Deleted, err error) {
	a := answer{typ: TypeDeleteRange, record: record}
	a.begin(StatusDone)
	d.N = a.u64("the number of keys")
	d.Next = a.next()
	return d, a.end()
}

// ParseValueAt parses the answer to GET_AT.
func ParseValueAt(record []byte) (value []byte, found bool, err error) {
	a := answer{typ: TypeGetAt, record: record}
	if a.begin(StatusNo) == StatusDone {
		value, found = a.key("the value"), true
	}
	return value, found, a.end()
}

// ParseScanned parses the answer to the SCAN r. The pairs can be passed to CutPair or CutKey, which
// cannot fail on them.
func ParseScanned(record []byte, r *KVRequest) (s Scanned, err error) {
	a := answer{typ: TypeScan, record: record}
	a.begin(StatusDone)
	s.N = a.u64("the count")
	s.Next = a.next()
	s.Pairs = a.rest
	if r.Limit > 0 && s.N > uint64(r.Limit) {
		a.wrong(fmt.Sprintf("%d pairs, where %d were wanted", s.N, r.Limit))
	}
	if r.Flags&ScanCountOnly == 0 {
		a.pairs(s.N, r)
	}
	if err := a.end(); err != nil {
		return Scanned{}, err
	}
	return s, nil
}

// ParseSnapshot parses the answer to SNAPSHOT.
func ParseSnapshot(record []byte) (snapshot uint64, err error) {
	a := answer{typ: TypeSnapshot, record: record}
	a.begin(StatusDone)
	if snapshot = a.u64("the snapshot"); snapshot == 0 {
		a.wrong("snapshot 0")
	}
	return snapshot, a.end()
}

// ParseDone parses the answer to a request of type typ whose answer has no content: RELEASE,
// UNWATCH.
func ParseDone(typ uint32, record []byte) error {
	a := answer{typ: typ, record: record}
	a.begin(StatusDone)
	return a.end()
}

// ParseWatched parses the answer to a WATCH that asked for max bytes.
func ParseWatched(record []byte, max uint32) (w Watched, err error) {
	a := answer{typ: TypeWatch, record: record}
	a.begin(StatusDone)
	if w.Position = a.u64("the position"); w.Position == 0 {
		a.wrong("position 0")
	}
	// A change takes at least two bytes.
	w.Changes = a.list(watched, maxItems(max, 2))
	if err := a.end(); err != nil {
		return Watched{}, err
	}
	return w, nil
}

// CutKey parses the first key of keys, the pairs of a SCAN for keys only. keys must not be empty.
func CutKey(keys []byte) (key, rest []byte, err error) {
	f := fields{rest: keys}
	key = f.key("a key")
	if f.fault != "" {
		return nil, nil, f.describe("list of keys", len(keys))
	}
	return key, f.rest, nil
}

// answer parses the record of an answer.
type answer struct {
	fields
	typ     uint32 // of the request
	record  []byte
	refused *Refusal // nil if it was not refused
	bad     error    // the status is invalid; or nil
}

// begin parses the status, which is at most most if the request was not refused.
func (a *answer) begin(most uint32) (status uint32) {
	a.rest = a.record
	status = a.u32("the status")
	switch {
	case a.fault != "" || status <= most:
		return status
	case status > StatusRefused || status < StatusGone:
		a.bad = badStatus(a.typ, status)
	default:
		a.refused = &Refusal{Type: a.typ, Status: status}
		if status != StatusGone {
			a.refused.Reason = string(a.key("the reason"))
		}
		a.bad = a.done("answer to "+TypeName(a.typ), len(a.record))
	}
	a.rest = nil
	return status
}

// end returns why the request was refused, or what is wrong with the record, or nil.
func (a *answer) end() error {
	switch {
	case a.bad != nil:
		return a.bad
	case a.refused != nil:
		return a.refused
	}
	return a.done("answer to "+TypeName(a.typ), len(a.record))
}

// next parses whether anything is left, and where it begins. If something is left next must not be
// empty, or the client would start again.
func (a *answer) next() []byte {
	more := a.flag("whether there is more")
	next := a.key("the next key")
	if a.fault == "" && more != (len(next) > 0) {
		a.wrong(fmt.Sprintf("more is %v, and the next key is %q", more, next))
	}
	return next
}

// pairs parses the n pairs, or keys, that answer r.
func (a *answer) pairs(n uint64, r *KVRequest) {
	keysOnly := r.Flags&ScanKeysOnly != 0
	each := uint32(2)
	if keysOnly {
		each = 1
	}
	if n > uint64(maxItems(r.Max, each)) {
		a.wrong(fmt.Sprintf("%d pairs in %d bytes", n, r.Max))
	}
	for ; n > 0 && a.fault == ""; n-- {
		a.key("a key")
		if !keysOnly {
			a.key("a value")
		}
	}
}

// maxItems returns how many items of at least each bytes fit into max, but at least one.
func maxItems(max, each uint32) uint32 {
	if max < each {
		return 1
	}
	return max / each
}
