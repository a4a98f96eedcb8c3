package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"kivaloo/cmd/internal/debug"
	"kivaloo/eventloop"
	"kivaloo/eventloop/mux"
)

// service is a multiplexer that is ready to serve.
type service struct {
	log    *slog.Logger
	loop   *eventloop.Loop
	mux    *mux.Mux
	certs  *mux.Certificates        // nil: no TLS
	gate   *eventloop.Gate          // of all sources
	counts *eventloop.RequestCounts // nil: not counted
	debug  *debug.Server
}

// serve serves clients until ctx is done or the target is lost. Losing the target is not an error:
// the original's exit status is 0, too.
func (s *service) serve(ctx context.Context) error {
	if s.certs != nil {
		defer s.reloadOnHangup()()
	}
	defer s.debug.Close()
	s.debug.Ready(debug.Serving{Gate: s.gate, Counts: s.counts})
	defer context.AfterFunc(ctx, func() {
		s.debug.Stopping()
		s.mux.Stop(stopGrace)
	})()
	err := s.loop.Run()
	s.mux.Close()
	if err != nil {
		return err
	}
	if lost := s.mux.Lost(); lost != nil {
		s.log.Error("the target is lost, ending", "err", lost)
	}
	return nil
}

// reloadOnHangup reads the certificates again at each SIGHUP, until end is called.
func (s *service) reloadOnHangup() (end func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for range hangups {
			if err := s.certs.Reload(); err != nil {
				s.log.Error("the certificates stay as they were", "err", err)
				continue
			}
			s.log.Info("certificates read again, for new connections")
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(hangups)
		<-over
	}
}
