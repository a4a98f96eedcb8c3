package kivaloo

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// keep gives the Client a new session whenever one has ended, until Close. Of two
// sessions the second is dialled when nothing of the first goes on.
func (c *Client) keep() {
	var wait backoff
	for {
		s := c.session.Load()
		began := time.Now()
		select {
		case <-s.failed:
		case <-c.open.Done():
			return
		}
		s.ended.Wait()
		wait.lasted(time.Since(began))
		next := c.redial(&wait)
		if next == nil {
			return
		}
		c.happened(ConnReconnected, nil)
		c.session.Store(next)
		c.refused.Store(nil)
		close(s.replaced)
	}
}

// redial dials until it gets a session, or until Close: then it returns nil.
func (c *Client) redial(wait *backoff) *session {
	for {
		select {
		case <-time.After(wait.next()):
		case <-c.open.Done():
			return nil
		}
		ctx, cancel := context.WithTimeout(c.open, cmp.Or(c.options.Timeout, redialTimeout))
		s, err := c.connect(ctx)
		cancel()
		if err == nil {
			return s
		}
		c.refused.Store(&err)
		c.happened(ConnRefused, err)
	}
}

// after returns the session that comes after s, which has ended. Without
// Reconnect there is none.
func (c *Client) after(ctx context.Context, s *session) (*session, error) {
	if !c.options.Reconnect {
		return nil, s.reason()
	}
	select {
	case <-s.replaced:
		return c.session.Load(), nil
	case <-c.open.Done():
		return nil, ErrClosed
	case <-ctx.Done():
	}
	why := s.reason()
	if refused := c.refused.Load(); refused != nil {
		why = *refused
	}
	return nil, fmt.Errorf("%w while there was no connection: %w", ctx.Err(), cause(why))
}

// backoff says how long to wait before each attempt to connect. The zero value is
// ready for the first.
type backoff struct {
	last time.Duration // that next returned, before it was made random
}

// next returns how long to wait now. The longest that it could be doubles from one
// call to the next. It is random, from half of that up, so that the many clients of a
// server that restarts do not come all at once.
func (b *backoff) next() time.Duration {
	b.last = min(max(2*b.last, redialMin), redialMax)
	return b.last/2 + rand.N(b.last/2)
}

// lasted is told how long a session lasted. A server that accepts connections only to
// drop them is left alone for longer and longer too.
func (b *backoff) lasted(d time.Duration) {
	if d >= redialMax {
		b.last = 0
	}
}
