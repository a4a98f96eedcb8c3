package remote

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"kivaloo/disk"
	"kivaloo/eventloop"
	"kivaloo/wire"
)

// Store is a block store at the other end of a connection.
//
// When the connection is lost, every unanswered operation fails with ErrClosed, wrapped with the
// reason. An Append may have taken effect or not.
type Store struct {
	peer      string // for errors
	blockSize int
	loop      *eventloop.Loop
	conn      *eventloop.Conn
	loopEnded chan struct{}
	lastID    atomic.Uint64
	lost      chan struct{}
	done      chain // of the loop's goroutine

	mu      sync.Mutex
	changed sync.Cond // pending has become smaller, or down has been set
	info    disk.Info
	pending map[uint64]*disk.Op // waiting for an answer, by ID; at most maxOutstanding
	down    error               // why the connection is closed; nil while it is open
	closing bool
}

var _ disk.Store = (*Store)(nil)

func newStore(peer string, info disk.Info, loop *eventloop.Loop) *Store {
	s := &Store{
		peer:      peer,
		blockSize: info.BlockSize,
		loop:      loop,
		loopEnded: make(chan struct{}),
		lost:      make(chan struct{}),
		info:      info,
		pending:   make(map[uint64]*disk.Op),
	}
	s.changed.L = &s.mu
	return s
}

// Info implements disk.Store. It returns the peer's state at the start of the connection, plus what
// has been appended since.
func (s *Store) Info() disk.Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info
}

// Lost is closed when the connection is lost without a call of Close.
func (s *Store) Lost() <-chan struct{} { return s.lost }

// Err returns why the connection is closed, wrapping disk.ErrClosed, or nil while it is open.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

// Submit implements disk.Store. It blocks while maxOutstanding operations are unanswered. So the
// goroutine that completes them must not call it.
func (s *Store) Submit(first, last *disk.Op) {
	var batch [batchOps]*disk.Op
	n := 0
	for op := first; op != nil; {
		next := op.Link.Next()
		if op == last {
			next = nil
		}
		op.OK, op.Err = false, s.valid(op)
		if op.Err != nil {
			op.Done.PushOne(op)
		} else {
			batch[n] = op
			n++
			// An append's pages end what fits in one Output.
			if op.Kind == disk.Append || n == len(batch) {
				s.send(batch[:n])
				n = 0
			}
		}
		op = next
	}
	if n > 0 {
		s.send(batch[:n])
	}
}

// valid makes the checks after which the peer would close the connection.
func (s *Store) valid(op *disk.Op) error {
	switch op.Kind {
	case disk.Read:
		if len(op.Buf) != s.blockSize {
			return fmt.Errorf("read block %016x: buffer of %d bytes for a block of %d",
				op.Block, len(op.Buf), s.blockSize)
		}
	case disk.Append:
		const most = math.MaxUint32 - wire.LBSAppendHeadLen // the longest that a packet can announce
		if n := len(op.Pages); n == 0 || n > most/s.blockSize {
			return fmt.Errorf("append at %016x: %d blocks, not between 1 and %d", op.Block, n, most/s.blockSize)
		}
		for i, page := range op.Pages {
			if len(page) != s.blockSize {
				return fmt.Errorf("append at %016x: page %d has %d bytes, the block size is %d",
					op.Block, i, len(page), s.blockSize)
			}
		}
	}
	return nil
}

// send encodes operations and sends them. Only the last one may be an Append.
func (s *Store) send(ops []*disk.Op) {
	firstID := s.lastID.Add(uint64(len(ops))) - uint64(len(ops)) + 1
	out := s.conn.NewOutput()
	for i, op := range ops {
		encode(out, firstID+uint64(i), op)
	}
	// From here on the operations can be completed at any moment.
	if err := s.await(firstID, ops); err != nil {
		for _, op := range ops {
			op.Err = err
			op.Done.PushOne(op)
		}
		return
	}
	s.conn.Send(out)
}

// encode adds the request for op to out. The pages of an Append are sent without copying: they
// belong to the store until the answer.
func encode(out *eventloop.Output, id uint64, op *disk.Op) {
	r := wire.LBSRequest{Block: op.Block}
	switch op.Kind {
	case disk.Read:
		r.Type = wire.TypeLBSGet
	case disk.Free:
		r.Type = wire.TypeLBSFree
	case disk.Append:
		r.Type = wire.TypeLBSAppend
		r.Count = uint32(len(op.Pages))
		length := wire.LBSAppendHeadLen + len(op.Pages)*len(op.Pages[0])
		start := len(out.Buf)
		out.Buf = wire.AppendHeader(out.Buf, id, uint32(length))
		sum := wire.NewRecordSum(out.Buf[start:])
		start = len(out.Buf)
		out.Buf = wire.AppendLBSRequest(out.Buf, &r)
		sum.Add(out.Buf[start:])
		for _, page := range op.Pages {
			sum.Add(page)
		}
		out.Pages = append(out.Pages, op.Pages...)
		out.Tail = sum.AppendTrailer(out.Tail)
		return
	}
	start := len(out.Buf)
	out.Buf = wire.Begin(out.Buf, id)
	out.Buf = wire.AppendLBSRequest(out.Buf, &r)
	out.Buf = wire.End(out.Buf, start)
}

// await makes ops pending, with consecutive IDs, once there is room for them. If the connection is
// closed it returns an error, and ops are not pending.
func (s *Store) await(firstID uint64, ops []*disk.Op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.down == nil && len(s.pending)+len(ops) > maxOutstanding {
		s.changed.Wait()
	}
	if s.down != nil {
		return s.down
	}
	for i, op := range ops {
		s.pending[firstID+uint64(i)] = op
	}
	return nil
}

// Close implements disk.Store. It waits as long as the peer takes to answer.
func (s *Store) Close() error {
	s.mu.Lock()
	for s.down == nil && len(s.pending) > 0 {
		s.changed.Wait()
	}
	s.closing = true
	s.mu.Unlock()
	s.loop.Stop(stopGrace)
	<-s.loopEnded
	return nil
}
