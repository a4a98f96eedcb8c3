package kivaloo

import (
	"sync/atomic"
	"time"
)

// ConnEventKind says what has happened to the connection of a Client.
type ConnEventKind int

const (
	ConnConnected   ConnEventKind = iota // by Dial
	ConnLost                             // it has ended without Close
	ConnReconnected                      // a new one takes the place of the lost one
	ConnRefused                          // an attempt to replace the lost one has failed
)

func (k ConnEventKind) String() string {
	return [...]string{"connected", "connection lost", "reconnected", "cannot reconnect"}[k]
}

// ConnEvent is something that has happened to the connection of a Client.
type ConnEvent struct {
	Kind ConnEventKind
	Addr string    // as it was given to Dial
	Time time.Time // when it happened
	Err  error     // of ConnLost and ConnRefused: why
}

// ClientStats are counts of a Client since Dial, and its state now.
type ClientStats struct {
	Requests    int64 // that were sent
	Answers     int64 // to these
	Failures    int64 // requests that failed after they were sent: their connection was lost
	Outstanding int   // requests without an answer, or an end of their connection, now
	Window      int   // the most that can be outstanding, besides the ends of Snapshots and Watches
	Connects    int64 // connections that were made, the first included
	Losses      int64 // connections that were lost
	Connected   bool  // there is a connection now
	Extensions  bool  // the server offers more than the original's: see ErrUnsupported
}

// clientCounts holds the counters of a Client's sessions.
type clientCounts struct {
	requests, answers, failures, connects, losses atomic.Int64
}

// Stats returns the counts of c.
func (c *Client) Stats() ClientStats {
	s := c.session.Load()
	n := &c.counts
	stats := ClientStats{
		Answers:    n.answers.Load(),
		Failures:   n.failures.Load(),
		Window:     c.options.Window,
		Connects:   n.connects.Load(),
		Losses:     n.losses.Load(),
		Connected:  true,
		Extensions: s.extensions,
	}
	stats.Requests = n.requests.Load() // after the others, which are not greater
	stats.Outstanding = int(stats.Requests - stats.Answers - stats.Failures)
	select {
	case <-s.failed:
		stats.Connected = false
	default:
	}
	return stats
}

// happened counts, logs and passes on an event.
func (c *Client) happened(kind ConnEventKind, err error) {
	switch kind {
	case ConnConnected, ConnReconnected:
		c.counts.connects.Add(1)
	case ConnLost:
		c.counts.losses.Add(1)
	}
	if c.options.Log != nil {
		if err != nil {
			c.options.Log.Warn(kind.String(), "addr", c.addr, "error", cause(err))
		} else {
			c.options.Log.Info(kind.String(), "addr", c.addr)
		}
	}
	if c.options.OnEvent != nil {
		c.events.Lock()
		defer c.events.Unlock()
		c.options.OnEvent(ConnEvent{Kind: kind, Addr: c.addr, Time: time.Now(), Err: err})
	}
}
