package kvlds

import (
	"time"

	"kivaloo/eventloop"
	"kivaloo/tree"
	"kivaloo/wire"
)

// MaxRecord is the longest record of a legal request, in bytes.
const MaxRecord = wire.MaxKVRequestLen

// Server turns the packets of any number of connections into requests on one tree.
type Server struct {
	// Requests is the tree's mailbox.
	Requests *tree.Requests
	// MaxKey and MaxValue are the longest key and value that are stored, in bytes.
	MaxKey, MaxValue int
	// Now, if not nil, is the tree's clock, and how long requests wait for the tree is to be measured.
	Now func() time.Duration
	// Closed, if not nil, is called on the loop when a connection has been closed.
	Closed func()
}

// Handle serves a connection: it is the New of eventloop.ServeOptions.
func (s *Server) Handle(c *eventloop.Conn) eventloop.Handler {
	return &session{server: s, conn: c}
}
