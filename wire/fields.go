package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// typeLen is the length of the type at the beginning of every request.
const typeLen = 4

// fields parses the fields of a record from front to back. A missing field reads as zero and leaves
// its name in fault. So a parser can read everything it expects and check once, at the end.
//
//	u8         one byte
//	u32, u64   big-endian
//	KEY        u8 length, then that many bytes
//	STR        a KEY without a zero byte
type fields struct {
	rest  []byte
	fault string // what is wrong; "" if nothing is
}

func (f *fields) u8(name string) byte {
	if len(f.rest) < 1 {
		f.fail(name)
		return 0
	}
	v := f.rest[0]
	f.rest = f.rest[1:]
	return v
}

// flag parses a byte that is 0 or 1.
func (f *fields) flag(name string) bool {
	v := f.u8(name)
	if v > 1 {
		f.wrong(fmt.Sprintf("%s is %d, neither 0 nor 1", name, v))
	}
	return v == 1
}

func (f *fields) u32(name string) uint32 {
	if len(f.rest) < 4 {
		f.fail(name)
		return 0
	}
	v := binary.BigEndian.Uint32(f.rest)
	f.rest = f.rest[4:]
	return v
}

func (f *fields) u64(name string) uint64 {
	if len(f.rest) < 8 {
		f.fail(name)
		return 0
	}
	v := binary.BigEndian.Uint64(f.rest)
	f.rest = f.rest[8:]
	return v
}

func (f *fields) key(name string) []byte {
	b := f.rest
	if len(b) == 0 || len(b) <= int(b[0]) {
		f.fail(name)
		return nil
	}
	n := 1 + int(b[0])
	f.rest = b[n:]
	return b[1:n:n]
}

func (f *fields) str(name string) []byte {
	s := f.key(name)
	if f.fault == "" && bytes.IndexByte(s, 0) >= 0 {
		f.fault = name + " contains a zero byte"
	}
	return s
}

// bytes parses n bytes.
func (f *fields) bytes(n uint32, name string) []byte {
	if uint64(len(f.rest)) < uint64(n) {
		f.fail(name)
		return nil
	}
	v := f.rest[:n:n]
	f.rest = f.rest[n:]
	return v
}

// fail records the first missing field. It leaves nothing for later fields.
func (f *fields) fail(name string) {
	f.rest = nil
	if f.fault == "" {
		f.fault = "it ends inside " + name
	}
}

// wrong records the first rule that a field breaks. It leaves nothing for later fields.
func (f *fields) wrong(fault string) {
	f.rest = nil
	if f.fault == "" {
		f.fault = fault
	}
}

// done returns nil if all fields were present and nothing is left over. what and length describe
// the record in the error.
func (f *fields) done(what string, length int) error {
	if f.fault == "" && len(f.rest) == 0 {
		return nil
	}
	return f.describe(what, length)
}

// describe is the rare half of done. It is separate so that done can be inlined.
func (f *fields) describe(what string, length int) error {
	if f.fault != "" {
		return badRecord(what, length, f.fault)
	}
	return badRecord(what, length, fmt.Sprintf("%d bytes are left over", len(f.rest)))
}

// doneRequest is done for a request. The error names its type.
func (f *fields) doneRequest(record []byte, service string) error {
	if f.fault == "" && len(f.rest) == 0 {
		return nil
	}
	what := "request of the " + service + " service"
	if len(record) >= typeLen {
		what = TypeName(binary.BigEndian.Uint32(record))
	}
	return f.describe(what, len(record))
}

// badRecord returns the error for a record that breaks the protocol's rules.
func badRecord(what string, length int, fault string) error {
	return fmt.Errorf("%w: %s, length %d: %s", ErrBadRecord, what, length, fault)
}

// unknownType returns the error for a request type that the service does not have.
func unknownType(typ uint32, service string) error {
	return fmt.Errorf("%w: type %#x is not a request of the %s service", ErrBadRecord, typ, service)
}

// badStatus returns the error for an answer whose status is impossible for the request.
func badStatus(typ, status uint32) error {
	return fmt.Errorf("%w: answer to %s: status %d", ErrBadRecord, TypeName(typ), status)
}

// checkLen returns an error if a field is longer than a client may send it.
func checkLen(typ uint32, field string, length, limit int) error {
	if length <= limit {
		return nil
	}
	return fmt.Errorf("%w: %s: %s of %d bytes, at most %d are allowed",
		ErrBadRecord, TypeName(typ), field, length, limit)
}

// checkName returns an error unless name can be sent as a STR.
func checkName(typ uint32, field string, name []byte) error {
	if bytes.IndexByte(name, 0) >= 0 {
		return fmt.Errorf("%w: %s: %s %q contains a zero byte", ErrBadRecord, TypeName(typ), field, name)
	}
	return checkLen(typ, field, len(name), MaxKeyLen)
}

// appendKey appends a KEY or STR. The caller must ensure that it is not too long: a wrong length
// byte would garble what follows.
func appendKey(dst, key []byte) []byte {
	if len(key) > MaxKeyLen {
		panic(fmt.Sprintf("wire: key, value or name of %d bytes", len(key)))
	}
	dst = append(dst, byte(len(key)))
	return append(dst, key...)
}

// appendData appends bytes preceded by their length as u32.
func appendData(dst, data []byte) []byte {
	dst = appendU32(dst, uint32(len(data)))
	return append(dst, data...)
}

func appendU32(dst []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(dst, v) }

func appendU64(dst []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(dst, v) }
