package eventloop

import "time"

// Stop ends the loop in order: nothing more is accepted or read, every connection
// gets the answers that it is owed and is closed, the attached ones last, and Run returns. What is not
// over after grace is cut off. Any goroutine may call it, also before Run; a
// second call can only shorten the grace.
func (l *Loop) Stop(grace time.Duration) {
	deadline := time.Now().Add(grace)
	l.Post(func() { l.beginStop(deadline) })
}

func (l *Loop) beginStop(deadline time.Time) {
	if !l.stopping {
		l.stopping = true
		for _, s := range l.table {
			if c, ok := s.(*Conn); s != nil && !(ok && c.attached) {
				s.stop()
			}
		}
		l.wake() // there may be nothing of these
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

// stopAttached stops the attached connections, which nobody depends on any more.
func (l *Loop) stopAttached() {
	for _, s := range l.table {
		if s != nil {
			s.stop()
		}
	}
}

// killAll cuts off everything that is left.
func (l *Loop) killAll(why error) {
	for _, s := range l.table {
		if s != nil {
			s.kill(why)
		}
	}
}
