package eventloop

import (
	"errors"
	"slices"
	"time"
)

// errStalled means that a connection sends no more of its long record while others wait for the
// memory.
var errStalled = errors.New("its record is too long to be kept while nothing more of it comes")

// long decides which connection may receive a record that is longer than the remaining shared
// memory. It is one connection at a time, and only while answers leave some memory. The others
// wait, in order, and are not read from.
type long struct {
	holder  *Conn // nil: none
	waiting []*Conn
}

// mayGrow reports whether more of a record may be read. If not, the connection is read from when
// its turn has come. A record of usual length may always grow.
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

// pass lets waiting connections continue, in order: those with enough memory now, and one more if
// no other has its turn.
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
		c.grew = time.Now() // its waiting time does not count
		l.rearm(c.fd, c.blocked)
	}
}

// leave removes c: its record has arrived, or never will. The next pass gives the next turn.
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

// stalls reports whether c has had a part of a long record for some time, and could have sent more.
func (c *Conn) stalls(now time.Time) bool {
	return c.window.all != nil && !c.ended && !c.window.shut && len(c.in) >= shortReadBytes && now.Sub(c.grew) >= c.loop.longFor
}
