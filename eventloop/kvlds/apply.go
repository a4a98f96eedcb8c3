package kvlds

import (
	"time"
	"unsafe"

	"kivaloo/eventloop"
	"kivaloo/tree"
	"kivaloo/wire"
)

// apply is an APPLY in progress: an atomic batch, and the client that combines the answers to its
// parts into one.
//
// Ownership: as for batch. Its memory is reserved in the connection's window, so that many of them
// stop reading.
type apply struct {
	tree.Nobody
	session  *session
	id       uint64
	began    time.Duration // as of tree.Request
	batch    tree.Batch
	reserved int

	conflict int   // the first condition that did not hold, or -1
	err      error // why it failed
	dropped  bool
}

// apply accepts an APPLY whose record has length bytes.
func (s *session) apply(id uint64, q *wire.KVRequest, length int) {
	n := int(q.Conditions.N + q.Changes.N)
	if n == 0 {
		s.answerNow(id, wire.AppendKVStatus(nil, wire.StatusDone))
		return
	}
	a := &apply{
		session: s, id: id, conflict: -1,
		reserved: length + n*int(unsafe.Sizeof(tree.Request{})) + int(unsafe.Sizeof(apply{})),
	}
	a.batch = tree.Batch{Client: a, Owner: a, Atomic: true, Requests: make([]tree.Request, 0, n)}
	data := make([]byte, 0, length)
	keep := func(b []byte) []byte {
		start := len(data)
		data = append(data, b...) // never grows
		return data[start:len(data):len(data)]
	}
	for rest := q.Conditions.Data; len(rest) > 0; {
		var c wire.Condition
		c, rest, _ = wire.CutCondition(rest) // the request has been parsed
		a.batch.Requests = append(a.batch.Requests, tree.Request{
			ID: uint64(len(a.batch.Requests)), Op: conditionOps[c.Kind], Key: keep(c.Key), Old: keep(c.Value),
		})
	}
	for rest := q.Changes.Data; len(rest) > 0; {
		var c wire.Change
		c, rest, _ = wire.CutChange(rest)
		r := tree.Request{Op: tree.Delete, Key: keep(c.Key)}
		if !c.Delete {
			if err := s.checkPair(c.Key, c.Value); err != nil {
				s.answerNow(id, wire.AppendRefusal(nil, wire.StatusRefused, err.Error()))
				return
			}
			r.Op, r.Value = tree.Set, keep(c.Value)
		}
		a.batch.Requests = append(a.batch.Requests, r)
	}
	s.add(&a.batch)
	a.began = s.began
	s.conn.Owe(1, a.reserved)
}

// conditionOps maps kinds of conditions to operations.
var conditionOps = [...]tree.OpCode{
	wire.IfAbsent: tree.ExpectAbsent, wire.IfPresent: tree.ExpectPresent, wire.IfEquals: tree.Expect,
}

// Done records the outcome of one part. Conditions come first, so the failed one with the lowest
// number is the first. If one did not hold, changes are not done either.
func (a *apply) Done(r *tree.Request, done bool) {
	if !done && r.Op.Condition() && (a.conflict < 0 || int(r.ID) < a.conflict) {
		a.conflict = int(r.ID)
	}
}

func (a *apply) Failed(_ *tree.Request, err error) {
	if a.err == nil {
		a.err = err
	}
}

func (a *apply) Dropped(*tree.Request) { a.dropped = true }

// Release sends the answer, because all parts have ended. The Flush is still to come.
func (a *apply) Release(*tree.Batch) {
	s := a.session
	o := s.output()
	o.Answered++
	o.Reserved += a.reserved
	if !a.dropped {
		a.answer(o)
	}
	if len(o.Buf) >= sendBytes {
		s.Flush()
	}
}

// answer puts the answer into o.
func (a *apply) answer(o *eventloop.Output) {
	start := len(o.Buf)
	o.Buf = wire.Begin(o.Buf, a.id)
	switch {
	case a.err != nil:
		o.Buf = appendRefusal(o.Buf, a.err)
	case a.conflict >= 0:
		o.Buf = wire.AppendConflict(o.Buf, uint32(a.conflict))
	default:
		o.Buf = wire.AppendKVStatus(o.Buf, wire.StatusDone)
	}
	o.Buf = wire.End(o.Buf, start)
	o.Time(uint8(opApply), a.began)
}

func (a *apply) Flush()          { a.session.Flush() }
func (a *apply) Abandoned() bool { return a.session.Abandoned() }
