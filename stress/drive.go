package stress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"kivaloo/wire"
)

// Result is what a load achieved.
type Result struct {
	Requests int
	Elapsed  time.Duration // from the first request to the last answer
}

// Rate returns the requests answered per second.
func (r Result) Rate() float64 { return float64(r.Requests) / r.Elapsed.Seconds() }

// Drive sends the requests of w over nc, keeping depth of them outstanding, until w has no more and
// all are answered. It makes one new request per answer. One write answers everything that one read
// brought. The first wrong answer ends it.
//
// Reading and writing alternate, which is cheapest, while the socket takes what is written at once.
// Otherwise answers are read during the write, because the server may not read more before they are
// taken.
func Drive(ctx context.Context, nc net.Conn, w Workload, depth int) (Result, error) {
	return drive(ctx, nc, w, depth, inputBytes, stallTimeout)
}

// drive is Drive with a buffer size for answers. After patience without any answer it gives up on
// the server.
func drive(ctx context.Context, nc net.Conn, w Workload, depth, bufferBytes int, patience time.Duration) (Result, error) {
	// A deadline in the past ends a blocked read or write.
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	d := newDriver(nc, w, depth, bufferBytes)
	d.patience = patience
	start := time.Now()
	err := d.run(ctx)
	if sendErr := d.sender.end(); err != nil && sendErr != nil {
		err = sendErr // it came first
	}
	r := Result{Requests: d.answered, Elapsed: time.Since(start)}
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("no answer within %v: the server is stopped, stuck or cannot be reached any more: %w", patience, err)
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("the server closed the connection: %w", io.ErrUnexpectedEOF)
	}
	if err != nil {
		return r, fmt.Errorf("after %d answers, with %d requests outstanding: %w", d.answered, d.outstanding, err)
	}
	return r, nil
}

// driver is a load in progress.
//
// Invariants:
//  1. An ID is used by at most one outstanding request. It is an index into slots.
//  2. outstanding is the number of busy slots.
//  3. out holds requests that the sender does not have yet. All of them are outstanding.
//  4. in is shorter than buffer, because wire.Cut leaves no longer packet there.
type driver struct {
	nc          net.Conn
	sender      *sender
	work        Workload
	slots       []slot
	outstanding int
	answered    int
	patience    time.Duration

	out    []byte
	buffer []byte // for input
	in     []byte // the part of buffer that was received and not cut yet
}

type slot struct {
	tag  uint64
	busy bool
}

func newDriver(nc net.Conn, w Workload, depth, bufferBytes int) *driver {
	return &driver{nc: nc, sender: newSender(nc), work: w, slots: make([]slot, depth), buffer: make([]byte, bufferBytes)}
}

func (d *driver) run(ctx context.Context) error {
	for id := range d.slots {
		d.ask(uint64(id))
	}
	for d.outstanding > 0 {
		if err := d.nc.SetDeadline(time.Now().Add(d.patience)); err != nil {
			return err
		}
		if ctx.Err() != nil { // checked after the deadline may have been replaced
			return context.Cause(ctx)
		}
		if len(d.out) > 0 { // the input may have ended within an answer
			if err := d.sender.send(d.out); err != nil {
				return err
			}
			d.out = d.out[:0]
		}
		if err := d.receive(); err != nil {
			return err
		}
	}
	if len(d.in) > 0 {
		return fmt.Errorf("%d bytes came after the last answer", len(d.in))
	}
	return nil
}

// receive reads once and processes all answers that are then complete.
func (d *driver) receive() error {
	have := copy(d.buffer, d.in)
	n, err := d.nc.Read(d.buffer[have:])
	if err != nil {
		return err
	}
	d.in = d.buffer[:have+n]
	for {
		p, n, _, err := wire.Cut(d.in, uint32(len(d.buffer)-wire.Overhead))
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		if err := d.answer(p); err != nil {
			return err
		}
		d.in = d.in[n:]
	}
}

// answer processes one answer and makes the next request in its place.
func (d *driver) answer(p wire.Packet) error {
	if p.ID >= uint64(len(d.slots)) || !d.slots[p.ID].busy {
		return fmt.Errorf("answer with ID %d, which no request is waiting for", p.ID)
	}
	s := &d.slots[p.ID]
	s.busy = false
	d.outstanding--
	d.answered++
	if err := d.work.Check(s.tag, p.Record); err != nil {
		return err
	}
	d.ask(p.ID)
	return nil
}

// ask makes the next request, if there is one, with a free ID.
func (d *driver) ask(id uint64) {
	start := len(d.out)
	out, tag, more := d.work.Next(wire.Begin(d.out, id))
	if !more {
		d.out = out[:start]
		return
	}
	d.out = wire.End(out, start)
	d.slots[id] = slot{tag: tag, busy: true}
	d.outstanding++
}
