package main

import (
	"bytes"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"kivaloo/wire"
)

// fakeStore is a server that keeps its pairs in a map.
type fakeStore struct {
	addr     string
	maxValue uint32                               // set before use
	hook     func(r wire.KVRequest) (hangUp bool) // nil: never; set before use

	mu    sync.Mutex
	pairs map[string]string
	conns []net.Conn
}

// startFake starts a store with pairs, given as "key=value", that the test ends.
func startFake(t *testing.T, pairs ...string) *fakeStore {
	s := &fakeStore{addr: filepath.Join(t.TempDir(), "fake.sock"), maxValue: 255, pairs: map[string]string{}}
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		s.pairs[key] = value
	}
	ln, err := net.Listen("unix", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, nc)
			s.mu.Unlock()
			running.Go(func() { s.serve(nc) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		s.mu.Lock()
		for _, nc := range s.conns {
			nc.Close()
		}
		s.mu.Unlock()
		running.Wait()
	})
	return s
}

// replace gives the store other pairs.
func (s *fakeStore) replace(pairs map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pairs = maps.Clone(pairs)
}

// content returns what is in the store.
func (s *fakeStore) content() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.pairs)
}

func (s *fakeStore) serve(nc net.Conn) {
	defer nc.Close()
	var in []byte
	chunk := make([]byte, 64<<10)
	for {
		n, err := nc.Read(chunk)
		if err != nil {
			return
		}
		in = append(in, chunk[:n]...)
		var out []byte
		for {
			p, n, _, err := wire.Cut(in, wire.MaxKVRequestLen)
			if err != nil {
				return
			}
			if n == 0 {
				break
			}
			r, err := wire.ParseKVRequest(p.Record)
			if err != nil || s.hook != nil && s.hook(r) {
				return
			}
			out = wire.AppendPacket(out, p.ID, s.apply(r))
			in = in[n:]
		}
		if _, err := nc.Write(out); err != nil {
			return
		}
	}
}

// apply carries out r and returns the record of the answer.
func (s *fakeStore) apply(r wire.KVRequest) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, present := s.pairs[string(r.Key)]
	done := true
	switch r.Type {
	case wire.TypeParams:
		return wire.AppendKVParams(nil, 255, s.maxValue)
	case wire.TypeGet:
		if !present {
			return wire.AppendKVStatus(nil, 1)
		}
		return wire.AppendKVValue(nil, []byte(now))
	case wire.TypeRange:
		n, next, pairs := s.pairsFrom(r)
		return wire.AppendKVPairs(nil, n, next, pairs)
	case wire.TypeBackup: // as if nothing ever changed
		n, next, pairs := s.pairsFrom(r)
		return wire.AppendKVBackup(nil, &wire.KVBackup{Snapshot: 1, N: n, Next: next, Pairs: pairs})
	case wire.TypeAdd:
		done = !present
	case wire.TypeModify:
		done = present
	case wire.TypeCAS, wire.TypeCAD:
		done = present && now == string(r.Old)
	}
	if !done {
		return wire.AppendKVStatus(nil, 1)
	}
	if r.Type == wire.TypeDelete || r.Type == wire.TypeCAD {
		delete(s.pairs, string(r.Key))
	} else {
		s.pairs[string(r.Key)] = string(r.Value)
	}
	return wire.AppendKVStatus(nil, 0)
}

// pairsFrom returns what a RANGE or a BACKUP is answered with.
func (s *fakeStore) pairsFrom(r wire.KVRequest) (n uint32, next, pairs []byte) {
	var keys []string
	for key := range s.pairs {
		if key >= string(r.Key) && (len(r.End) == 0 || bytes.Compare([]byte(key), r.End) < 0) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	const perAnswer = 1000
	next = r.End
	if len(keys) > perAnswer {
		next = []byte(keys[perAnswer])
		keys = keys[:perAnswer]
	}
	for _, key := range keys {
		pairs = append(pairs, dumped(key, s.pairs[key])...)
	}
	return uint32(len(keys)), next, pairs
}

// dumped is a pair as a dump and the answer to RANGE have it.
func dumped(key, value string) string {
	return string([]byte{byte(len(key))}) + key + string([]byte{byte(len(value))}) + value
}
