package main

import (
	"context"
	"log/slog"
	"net"
	"time"

	"kivaloo/cmd/internal/logfile"
	"kivaloo/eventloop"
	"kivaloo/wire"
)

// service is everything needed to serve.
type service struct {
	o           options
	ln          *eventloop.Listener
	target      net.Conn
	log         *logfile.File
	loop        *eventloop.Loop
	diagnostics *slog.Logger
}

// serve serves one client at a time until ctx is done, the first connection has ended with -1, or
// the target is lost. In the last two cases it logs the counts so far. The first case is how the
// original is killed, which logs nothing.
func (s *service) serve(ctx context.Context) error {
	log := startReporter(s.log, time.Now, s.diagnostics)
	defer log.close()
	m := newMeter(s.o.window, time.Now(), log.report)
	f := newForwarder(s.loop, m, s.o)
	if err := f.attach(s.target); err != nil {
		return err
	}
	s.loop.Serve(s.ln, eventloop.ServeOptions{MaxConns: 1, MaxRecord: maxRecordBytes, Judge: wire.CheckAnyLen, New: f.accept})
	defer context.AfterFunc(ctx, func() { s.loop.Post(func() { f.stop(stopGrace) }) })()
	defer every(checkEvery, func() { s.loop.Post(f.checkWindow) })()
	if err := s.loop.Run(); err != nil {
		return err
	}
	if ctx.Err() == nil {
		m.end()
	}
	return f.failure()
}

// every calls f at regular intervals, on a goroutine of its own, until stop is called. stop waits
// for that goroutine.
func every(interval time.Duration, f func()) (stop func()) {
	ticker := time.NewTicker(interval)
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ticker.C:
				f()
			case <-quit:
				return
			}
		}
	}()
	return func() {
		ticker.Stop()
		close(quit)
		<-ended
	}
}
