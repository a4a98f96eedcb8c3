package wire

import "fmt"

// KVRequest is a request of the key-value service. The type determines which fields are used:
//
//	PARAMS
//	SET ADD MODIFY   Key Value
//	CAS              Key Old Value
//	DELETE GET       Key
//	CAD              Key Old
//	RANGE            Max Key End                       from Key up to, not including, End
//
//	APPLY            Conditions Changes
//	DELETE_RANGE     Max Key End
//	GET_AT           Snapshot Key
//	SCAN             Snapshot Flags Max Limit Key End
//	SNAPSHOT
//	RELEASE          Snapshot
//	WATCH            Position Wait Max Key End
//	UNWATCH          Watch
//
// The slices of a parsed request alias its record. Keys and values have at most MaxKeyLen bytes. A
// field that is present but empty is not nil.
type KVRequest struct {
	Type  uint32
	Max   uint32 // most bytes of pairs or changes, including length bytes; DELETE_RANGE: most keys
	Key   []byte // RANGE, DELETE_RANGE, SCAN, WATCH: the first key of the range
	Value []byte
	Old   []byte
	End   []byte // the first key after the range; empty: no end

	Snapshot   uint64 // SCAN: 0 for what is committed
	Position   uint64 // WATCH: from an earlier answer; 0: from now on
	Watch      uint64 // UNWATCH: the ID of the WATCH's packet
	Limit      uint32 // SCAN: most pairs; 0: no limit
	Wait       uint32 // WATCH: milliseconds
	Flags      byte   // SCAN: ScanReverse, ScanKeysOnly and ScanCountOnly
	Conditions List   // APPLY: for CutCondition
	Changes    List   // APPLY: for CutChange
}

// ParseKVRequest parses a request record. The record must have exactly the fields of its type. The
// limits of a store on keys and values are not checked.
func ParseKVRequest(record []byte) (r KVRequest, err error) {
	f := fields{rest: record}
	r.Type = f.u32("the type")
	if f.fault != "" {
		return r, f.describe("request of the "+kvService+" service", len(record))
	}
	switch r.Type {
	case TypeParams:
	case TypeGet, TypeDelete:
		r.Key = f.key("the key")
	case TypeSet, TypeAdd, TypeModify:
		r.Key = f.key("the key")
		r.Value = f.key("the value")
	case TypeCAS:
		r.Key = f.key("the key")
		r.Old = f.key("the old value")
		r.Value = f.key("the new value")
	case TypeCAD:
		r.Key = f.key("the key")
		r.Old = f.key("the old value")
	case TypeRange:
		r.Max = f.u32("the size wanted")
		r.Key = f.key("the start key")
		r.End = f.key("the end key")
	default:
		if !f.extension(&r, len(record)) {
			return r, unknownType(r.Type, kvService)
		}
	}
	return r, f.doneRequest(record, kvService)
}

// isKVRequest reports whether the service has requests of this type.
func isKVRequest(typ uint32) bool {
	switch typ {
	case TypeParams, TypeGet, TypeDelete, TypeSet, TypeAdd, TypeModify, TypeCAS, TypeCAD, TypeRange:
		return true
	}
	return IsExtension(typ)
}

// Check returns an error unless r can be sent.
func (r *KVRequest) Check() error {
	if !isKVRequest(r.Type) {
		return unknownType(r.Type, kvService)
	}
	if err := checkLen(r.Type, "key", len(r.Key), MaxKeyLen); err != nil {
		return err
	}
	if err := checkLen(r.Type, "value", len(r.Value), MaxKeyLen); err != nil {
		return err
	}
	if err := checkLen(r.Type, "old value", len(r.Old), MaxKeyLen); err != nil {
		return err
	}
	if err := checkLen(r.Type, "end key", len(r.End), MaxKeyLen); err != nil {
		return err
	}
	return r.checkExtension()
}

// AppendKVRequest appends the record of r to dst. Check must accept r.
func AppendKVRequest(dst []byte, r *KVRequest) []byte {
	dst = appendU32(dst, r.Type)
	switch r.Type {
	case TypeParams:
	case TypeGet, TypeDelete:
		dst = appendKey(dst, r.Key)
	case TypeSet, TypeAdd, TypeModify:
		dst = appendKey(dst, r.Key)
		dst = appendKey(dst, r.Value)
	case TypeCAS:
		dst = appendKey(dst, r.Key)
		dst = appendKey(dst, r.Old)
		dst = appendKey(dst, r.Value)
	case TypeCAD:
		dst = appendKey(dst, r.Key)
		dst = appendKey(dst, r.Old)
	case TypeRange:
		dst = appendU32(dst, r.Max)
		dst = appendKey(dst, r.Key)
		dst = appendKey(dst, r.End)
	default:
		dst = appendExtension(dst, r)
	}
	return dst
}

