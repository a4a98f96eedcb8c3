package kvlds

import (
	"fmt"
	"sync/atomic"
	"time"

	"kivaloo/eventloop"
	"kivaloo/tree"
	"kivaloo/wire"
)

// session is one connection: an eventloop.Handler on the loop, and a tree.Client on the tree's
// goroutine.
//
// Invariants:
//  1. Every request in a batch has been counted with Owe, and is counted once as Answered.
//  2. Only the tree's goroutine uses out. Only the loop uses first, last and filling.
type session struct {
	server    *Server
	conn      *eventloop.Conn
	abandoned atomic.Bool // drop modifying requests that have not started

	first, last *tree.Batch // chain of batches to push
	filling     *batch      // the last of them, if it may take more requests; or nil

	watching atomic.Int64 // waiting WATCHes
	ended    bool         // no more input

	out *eventloop.Output // answers of the current step, or nil

	// When the read began that brought the requests to push, if that is measured.
	began time.Duration
}

// opCodes maps request types to operations; other types are not requests to the tree.
var opCodes = map[uint32]tree.OpCode{
	wire.TypeSet:    tree.Set,
	wire.TypeCAS:    tree.CAS,
	wire.TypeAdd:    tree.Add,
	wire.TypeModify: tree.Modify,
	wire.TypeDelete: tree.Delete,
	wire.TypeCAD:    tree.CAD,
	wire.TypeGet:    tree.Get,
	wire.TypeRange:  tree.Range,
}

// Packet accepts one request.
func (s *session) Packet(id uint64, record []byte) error {
	q, err := wire.ParseKVRequest(record)
	if err != nil {
		return err
	}
	if q.Type == wire.TypeParams {
		s.answerParams(id)
		return nil
	}
	if wire.IsExtension(q.Type) {
		s.extension(id, &q, len(record))
		return nil
	}
	op := opCode(q.Type)
	if err := s.checkLengths(op, &q); err != nil {
		return err
	}
	b := s.room(len(record))
	r := tree.Request{ID: id, Began: s.began, Op: op, Max: min(q.Max, uint32(s.conn.Room())), Key: b.keep(q.Key)}
	switch op {
	case tree.Range:
		r.End = b.keep(q.End)
	case tree.CAS:
		r.Old, r.Value = b.keep(q.Old), b.keep(q.Value)
	case tree.CAD:
		r.Old = b.keep(q.Old)
	case tree.Set, tree.Add, tree.Modify:
		r.Value = b.keep(q.Value)
	}
	b.Requests = append(b.Requests, r)
	s.conn.Owe(1, reservation(&r))
	return nil
}

// opCode returns the operation of a request type.
func opCode(typ uint32) tree.OpCode {
	switch typ {
	case wire.TypeGet: // by far the most frequent
		return tree.Get
	case wire.TypeSet:
		return tree.Set
	}
	return opCodes[typ]
}

// checkLengths refuses what the store cannot hold. Keys that are only looked for may have any
// length: nothing of that length exists.
func (s *session) checkLengths(op tree.OpCode, q *wire.KVRequest) error {
	switch op {
	case tree.Set, tree.CAS, tree.Add, tree.Modify:
		return s.checkPair(q.Key, q.Value)
	}
	return nil
}

// checkPair refuses a pair that is longer than the store accepts.
func (s *session) checkPair(key, value []byte) error {
	if len(key) > s.server.MaxKey {
		return fmt.Errorf("%w: key of %d bytes, the longest allowed is %d", wire.ErrBadRecord, len(key), s.server.MaxKey)
	}
	if len(value) > s.server.MaxValue {
		return fmt.Errorf("%w: value of %d bytes, the longest allowed is %d", wire.ErrBadRecord, len(value), s.server.MaxValue)
	}
	return nil
}

// reservation returns how many bytes of the answer to r count as unsent from the start. Only RANGE,
// SCAN and WATCH can ask for much more than they send.
func reservation(r *tree.Request) int {
	switch r.Op {
	case tree.Range, tree.Scan, tree.Watch:
		return int(min(r.Max, tree.MaxRangePairBytes)) + rangeAnswerBytes
	}
	return 0
}

