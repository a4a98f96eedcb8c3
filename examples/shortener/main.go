// Command shortener is a link shortener: a small HTTP server that keeps its data in a kivaloo
// store, in its own process or in another one.
//
//	shortener -dir ./links                               # a store of its own
//	shortener -addr ./kivaloo-data/kivaloo.sock          # one that `kivaloo serve` has
//
//	curl -d url=https://go.dev/doc/effective_go localhost:8080
//	curl -i localhost:8080/7qk2m4vx
//
// It is meant to be copied from.
package main

// What it does is in handler.go. This file has what a server needs around that.

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"kivaloo"
)

func main() {
	listen := flag.String("listen", "localhost:8080", "the `address` to serve HTTP on")
	dir := flag.String("dir", "", "keep the links in a store in this `directory`")
	addr := flag.String("addr", "", "keep the links with the server at this `address`")
	flag.Parse()

	// The first SIGINT or SIGTERM cancels the context.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *dir, *addr); err != nil {
		slog.Error("shortener has failed", "err", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, listen, dir, addr string) (err error) {
	store, err := open(ctx, dir, addr)
	if err != nil {
		return err
	}
	// Close it last: closing a DB flushes it.
	defer func() { err = errors.Join(err, store.Close()) }()

	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	slog.Info("serving", "address", ln.Addr())
	s := &shortener{store: store, log: slog.Default(), newCode: randomCode}
	return serve(ctx, ln, s.handler())
}

// open returns the store in dir, or the one at addr. The rest of the program does not know which.
func open(ctx context.Context, dir, addr string) (kivaloo.Store, error) {
	switch {
	case dir != "" && addr == "":
		return kivaloo.Open(dir, kivaloo.Options{})
	case addr != "" && dir == "":
		return kivaloo.Dial(ctx, addr, kivaloo.DialOptions{Reconnect: true})
	}
	return nil, errors.New("give one of -dir and -addr (-h explains them)")
}

// serve answers requests from ln until ctx is done, and then finishes pending ones.
func serve(ctx context.Context, ln net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler: handler,

		// No client can occupy the server for long, or use much of it.
		ReadTimeout:    5 * time.Second,
		WriteTimeout:   10 * time.Second,
		IdleTimeout:    time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	select {
	case err := <-ended: // it never returns without an error
		return fmt.Errorf("serving HTTP: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := server.Shutdown(last); err != nil {
		return fmt.Errorf("stopping HTTP: %w", errors.Join(err, server.Close()))
	}
	return nil
}
