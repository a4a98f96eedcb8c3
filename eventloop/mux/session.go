package mux

import (
	"errors"
	"fmt"
	"os"

	"kivaloo/eventloop"
	"kivaloo/wire"
)

// session is one client: the handler of its connection.
//
// The connection owes an answer to every request that it has accepted. It is not closed before each
// has been settled: by its answer, or because it was dropped or the target was lost. Waiting
// WATCHes are parked instead, because they must not keep other requests of the client from being
// read.
type session struct {
	mux    *Mux
	conn   *eventloop.Conn
	source *Source

	queue     queue    // requests not sent to the target yet
	inLine    bool     // on mux.waiting
	behind    *session // the next session in line
	answers   outbox
	gathering bool // on mux.gathering
	watches   int  // waiting WATCHes, here and at the target
	ended     bool // the client will send nothing more, so its WATCHes must not wait
}

// Packet accepts one request.
func (s *session) Packet(id uint64, record []byte) error {
	m := s.mux
	if m.lost != nil {
		return nil // this connection is about to be closed
	}
	r := request{id: id, record: record, charge: wire.Overhead + len(record)}
	if m.rules != nil {
		q, err := wire.ParseKVRequest(record)
		if err != nil {
			return err
		}
		if err := m.rules.check(&q, s.source.Allow); err != nil {
			return s.refuse(id, &q, err)
		}
		if q.Type == wire.TypeParams && id == wire.HelloID {
			s.hello(id)
			return nil
		}
		if waits(record) && (s.watches >= maxClientWatches || m.watches >= maxWatches) {
			s.answerHere(id, q.Type, wire.AppendRefusal(nil, wire.StatusTooMany, tooManyWatches))
			return nil
		}
		r.charge += limit(&q, record, s.conn.Room())
	}
	s.take(r)
	return nil
}

// take puts a request into the queue.
func (s *session) take(r request) {
	if s.mux.waits(r.record) {
		s.mux.watches++
		s.watches++
		s.conn.Park(1)
		s.conn.Hold(r.charge)
	} else {
		s.conn.Owe(1, r.charge)
	}
	if len(r.record) >= longBytes {
		r.record, r.ours = s.conn.Keep(r.record), true
	}
	s.queue.push(s.mux, r)
}

// settle undoes take, including the charge.
func (s *session) settle(waited bool, charge int) {
	o := s.answers.output()
	if waited {
		s.mux.watches--
		s.watches--
		o.Unparked++
		o.Released += charge
		return
	}
	o.Answered++
	o.Reserved += charge
}

// tooManyWatches is the reason why a WATCH is refused.
var tooManyWatches = fmt.Sprintf("%d of one client, or %d of all clients of kivaloo-mux, wait, which is the limit", maxClientWatches, maxWatches)

// refuse answers an extension request that may not be forwarded. For other requests it returns an
// error, because the original's protocol has no such answer.
func (s *session) refuse(id uint64, q *wire.KVRequest, why error) error {
	if !wire.IsExtension(q.Type) {
		return why
	}
	s.mux.clients.add("request refused", s.source.Name, s.conn.Peer(), why)
	s.answerHere(id, q.Type, wire.AppendRefusal(nil, wire.StatusRefused, why.Error()))
	return nil
}

// hello answers the first request of a client. It offers the target's extensions.
func (s *session) hello(id uint64) {
	r := s.mux.rules
	var record []byte
	if r.Extensions == 0 { // answer as the target does
		record = wire.AppendKVParams(nil, uint32(r.MaxKey), uint32(r.MaxValue))
	} else {
		record = wire.AppendKVHello(nil, uint32(r.MaxKey), uint32(r.MaxValue), r.Extensions)
	}
	s.answerHere(id, wire.TypeParams, record)
}

// answerHere answers a request without the target.
func (s *session) answerHere(id uint64, typ uint32, record []byte) {
	s.mux.tally.answered(uint8(place(typ)), record)
	s.conn.Owe(1, 0)
	s.settle(false, 0)
	s.mux.gather(s)
	s.answers.add(id, record, false)
}

// Pushed forwards the requests of one read, or puts the session in line.
func (s *session) Pushed() {
	if !s.queue.empty() && !s.inLine {
		s.mux.waiting.join(s)
	}
	s.mux.pump()
}

// Ended handles the end of input. A client that has only closed its sending side gets its answers.
// One that broke the rules, or is gone, loses what has not been forwarded. Neither waits for
// changes any more.
func (s *session) Ended(why error) {
	s.ended = true
	if why != nil {
		s.drop()
	}
	s.mux.unwatch(s, func(uint64) bool { return true })
	s.mux.pump()
	if why == nil {
		return
	}
	var failed *os.SyscallError
	if errors.As(why, &failed) || errors.Is(why, eventloop.ErrStopped) {
		return
	}
	s.mux.clients.add("client disconnected", s.source.Name, s.conn.Peer(), why)
}

// drop drops the requests that have not been forwarded.
func (s *session) drop() {
	for !s.queue.empty() {
		r := s.queue.pop(s.mux)
		if s.conn == nil {
			continue // of the mux itself
		}
		s.mux.tally.add(s.mux.operation(r.record), eventloop.StatusDropped)
		s.settle(s.mux.waits(r.record), r.charge)
	}
	s.mux.tally.publish()
	if !s.gathering {
		s.answers.flush()
	}
}

// Closed drops what is left; the loop has given it up.
func (s *session) Closed() { s.drop() }

// outbox gathers packets for one connection.
type outbox struct {
	conn *eventloop.Conn
	out  *eventloop.Output // may be nil
}

// output returns the output being gathered.
func (b *outbox) output() *eventloop.Output {
	if b.out == nil {
		b.out = b.conn.NewOutput()
	}
	return b.out
}

// add adds a packet. It copies the record unless that is ours; then the record goes with the
// packet.
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
