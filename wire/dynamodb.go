package wire

import "fmt"

// Statuses of the DynamoDB service.
const (
	DDBDone   = 0
	DDBFailed = 1
	// DDBNot means that the condition of an ICAS or CREATE did not hold, or that the key of a GET
	// or GETC does not exist.
	DDBNot = 2
)

// DDBRequest is a request of the DynamoDB service. The type determines which fields are used:
//
//	PUT CREATE         Key Value
//	ICAS               Key Old Value
//	GET GETC DELETE    Key
//
// Key holds no zero byte and at most MaxKeyLen bytes. The slices of a parsed request alias its
// record.
type DDBRequest struct {
	Type  uint32
	Key   []byte
	Old   []byte
	Value []byte
}

// Check returns an error unless a client may send r.
func (r *DDBRequest) Check() error {
	if !isDDB(r.Type) {
		return unknownType(r.Type, ddbService)
	}
	if err := checkName(r.Type, "key", r.Key); err != nil {
		return err
	}
	if err := checkLen(r.Type, "old value", len(r.Old), MaxDDBValueLen); err != nil {
		return err
	}
	return checkLen(r.Type, "value", len(r.Value), MaxDDBValueLen)
}

// ParseDDBRequest parses a request record.
func ParseDDBRequest(record []byte) (r DDBRequest, err error) {
	f := fields{rest: record}
	if r.Type = f.u32("the type"); f.fault == "" && !isDDB(r.Type) {
		return r, unknownType(r.Type, ddbService)
	}
	r.Key = f.str("the key")
	switch r.Type {
	case TypeDDBPut, TypeDDBCreate:
		r.Value = f.bytes(f.u32("the length"), "the value")
	case TypeDDBICAS:
		r.Old = f.bytes(f.u32("the old length"), "the old value")
		r.Value = f.bytes(f.u32("the new length"), "the new value")
	}
	return r, f.doneRequest(record, ddbService)
}

// AppendDDBRequest appends the record of r to dst. r must have passed Check.
func AppendDDBRequest(dst []byte, r *DDBRequest) []byte {
	dst = appendU32(dst, r.Type)
	dst = appendKey(dst, r.Key)
	switch r.Type {
	case TypeDDBPut, TypeDDBCreate:
		dst = appendData(dst, r.Value)
	case TypeDDBICAS:
		dst = appendData(dst, r.Old)
		dst = appendData(dst, r.Value)
	}
	return dst
}

// AppendDDBStatus appends an answer that is only a status.
func AppendDDBStatus(dst []byte, status uint32) []byte { return appendU32(dst, status) }

// AppendDDBValue appends the answer to a GET or GETC whose key exists.
func AppendDDBValue(dst, value []byte) []byte {
	return appendData(appendU32(dst, DDBDone), value)
}

// ParseDDBStatus parses the answer to PUT, ICAS, CREATE and DELETE.
func ParseDDBStatus(record []byte) (status uint32, err error) {
	f := fields{rest: record}
	status = f.ddbStatus()
	return status, f.done("answer to a DDBKV request", len(record))
}

// ParseDDBValue parses the answer to GET and GETC. value aliases record, and is only valid if
// status is DDBDone.
func ParseDDBValue(record []byte) (status uint32, value []byte, err error) {
	f := fields{rest: record}
	if status = f.ddbStatus(); status == DDBDone {
		value = f.bytes(f.u32("the length"), "the value")
	}
	return status, value, f.done("answer to DDBKV_GET or DDBKV_GETC", len(record))
}

func isDDB(typ uint32) bool {
	switch typ {
	case TypeDDBPut, TypeDDBICAS, TypeDDBCreate, TypeDDBGet, TypeDDBGetC, TypeDDBDelete:
		return true
	}
	return false
}

func (f *fields) ddbStatus() uint32 {
	status := f.u32("the status")
	if f.fault == "" && status > DDBNot {
		f.fault = fmt.Sprintf("status %d", status)
	}
	return status
}
