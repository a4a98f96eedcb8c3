package kivaloo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"kivaloo/wire"
)

// session is one connection, from the first request after hello to its end. A Client uses one at a
// time.
//
// Invariants, with mu held:
//  1. The index of a busy slot is not in free, and its call has not been completed.
//  2. out holds the last queued-handed bytes of the outgoing stream.
//  3. Once err is set it does not change, no slot is busy, out stays empty, and failed is closed.
type session struct {
	addr       string  // as given to Dial, for errors
	client     *Client // receives counts and events
	conn       net.Conn
	limits     Params // of the server; constant
	extensions bool   // offered by the server; constant

	free     chan int      // indexes of the slots that are not busy; full when idle
	failed   chan struct{} // closed when err is set
	replaced chan struct{} // closed by keep when the Client has a newer session

	mu       sync.Mutex
	work     sync.Cond // the writer waits until out is not empty, or err is set
	slots    []slot
	ends     map[uint64]*slot // outstanding requests without a place in the window, by id
	lastEnd  uint64           // id of the latest of them
	out      []byte           // whole packets for the writer
	queued   uint64           // total bytes put into out
	handed   uint64           // total bytes given to the kernel, or being given
	writeErr error            // why the writer has ended while the reader continues
	err      error            // why the session has ended

	ended sync.WaitGroup // reader and writer
}

// endBit is set in the ids of requests without a place in the window.
const endBit = 1 << 63

// endsSomething reports whether a request ends something that the server keeps for a client. A
// client whose window is full must be able to end it, so such a request needs no place in the
// window. There is at most one for each snapshot and each Watch.
func endsSomething(typ uint32) bool { return typ == wire.TypeRelease || typ == wire.TypeUnwatch }

// slot is the place of one outstanding request. Request IDs that are equal modulo the number of
// slots share a slot. So the slots are both the window and the table of outstanding requests.
type slot struct {
	id   uint64 // of the request in it or, if not busy, of the next one
	busy bool   // an answer to id is owed
	call *call  // nil if nobody waits for the answer any more
}

// errLost means that the connection has ended without Close.
var errLost = errors.New("connection lost")

// errEnded is returned by issue instead of the reason for a session's end. The request did not
// become part of the session, and can go to another.
var errEnded = errors.New("session ended")

func newSession(conn net.Conn, c *Client, limits Params, extensions bool) *session {
	window := c.options.Window
	s := &session{
		addr:       c.addr,
		client:     c,
		conn:       conn,
		limits:     limits,
		extensions: extensions,
		free:       make(chan int, window),
		failed:     make(chan struct{}),
		replaced:   make(chan struct{}),
		slots:      make([]slot, window),
		ends:       map[uint64]*slot{},
		lastEnd:    endBit,
	}
	s.work.L = &s.mu
	for n := range s.slots {
		s.slots[n].id = uint64(n)
		s.free <- n
	}
	s.ended.Go(s.write)
	s.ended.Go(s.read)
	return s
}

// close ends the session. It returns when both goroutines have ended.
func (s *session) close() {
	s.fail(ErrClosed)
	s.ended.Wait()
}

// reason returns why the session has ended.
func (s *session) reason() error {
	<-s.failed
	return s.err // constant from then on
}

// issue puts r into the outgoing stream and cl into a slot. If all slots are busy it waits for one,
// unless r ends something.
// After an error nothing was sent, and the caller still owns cl. The error is errEnded, or an
// *OpError.
func (s *session) issue(ctx context.Context, r *wire.KVRequest, cl *call) error {
	if wire.IsExtension(r.Type) && !s.extensions {
		return s.opError(r.Type, false, ErrUnsupported)
	}
	if err := s.limits.check(r); err != nil {
		return s.opError(r.Type, false, err)
	}
	ends, n := endsSomething(r.Type), 0
	if !ends {
		select {
		case n = <-s.free:
		default:
			select {
			case n = <-s.free:
			case <-ctx.Done():
				return s.opError(r.Type, false, ctx.Err())
			case <-s.failed:
				return errEnded
			}
		}
	}
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return errEnded // the slot is not needed any more
	}
	var place *slot
	if ends {
		s.lastEnd++
		place = &slot{id: s.lastEnd}
		s.ends[place.id] = place
	} else {
		place = &s.slots[n]
	}
	start := len(s.out)
	s.out = wire.Begin(s.out, place.id)
	s.out = wire.AppendKVRequest(s.out, r)
	s.out = wire.End(s.out, start)
	s.queued += uint64(len(s.out) - start)
	cl.session, cl.id, cl.end = s, place.id, s.queued
	place.busy, place.call = true, cl
	s.client.counts.requests.Add(1)
	s.mu.Unlock()
	if start == 0 {
		s.work.Signal()
	}
	return nil
}

// write is the writer. Everything that has gathered during one write goes out in the next.
func (s *session) write() {
	var buf []byte
	for {
		s.mu.Lock()
		for len(s.out) == 0 && s.err == nil {
			s.work.Wait()
			// The first of many goroutines that were answered together is sending its next request.
			// Letting the others do so before the write nearly doubles the throughput.
			s.mu.Unlock()
			runtime.Gosched()
			s.mu.Lock()
		}
		if s.err != nil {
			s.mu.Unlock()
			return
		}
		buf, s.out = s.out, buf[:0]
		s.handed = s.queued
		s.mu.Unlock()

		n, err := s.conn.Write(buf)
		if err != nil {
			s.mu.Lock()
			s.handed -= uint64(len(buf) - n)
			s.writeErr = err
			s.mu.Unlock()
			// Answers may still arrive; the reader reports the failure.
			s.conn.SetReadDeadline(time.Now().Add(drainTime))
			return
		}
	}
}

