package kivaloo

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// keep gives the Client a new session whenever one has ended, until Close. It dials the next one
// only when nothing of the last is running any more.
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

// redial dials until it gets a session. It returns nil after Close.
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

// after returns the session that replaces s, which has ended. Without Reconnect there is none.
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

// backoff says how long to wait before each attempt to connect. The zero value is ready for the
// first.
type backoff struct {
	last time.Duration // last result of next, without the randomness
}

// next returns how long to wait now. Its upper bound doubles from one call to the next. The result
// is random, from half of the bound up, so that the many clients of a restarting server do not all
// come at once.
func (b *backoff) next() time.Duration {
	b.last = min(max(2*b.last, redialMin), redialMax)
	return b.last/2 + rand.N(b.last/2)
}

// lasted records how long a session lasted. A server that accepts connections only to drop them
// also gets longer and longer pauses.
func (b *backoff) lasted(d time.Duration) {
	if d >= redialMax {
		b.last = 0
	}
}
