package kvlds

import (
	"fmt"
	"sync/atomic"
	"time"

	"kivaloo/tree"
	"kivaloo/wire"
)

// watches bounds the waiting WATCHes of all connections. All of them may have to be answered at the
// same moment, so each has memory for its answer reserved. There is always leastWatchBytes for each
// of maxConnWatches. Of what is left beyond that, each new one gets a part.
type watches struct {
	limit    int          // bytes; 0: as beside a small cache
	reserved atomic.Int64 // bytes for waiting WATCHes
	waiting  atomic.Int64 // their number
}

// reserve reserves memory for an answer of up to max bytes of changes, or fewer. It returns how
// many, or false if too many WATCHes are waiting. Only the loop calls it.
func (w *watches) reserve(max uint32) (uint32, bool) {
	limit := w.limit
	if limit == 0 {
		limit = leastMemory / watchShare
	}
	left := limit - int(w.reserved.Load())
	promised := watchBytes(leastWatchBytes) * int(maxConnWatches-w.waiting.Load())
	more := (left - promised) / watchPart
	if more < 0 {
		more = 0
	}
	max = uint32(min(int(max), watchAnswerBytes, leastWatchBytes+more))
	if watchBytes(max) > left {
		return 0, false
	}
	w.reserved.Add(int64(watchBytes(max)))
	w.waiting.Add(1)
	return max, true
}

// watchBytes returns the memory of a waiting WATCH for up to max bytes of changes.
func watchBytes(max uint32) int { return int(max) + rangeAnswerBytes }

// parks reports whether r is a WATCH that may wait. The connection does not owe such an answer, but
// parks it.
func parks(r *tree.Request) bool { return r.Op == tree.Watch && r.Wait > 0 }

// watch accepts a WATCH that may wait. It gets its own batch, so that it does not keep the memory
// of other requests.
func (s *session) watch(id uint64, q *wire.KVRequest, length int) {
	if s.watching.Load() >= maxConnWatches {
		reason := fmt.Sprintf("%d of this connection wait, which is the limit", maxConnWatches)
		s.answerNow(id, wire.AppendRefusal(nil, wire.StatusTooMany, reason))
		return
	}
	most, ok := s.server.watches.reserve(q.Max)
	if !ok {
		s.answerNow(id, wire.AppendRefusal(nil, wire.StatusTooMany, "those that wait take all the memory set aside for them"))
		return
	}
	s.watching.Add(1)
	s.conn.Park(1)
	s.conn.Hold(watchBytes(most))
	s.filling = nil
	b := s.room(length)
	s.filling = nil
	b.Requests = append(b.Requests, tree.Request{
		ID: id, Op: tree.Watch, Position: q.Position, Wait: time.Duration(q.Wait) * time.Millisecond,
		Max: most, Key: b.keep(q.Key), End: b.keep(q.End),
	})
}

// unpark undoes watch. It is called on the tree's goroutine.
func (s *session) unpark(r *tree.Request) {
	o := s.output()
	o.Unparked++
	o.Released += watchBytes(r.Max)
	s.watching.Add(-1)
	s.server.watches.waiting.Add(-1)
	s.server.watches.reserved.Add(-int64(watchBytes(r.Max)))
}

// unwatch accepts an UNWATCH. It is answered just before the WATCHes that it ends.
func (s *session) unwatch(id, watch uint64) {
	s.conn.Owe(1, 0)
	s.add(s.newEnding(&ending{session: s, id: id, answers: true}, func(r *tree.Request) bool { return r.ID == watch }))
}

// endWatches makes the WATCHes of the connection be answered, because there will be no more input.
func (s *session) endWatches() {
	if s.watching.Load() > 0 {
		s.server.Requests.PushOne(s.newEnding(&ending{session: s}, func(*tree.Request) bool { return true }))
	}
}

// newEnding returns a batch that ends the WATCHes of s for which the function returns true.
func (s *session) newEnding(e *ending, which func(*tree.Request) bool) *tree.Batch {
	return &tree.Batch{Client: e, Owner: e, Call: func(t *tree.Tree) {
		t.EndWatches(func(c tree.Client, r *tree.Request) bool { return c == tree.Client(s) && which(r) })
	}}
}

// ending is the client of a batch that ends WATCHes.
type ending struct {
	tree.Nobody
	session *session
	id      uint64 // of the UNWATCH
	answers bool   // there is an UNWATCH to answer
}

// Release is called after the Call of the batch.
func (e *ending) Release(*tree.Batch) {
	if !e.answers {
		return
	}
	s := e.session
	o := s.output()
	o.Buf = wire.AppendPacket(o.Buf, e.id, wire.AppendKVStatus(nil, wire.StatusDone))
	o.Answered++
	s.Flush()
}