// read is the reader: it answers calls until the stream ends.
func (s *session) read() {
	err := s.receive()
	s.mu.Lock()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = s.writeErr // writeErr set the deadline
	}
	s.mu.Unlock()
	lost := fmt.Errorf("%w: %w", errLost, err)
	if s.fail(lost) {
		s.client.happened(ConnLost, lost)
	}
}

// receive reads packets and passes them on, all that came with one read together. It
// returns why it could not go on.
func (s *session) receive() error {
	buf := make([]byte, 0, readBufferBytes)
	var batch []delivery
	for {
		n, readErr := s.conn.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		var rest []byte
		var err error
		batch, rest, err = cutAll(batch[:0], buf)
		if deliverErr := s.deliver(batch); deliverErr != nil {
			return deliverErr
		}
		switch {
		case err != nil:
			return err
		case errors.Is(readErr, io.EOF) && len(rest) > 0:
			return fmt.Errorf("the server closed it in the middle of an answer: %w", io.ErrUnexpectedEOF)
		case errors.Is(readErr, io.EOF):
			return fmt.Errorf("the server closed it: %w", readErr)
		case readErr != nil:
			return readErr
		}
		buf = buf[:copy(buf, rest)]
		if len(buf) == cap(buf) {
			// One packet fills it. Cut bounds the packet, so it ends at twice that.
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
	}
}

// delivery is an answer on its way to its call.
type delivery struct {
	wire.Packet       // aliases the reader's buffer
	call        *call // nil: it is not waited for
}

// cutAll appends the whole packets at the start of buf to batch, and returns what is
// behind them. An error is about that.
func cutAll(batch []delivery, buf []byte) (_ []delivery, rest []byte, err error) {
	for {
		p, n, _, err := wire.Cut(buf, maxAnswerBytes)
		if err != nil || n == 0 {
			return batch, buf, err
		}
		batch, buf = append(batch, delivery{Packet: p}), buf[n:]
	}
}

// deliver gives answers to the calls they are for. An error means that the stream
// makes no sense from some answer on; those before it have been given out.
func (s *session) deliver(batch []delivery) error {
	batch, err := s.take(batch)
	s.client.counts.answers.Add(int64(len(batch)))
	for i := range batch {
		d := &batch[i]
		if d.ID&endBit == 0 {
			s.free <- s.slotOf(d.ID) // has room: invariant 1
		}
		if d.call != nil {
			d.call.complete(d.Record)
		}
	}
	return err
}

// take takes the calls of batch out of their slots, up to the first answer without one. It returns
// the deliveries that have their call, or need none.
func (s *session) take(batch []delivery) ([]delivery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range batch {
		d := &batch[i]
		place := s.find(d.ID)
		if place == nil {
			if s.err != nil {
				return batch[:i], s.err // fail has just emptied all slots
			}
			return batch[:i], fmt.Errorf("answer to request %d, which is not outstanding", d.ID)
		}
		d.call = place.call
		place.busy, place.call = false, nil
		place.id += uint64(len(s.slots))
		delete(s.ends, d.ID)
	}
	return batch, nil
}

// find returns the slot of an outstanding request, or nil.
func (s *session) find(id uint64) *slot {
	place := s.ends[id]
	if id&endBit == 0 {
		place = &s.slots[s.slotOf(id)]
	}
	if place == nil || !place.busy || place.id != id {
		return nil
	}
	return place
}

func (s *session) slotOf(id uint64) int { return int(id % uint64(len(s.slots))) }

// abandon takes cl out of its slot, which stays busy until the answer has arrived. It returns false
// if cl was no longer there: then cl is about to be completed.
func (s *session) abandon(cl *call) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := s.find(cl.id)
	if place == nil || place.call != cl {
		return false
	}
	place.call = nil
	return true
}

// unwatch tells the server that nobody waits for the answer to the WATCH with this id.
func (s *session) unwatch(id uint64) {
	cl := newCall(wire.TypeUnwatch)
	err := s.issue(context.Background(), &wire.KVRequest{Type: wire.TypeUnwatch, Watch: id}, cl)
	if err == nil && !s.abandon(cl) {
		<-cl.done // the answer has already arrived
	}
	cl.recycle()
}

// fail ends the session: everything outstanding, and everything later, fails with err. Only the
// first call has an effect, and returns true.
func (s *session) fail(err error) bool {
	var lost []*call
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return false
	}
	s.err = err
	close(s.failed)
	lose := func(place *slot) {
		if cl := place.call; cl != nil {
			// An incomplete packet never has an effect.
			cl.err = s.opError(cl.typ, cl.end <= s.handed, err)
			lost = append(lost, cl)
		}
		if place.busy {
			s.client.counts.failures.Add(1)
		}
		place.busy, place.call = false, nil
	}
	for n := range s.slots {
		lose(&s.slots[n])
	}
	for _, place := range s.ends {
		lose(place)
	}
	s.out = nil
	s.work.Signal()
	s.mu.Unlock()

	s.conn.Close()
	for _, cl := range lost {
		cl.complete(nil)
	}
	return true
}

func (s *session) opError(typ uint32, sent bool, err error) error {
	return &OpError{Op: opName(typ), Addr: s.addr, Sent: sent, Err: err}
}
