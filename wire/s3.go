package wire

import "fmt"

// S3NoLength in an answer's length means that there is neither a length nor data.
const S3NoLength = 0xFFFFFFFF

// HTTP statuses in the answers of the S3 service.
const (
	httpNone    = 0 // no usable HTTP response
	httpMin     = 100
	httpOK      = 200
	httpNoBody  = 204
	httpPartial = 206
	httpMax     = 599
)

// S3Request is a request of the S3 service. Bucket and Object hold no zero byte and at most
// MaxKeyLen bytes. The other fields depend on the type:
//
//	PUT      Data
//	GET      Length          the longest object wanted
//	RANGE    Offset Length
//	HEAD
//	DELETE
//
// The slices of a parsed request alias its record.
type S3Request struct {
	Type           uint32
	Offset, Length uint32 // in bytes
	Bucket, Object []byte
	Data           []byte
}

// Check returns an error unless a client may send r.
func (r *S3Request) Check() error {
	if err := checkName(r.Type, "bucket", r.Bucket); err != nil {
		return err
	}
	if err := checkName(r.Type, "object", r.Object); err != nil {
		return err
	}
	switch r.Type {
	case TypeS3Put:
		return checkLen(r.Type, "object", len(r.Data), MaxS3PutLen)
	case TypeS3Get, TypeS3Range:
		return checkLen(r.Type, "answer", int(r.Length), MaxS3GetLen)
	case TypeS3Head, TypeS3Delete:
		return nil
	}
	return unknownType(r.Type, s3Service)
}

// ParseS3Request parses a request record.
func ParseS3Request(record []byte) (r S3Request, err error) {
	f := fields{rest: record}
	if r.Type = f.u32("the type"); f.fault == "" && !isS3(r.Type) {
		return r, unknownType(r.Type, s3Service)
	}
	r.Bucket = f.str("the bucket")
	r.Object = f.str("the object")
	switch r.Type {
	case TypeS3Put:
		r.Data = f.bytes(f.u32("the length"), "the data")
	case TypeS3Get:
		r.Length = f.u32("the length")
	case TypeS3Range:
		r.Offset = f.u32("the offset")
		r.Length = f.u32("the length")
	}
	return r, f.doneRequest(record, s3Service)
}

// AppendS3Request appends the record of r to dst. r must have passed Check.
func AppendS3Request(dst []byte, r *S3Request) []byte {
	dst = appendU32(dst, r.Type)
	dst = appendKey(dst, r.Bucket)
	dst = appendKey(dst, r.Object)
	switch r.Type {
	case TypeS3Put:
		dst = appendData(dst, r.Data)
	case TypeS3Get:
		dst = appendU32(dst, r.Length)
	case TypeS3Range:
		dst = appendU32(dst, r.Offset)
		dst = appendU32(dst, r.Length)
	}
	return dst
}

// AppendS3Status appends the answer to PUT and DELETE.
func AppendS3Status(dst []byte, status uint32) []byte { return appendU32(dst, status) }

// AppendS3Head appends the answer to HEAD. With S3NoLength it is the answer without data to GET and
// RANGE.
func AppendS3Head(dst []byte, status, length uint32) []byte {
	return appendU32(appendU32(dst, status), length)
}

// AppendS3Data appends the answer with data to GET and RANGE.
func AppendS3Data(dst []byte, status uint32, data []byte) []byte {
	return appendData(appendU32(dst, status), data)
}

// ParseS3Status parses the answer to PUT and DELETE.
func ParseS3Status(record []byte) (status uint32, err error) {
	f := fields{rest: record}
	status = f.httpStatus()
	return status, f.done("answer to S3_PUT or S3_DELETE", len(record))
}

// ParseS3Head parses the answer to HEAD. length is S3NoLength if it is unknown.
func ParseS3Head(record []byte) (status, length uint32, err error) {
	f := fields{rest: record}
	status = f.httpStatus()
	length = f.u32("the length")
	return status, length, f.done("answer to S3_HEAD", len(record))
}

// ParseS3Data parses the answer to GET and RANGE. data aliases record, and is nil if there is none.
// Use it only if S3Success says so.
func ParseS3Data(record []byte) (status uint32, data []byte, err error) {
	f := fields{rest: record}
	status = f.httpStatus()
	if length := f.u32("the length"); length != S3NoLength {
		data = f.bytes(length, "the data")
	}
	return status, data, f.done("answer to S3_GET or S3_RANGE", len(record))
}

// S3Success reports whether status means that a request of type typ was done. A RANGE answered with
// the whole object (200) was not. HEAD has no such status: what it returns is the answer.
func S3Success(typ, status uint32) bool {
	switch typ {
	case TypeS3Put, TypeS3Get:
		return status == httpOK
	case TypeS3Range:
		return status == httpPartial
	case TypeS3Delete:
		return status == httpNoBody
	}
	return false
}

func isS3(typ uint32) bool {
	switch typ {
	case TypeS3Put, TypeS3Get, TypeS3Range, TypeS3Head, TypeS3Delete:
		return true
	}
	return false
}

// httpStatus parses a status that HTTP can have, or httpNone.
func (f *fields) httpStatus() uint32 {
	status := f.u32("the status")
	if f.fault == "" && status != httpNone && (status < httpMin || status > httpMax) {
		f.fault = fmt.Sprintf("%d is not an HTTP status", status)
	}
	return status
}
