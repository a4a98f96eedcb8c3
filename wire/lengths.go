package wire

import (
	"fmt"
	"math"
)

// Lengths of fields in records.
const (
	keyLen  = 1 + MaxKeyLen // KEY, STR
	dataLen = 4             // before data
)

// longestRequests has the greatest length of a record for each type of request, in bytes.
var longestRequests = map[uint32]uint32{
	TypeLBSParams: typeLen, TypeLBSParams2: typeLen, TypeLBSGet: typeLen + 8, TypeLBSFree: typeLen + 8,
	TypeLBSAppend: math.MaxUint32,

	TypeParams: typeLen, TypeSet: typeLen + 2*keyLen, TypeCAS: typeLen + 3*keyLen, TypeAdd: typeLen + 2*keyLen,
	TypeModify: typeLen + 2*keyLen, TypeDelete: typeLen + keyLen, TypeCAD: typeLen + 2*keyLen,
	TypeGet: typeLen + keyLen, TypeRange: typeLen + 4 + 2*keyLen,

	TypeApply: MaxKVRequestLen, TypeDeleteRange: typeLen + 4 + 2*keyLen, TypeGetAt: typeLen + 8 + keyLen,
	TypeScan: typeLen + 8 + 1 + 4 + 4 + 2*keyLen, TypeSnapshot: typeLen, TypeRelease: typeLen + 8,
	TypeWatch: typeLen + 8 + 4 + 4 + 2*keyLen, TypeUnwatch: typeLen + 8,

	TypeS3Put: typeLen + 2*keyLen + dataLen + MaxS3PutLen, TypeS3Get: typeLen + 2*keyLen + 4,
	TypeS3Range: typeLen + 2*keyLen + 4 + 4, TypeS3Head: typeLen + 2*keyLen, TypeS3Delete: typeLen + 2*keyLen,

	TypeDDBPut: typeLen + keyLen + dataLen + MaxDDBValueLen, TypeDDBCreate: typeLen + keyLen + dataLen + MaxDDBValueLen,
	TypeDDBICAS: typeLen + keyLen + 2*(dataLen+MaxDDBValueLen),
	TypeDDBGet:  typeLen + keyLen, TypeDDBGetC: typeLen + keyLen, TypeDDBDelete: typeLen + keyLen,
}

// CheckAnyLen is CheckRequestLen for servers that forward requests of all protocols. It accepts any
// type up to AnyLen bytes.
func CheckAnyLen(typ, length uint32) error {
	if length <= AnyLen {
		return nil
	}
	return CheckRequestLen(typ, length)
}

// CheckRequestLen refuses a request whose type is unknown (ErrBadRecord), or whose record is longer
// than its type allows (ErrRecordLong). It is for servers that have not received the record yet.
func CheckRequestLen(typ, length uint32) error {
	longest, known := longestRequests[typ]
	switch {
	case !known:
		return fmt.Errorf("%w: %d bytes, of the unknown type %#x", ErrBadRecord, length, typ)
	case length > longest:
		return fmt.Errorf("%w: %s of %d bytes, at most %d are allowed", ErrRecordLong, TypeName(typ), length, longest)
	}
	return nil
}

// CheckKVRequestLen is CheckRequestLen for servers of the key-value protocol only.
func CheckKVRequestLen(typ, length uint32) error {
	if !isKVRequest(typ) {
		return unknownType(typ, kvService)
	}
	return CheckRequestLen(typ, length)
}
