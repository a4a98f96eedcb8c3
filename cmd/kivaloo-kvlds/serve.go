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

// service is a tree that has been opened, and all that it takes to serve it.
type service struct {
	o     options
	ln    *eventloop.Listener
	store *remote.Store
	tree  *tree.Tree
	loop  *eventloop.Loop
	debug *debug.Server

	// failed is done, because of errFault, when an append was refused, a page that the tree
	// needs is damaged or gone, or a request got no answer or a wrong one.
	failed context.Context
}

// errFault: what is wrong with the store has been said by the tree, which might go on with what it
// still can do. The original's daemon never does.
var errFault = errors.New("ending, because the block store cannot be relied on any more")

// serve serves clients until ctx is done, the first connection has ended and the options say
// that there will be no second, or the store is lost. In the last case it does not wait for
// anything: what was acknowledged is durable, and the rest cannot be carried out.
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

// run serves clients and stops in order: the connections get what they are owed, then
// the tree finishes, then the block store is left.
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
	// A connection that was closed because of the failure may have been what ended all this.
	if err == nil {
		err = context.Cause(s.failed)
	}
	return err
}
