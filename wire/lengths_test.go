package wire

import (
	"bytes"
	"errors"
	"math"
	"testing"
)

// TestLongestRequests checks that CheckRequestLen accepts the longest request of every type, and
// nothing longer.
func TestLongestRequests(t *testing.T) {
	text := bytes.Repeat([]byte("x"), MaxKeyLen)
	lengths := map[uint32]int{
		TypeLBSParams: 4, TypeLBSParams2: 4, TypeLBSGet: 12, TypeLBSFree: 12, TypeLBSAppend: math.MaxUint32,
		TypeS3Put: 4 + 256 + 256 + 4 + MaxS3PutLen, TypeApply: MaxKVRequestLen,
	}
	for _, typ := range []uint32{TypeParams, TypeSet, TypeCAS, TypeAdd, TypeModify, TypeDelete, TypeCAD, TypeGet, TypeRange,
		TypeDeleteRange, TypeGetAt, TypeScan, TypeSnapshot, TypeRelease, TypeWatch, TypeUnwatch} {
		lengths[typ] = len(AppendKVRequest(nil, &KVRequest{Type: typ, Key: text, Value: text, Old: text, End: text}))
	}
	for _, typ := range []uint32{TypeS3Get, TypeS3Range, TypeS3Head, TypeS3Delete} {
		lengths[typ] = len(AppendS3Request(nil, &S3Request{Type: typ, Bucket: text, Object: text}))
	}
	value := make([]byte, MaxDDBValueLen)
	for _, typ := range []uint32{TypeDDBPut, TypeDDBICAS, TypeDDBCreate, TypeDDBGet, TypeDDBGetC, TypeDDBDelete} {
		lengths[typ] = len(AppendDDBRequest(nil, &DDBRequest{Type: typ, Key: text, Value: value, Old: value}))
	}
	for typ := range typeNames {
		n := lengths[typ]
		if err := CheckRequestLen(typ, uint32(n)); err != nil || n == 0 {
			t.Errorf("%s of %d bytes: %v", TypeName(typ), n, err)
		}
		if err := CheckRequestLen(typ, uint32(n+1)); n < math.MaxUint32 && !errors.Is(err, ErrRecordLong) {
			t.Errorf("%s of %d bytes: %v", TypeName(typ), n+1, err)
		}
	}
	if err := CheckRequestLen(0x12345678, 4); !errors.Is(err, ErrBadRecord) {
		t.Errorf("an unknown type: %v", err)
	}
	if err := CheckKVRequestLen(TypeS3Get, 4); !errors.Is(err, ErrBadRecord) {
		t.Errorf("an S3 request: %v", err)
	}
	if err := CheckKVRequestLen(TypeGet, 5000); !errors.Is(err, ErrRecordLong) {
		t.Errorf("a GET of 5000 bytes: %v", err)
	}
	if err := CheckKVRequestLen(TypeApply, MaxKVRequestLen); err != nil {
		t.Error(err)
	}
	if err := CheckAnyLen(0x12345678, AnyLen); err != nil {
		t.Error(err)
	}
}
