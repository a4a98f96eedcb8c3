package kvlds

import (
	"kivaloo/eventloop"
	"kivaloo/tree"
	"kivaloo/wire"
)

// The following methods are called on the tree's goroutine.

// output returns the output of the current step.
func (s *session) output() *eventloop.Output {
	if s.out == nil {
		s.out = s.conn.NewOutput()
	}
	return s.out
}

// begin starts the answer to r. It returns the output, and where the packet starts in its buffer.
func (s *session) begin(r *tree.Request) (*eventloop.Output, int) {
	o := s.output()
	start := len(o.Buf)
	o.Buf = wire.Begin(o.Buf, r.ID)
	return o, start
}

// end completes the answer that begins at start.
func (s *session) end(r *tree.Request, o *eventloop.Output, start int) {
	o.Buf = wire.End(o.Buf, start)
	began := r.Began
	if parks(r) { // waiting is its purpose: only the way of the answer counts
		began = s.conn.Now()
	}
	o.Time(opOf(r), began)
	s.settle(r)
	if len(o.Buf) >= sendBytes {
		s.Flush()
	}
}

// Value answers a GET or GET_AT. Both have the same answers.
func (s *session) Value(r *tree.Request, value []byte, found bool) {
	o, start := s.begin(r)
	putValue(o, value, found)
	s.end(r, o, start)
}

// putValue puts the record of the answer to a GET into o.
func putValue(o *eventloop.Output, value []byte, found bool) {
	if found {
		o.Buf = wire.AppendKVValue(o.Buf, value)
	} else {
		o.Buf = wire.AppendKVStatus(o.Buf, 1)
	}
}

// Done answers a request that may have changed something, or that concerns a snapshot.
func (s *session) Done(r *tree.Request, done bool) {
	o, start := s.begin(r)
	switch {
	case isExtension(r):
		o.Buf = appendOutcome(o.Buf, r, done)
	case done:
		o.Buf = wire.AppendKVStatus(o.Buf, 0)
	default:
		o.Buf = wire.AppendKVStatus(o.Buf, 1)
	}
	s.end(r, o, start)
}

// Pairs answers a RANGE.
func (s *session) Pairs(r *tree.Request, n int, next, pairs []byte) {
	o, start := s.begin(r)
	o.Buf = wire.AppendKVPairs(o.Buf, uint32(n), next, pairs)
	s.end(r, o, start)
}

// Scanned answers a SCAN or DELETE_RANGE.
func (s *session) Scanned(r *tree.Request, n int, more bool, next, pairs []byte) {
	if !more {
		next = nil
	}
	o, start := s.begin(r)
	if r.Op == tree.DeleteRange {
		o.Buf = wire.AppendDeleted(o.Buf, wire.Deleted{N: uint64(n), Next: next})
	} else {
		o.Buf = wire.AppendScanned(o.Buf, &wire.Scanned{N: uint64(n), Next: next, Pairs: pairs})
	}
	s.end(r, o, start)
}

// Changed answers a WATCH.
func (s *session) Changed(r *tree.Request, position uint64, n int, changes []byte) {
	o, start := s.begin(r)
	o.Buf = wire.AppendWatched(o.Buf, &wire.Watched{Position: position, Changes: wire.List{N: uint32(n), Data: changes}})
	s.end(r, o, start)
}

// Failed refuses an extension request. After any other request it closes the connection, because
// the original's protocol has no answer for a failure.
func (s *session) Failed(r *tree.Request, err error) {
	if isExtension(r) {
		o, start := s.begin(r)
		o.Buf = appendRefusal(o.Buf, err)
		s.end(r, o, start)
		return
	}
	s.settle(r)
	if !s.abandoned.Swap(true) {
		s.conn.Close()
	}
}

// Dropped settles a request that was dropped.
func (s *session) Dropped(r *tree.Request) { s.settle(r) }

// settle records that the answer to r is no longer owed or parked.
func (s *session) settle(r *tree.Request) {
	if parks(r) {
		s.unpark(r)
		return
	}
	o := s.output()
	o.Answered++
	o.Reserved += reservation(r)
}

// Flush sends the answers of the step.
func (s *session) Flush() {
	if s.out != nil {
		s.conn.Send(s.out)
		s.out = nil
	}
}

// Release takes b back. The Flush of the last answer is still to come.
func (s *session) Release(b *tree.Batch) {
	own := b.Owner.(*batch)
	s.output().Released += own.memory()
	putBatch(own)
}

// Abandoned reports whether to drop requests that have not started.
func (s *session) Abandoned() bool { return s.abandoned.Load() }
