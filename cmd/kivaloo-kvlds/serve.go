package main

import (
	"context"
	"errors"

	"kivaloo/actors"
	"kivaloo/cmd/internal/debug"
	"kivaloo/disk/remote"
	"kivaloo/eventloop"
	"kivaloo/eventloop/kvlds"
	"kivaloo/tree"
)

// service is an open tree with everything needed to serve it.
type service struct {
	o     options
	ln    *eventloop.Listener
	store *remote.Store
	tree  *tree.Tree
	loop  *eventloop.Loop
	debug *debug.Server

	// failed is cancelled with errFault after a refused append, a needed page that is damaged or
	// missing, or a missing or wrong answer to a request.
	failed context.Context
}

// errFault ends the daemon after a fault of the store. The tree has already logged the fault. The
// tree could continue with what still works, but the original's daemon never does.
var errFault = errors.New("ending, because the block store is no longer reliable")

// serve serves clients until ctx is done, the first connection has ended with -1, or the store has
// failed. After a failure it waits for nothing: acknowledged changes are durable, and the rest
// cannot be done.
func (s *service) serve(ctx context.Context) error {
	defer s.debug.Close()
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-s.failed.Done():
		return context.Cause(s.failed)
	case <-s.store.Lost():
		return s.store.Err()
	}
}

// run serves clients and stops in order: first the connections send their pending answers, then the
// tree finishes, then the block store is closed.
func (s *service) run(ctx context.Context) error {
	readers := s.tree.Readers()
	actor := tree.NewActor(s.tree, s.store)
	back := actors.NewGroup()
	back.Go("tree", actor.Run)

	stop := func() { s.loop.Stop(stopGrace) }
	server := &kvlds.Server{
		Requests: actor.Requests(), Readers: readers, MaxKey: s.tree.MaxKey(), MaxValue: s.tree.MaxValue(), Now: s.debug.Clock(actor.Now),
	}
	if s.o.once {
		server.Closed = stop
	}
	gate := eventloop.NewGate(s.o.connections)
	s.debug.Ready(debug.Serving{Requests: actor.Requests(), Gate: gate})
	s.loop.Serve(s.ln, server.Options(gate))
	defer context.AfterFunc(ctx, stop)()
	err := s.loop.Run()

	s.debug.Stopping()
	back.Stop()
	if treeErr := back.Wait(); err == nil {
		err = treeErr
	}
	readers.Close()
	s.tree.Close()
	if closeErr := s.store.Close(); err == nil {
		err = closeErr
	}
	// The failure may have closed the connection whose end stopped the daemon.
	if err == nil {
		err = context.Cause(s.failed)
	}
	return err
}
