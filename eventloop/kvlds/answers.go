package kvlds

import (
	"errors"

	"kivaloo/eventloop"
	"kivaloo/tree"
	"kivaloo/wire"
)

// What follows is called on the tree's goroutine.

// begin starts the answer to r and returns the output, and where in its buffer
// the packet starts.
func (s *session) begin(r *tree.Request) (*eventloop.Output, int) {
	if s.out == nil {
		s.out = s.conn.NewOutput()
	}
	o := s.out
	start := len(o.Buf)
	o.Buf = wire.Begin(o.Buf, r.ID)
	return o, start
}

// end completes the answer that was begun at start.
func (s *session) end(r *tree.Request, o *eventloop.Output, start int) {
	o.Buf = wire.End(o.Buf, start)
	o.Answered++
	o.Reserved += reservation(r)
	if len(o.Buf) >= sendBytes {
		s.Flush()
	}
}

// Value answers a GET.
func (s *session) Value(r *tree.Request, value []byte, found bool) {
	o, start := s.begin(r)
	if found {
		o.Buf = wire.AppendKVValue(o.Buf, value)
	} else {
		o.Buf = wire.AppendKVStatus(o.Buf, 1)
	}
	s.end(r, o, start)
}

// Done answers a request that may have changed something.
func (s *session) Done(r *tree.Request, done bool) {
	var status uint32
	if !done {
		status = 1
	}
	o, start := s.begin(r)
	o.Buf = wire.AppendKVStatus(o.Buf, status)
	s.end(r, o, start)
}

// Pairs answers a RANGE or a BACKUP.
func (s *session) Pairs(r *tree.Request, n int, next, pairs []byte) {
	o, start := s.begin(r)
	if r.Op == tree.Backup {
		o.Buf = wire.AppendKVBackup(o.Buf, &wire.KVBackup{Snapshot: r.Snapshot, N: uint32(n), Next: next, Pairs: pairs})
	} else {
		o.Buf = wire.AppendKVPairs(o.Buf, uint32(n), next, pairs)
	}
	s.end(r, o, start)
}

// Failed answers a BACKUP. After any other request it closes the connection, because the protocol of the original
// has no answer for a failure.
func (s *session) Failed(r *tree.Request, err error) {
	if r.Op == tree.Backup {
		s.refuseBackup(r, err)
		return
	}
	s.skip(r)
	if !s.abandoned.Swap(true) {
		s.conn.Close()
	}
}

func (s *session) refuseBackup(r *tree.Request, err error) {
	var status uint32 = wire.BackupFailed
	switch {
	case errors.Is(err, tree.ErrSnapshotGone):
		status = wire.BackupGone
	case errors.Is(err, tree.ErrTooManySnapshots):
		status = wire.BackupTooMany
	}
	o, start := s.begin(r)
	o.Buf = wire.AppendKVStatus(o.Buf, status)
	s.end(r, o, start)
}

// Dropped counts a request as dealt with.
func (s *session) Dropped(r *tree.Request) { s.skip(r) }

// skip counts a request that gets no answer.
func (s *session) skip(r *tree.Request) {
	if s.out == nil {
		s.out = s.conn.NewOutput()
	}
	s.out.Answered++
	s.out.Reserved += reservation(r)
}

// Flush sends what has been answered.
func (s *session) Flush() {
	if s.out != nil {
		s.conn.Send(s.out)
		s.out = nil
	}
}

// Release takes b back.
func (s *session) Release(b *tree.Batch) {
	putBatch(b.Owner.(*batch))
}

// Abandoned reports whether what has not started is to be dropped.
func (s *session) Abandoned() bool { return s.abandoned.Load() }
