package wiretest

import (
	"bytes"
	"maps"
	"slices"

	"kivaloo/wire"
)

// extension carries out an extension request and returns the record of the answer.
func (s *Server) extension(r wire.KVRequest) []byte {
	pairs := s.Pairs
	if r.Snapshot != 0 {
		var ok bool
		if pairs, ok = s.Snapshots[r.Snapshot]; !ok {
			return wire.AppendRefusal(nil, wire.StatusGone, "")
		}
	}
	switch r.Type {
	case wire.TypeGetAt:
		value, ok := pairs[string(r.Key)]
		if !ok {
			return wire.AppendKVStatus(nil, wire.StatusNo)
		}
		return wire.AppendKVValue(nil, []byte(value))
	case wire.TypeScan:
		return s.scan(r, pairs)
	case wire.TypeSnapshot:
		if s.Snapshots == nil {
			s.Snapshots = map[uint64]Model{}
		}
		s.taken++
		s.Snapshots[s.taken] = maps.Clone(s.Pairs)
		return wire.AppendSnapshot(nil, s.taken)
	case wire.TypeRelease:
		delete(s.Snapshots, r.Snapshot)
	case wire.TypeApply:
		return s.applyBatch(r)
	case wire.TypeDeleteRange:
		keys := s.Pairs.Between(string(r.Key), string(r.End))
		var next []byte
		if most := int(min(r.Max, s.RangeMax)); len(keys) > most {
			keys, next = keys[:most], []byte(keys[most])
		}
		for _, key := range keys {
			s.change(&wire.KVRequest{Type: wire.TypeDelete, Key: []byte(key)})
		}
		return wire.AppendDeleted(nil, wire.Deleted{N: uint64(len(keys)), Next: next})
	case wire.TypeWatch:
		return s.watch(r)
	}
	return wire.AppendKVStatus(nil, wire.StatusDone)
}

// inRange reports whether key is in the range of r.
func inRange(key string, r wire.KVRequest) bool {
	return key >= string(r.Key) && (len(r.End) == 0 || key < string(r.End))
}

func (s *Server) scan(r wire.KVRequest, pairs Model) []byte {
	keys := pairs.Between(string(r.Key), string(r.End))
	reverse := r.Flags&wire.ScanReverse != 0
	if reverse {
		slices.Reverse(keys)
	}
	a := wire.Scanned{}
	for n, key := range keys {
		one := AppendPair(nil, key, pairs[key])
		if r.Flags&wire.ScanKeysOnly != 0 {
			one = one[:1+len(key)]
		}
		full := r.Flags&wire.ScanCountOnly == 0 && n > 0 && (len(a.Pairs)+len(one) > int(min(r.Max, s.RangeMax)) || n == s.PairsMax)
		if full || r.Limit > 0 && n == int(r.Limit) {
			a.Next = []byte(key)
			if reverse {
				a.Next = []byte(keys[n-1])
			}
			break
		}
		if r.Flags&wire.ScanCountOnly == 0 {
			a.Pairs = append(a.Pairs, one...)
		}
		a.N++
	}
	return wire.AppendScanned(nil, &a)
}

func (s *Server) applyBatch(r wire.KVRequest) []byte {
	rest := r.Conditions.Data
	for i := range r.Conditions.N {
		var c wire.Condition
		c, rest, _ = wire.CutCondition(rest)
		now, present := s.Pairs[string(c.Key)]
		if c.Kind == wire.IfAbsent && present || c.Kind != wire.IfAbsent && !present || c.Kind == wire.IfEquals && now != string(c.Value) {
			return wire.AppendConflict(nil, i)
		}
	}
	for rest := r.Changes.Data; len(rest) > 0; {
		var c wire.Change
		c, rest, _ = wire.CutChange(rest)
		r := wire.KVRequest{Type: wire.TypeSet, Key: c.Key, Value: c.Value}
		if c.Delete {
			r.Type = wire.TypeDelete
		}
		s.change(&r)
	}
	return wire.AppendKVStatus(nil, wire.StatusDone)
}

// change carries out a modifying request, and returns the status of its answer.
func (s *Server) change(r *wire.KVRequest) uint32 {
	status := s.Pairs.Apply(r)
	if status == 0 {
		gone := r.Type == wire.TypeDelete || r.Type == wire.TypeCAD
		s.log = append(s.log, wire.Change{Delete: gone, Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value)})
	}
	return status
}

// watch answers at once.
func (s *Server) watch(r wire.KVRequest) []byte {
	now := uint64(len(s.log)) + 1
	if r.Position == 0 {
		return wire.AppendWatched(nil, &wire.Watched{Position: now})
	}
	if r.Position > now {
		return wire.AppendRefusal(nil, wire.StatusGone, "")
	}
	a := wire.Watched{Position: r.Position}
	var last wire.Change // each change is a commit
	for _, c := range s.log[r.Position-1:] {
		if inRange(string(c.Key), r) {
			if a.Changes.N > 0 && len(a.Changes.Data) > int(min(r.Max, s.RangeMax)) {
				break
			}
			if a.Changes.N++; a.Changes.N > 1 {
				last.Position = a.Position
				a.Changes.Data = wire.AppendChange(a.Changes.Data, last)
			}
			last = c
		}
		a.Position++
	}
	if a.Changes.N > 0 {
		a.Changes.Data = wire.AppendChange(a.Changes.Data, last)
	}
	return wire.AppendWatched(nil, &a)
}
