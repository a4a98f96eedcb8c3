package kvlds

import (
	"fmt"
	"sync/atomic"

	"kivaloo/eventloop"
	"kivaloo/tree"
	"kivaloo/wire"
)

// session is one connection: an eventloop.Handler on the loop, a tree.Client on
// the tree's goroutine.
//
// Invariants:
//  1. Every request that is in a batch has been counted with Owe, and is counted once
//     as Answered.
//  2. out is touched only by the tree's goroutine, first, last and filling only by the loop.
type session struct {
	server    *Server
	conn      *eventloop.Conn
	abandoned atomic.Bool // requests that change something and have not started are dropped

	first, last *batch // to be pushed, chained
	filling     *batch // the last of them, or nil

	out *eventloop.Output // answers of the step that is under way, or nil
}

// opCodes maps request types to operations; the rest are not requests to the tree.
var opCodes = map[uint32]tree.OpCode{
	wire.TypeSet:    tree.Set,
	wire.TypeCAS:    tree.CAS,
	wire.TypeAdd:    tree.Add,
	wire.TypeModify: tree.Modify,
	wire.TypeDelete: tree.Delete,
	wire.TypeCAD:    tree.CAD,
	wire.TypeGet:    tree.Get,
	wire.TypeRange:  tree.Range,
	wire.TypeBackup: tree.Backup,
}

// Packet takes one request.
func (s *session) Packet(id uint64, record []byte) error {
	q, err := wire.ParseKVRequest(record)
	if err != nil {
		return err
	}
	if q.Type == wire.TypeParams {
		s.answerParams(id)
		return nil
	}
	op := opCode(q.Type)
	if err := s.checkLengths(op, &q); err != nil {
		return err
	}
	b := s.room(len(record))
	r := tree.Request{ID: id, Op: op, Max: min(q.Max, uint32(s.conn.Room())), Snapshot: q.Snapshot, Key: b.keep(q.Key)}
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

// opCode returns the operation of a request type that is one.
func opCode(typ uint32) tree.OpCode {
	switch typ {
	case wire.TypeGet: // by far the most frequent
		return tree.Get
	case wire.TypeSet:
		return tree.Set
	}
	return opCodes[typ]
}

// checkLengths refuses what the store would not be able to hold. What is only looked for may be
// of any length: nothing of that length is there.
func (s *session) checkLengths(op tree.OpCode, q *wire.KVRequest) error {
	switch op {
	case tree.Set, tree.CAS, tree.Add, tree.Modify:
		if len(q.Key) > s.server.MaxKey {
			return fmt.Errorf("%w: key of %d bytes, the longest allowed is %d", wire.ErrBadRecord, len(q.Key), s.server.MaxKey)
		}
		if len(q.Value) > s.server.MaxValue {
			return fmt.Errorf("%w: value of %d bytes, the longest allowed is %d", wire.ErrBadRecord, len(q.Value), s.server.MaxValue)
		}
	}
	return nil
}

// reservation is how many bytes of answer to r count as unsent from the start. Only
// RANGE and BACKUP can ask for much more than they send.
func reservation(r *tree.Request) int {
	if r.Op != tree.Range && r.Op != tree.Backup {
		return 0
	}
	return int(min(r.Max, tree.MaxRangePairBytes)) + rangeAnswerBytes
}

// answerParams answers at once, ahead of everything that waits.
func (s *session) answerParams(id uint64) {
	o := s.conn.NewOutput()
	start := len(o.Buf)
	o.Buf = wire.Begin(o.Buf, id)
	o.Buf = wire.AppendKVParams(o.Buf, uint32(s.server.MaxKey), uint32(s.server.MaxValue))
	o.Buf = wire.End(o.Buf, start)
	o.Answered = 1
	s.conn.Owe(1, 0)
	s.conn.Send(o)
}

// room returns a batch that has room for one more request.
func (s *session) room(dataBytes int) *batch {
	if s.filling != nil && s.filling.fits(dataBytes) {
		return s.filling
	}
	b := getBatch(s.filling != nil)
	b.Client = s
	if s.last == nil {
		s.first = b
	} else {
		s.last.SetNext(&b.Batch)
	}
	s.last, s.filling = b, b
	return b
}

// Pushed gives the tree what a read has brought.
func (s *session) Pushed() {
	if s.first == nil {
		return
	}
	first, last := s.first, s.last
	if s.server.Now != nil {
		now := s.server.Now()
		for b := &first.Batch; b != nil; b = b.Next() {
			b.Pushed = now
		}
	}
	s.first, s.last, s.filling = nil, nil, nil
	s.server.Requests.Push(&first.Batch, &last.Batch)
}

// Ended: a client that has only said that it will send no more still gets its answers;
// one that broke the rules or is gone loses what has not started, including what the last read
// has brought and is yet to be pushed.
func (s *session) Ended(why error) {
	if why != nil {
		s.abandoned.Store(true)
	}
}

// Closed tells whoever counts connections.
func (s *session) Closed() {
	if s.server.Closed != nil {
		s.server.Closed()
	}
}
