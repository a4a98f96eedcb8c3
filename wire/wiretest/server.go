package wiretest

import (
	"bytes"
	"maps"
	"net"
	"path/filepath"
	"sync"

	"kivaloo/wire"
)

// Verdict is what a Server does with one request.
type Verdict int

const (
	Normally Verdict = iota // answer as a store would
	WithThis                // send the bytes that the hook returned
	HangUp                  // send the bytes that the hook returned, then close the connection
)

// Server is a key-value server with its pairs in a map. It can be made to misbehave.
type Server struct {
	MaxKey, MaxValue uint32 // 0: 255
	RangeMax         uint32 // most bytes of pairs in an answer to RANGE or SCAN; 0: 1 MiB
	PairsMax         int    // most pairs in such an answer; 0: no limit
	EndKeyToo        bool   // RANGE returns the end key, as the original does
	Extensions       bool   // offer extensions; otherwise hang up on them

	// Hook, if not nil, is called for each request except those of Dial. It is called on the
	// connection's goroutine and may block.
	Hook func(id uint64, r wire.KVRequest) ([]byte, Verdict)

	Mu        sync.Mutex // guards what follows and RangeMax, once there are connections
	Pairs     Model
	Snapshots map[uint64]Model // by number
	Open      []net.Conn       // accepted connections

	taken uint64        // number of the latest snapshot
	log   []wire.Change // all changes; a position is their number plus one

	conns sync.WaitGroup
}

// Start makes s listen on a unix socket. It returns the socket's path and a function that closes
// everything and waits. After that s can be started again, with its pairs.
func (s *Server) Start(dir string) (path string, stop func(), err error) {
	path = filepath.Join(dir, "fake.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		return "", nil, err
	}
	return path, s.Listen(ln), nil
}

// Listen serves the connections that ln accepts. The function returned is that of Start.
func (s *Server) Listen(ln net.Listener) (stop func()) {
	if s.MaxKey == 0 {
		s.MaxKey = 255
	}
	if s.MaxValue == 0 {
		s.MaxValue = 255
	}
	if s.RangeMax == 0 {
		s.RangeMax = 1 << 20
	}
	if s.Pairs == nil {
		s.Pairs = Model{}
	}
	s.conns.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			s.Mu.Lock()
			s.Open = append(s.Open, nc)
			s.Mu.Unlock()
			s.conns.Go(func() { s.serve(&Conn{Conn: nc}) })
		}
	})
	return func() {
		ln.Close()
		s.HangUp()
		s.conns.Wait()
	}
}

// HangUp closes all connections.
func (s *Server) HangUp() {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	for _, nc := range s.Open {
		nc.Close()
	}
	s.Open = nil
}

// Replace gives the server other pairs.
func (s *Server) Replace(pairs Model) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.Pairs = maps.Clone(pairs)
}

// Content returns a copy of the pairs.
func (s *Server) Content() Model {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return maps.Clone(s.Pairs)
}

func (s *Server) serve(c *Conn) {
	defer c.Close()
	var out []byte
	for dialled := false; ; {
		p, err := c.Next()
		if err != nil {
			return
		}
		r, err := wire.ParseKVRequest(p.Record)
		if err != nil {
			return
		}
		v, raw := Normally, []byte(nil)
		if dialled && s.Hook != nil {
			raw, v = s.Hook(p.ID, r)
		}
		switch {
		case v != Normally:
		case !dialled && s.Extensions:
			raw = wire.AppendPacket(nil, p.ID, wire.AppendKVHello(nil, s.MaxKey, s.MaxValue, wire.Extensions1))
		case wire.IsExtension(r.Type) && !s.Extensions:
			v = HangUp
		default:
			raw = wire.AppendPacket(nil, p.ID, s.Answer(r))
		}
		dialled = true
		out = append(out, raw...)
		if v != HangUp && c.Buffered() {
			continue // one write for everything received
		}
		if c.Put(out) != nil || v == HangUp {
			return
		}
		out = out[:0]
	}
}

// Answer carries out r, as a store would, and returns the record of the answer. A Hook may call it.
func (s *Server) Answer(r wire.KVRequest) []byte {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if wire.IsExtension(r.Type) {
		return s.extension(r)
	}
	switch r.Type {
	case wire.TypeParams:
		return wire.AppendKVParams(nil, s.MaxKey, s.MaxValue)
	case wire.TypeGet:
		value, present := s.Pairs[string(r.Key)]
		if !present {
			return wire.AppendKVStatus(nil, 1)
		}
		return wire.AppendKVValue(nil, []byte(value))
	case wire.TypeRange:
		n, next, pairs := s.pairsFrom(r)
		return wire.AppendKVPairs(nil, n, next, pairs)
	}
	return wire.AppendKVStatus(nil, s.change(&r))
}

// pairsFrom returns the content of the answer to a RANGE.
func (s *Server) pairsFrom(r wire.KVRequest) (n uint32, next, pairs []byte) {
	for _, key := range s.Pairs.Keys() {
		past := bytes.Compare([]byte(key), r.End)
		if key < string(r.Key) || len(r.End) > 0 && (past > 0 || past == 0 && !s.EndKeyToo) {
			continue
		}
		one := AppendPair(nil, key, s.Pairs[key])
		if n > 0 && (len(pairs)+len(one) > int(min(r.Max, s.RangeMax)) || int(n) == s.PairsMax) {
			return n, []byte(key), pairs
		}
		n, pairs = n+1, append(pairs, one...)
	}
	return n, r.End, pairs
}

// AppendPair appends a pair as in the answer to RANGE.
func AppendPair(dst []byte, key, value string) []byte {
	dst = append(append(dst, byte(len(key))), key...)
	return append(append(dst, byte(len(value))), value...)
}
