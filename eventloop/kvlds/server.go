package kvlds

import (
	"time"

	"kivaloo/eventloop"
	"kivaloo/tree"
	"kivaloo/wire"
)

// Server turns the packets of any number of connections into requests on one tree.
type Server struct {
	// Requests is the tree's mailbox.
	Requests *tree.Requests
	// MaxKey and MaxValue are the longest key and value that are stored, in bytes.
	MaxKey, MaxValue int
	// Now, if not nil, is the tree's clock. It enables measuring how long requests wait for the
	// tree.
	Now func() time.Duration
	// Readers, if not nil, lets the loop answer GETs without the tree's goroutine.
	Readers *tree.Readers
	// Closed, if not nil, is called on the loop when a connection has been closed.
	Closed func()

	watches watches
	value   [tree.MaxStringBytes]byte // scratch space of the only loop
}

// Options returns the options for a loop that serves connections admitted by gate, or all if gate
// is nil.
func (s *Server) Options(gate *eventloop.Gate) eventloop.ServeOptions {
	return eventloop.ServeOptions{
		Gate: gate, MaxRecord: wire.MaxKVRequestLen, Judge: wire.CheckKVRequestLen, New: s.Handle,
	}
}

// LimitMemory sets how many bytes the connections may use, like Loop.LimitMemory does for the loop.
// It must be called before the loop runs.
func (s *Server) LimitMemory(bytes int) { s.watches.limit = bytes / watchShare }

// Handle serves a connection. It is the New of eventloop.ServeOptions.
func (s *Server) Handle(c *eventloop.Conn) eventloop.Handler {
	return &session{server: s, conn: c}
}