// answerParams answers at once. Only a client that knows extensions is told about them.
func (s *session) answerParams(id uint64) {
	record := wire.AppendKVParams(nil, uint32(s.server.MaxKey), uint32(s.server.MaxValue))
	if id == wire.HelloID && offered != 0 {
		record = wire.AppendKVHello(nil, uint32(s.server.MaxKey), uint32(s.server.MaxValue), offered)
	}
	s.answerNow(id, record)
}

// answerNow answers a request ahead of everything waiting.
func (s *session) answerNow(id uint64, record []byte) {
	o := s.conn.NewOutput()
	o.Buf, o.Answered = wire.AppendPacket(o.Buf, id, record), 1
	s.conn.Owe(1, 0)
	s.conn.Send(o)
}

// room returns a batch with room for one more request.
func (s *session) room(dataBytes int) *batch {
	if s.filling != nil && s.filling.fits(dataBytes) {
		return s.filling
	}
	size := 0
	if s.filling != nil {
		size = min(s.filling.size+1, len(batchSizes)-1)
	}
	b := getBatch(size)
	b.Client = s
	s.conn.Hold(b.memory())
	s.add(&b.Batch)
	s.filling = b
	return b
}

// add adds b to the chain to push. Later requests go into another batch.
func (s *session) add(b *tree.Batch) {
	if s.last == nil {
		s.first, s.began = b, s.conn.Now()
	} else {
		s.last.SetNext(b)
	}
	s.last, s.filling = b, nil
}

// Pushed gives the requests of a read to the tree.
func (s *session) Pushed() {
	if s.first != nil && !s.answerHere() {
		s.push()
	}
	if s.ended {
		s.endWatches() // those in the last read
	}
}

// push gives the chain to the tree.
func (s *session) push() {
	first, last := s.first, s.last
	if s.server.Now != nil {
		now := s.server.Now()
		for b := first; b != nil; b = b.Next() {
			b.Pushed = now
		}
	}
	s.first, s.last, s.filling = nil, nil, nil
	s.server.Requests.Push(first, last)
}

// answerHere answers the requests of a read on the loop, and reports whether it did. It does if few
// answers are owed to anybody, and all requests are GETs whose pages are in memory. For these,
// waking the tree's goroutine, and then the loop again, takes longer. With more requests the tree
// is awake, and searches for many at a time.
func (s *session) answerHere() bool {
	if s.server.Readers == nil || s.conn.AllOwed() > maxGetsHere {
		return false
	}
	for b := s.first; b != nil; b = b.Next() {
		if _, ok := b.Owner.(*batch); !ok {
			return false
		}
		for i := range b.Requests {
			if r := &b.Requests[i]; r.Op != tree.Get || isExtension(r) {
				return false
			}
		}
	}
	o := s.conn.NewOutput()
	if !s.answerGets(o) {
		o.Buf, o.Answered = o.Buf[:0], 0
		s.conn.Send(o) // empty
		return false
	}
	for b := s.first; b != nil; {
		next := b.Next()
		b.SetNext(nil)
		own := b.Owner.(*batch)
		o.Released += own.memory()
		putBatch(own)
		b = next
	}
	s.first, s.last, s.filling = nil, nil, nil
	s.conn.Send(o)
	return true
}

// answerGets puts the answers to the GETs of a read into o. It returns false if the tree must be
// asked.
func (s *session) answerGets(o *eventloop.Output) bool {
	readers, found := s.server.Readers, 0
	for b := s.first; b != nil; b = b.Next() {
		for i := range b.Requests {
			r := &b.Requests[i]
			value, there, ok := readers.Get(nil, s.server.value[:0], r.Key)
			if !ok {
				return false
			}
			if there {
				found++
			}
			start := len(o.Buf)
			o.Buf = wire.Begin(o.Buf, r.ID)
			putValue(o, value, there)
			o.Buf = wire.End(o.Buf, start)
			o.Answered++
			o.Time(uint8(tree.Get), r.Began)
		}
	}
	readers.Count(found, o.Answered-found)
	return true
}

// Ended handles the end of input. A client that has only closed its sending side still gets its
// answers. One that broke the rules or is gone loses what has not started, including the last read,
// which was not pushed yet. Neither waits for changes any more.
func (s *session) Ended(why error) {
	if why != nil {
		s.abandoned.Store(true)
	}
	s.ended = true
	s.endWatches()
}

// Closed tells the server that the connection is gone.
func (s *session) Closed() {
	if s.server.Closed != nil {
		s.server.Closed()
	}
}
