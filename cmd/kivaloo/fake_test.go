package main

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// fakeStore is a server that keeps its pairs in a map.
type fakeStore struct {
	wiretest.Server
	addr string
}

// startFake starts a store with pairs given as "key=value". The end of the test closes it. An
// answer has at most 1000 pairs.
func startFake(t *testing.T, pairs ...string) *fakeStore {
	s := &fakeStore{addr: filepath.Join(t.TempDir(), "fake.sock")}
	s.PairsMax, s.Pairs = 1000, wiretest.Model{}
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		s.Pairs[key] = value
	}
	ln, err := net.Listen("unix", s.addr)
	must.Do(t, err)
	t.Cleanup(s.Listen(ln))
	return s
}

// hangUpAt makes the store hang up, instead of answering, at requests for which bad returns true.
// If it has extensions, all its snapshots have number 1, and it never releases them.
func (s *fakeStore) hangUpAt(bad func(r wire.KVRequest) bool) {
	s.Hook = func(id uint64, r wire.KVRequest) ([]byte, wiretest.Verdict) {
		switch {
		case bad(r):
			return nil, wiretest.HangUp
		case r.Type == wire.TypeSnapshot:
			return wire.AppendPacket(nil, id, wire.AppendSnapshot(nil, 1)), wiretest.WithThis
		case r.Type == wire.TypeRelease:
			return wire.AppendPacket(nil, id, wire.AppendKVStatus(nil, wire.StatusDone)), wiretest.WithThis
		}
		return nil, wiretest.Normally
	}
}

// dumped encodes a pair as in a dump.
func dumped(key, value string) string { return string(wiretest.AppendPair(nil, key, value)) }
