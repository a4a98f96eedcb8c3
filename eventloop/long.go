package eventloop

import (
	"errors"
	"slices"
	"time"
)

// errStalled: a connection has sent nothing more of its long record, and others wait for the
// memory.
var errStalled = errors.New("its record is too long to be kept while nothing more of it comes")

// long is who may receive a record that is longer than what is left of the memory for all: one
// connection at a time, and only while answers leave something. The others wait, in order, and are
// not read from.
type long struct {
	holder  *Conn // nil: nobody
	waiting []*Conn
}

// mayGrow reports whether more of a record may be read. If not, the connection is read from when
// its turn has come. The length of a usual request is never in question.
func (c *Conn) mayGrow() bool {
	l := c.loop
	switch {
	case c.window.all == nil || len(c.in) < shortReadBytes || l.long.holder == c:
		return true
	case l.together.fits(cap(c.in)): // buffers double
		return true
	case !slices.Contains(l.long.waiting, c):
		l.long.waiting = append(l.long.waiting, c)
	}
	l.long.pass(l)
	if l.long.holder == c {
		return true
	}
	l.wantTick()
	return false
}

// pass lets connections that wait go on, in order: those for which there is memory now, and one
// more if no other has its turn.
func (g *long) pass(l *Loop) {
	for grown := 0; len(g.waiting) > 0; {
		c := g.waiting[0]
		if grown += cap(c.in); !l.together.fits(grown) {
			if g.holder != nil || l.together.bytes >= l.together.max {
				return
			}
			g.holder = c
		}
		g.waiting = slices.Delete(g.waiting, 0, 1)
		c.grew = time.Now() // what it has waited is not its fault
		l.rearm(c.fd, c.blocked)
	}
}

// leave takes c out: its record has come, or never will. The next turn is given by the next pass.
func (g *long) leave(c *Conn) {
	g.waiting = slices.DeleteFunc(g.waiting, func(w *Conn) bool { return w == c })
	if g.holder == c {
		g.holder = nil
		c.loop.wake() // it passes the turn on
	}
}

// watch ends connections that hold memory for a record whose bytes have stopped coming, while
// others wait for memory.
func (g *long) watch(l *Loop, now time.Time) {
	g.pass(l)
	if len(g.waiting) == 0 {
		return
	}
	l.wantTick()
	for _, s := range l.table {
		if c, ok := s.(*Conn); ok && c.stalls(now) && !slices.Contains(g.waiting, c) {
			c.end(errStalled)
			c.finish()
		}
	}
	g.pass(l)
}

// stalls reports whether c has had part of a long record for some time, and could have sent more.
func (c *Conn) stalls(now time.Time) bool {
	return c.window.all != nil && !c.ended && !c.window.shut && len(c.in) >= shortReadBytes && now.Sub(c.grew) >= c.loop.longFor
}
