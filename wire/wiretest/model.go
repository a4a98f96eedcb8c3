package wiretest

import (
	"fmt"
	"maps"
	"slices"

	"kivaloo/wire"
)

// Model is what a store should hold.
type Model map[string]string

// Apply carries out a modifying request and returns the status of its answer.
func (m Model) Apply(r *wire.KVRequest) uint32 {
	key := string(r.Key)
	value, present := m[key]
	equal := present && value == string(r.Old)
	switch r.Type {
	case wire.TypeSet:
		m[key] = string(r.Value)
		return 0
	case wire.TypeDelete:
		delete(m, key)
		return 0
	case wire.TypeAdd:
		if present {
			return 1
		}
		m[key] = string(r.Value)
	case wire.TypeModify:
		if !present {
			return 1
		}
		m[key] = string(r.Value)
	case wire.TypeCAS:
		if !equal {
			return 1
		}
		m[key] = string(r.Value)
	case wire.TypeCAD:
		if !equal {
			return 1
		}
		delete(m, key)
	default:
		panic(fmt.Sprintf("wiretest: %s modifies nothing", wire.TypeName(r.Type)))
	}
	return 0
}

// Keys returns the keys in ascending order.
func (m Model) Keys() []string { return slices.Sorted(maps.Keys(m)) }

// Between returns the keys from start up to, but not including, end, in order. An empty end means
// no end.
func (m Model) Between(start, end string) (keys []string) {
	for k := range m {
		if k >= start && (end == "" || k < end) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// Diff describes one difference of found from m. It is empty if they are equal.
func (m Model) Diff(found Model) string {
	for _, key := range m.Keys() {
		switch value, ok := found[key]; {
		case !ok:
			return fmt.Sprintf("%q is absent, should be %q (%d pairs of %d)", key, m[key], len(found), len(m))
		case value != m[key]:
			return fmt.Sprintf("%q is %q, should be %q", key, value, m[key])
		}
	}
	for _, key := range found.Keys() {
		if _, ok := m[key]; !ok {
			return fmt.Sprintf("%q is %q, should be absent", key, found[key])
		}
	}
	return ""
}
