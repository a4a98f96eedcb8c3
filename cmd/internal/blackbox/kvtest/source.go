package kvtest

import (
	"fmt"
	"math/rand/v2"

	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// Source makes random requests: the same ones for the same seed.
type Source struct {
	rnd      *rand.Rand
	prefix   string // of all keys that it makes up
	maxKey   int    // in bytes
	maxValue int
	maxKeys  int      // how many keys it uses
	keys     []string // keys used so far
	serial   int      // makes values different, if there is room
}

// NewSource returns a source for keys and values of limited length. It uses maxKeys keys, which
// begin with prefix, or the given ones.
func NewSource(rnd *rand.Rand, prefix string, maxKeys, maxKey, maxValue int, keys ...string) *Source {
	return &Source{rnd: rnd, prefix: prefix, maxKey: maxKey, maxValue: maxValue, maxKeys: maxKeys, keys: keys}
}

// Change returns a request that may modify something. Half of the old values that it expects are
// those in m.
func (s *Source) Change(m wiretest.Model) wire.KVRequest {
	types := []uint32{wire.TypeSet, wire.TypeSet, wire.TypeSet, wire.TypeAdd, wire.TypeModify,
		wire.TypeCAS, wire.TypeDelete, wire.TypeCAD}
	r := wire.KVRequest{Type: types[s.rnd.IntN(len(types))], Key: []byte(s.Key())}
	switch r.Type {
	case wire.TypeSet, wire.TypeAdd, wire.TypeModify:
		r.Value = s.value()
	case wire.TypeCAS:
		r.Old, r.Value = s.old(m, r.Key), s.value()
	case wire.TypeCAD:
		r.Old = s.old(m, r.Key)
	}
	return r
}

// Key returns a key, usually one that was returned before.
func (s *Source) Key() string {
	if len(s.keys) >= s.maxKeys || len(s.keys) > 0 && s.rnd.IntN(4) > 0 {
		return s.keys[s.rnd.IntN(len(s.keys))]
	}
	key := s.prefix + string(s.bytes(s.maxKey-len(s.prefix)))
	s.keys = append(s.keys, key)
	return key
}

// old returns a value for CAS and CAD to expect.
func (s *Source) old(m wiretest.Model, key []byte) []byte {
	if value, ok := m[string(key)]; ok && s.rnd.IntN(2) == 0 {
		return []byte(value)
	}
	return s.bytes(wire.MaxKeyLen)
}

func (s *Source) value() []byte {
	s.serial++
	value := fmt.Appendf(nil, "%d ", s.serial)
	if len(value) > s.maxValue {
		return value[:s.maxValue]
	}
	return append(value, s.bytes(s.maxValue-len(value))...)
}

// bytes returns up to max arbitrary bytes: mostly few, sometimes none or all.
func (s *Source) bytes(max int) []byte {
	n := s.rnd.IntN(min(max, 24) + 1)
	if s.rnd.IntN(16) == 0 {
		n = max
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.rnd.Uint32())
	}
	return b
}
