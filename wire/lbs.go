package wire

import "fmt"

// LBSRequest is a request of the block store. The type determines which fields are used:
//
//	PARAMS PARAMS2
//	GET            Block            the block wanted
//	APPEND         Block Count Data the number of the first block, the blocks
//	FREE           Block            the first block to keep
//
// Data aliases the record of a parsed request.
type LBSRequest struct {
	Type  uint32
	Count uint32
	Block uint64
	Data  []byte
}

// BlockSize returns the block size that a parsed APPEND implies, in bytes. The server compares it
// with the store's.
func (r *LBSRequest) BlockSize() int { return len(r.Data) / int(r.Count) }

// ParseLBSRequest parses a request record. APPEND has at least one block, and all its blocks have
// one size.
func ParseLBSRequest(record []byte) (r LBSRequest, err error) {
	f := fields{rest: record}
	r.Type = f.u32("the type")
	switch r.Type {
	case TypeLBSParams, TypeLBSParams2:
	case TypeLBSGet, TypeLBSFree:
		r.Block = f.u64("the block number")
	case TypeLBSAppend:
		r.Count = f.u32("the number of blocks")
		r.Block = f.u64("the block number")
		r.Data, f.rest = f.rest, nil
		if f.fault == "" && (r.Count == 0 || len(r.Data)%int(r.Count) != 0) {
			f.fault = fmt.Sprintf("%d bytes are not %d blocks", len(r.Data), r.Count)
		}
	default:
		return r, unknownType(r.Type, lbsService)
	}
	return r, f.doneRequest(record, lbsService)
}

// AppendLBSRequest appends the record of r to dst. The Data of an APPEND may be nil if the blocks
// are sent from other buffers.
func AppendLBSRequest(dst []byte, r *LBSRequest) []byte {
	dst = appendU32(dst, r.Type)
	switch r.Type {
	case TypeLBSParams, TypeLBSParams2:
	case TypeLBSGet, TypeLBSFree:
		dst = appendU64(dst, r.Block)
	case TypeLBSAppend:
		dst = appendU32(dst, r.Count)
		dst = appendU64(dst, r.Block)
		dst = append(dst, r.Data...)
	default:
		panic(fmt.Sprintf("wire: block store request of type %#x", r.Type))
	}
	return dst
}

// AppendLBSParams appends the answer to the old PARAMS: the block size in bytes, and the number of
// the next block.
func AppendLBSParams(dst []byte, blockSize uint32, next uint64) []byte {
	return appendU64(appendU32(dst, blockSize), next)
}

// AppendLBSParams2 appends the answer to PARAMS2. last is the number of the last block, or 2^64-1
// if none was ever written.
func AppendLBSParams2(dst []byte, blockSize uint32, next, last uint64) []byte {
	return appendU64(AppendLBSParams(dst, blockSize, next), last)
}

// AppendLBSBlock appends the answer to a GET that found its block. block may be nil if it is sent
// from another buffer.
func AppendLBSBlock(dst, block []byte) []byte { return append(appendU32(dst, 0), block...) }

// AppendLBSAppended appends the answer to a successful APPEND: the number of the next block.
func AppendLBSAppended(dst []byte, next uint64) []byte { return appendU64(appendU32(dst, 0), next) }

// AppendLBSStatus appends an answer that is only a status: 1 for a GET without a block and a
// refused APPEND, 0 for FREE.
func AppendLBSStatus(dst []byte, status uint32) []byte { return appendU32(dst, status) }

// ParseLBSParams parses the answer to the old PARAMS.
func ParseLBSParams(record []byte) (blockSize uint32, next uint64, err error) {
	f := fields{rest: record}
	blockSize = f.u32("the block size")
	next = f.u64("the next block")
	return blockSize, next, f.done("answer to LBS_PARAMS", len(record))
}

// ParseLBSParams2 parses the answer to PARAMS2.
func ParseLBSParams2(record []byte) (blockSize uint32, next, last uint64, err error) {
	f := fields{rest: record}
	blockSize = f.u32("the block size")
	next = f.u64("the next block")
	last = f.u64("the last block")
	return blockSize, next, last, f.done("answer to LBS_PARAMS2", len(record))
}

// ParseLBSBlock parses the answer to a GET. block aliases record.
func ParseLBSBlock(record []byte, blockSize int) (block []byte, found bool, err error) {
	f := fields{rest: record}
	status := f.u32("the status")
	switch {
	case f.fault != "" || status == 1:
	case status == 0:
		block, found = f.bytes(uint32(blockSize), "the block"), true
	default:
		return nil, false, badStatus(TypeLBSGet, status)
	}
	if err := f.done("answer to LBS_GET", len(record)); err != nil {
		return nil, false, err
	}
	return block, found, nil
}

// ParseLBSAppended parses the answer to an APPEND. It returns the number of the next block, or done
// false if the APPEND was refused.
func ParseLBSAppended(record []byte) (next uint64, done bool, err error) {
	f := fields{rest: record}
	status := f.u32("the status")
	switch {
	case f.fault != "" || status == 1:
	case status == 0:
		next, done = f.u64("the next block"), true
	default:
		return 0, false, badStatus(TypeLBSAppend, status)
	}
	if err := f.done("answer to LBS_APPEND", len(record)); err != nil {
		return 0, false, err
	}
	return next, done, nil
}

// ParseLBSFreed parses the answer to a FREE. Bytes after the status are allowed.
func ParseLBSFreed(record []byte) error {
	f := fields{rest: record}
	status := f.u32("the status")
	if f.fault != "" {
		return f.describe("answer to LBS_FREE", len(record))
	}
	if status != 0 {
		return badStatus(TypeLBSFree, status)
	}
	return nil
}
