package eventloop

import "time"

// Stop ends the loop cleanly. The loop accepts and reads nothing more, sends all owed answers, and
// closes the connections, the attached ones last. Then Run returns. After grace it cuts off the
// remaining connections. Any goroutine may call it, even before Run. A second call can only shorten
// the grace.
func (l *Loop) Stop(grace time.Duration) {
	deadline := time.Now().Add(grace)
	l.Post(func() { l.beginStop(deadline) })
}

// StopAccepting closes the listeners; connections stay. Any goroutine may call it.
func (l *Loop) StopAccepting() {
	l.Post(func() {
		for _, s := range l.table {
			if a, ok := s.(*acceptor); ok {
				a.stop()
			}
		}
	})
}

func (l *Loop) beginStop(deadline time.Time) {
	if !l.stopping {
		l.stopping = true
		for _, s := range l.table {
			if c, ok := s.(*Conn); s != nil && !(ok && c.attached) {
				s.stop()
			}
		}
		l.wake() // there may be none of these
	}
	if l.deadline.IsZero() || deadline.Before(l.deadline) {
		if l.grace != nil {
			l.grace.Stop()
		}
		l.deadline = deadline
		l.grace = time.AfterFunc(time.Until(deadline), func() {
			l.Post(func() { l.killAll(ErrStopped) })
		})
	}
}

// stopAttached stops the attached connections, once no other connection depends on them.
func (l *Loop) stopAttached() {
	for _, s := range l.table {
		if s != nil {
			s.stop()
		}
	}
}

// killAll cuts off all remaining connections and listeners.
func (l *Loop) killAll(why error) {
	for _, s := range l.table {
		if s != nil {
			s.kill(why)
		}
	}
}