// AppendKVParams appends the answer to PARAMS: the longest key and value that the store accepts, in
// bytes.
func AppendKVParams(dst []byte, maxKey, maxValue uint32) []byte {
	return appendU32(appendU32(dst, maxKey), maxValue)
}

// AppendKVStatus appends the answer to a modifying request: 0 for done and 1 for not done. Status 1
// is also the answer to a GET whose key is absent.
func AppendKVStatus(dst []byte, status uint32) []byte { return appendU32(dst, status) }

// AppendKVValue appends the answer to a GET whose key is present.
func AppendKVValue(dst []byte, value []byte) []byte {
	return appendKey(appendU32(dst, 0), value)
}

// AppendKVPairs appends the answer to a RANGE. pairs is n times a length byte, the key, a length
// byte, the value. It has everything from the start up to next; an empty next means the end of the
// key space.
func AppendKVPairs(dst []byte, n uint32, next, pairs []byte) []byte {
	dst = appendU32(appendU32(dst, 0), n)
	dst = appendKey(dst, next)
	return append(dst, pairs...)
}

// ParseKVParams parses the answer to PARAMS.
func ParseKVParams(record []byte) (maxKey, maxValue uint32, err error) {
	f := fields{rest: record}
	maxKey = f.u32("the longest key")
	maxValue = f.u32("the longest value")
	return maxKey, maxValue, f.done("answer to KVLDS_PARAMS", len(record))
}

// ParseKVStatus parses the answer to a modifying request of type typ. SET and DELETE only have
// status 0. Bytes after the status are allowed.
func ParseKVStatus(typ uint32, record []byte) (status uint32, err error) {
	most := uint32(1)
	if typ == TypeSet || typ == TypeDelete {
		most = 0
	}
	f := fields{rest: record}
	status = f.u32("the status")
	if f.fault != "" {
		return 0, f.describe("answer to "+TypeName(typ), len(record))
	}
	if status > most {
		return 0, badStatus(typ, status)
	}
	return status, nil
}

// ParseKVValue parses the answer to a GET. value aliases record.
func ParseKVValue(record []byte) (value []byte, found bool, err error) {
	f := fields{rest: record}
	status := f.u32("the status")
	switch {
	case f.fault != "" || status == 1:
	case status == 0:
		value, found = f.key("the value"), true
	default:
		return nil, false, badStatus(TypeGet, status)
	}
	if f.fault != "" || len(f.rest) != 0 {
		return nil, false, f.describe("answer to KVLDS_GET", len(record))
	}
	return value, found, nil
}

// ParseKVPairs parses the answer to a RANGE that asked for max bytes. The pairs can be passed to
// CutPair, which cannot fail on them. All results alias record.
func ParseKVPairs(record []byte, max uint32) (n uint32, next, pairs []byte, err error) {
	const what = "answer to KVLDS_RANGE"
	f := fields{rest: record}
	status := f.u32("the status")
	n = f.u32("the count")
	next = f.key("the next key")
	if f.fault != "" {
		return 0, nil, nil, f.describe(what, len(record))
	}
	if status != 0 {
		return 0, nil, nil, badStatus(TypeRange, status)
	}
	// A pair takes at least two bytes, so more pairs would exceed the request.
	if n > 1 && n > max/2 {
		return 0, nil, nil, badRecord(what, len(record), fmt.Sprintf("%d pairs in %d bytes", n, max))
	}
	pairs = f.rest
	for i := uint32(0); i < n && f.fault == ""; i++ {
		f.key("a key")
		f.key("a value")
	}
	if err := f.done(what, len(record)); err != nil {
		return 0, nil, nil, err
	}
	return n, next, pairs, nil
}

// CutPair parses the first pair of pairs, which must not be empty.
func CutPair(pairs []byte) (key, value, rest []byte, err error) {
	f := fields{rest: pairs}
	key = f.key("a key")
	value = f.key("a value")
	if f.fault != "" {
		return nil, nil, nil, f.describe("list of pairs", len(pairs))
	}
	return key, value, f.rest, nil
}
