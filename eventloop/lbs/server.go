package lbs

import (
	"fmt"
	"runtime/debug"
	"time"

	"kivaloo/actors"
	"kivaloo/disk"
	"kivaloo/eventloop"
	"kivaloo/wire"
)

// Options configure a Server.
type Options struct {
	// Readers is how many reads the store does at once. The others wait here, where they can still
	// be dropped.
	Readers int
	// Fatal is called once, when the store has failed. Requests to the store then get no answer. It
	// is called on the loop, and must not block.
	Fatal func(error)
	// Closed, if not nil, is called on the loop when a connection has been closed.
	Closed func()
	// Counts, if not nil, counts every request that has ended. NewCounts makes it.
	Counts *eventloop.RequestCounts
}

// Server serves one store to connections of one loop.
//
// Invariants:
//
//  1. Only the loop touches anything but bell and done.
//  2. The store has at most Readers of our reads, one append and one free.
//  3. Every request that a session Owes is in waiting, reads, append, or its out.
type Server struct {
	loop      *eventloop.Loop
	store     disk.Store
	opts      Options
	blockSize int

	bell   *actors.Doorbell
	done   *disk.Completions
	failed bool

	waiting waiting
	reads   []read // slots; an Op's Tag is the index
	idle    []int  // unused ones

	append       disk.Op
	appender     *session // whose append is running, or nil
	appendID     uint64   // the request's
	appendRecord []byte   // contains its blocks
	appendCharge int      // bytes in the window of the appender's connection

	free    disk.Op
	freeing bool

	sessions int       // connections that are open
	appended time.Time // when the last append ended
	stopping time.Time // when Stop was called, or zero
}

// read is a GET that was passed to the store.
type read struct {
	op  disk.Op
	get get
	out *eventloop.Output // the answer; op.Buf is the block's place in it
}

// NewServer returns a server of store. The store must stay open until the loop is over.
func NewServer(loop *eventloop.Loop, store disk.Store, opts Options) *Server {
	s := &Server{
		loop: loop, store: store, opts: opts, blockSize: store.Info().BlockSize,
		reads: make([]read, opts.Readers),
	}
	for slot := range s.reads {
		s.idle = append(s.idle, slot)
	}
	collect := s.collect
	s.bell = actors.NewDoorbell(func() { loop.Post(collect) })
	s.done = disk.NewCompletions(s.bell)
	s.bell.Arm()
	return s
}

// Handle serves a connection: it is the New of eventloop.ServeOptions.
func (s *Server) Handle(c *eventloop.Conn) eventloop.Handler {
	s.sessions++
	return &session{server: s, conn: c}
}

// Judge refuses a record that cannot be a request: it is the Judge of eventloop.ServeOptions.
func (s *Server) Judge(typ, length uint32) error {
	if typ > wire.TypeLBSParams2 {
		return fmt.Errorf("%w: requests of type %#x are not for a block store", wire.ErrBadRecord, typ)
	}
	if blocks := int64(length) - wire.LBSAppendHeadLen; typ == wire.TypeLBSAppend && (blocks <= 0 || blocks%int64(s.blockSize) != 0) {
		return fmt.Errorf("%w: APPEND of %d bytes, which are not blocks of %d bytes", wire.ErrBadRecord, length, s.blockSize)
	}
	return wire.CheckRequestLen(typ, length)
}

// startReads passes the longest waiting reads to the store.
func (s *Server) startReads() {
	var first, last *disk.Op
	for len(s.idle) > 0 && s.waiting.len() > 0 {
		slot := s.idle[len(s.idle)-1]
		s.idle = s.idle[:len(s.idle)-1]
		r := &s.reads[slot]
		r.start(s, s.waiting.pop(), uint64(slot))
		if last == nil {
			first = &r.op
		} else {
			last.SetNext(&r.op)
		}
		last = &r.op
	}
	if first != nil {
		s.store.Submit(first, last)
	}
}

// start prepares r for g. The block is read directly into the answer.
func (r *read) start(s *Server, g get, tag uint64) {
	r.get, r.out = g, g.session.conn.NewOutput()
	buf := wire.AppendLBSBlock(wire.Begin(r.out.Buf, g.id), nil)
	at, end := len(buf), len(buf)+s.blockSize
	if need := end + wire.TrailerSize; cap(buf) < need {
		buf = append(make([]byte, 0, need), buf...)
	}
	r.out.Buf = buf[:end]
	r.op = disk.Op{Kind: disk.Read, Block: g.block, Buf: r.out.Buf[at:end:end], Done: s.done, Tag: tag}
}

// collect handles the operations that the store has finished.
func (s *Server) collect() {
	s.bell.Arm()
	for op := s.done.Drain(); op != nil; {
		next := op.Link.Next()
		op.SetNext(nil)
		if op.Err != nil {
			s.fail(op.Err)
		}
		switch op.Kind {
		case disk.Read:
			s.readDone(op)
		case disk.Append:
			s.appendDone(op)
		case disk.Free:
			s.freeing = false
		}
		op = next
	}
	s.startReads()
}

// readDone answers a GET.
func (s *Server) readDone(op *disk.Op) {
	slot := int(op.Tag)
	r := &s.reads[slot]
	out := r.out
	s.opts.Counts.Add(opGet, outcome(op), 1)
	switch {
	case op.Err != nil:
		out.Buf = out.Buf[:0]
	case op.OK:
		out.Buf = wire.End(out.Buf, 0)
	default:
		out.Buf = wire.End(wire.AppendLBSStatus(wire.Begin(out.Buf[:0], r.get.id), 1), 0)
	}
	out.Answered, out.Reserved = 1, s.blockSize+blockAnswerBytes
	r.get.session.conn.Send(out)
	*r = read{} // op too
	s.idle = append(s.idle, slot)
}

// appendDone answers an APPEND.
func (s *Server) appendDone(op *disk.Op) {
	c := s.appender
	s.appender, s.append.Pages, s.appended = nil, nil, time.Now()
	c.conn.GiveBack(s.appendRecord)
	s.appendRecord = nil
	if s.appendCharge > 0 {
		debug.FreeOSMemory() // or the next one would arrive while this one is garbage
	}
	s.opts.Counts.Add(opAppend, outcome(op), 1)
	out := c.conn.NewOutput()
	out.Answered, out.Reserved = 1, s.appendCharge
	if op.Err == nil {
		out.Buf = wire.Begin(out.Buf, s.appendID)
		if op.OK {
			out.Buf = wire.AppendLBSAppended(out.Buf, op.Next)
		} else {
			out.Buf = wire.AppendLBSStatus(out.Buf, 1)
		}
		out.Buf = wire.End(out.Buf, 0)
	}
	c.conn.Send(out)
}

// fail reports the first failure of the store.
func (s *Server) fail(err error) {
	if !s.failed {
		s.failed = true
		s.opts.Fatal(fmt.Errorf("block store: %w", err))
	}
}
