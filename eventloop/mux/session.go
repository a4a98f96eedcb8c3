package mux

import (
	"errors"
	"os"

	"kivaloo/eventloop"
	"kivaloo/wire"
)

// session is one client: the handler of its connection.
//
// Every request that it has taken is owed by the connection, which is not closed before that
// has been settled: by its answer, or because it was dropped or the target was lost.
type session struct {
	mux    *Mux
	conn   *eventloop.Conn
	source *Source

	queue     queue    // requests that the target has not been sent
	inLine    bool     // on mux.waiting
	behind    *session // of inLine: who is next
	answers   outbox
	gathering bool // on mux.gathering
}

// Packet takes one request.
func (s *session) Packet(id uint64, record []byte) error {
	m := s.mux
	if m.lost != nil {
		return nil // this connection is about to be closed
	}
	answerBytes, err := m.rules.check(record, s.source.Allow, s.conn.Room())
	if err != nil {
		return err
	}
	r := request{id: id, record: record, charge: wire.Overhead + len(record) + answerBytes}
	if len(record) >= longBytes {
		r.record, r.ours = s.conn.Keep(record), true
	}
	s.queue.push(m, r)
	s.conn.Owe(1, r.charge)
	return nil
}

// Pushed forwards what one read has brought, or puts it in line.
func (s *session) Pushed() {
	if !s.queue.empty() && !s.inLine {
		s.mux.waiting.join(s)
	}
	s.mux.pump()
}

// Ended: a client that has only said that it will send no more gets its answers; one that broke
// the rules, or is gone, loses what has not been forwarded.
func (s *session) Ended(why error) {
	if why == nil {
		return
	}
	s.drop()
	var failed *os.SyscallError
	if errors.As(why, &failed) || errors.Is(why, eventloop.ErrStopped) {
		return
	}
	s.mux.clients.add("client disconnected", s.source.Name, s.conn.Peer(), why)
}

// drop gives up the requests that have not been forwarded.
func (s *session) drop() {
	for !s.queue.empty() {
		r := s.queue.pop(s.mux)
		s.mux.tally.add(s.mux.operation(r.record), eventloop.StatusDropped)
		s.answers.settle(r.charge)
	}
	s.mux.tally.publish()
	if !s.gathering {
		s.answers.flush()
	}
}

// Closed: what has not been forwarded by now was given up by the loop.
func (s *session) Closed() { s.drop() }

// outbox gathers packets for one connection.
type outbox struct {
	conn *eventloop.Conn
	out  *eventloop.Output // or nil
}

// output returns what is being gathered.
func (b *outbox) output() *eventloop.Output {
	if b.out == nil {
		b.out = b.conn.NewOutput()
	}
	return b.out
}

// settle takes back one request that was owed, with what it was charged for.
func (b *outbox) settle(charge int) {
	o := b.output()
	o.Answered++
	o.Reserved += charge
}

// add gathers a packet. The record is copied, unless it is ours, and then goes with the packet.
func (b *outbox) add(id uint64, record []byte, ours bool) {
	o := b.output()
	if !ours {
		o.Buf = wire.AppendPacket(o.Buf, id, record)
		if len(o.Buf) >= sendBytes {
			b.flush()
		}
		return
	}
	start := len(o.Buf)
	o.Buf = wire.AppendHeader(o.Buf, id, uint32(len(record)))
	sum := wire.NewRecordSum(o.Buf[start:])
	sum.Add(record)
	o.Pages = append(o.Pages, record)
	o.Tail = sum.AppendTrailer(nil)
	b.flush() // nothing can follow the tail
}

// flush gives what was gathered to the loop.
func (b *outbox) flush() {
	if b.out != nil {
		b.conn.Send(b.out)
		b.out = nil
	}
}
