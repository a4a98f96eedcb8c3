package stress

import (
	"maps"
	"net"
	"slices"
	"sync"
	"testing"

	"kivaloo/internal/must"
	"kivaloo/wire"
)

// fakeServer is a minimal key-value server.
type fakeServer struct {
	mu     sync.Mutex
	pairs  map[string][]byte
	tamper func(answer []byte) []byte // changes whole packets on their way out
	buffer int                        // size of the socket buffers, in bytes; 0: the default
}

func (s *fakeServer) setTamper(f func(answer []byte) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tamper = f
}

func newFakeServer() *fakeServer { return &fakeServer{pairs: map[string][]byte{}} }

// serve serves one connection after the other, until the listener is closed.
func (s *fakeServer) serve(ln net.Listener) {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		if s.buffer > 0 {
			nc.(*net.UnixConn).SetWriteBuffer(s.buffer)
		}
		s.handle(nc)
		nc.Close()
	}
}

func (s *fakeServer) handle(nc net.Conn) {
	buffer := make([]byte, 64<<10)
	var in, out []byte
	for {
		have := copy(buffer, in)
		n, err := nc.Read(buffer[have:])
		if err != nil {
			return
		}
		in, out = buffer[:have+n], out[:0]
		s.mu.Lock()
		for {
			p, n, _, err := wire.Cut(in, wire.MaxKVRequestLen)
			if err != nil {
				panic(err)
			}
			if n == 0 {
				break
			}
			in = in[n:]
			start := len(out)
			out = wire.End(s.answer(wire.Begin(out, p.ID), p.Record), start)
			if s.tamper != nil {
				out = append(out[:start], s.tamper(out[start:])...)
			}
		}
		s.mu.Unlock()
		if _, err := nc.Write(out); err != nil {
			return
		}
	}
}

func (s *fakeServer) answer(out, record []byte) []byte {
	r, err := wire.ParseKVRequest(record)
	if err != nil {
		panic(err)
	}
	if r.Type == wire.TypeSet {
		s.pairs[string(r.Key)] = append([]byte(nil), r.Value...)
		return wire.AppendKVStatus(out, 0)
	}
	if r.Type == wire.TypeRange {
		return s.appendRange(out, r)
	}
	value, found := s.pairs[string(r.Key)]
	if !found {
		return wire.AppendKVStatus(out, 1)
	}
	return wire.AppendKVValue(out, value)
}

// appendRange answers RANGE with at most three pairs.
func (s *fakeServer) appendRange(out []byte, r wire.KVRequest) []byte {
	var next, pairs []byte
	n := uint32(0)
	for _, key := range slices.Sorted(maps.Keys(s.pairs)) {
		if key < string(r.Key) {
			continue
		}
		if n == 3 {
			next = []byte(key)
			break
		}
		n++
		pairs = append(append(pairs, byte(len(key))), key...)
		pairs = append(append(pairs, byte(len(s.pairs[key]))), s.pairs[key]...)
	}
	return wire.AppendKVPairs(out, n, next, pairs)
}

// dial starts s and returns a connection to it. Both end with the test.
func (s *fakeServer) dial(tb testing.TB) net.Conn {
	ln, err := net.Listen("unix", tb.TempDir()+"/s")
	must.Do(tb, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.serve(ln)
	}()
	nc, err := net.Dial("unix", ln.Addr().String())
	must.Do(tb, err)
	if s.buffer > 0 {
		nc.(*net.UnixConn).SetWriteBuffer(s.buffer)
	}
	tb.Cleanup(func() {
		nc.Close()
		ln.Close()
		<-done
	})
	return nc
}
