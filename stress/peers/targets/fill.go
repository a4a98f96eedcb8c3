package targets

import (
	"encoding/binary"

	"kivaloo/wire"
)

// fill sets n keys in order to long values, which fills a cache fastest.
type fill struct{ next, n uint64 }

// A page of blockSize bytes has room for exactly seven of these pairs.
const (
	fillValueLen  = 250
	fillPairBytes = blockSize / 7
)

func (f *fill) Next(dst []byte) ([]byte, uint64, bool) {
	if f.next == f.n {
		return dst, 0, false
	}
	var key [8]byte
	var value [fillValueLen]byte
	binary.BigEndian.PutUint64(key[:], f.next)
	f.next++
	return wire.AppendKVRequest(dst, &wire.KVRequest{Type: wire.TypeSet, Key: key[:], Value: value[:]}), 0, true
}

func (f *fill) Check(_ uint64, answer []byte) error {
	_, err := wire.ParseKVStatus(wire.TypeSet, answer)
	return err
}
