package kivaloo_test

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"kivaloo"
	"kivaloo/wire"
)

// verdict is what a fakeServer does with one request.
type verdict int

const (
	normally verdict = iota // answer it as a store would
	withThis                // send the bytes that the hook returned
	hangUp                  // send the bytes that the hook returned, then close the connection
)

// fakeServer is a store in a map, that can be told to misbehave.
type fakeServer struct {
	maxKey, maxValue uint32
	rangeMax         uint32 // an answer to RANGE holds no more bytes of pairs
	endKeyToo        bool   // RANGE returns the end key, as the original does

	// hook, if not nil, is asked about each request but those of Dial. It is called on
	// the connection's goroutine and may block.
	hook func(id uint64, r wire.KVRequest) ([]byte, verdict)

	conns sync.WaitGroup

	mu    sync.Mutex
	pairs map[string]string
	open  []net.Conn
}

// start has s listen on a unix socket and returns its path and a function that
// closes everything and waits. It can be started again then, with what it has stored.
func (s *fakeServer) start(dir string) (path string, stop func(), err error) {
	path = filepath.Join(dir, "fake.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		return "", nil, err
	}
	return path, s.listen(ln), nil
}

// listen serves the connections that ln accepts. It returns what start does.
func (s *fakeServer) listen(ln net.Listener) (stop func()) {
	if s.maxKey == 0 {
		s.maxKey, s.maxValue = 255, 255
	}
	if s.rangeMax == 0 {
		s.rangeMax = 1 << 20
	}
	if s.pairs == nil {
		s.pairs = map[string]string{}
	}
	s.conns.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open = append(s.open, nc)
			s.mu.Unlock()
			s.conns.Go(func() { s.serve(nc) })
		}
	})
	return func() {
		ln.Close()
		s.hangUp()
		s.conns.Wait()
	}
}

// hangUp closes all connections.
func (s *fakeServer) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, nc := range s.open {
		nc.Close()
	}
	s.open = nil
}

// dial starts s and returns a client of it; the test ends both.
func (s *fakeServer) dial(t *testing.T, opts ...kivaloo.Option) *kivaloo.Client {
	t.Helper()
	path, stop, err := s.start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	c, err := kivaloo.Dial(t.Context(), path, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (s *fakeServer) serve(nc net.Conn) {
	defer nc.Close()
	var in, out []byte
	chunk := make([]byte, 64<<10)
	for dialled := false; ; {
		n, err := nc.Read(chunk)
		if err != nil {
			return
		}
		in = append(in, chunk[:n]...)
		for {
			p, n, _, err := wire.Cut(in, wire.MaxKVRequestLen)
			if err != nil {
				return
			}
			if n == 0 {
				break
			}
			r, err := wire.ParseKVRequest(p.Record)
			if err != nil {
				return
			}
			v, raw := normally, []byte(nil)
			if dialled && s.hook != nil {
				raw, v = s.hook(p.ID, r)
			}
			dialled = true
			switch v {
			case normally:
				out = wire.AppendPacket(out, p.ID, s.apply(r))
			case withThis, hangUp:
				out = append(out, raw...)
			}
			if v == hangUp {
				nc.Write(out)
				return
			}
			in = in[n:]
		}
		if _, err := nc.Write(out); err != nil {
			return
		}
		out = out[:0]
	}
}

// apply carries out r and returns the record of the answer.
func (s *fakeServer) apply(r wire.KVRequest) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := string(r.Key)
	now, present := s.pairs[key]
	done := true
	switch r.Type {
	case wire.TypeParams:
		return wire.AppendKVParams(nil, s.maxKey, s.maxValue)
	case wire.TypeRange:
		return s.applyRange(r)
	case wire.TypeBackup: // of the snapshot 1, as if nothing ever changed
		return slices.Insert(s.applyRange(r), 4, 0, 0, 0, 0, 0, 0, 0, 1)
	case wire.TypeGet:
		if !present {
			return wire.AppendKVStatus(nil, 1)
		}
		return wire.AppendKVValue(nil, []byte(now))
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
		delete(s.pairs, key)
	} else {
		s.pairs[key] = string(r.Value)
	}
	return wire.AppendKVStatus(nil, 0)
}

func (s *fakeServer) applyRange(r wire.KVRequest) []byte {
	var keys []string
	for key := range s.pairs {
		past := bytes.Compare([]byte(key), r.End)
		if key >= string(r.Key) && (len(r.End) == 0 || past < 0 || past == 0 && s.endKeyToo) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var pairs []byte
	for n, key := range keys {
		one := appendPair(nil, key, s.pairs[key])
		if n > 0 && len(pairs)+len(one) > int(min(r.Max, s.rangeMax)) {
			return wire.AppendKVPairs(nil, uint32(n), []byte(key), pairs)
		}
		pairs = append(pairs, one...)
	}
	return wire.AppendKVPairs(nil, uint32(len(keys)), r.End, pairs)
}

// appendPair appends a pair as it stands in the answer to RANGE.
func appendPair(dst []byte, key, value string) []byte {
	dst = append(append(dst, byte(len(key))), key...)
	return append(append(dst, byte(len(value))), value...)
}

// within returns a context that ends a hanging test.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
