package stress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"kivaloo/wire"
)

// Answered is one request of a paced load.
type Answered struct {
	Due  time.Duration // when it should have been sent, since the beginning
	Took time.Duration // time from then to its answer
}

// Paced sends the requests of w over nc at a rate per second for d, whatever the server does. It
// returns the requests in the order of their answers. begin is the start of Due. Requests that
// cannot be sent in time, because the server does not read, are sent as soon as possible; their
// time starts when they were due.
//
// Next and Check of w are called on two goroutines. Check must not look at anything that Next
// writes for later requests.
func Paced(ctx context.Context, nc net.Conn, w Workload, rate float64, d time.Duration) (all []Answered, begin time.Time, err error) {
	if !(rate >= MinRate && rate <= MaxRate) {
		return nil, begin, fmt.Errorf("a rate of %v per second is not within %g to %d", rate, MinRate, MaxRate)
	}
	wait, err := newWaiter()
	if err != nil {
		return nil, begin, err
	}
	defer wait.close()
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := nc.SetDeadline(time.Now().Add(d + stallTimeout)); err != nil {
		return nil, begin, err
	}
	p := &paced{nc: nc, work: w, begin: time.Now(), total: int(rate * d.Seconds()), slots: make([]pacedSlot, pacedSlots)}
	sent := make(chan error, 1)
	go func() {
		err := p.send(ctx, newSchedule(rate, nil), wait)
		if err != nil {
			nc.SetDeadline(time.Unix(1, 0)) // the other side has nothing to wait for any more
		}
		sent <- err
	}()
	received := p.receive()
	if received != nil {
		nc.SetDeadline(time.Unix(1, 0))
	}
	err = errors.Join(<-sent, received)
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("the server closed the connection: %w", io.ErrUnexpectedEOF)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("after %d answers of %d: %w", len(p.all), p.total, err)
	}
	return p.all, p.begin, err
}

// pacedSlots is the most requests without an answer. It is many more than a server accepts, so that
// only the server can hold up the load.
const pacedSlots = 1 << 16

// paced is such a load. A request's ID is its slot. The sender writes to a slot only while its due
// is 0, and then sets due. From then until due is 0 again the slot belongs to the receiver.
type paced struct {
	nc    net.Conn
	work  Workload
	begin time.Time
	slots []pacedSlot
	total int        // number of requests
	all   []Answered // owned by the receiver
}

type pacedSlot struct {
	due atomic.Int64 // nanoseconds since begin, plus 1; 0: free
	tag uint64
}

// send writes in one piece what has become due since the last time.
func (p *paced) send(ctx context.Context, s *schedule, wait *waiter) error {
	var out []byte
	due := s.next()
	for n := 0; n < p.total; {
		now := time.Since(p.begin)
		out = out[:0]
		for ; n < p.total && due <= now; n, due = n+1, s.next() {
			slot := &p.slots[n%pacedSlots]
			if slot.due.Load() != 0 {
				break
			}
			start := len(out)
			record, tag, more := p.work.Next(wire.Begin(out, uint64(n%pacedSlots)))
			if !more {
				return fmt.Errorf("the workload has ended after %d requests, and %d were to be sent", n, p.total)
			}
			out = wire.End(record, start)
			slot.tag = tag
			slot.due.Store(int64(due) + 1)
		}
		if len(out) > 0 {
			if _, err := p.nc.Write(out); err != nil {
				return err
			}
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := wait.wait(minPause); err != nil {
			return err
		}
	}
	return nil
}

// receive receives the answers to all requests.
func (p *paced) receive() error {
	p.all = make([]Answered, 0, p.total)
	buffer, in := make([]byte, inputBytes), []byte(nil)
	for len(p.all) < p.total {
		have := copy(buffer, in)
		n, err := p.nc.Read(buffer[have:])
		if err != nil {
			return err
		}
		in = buffer[:have+n]
		now := time.Since(p.begin)
		for {
			packet, n, _, err := wire.Cut(in, inputBytes-wire.Overhead)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			if err := p.answer(packet, now); err != nil {
				return err
			}
			in = in[n:]
		}
	}
	return nil
}

func (p *paced) answer(packet wire.Packet, now time.Duration) error {
	if packet.ID >= pacedSlots || p.slots[packet.ID].due.Load() == 0 {
		return fmt.Errorf("answer with ID %d, which no request is waiting for", packet.ID)
	}
	slot := &p.slots[packet.ID]
	if err := p.work.Check(slot.tag, packet.Record); err != nil {
		return err
	}
	due := time.Duration(slot.due.Load() - 1)
	p.all = append(p.all, Answered{due, now - due})
	slot.due.Store(0)
	return nil
}
