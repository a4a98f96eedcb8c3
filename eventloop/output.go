package eventloop

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kivaloo/actors"
)

// Output has packets for one connection: Buf, each of Pages, and Tail, in this order.
//
// Ownership: NewOutput gives it to the caller, and Send gives it away with Buf. The memory of Pages
// and Tail must not be changed until the peer has answered, or the connection is closed.
type Output struct {
	actors.Link[Output]

	Buf   []byte   // append to it: it may have a capacity
	Pages [][]byte // append to it, too
	Tail  []byte

	// What this undoes of Conn.Owe.
	Answered int
	Reserved int // bytes

	// Unparked is the number of requests counted by Conn.Park that this answers.
	Unparked int

	// Released is the number of bytes counted by Conn.Hold that this undoes.
	Released int

	conn         *Conn
	sent         time.Duration // by the clock of the loop's Metrics, if it has any
	timings      []timing      // of the answered requests
	charged      int           // bytes counted in the connection's window
	part, offset int           // where the next write starts; part as in at
}

var outputs = sync.Pool{New: func() any { return new(Output) }}

// recycle prepares o for another use.
func (o *Output) recycle() {
	buf, pages, timings := o.Buf[:0], o.Pages, o.timings[:0]
	clear(pages)
	if cap(buf) > maxPooledBytes {
		buf = nil
	}
	if cap(pages) > maxPooledPages {
		pages = nil
	}
	if cap(timings) > maxPooledTimings {
		timings = nil
	}
	mangle(buf[:cap(buf)])
	*o = Output{Buf: buf, Pages: pages[:0], timings: timings}
	outputs.Put(o)
}

// at returns a part: 0 is Buf, then come Pages, and Tail is the last.
func (o *Output) at(part int) []byte {
	switch {
	case part == 0:
		return o.Buf
	case part <= len(o.Pages):
		return o.Pages[part-1]
	default:
		return o.Tail
	}
}

func (o *Output) parts() int { return len(o.Pages) + 2 }

func (o *Output) empty() bool {
	for part := range o.parts() {
		if len(o.at(part)) > 0 {
			return false
		}
	}
	return true
}

// memory returns how many bytes o takes while it is queued.
func (o *Output) memory() int {
	n := outputBytes + cap(o.Buf) + len(o.Tail) + cap(o.timings)*timingBytes
	for _, p := range o.Pages {
		n += len(p)
	}
	return n
}

// join appends next to o if it is short and fits.
func (o *Output) join(next *Output) bool {
	simple := len(o.Pages)+len(o.Tail)+len(next.Pages)+len(next.Tail) == 0
	if !simple || len(next.Buf) > min(joinBytes, cap(o.Buf)-len(o.Buf)) {
		return false
	}
	o.Buf = append(o.Buf, next.Buf...)
	o.timings = append(o.timings, next.timings...)
	return true
}

// shrink moves Buf into a smaller buffer if most of it is unused, but keeps room for others to
// join.
func (o *Output) shrink() {
	start := len(o.Buf)
	if o.part == 0 {
		start = o.offset
	}
	rest := o.Buf[start:]
	if cap(o.Buf)-len(rest) <= wasteBytes {
		return
	}
	large := o.Buf
	o.Buf = append(make([]byte, 0, len(rest)+joinBytes), rest...)
	if o.part == 0 {
		o.offset = 0
	}
	if cap(large) <= maxPooledBytes {
		mangle(large[:cap(large)])
		outputs.Put(&Output{Buf: large[:0]})
	}
}

// gather appends the unwritten parts of o to iov, as far as iov has room.
func (o *Output) gather(iov []unix.Iovec) []unix.Iovec {
	offset := o.offset
	for part := o.part; part < o.parts() && len(iov) < cap(iov); part++ {
		if p := o.at(part)[offset:]; len(p) > 0 {
			v := unix.Iovec{Base: &p[0]}
			v.SetLen(len(p))
			iov = append(iov, v)
		}
		offset = 0
	}
	return iov
}

// advance counts n bytes as written. It returns how many of them belong to the outputs after o, or
// -1 if o is not completely written.
func (o *Output) advance(n int) int {
	for ; o.part < o.parts(); o.part++ {
		left := len(o.at(o.part)) - o.offset
		if n < left {
			o.offset += n
			return -1
		}
		n -= left
		o.offset = 0
	}
	return n
}
