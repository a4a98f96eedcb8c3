package eventloop

import (
	"errors"
	"slices"
	"time"
)

// errStalled: a connection that others wait for has sent nothing of its long record.
var errStalled = errors.New("its record is too long to be kept while nothing more of it comes")

// long is who may receive a record that is longer than what is left of maxBytesTogether: one connection
// at a time, and only while answers leave something. The others wait, in order, and are not read from.
type long struct {
	holder  *Conn // nil: nobody
	waiting []*Conn
	seen    int       // bytes that holder had at the last look
	since   time.Time // when that was new
}

// mayGrow reports whether more of a record may be read. If not, the connection is read from when its turn
// has come. What one read can bring is never in question.
func (c *Conn) mayGrow() bool {
	l := c.loop
	switch {
	case c.window.all == nil || len(c.in) < readBufferBytes || l.long.holder == c:
		return true
	case l.together.bytes+l.together.input+cap(c.in) <= maxBytesTogether: // buffers double
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

// pass lets the next connection that waits have its turn, if there is none that has.
func (g *long) pass(l *Loop) {
	if g.holder != nil || len(g.waiting) == 0 || l.together.bytes >= maxBytesTogether {
		return
	}
	c := g.waiting[0]
	g.waiting = slices.Delete(g.waiting, 0, 1)
	g.holder, g.seen, g.since = c, len(c.in), time.Now()
	l.rearm(c.fd, c.blocked)
}

// leave takes c out: its record has come, or never will. The next turn is given by the next pass.
func (g *long) leave(c *Conn) {
	g.waiting = slices.DeleteFunc(g.waiting, func(w *Conn) bool { return w == c })
	if g.holder == c {
		g.holder = nil
		c.loop.wake() // it passes the turn on
	}
}

// watch ends a turn in which nothing comes.
func (g *long) watch(l *Loop, now time.Time) {
	g.pass(l)
	if len(g.waiting) == 0 {
		return
	}
	l.wantTick()
	switch c := g.holder; {
	case c == nil:
	case len(c.in) != g.seen || c.window.shut:
		g.seen, g.since = len(c.in), now
	case now.Sub(g.since) >= l.longFor:
		c.end(errStalled)
		c.finish()
		g.pass(l)
	}
}
