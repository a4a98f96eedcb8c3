package mux

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"kivaloo/eventloop"
	"kivaloo/wire"
)

// Mux carries the requests of any number of clients over one connection.
//
// Invariants:
//  1. All fields belong to the loop's goroutine, except for loop and rules, which never change, and
//     clients and tunnels, which are safe for concurrent use.
//  2. A slot is in use from when its request is forwarded until the answer arrives or the target is
//     lost. free holds the numbers of the others.
//  3. A session is on waiting whenever its queue is not empty, except between its Packet and the
//     following Pushed.
//  4. Outside of pump, there is no room for another request while waiting is not empty.
//  5. gathering holds the sessions with answers that the loop does not have yet.
type Mux struct {
	loop    *eventloop.Loop
	rules   *Rules // nil: records are not parsed
	clients complaints
	tunnels *tunnels

	slots   [maxOutstanding]slot
	free    []uint16
	bytes   int // total length of the records of the requests in slots
	waiting line
	spares  [][]byte // for queues

	own     session // for the requests of the Mux itself
	watches int     // waiting WATCHes of all sessions

	requests  outbox // to the target
	gathering []*session
	tally     tally

	stopping bool  // Stop was called
	lost     error // why the target is gone; nil while it is there
}

// slot is a request that was sent to the target and not answered yet.
type slot struct {
	session *session // nil: unused
	id      uint64   // the client's
	length  int      // of the record, in bytes
	charge  int      // bytes charged to the client's connection
	op      uint8    // operation, for counting
	waits   bool     // it is a waiting WATCH
}

// Options say how to treat clients.
type Options struct {
	// Rules are checked before a request is forwarded. nil: records are forwarded unchecked.
	Rules *Rules
	// Log receives problems.
	Log *slog.Logger
	// Counts, if not nil, counts every finished request. NewCounts must have created it.
	Counts *eventloop.RequestCounts
}

