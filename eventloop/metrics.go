package eventloop

import (
	"time"

	"kivaloo/actors"
)

// Metrics is what a loop measures of its work, for those who watch it. Anybody may read it.
type Metrics struct {
	Read  actors.Durations // one read from a socket, with taking apart and handing on what came
	Write actors.Durations // from when an Output was sent until the socket had taken it

	start time.Time
}

// Measure has the loop fill m, or, if that is nil, nothing. It is called while the loop does not run, or by a Post when no
// answers are on their way.
func (l *Loop) Measure(m *Metrics) {
	if m != nil && m.start.IsZero() {
		m.start = time.Now()
	}
	l.metrics = m
}

// now is the time since the measuring began, as it is kept in an Output.
func (m *Metrics) now() time.Duration { return time.Since(m.start) }
