package mux

import "encoding/binary"

// request is a client's request that is being forwarded.
type request struct {
	id     uint64 // the client's
	record []byte
	ours   bool // record has its own buffer, which goes with it
	charge int  // bytes charged to the client's connection
}

// queue holds the requests of one client that have not been forwarded. The window of the client's
// connection bounds it. An empty queue has no memory.
//
// The requests lie one after the other in buf:
//
//	0        8        16          20
//	+--------+--------+-----------+--------+
//	|   id   | charge | length, L | record |     a record that has a buffer of its own is
//	+--------+--------+-----------+--------+     not here, but in apart; L is apartMark
type queue struct {
	buf   []byte
	head  int      // where the first request starts in buf
	apart [][]byte // records of the requests with apartMark, in order
}

const (
	queueHeader = 8 + 8 + 4
	apartMark   = 1<<32 - 1
)

func (q *queue) empty() bool { return len(q.buf) == 0 }

// push adds a request at the end. It copies the record, unless that is ours.
func (q *queue) push(m *Mux, r request) {
	if q.buf == nil {
		q.buf = m.spare()
	}
	// Use the room left in front before the buffer grows.
	if q.head > 0 && len(q.buf)+queueHeader+len(r.record) > cap(q.buf) {
		q.buf = q.buf[:copy(q.buf, q.buf[q.head:])]
		q.head = 0
	}
	q.buf = binary.BigEndian.AppendUint64(q.buf, r.id)
	q.buf = binary.BigEndian.AppendUint64(q.buf, uint64(r.charge))
	if r.ours {
		q.buf = binary.BigEndian.AppendUint32(q.buf, apartMark)
		q.apart = append(q.apart, r.record)
		return
	}
	q.buf = binary.BigEndian.AppendUint32(q.buf, uint32(len(r.record)))
	q.buf = append(q.buf, r.record...)
}

// pop removes the first request; there must be one. A record that is not ours is valid only until
// the next push into any queue.
func (q *queue) pop(m *Mux) request {
	b := q.buf[q.head:]
	r := request{id: binary.BigEndian.Uint64(b), charge: int(binary.BigEndian.Uint64(b[8:]))}
	length := binary.BigEndian.Uint32(b[16:])
	q.head += queueHeader
	if length == apartMark {
		r.record, r.ours = q.apart[0], true
		q.apart[0] = nil
		q.apart = q.apart[1:]
	} else {
		r.record = b[queueHeader:][:length]
		q.head += int(length)
	}
	if q.head == len(q.buf) {
		m.putSpare(q.buf)
		*q = queue{}
	}
	return r
}

// spare returns an empty buffer for a queue.
func (m *Mux) spare() []byte {
	last := len(m.spares) - 1
	if last < 0 {
		return nil
	}
	b := m.spares[last]
	m.spares = m.spares[:last]
	return b
}

// putSpare takes back a buffer.
func (m *Mux) putSpare(b []byte) {
	if len(m.spares) < spareQueues && cap(b) <= spareBytes {
		m.spares = append(m.spares, b[:0])
	}
}

// line is a queue of sessions that wait for their turn, each at most once.
type line struct{ first, last *session }

func (l *line) empty() bool { return l.first == nil }

// join adds s at the end.
func (l *line) join(s *session) {
	s.inLine, s.behind = true, nil
	if l.first == nil {
		l.first = s
	} else {
		l.last.behind = s
	}
	l.last = s
}

// leave removes the first session; there must be one.
func (l *line) leave() *session {
	s := l.first
	if l.first = s.behind; l.first == nil {
		l.last = nil
	}
	s.inLine, s.behind = false, nil
	return s
}