// New creates a multiplexer to the server at the other end of target, and takes target over. It
// serves clients as soon as it has Sources and the loop runs. When the target is lost it drops all
// clients and stops the loop.
func New(loop *eventloop.Loop, target net.Conn, o Options) (*Mux, error) {
	m := &Mux{loop: loop, rules: o.Rules, clients: complaints{log: o.Log}, tally: tally{counts: o.Counts}}
	m.own.mux = m
	m.tunnels = newTunnels(&m.clients)
	for i := maxOutstanding - 1; i >= 0; i-- {
		m.free = append(m.free, uint16(i))
	}
	// The length of a server's answer depends on the request, so there is no other limit.
	_, err := loop.Attach(target, 1<<32-1, func(c *eventloop.Conn) eventloop.Handler {
		m.requests.conn = c
		return (*answers)(m)
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Source is a place that clients come from.
type Source struct {
	Name  string // for the log
	Gate  *eventloop.Gate
	Allow Allowed       // ignored without Rules
	TLS   *Certificates // nil: no TLS
}

// Serve accepts clients from ln, which the loop closes in the end. It is safe for concurrent use.
func (m *Mux) Serve(ln *eventloop.Listener, s Source) {
	o := eventloop.ServeOptions{
		Gate:      s.Gate,
		MaxRecord: m.rules.maxRecord(),
		New: func(c *eventloop.Conn) eventloop.Handler {
			return &session{mux: m, conn: c, source: &s, answers: outbox{conn: c}}
		},
	}
	if m.rules == nil {
		o.Judge = wire.CheckAnyLen
	} else {
		o.Judge = wire.CheckKVRequestLen
	}
	if s.TLS != nil {
		o.Via = m.tunnels.via(s.Name, s.TLS)
	}
	m.loop.Serve(ln, o)
}

// Stop ends the multiplexer in an orderly way: outstanding requests are still answered, unless that
// takes longer than grace. Then the loop's Run returns. It is safe for concurrent use.
func (m *Mux) Stop(grace time.Duration) {
	m.loop.Post(func() { m.stopping = true })
	m.loop.Stop(grace)
}

// Close ends everything left after the loop's Run has returned.
func (m *Mux) Close() { m.tunnels.close(tlsGrace) }

// Lost returns why the target was lost, or nil if Stop has ended the multiplexer. Call it after the
// loop's Run has returned.
func (m *Mux) Lost() error { return m.lost }

// room reports whether another request can be sent to the target.
func (m *Mux) room() bool {
	return len(m.free) > 0 && m.bytes < maxOutstandingBytes
}

// pump forwards waiting requests as far as there is room, some of each client in turn. Then it
// sends gathered answers to the clients.
func (m *Mux) pump() {
	for m.room() && !m.waiting.empty() {
		s := m.waiting.leave()
		for range turnRequests {
			if s.queue.empty() || !m.room() {
				break
			}
			m.forward(s)
		}
		if !s.queue.empty() && !s.inLine {
			m.waiting.join(s)
		}
	}
	m.requests.flush()
	m.deliver()
}

// forward sends the first waiting request of s.
func (m *Mux) forward(s *session) {
	r := s.queue.pop(m)
	op := m.operation(r.record)
	if int(op) == opUnwatch && s != &m.own {
		m.endWatch(s, r)
		return
	}
	last := len(m.free) - 1
	i := m.free[last]
	m.free = m.free[:last]
	m.slots[i] = slot{session: s, id: r.id, length: len(r.record), charge: r.charge, op: op, waits: m.waits(r.record)}
	m.bytes += len(r.record)
	m.requests.add(uint64(i), r.record, r.ours)
	if m.slots[i].waits && s.ended {
		m.unwatchSlot(i)
	}
}

// waits reports whether record is a WATCH that may wait. It is false if records are not parsed.
func (m *Mux) waits(record []byte) bool { return m.rules != nil && waits(record) }

// endWatch carries out a client's UNWATCH r. The target knows its WATCHes by other IDs.
func (m *Mux) endWatch(s *session, r request) {
	q, err := wire.ParseKVRequest(r.record)
	if err != nil {
		panic(err) // Packet has parsed it
	}
	m.unwatch(s, func(id uint64) bool { return id == q.Watch })
	done := wire.AppendKVStatus(nil, wire.StatusDone)
	m.tally.answered(uint8(opUnwatch), done)
	s.settle(false, r.charge)
	m.gather(s)
	s.answers.add(r.id, done, false)
}

// unwatch makes the target answer the WATCHes of s whose IDs, as the client knows them, are wanted.
func (m *Mux) unwatch(s *session, wanted func(id uint64) bool) {
	if s.watches == 0 || m.lost != nil {
		return
	}
	for i := range m.slots {
		if r := &m.slots[i]; r.session == s && r.waits && wanted(r.id) {
			m.unwatchSlot(uint16(i))
		}
	}
}

// unwatchSlot makes the target answer the WATCH in a slot now. If it is answered before, and
// another WATCH reuses the slot, that one ends early and its client asks again.
func (m *Mux) unwatchSlot(i uint16) {
	record := wire.AppendKVRequest(nil, &wire.KVRequest{Type: wire.TypeUnwatch, Watch: uint64(i)})
	m.own.queue.push(m, request{record: record})
	if !m.own.inLine {
		m.waiting.join(&m.own)
	}
}

// answers is the handler of the target's connection.
type answers Mux

// Packet forwards an answer to its client.
func (a *answers) Packet(id uint64, record []byte) error {
	m := (*Mux)(a)
	if id >= maxOutstanding || m.slots[id].session == nil {
		return fmt.Errorf("it has answered request %d, which is not outstanding", id)
	}
	r := m.release(int(id))
	if r.session == &m.own {
		return nil
	}
	m.tally.answered(r.op, record)
	r.session.settle(r.waits, r.charge)
	ours := len(record) >= longBytes
	if ours {
		record = m.requests.conn.Keep(record)
	}
	r.session.answers.add(r.id, record, ours)
	return nil
}

// release frees a slot, and schedules its session's answers to be sent.
func (m *Mux) release(i int) slot {
	r := m.slots[i]
	m.slots[i] = slot{}
	m.free = append(m.free, uint16(i))
	m.bytes -= r.length
	m.gather(r.session)
	return r
}

// gather schedules the session's answers to be sent.
func (m *Mux) gather(s *session) {
	if !s.gathering {
		s.gathering = true
		m.gathering = append(m.gathering, s)
	}
}

// Pushed sends the answers of one read to the clients, and uses the room that they have freed.
func (a *answers) Pushed() {
	m := (*Mux)(a)
	m.deliver()
	m.pump()
}

// deliver gives gathered answers to the loop.
func (m *Mux) deliver() {
	m.tally.publish() // before a client can look at the counts
	for _, s := range m.gathering {
		s.gathering = false
		s.answers.flush()
	}
	clear(m.gathering)
	m.gathering = m.gathering[:0]
}

var errClosed = errors.New("it has closed the connection")

// Ended drops all requests, because there will be no more answers. Clients get the answers that
// have arrived. The end of the loop closes their connections.
func (a *answers) Ended(why error) {
	m := (*Mux)(a)
	for i := range m.slots {
		if m.slots[i].session != nil {
			r := m.release(i)
			if r.session == &m.own {
				continue
			}
			m.tally.add(r.op, eventloop.StatusFailed)
			r.session.settle(r.waits, r.charge)
		}
	}
	m.deliver()
	for !m.waiting.empty() {
		m.waiting.leave().drop()
	}
	if m.stopping {
		return // the loop has closed the connection, or it no longer matters
	}
	if m.lost = why; why == nil {
		m.lost = errClosed
	}
	m.loop.Stop(lostGrace)
}

// Closed does nothing, because Ended was called before.
func (a *answers) Closed() {}
