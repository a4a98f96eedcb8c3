package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"kivaloo/cmd/internal/stopping"
)

// stopSignals are the signals that ask a command to stop, which it does in order.
func stopSignals() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !hangupsIgnored() {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// hangupsIgnored reports whether nohup has started the command: it goes on when the terminal is
// closed.
func hangupsIgnored() bool { return signal.Ignored(syscall.SIGHUP) }

// untilStopped returns a context that ends with the first of the stop signals, so that a command
// can tidy up. A later SIGINT or SIGTERM ends the program at once, in case the command waits for
// something that does not come. A later SIGHUP does not: when a terminal is closed both the kernel
// and the shell send one. stop gives the signals back.
func untilStopped(ctx context.Context) (_ context.Context, stop context.CancelFunc) {
	hangups := func() {}
	if !hangupsIgnored() {
		ctx, hangups = signal.NotifyContext(ctx, syscall.SIGHUP)
	}
	ctx, others := stopping.Context(ctx, os.Interrupt, syscall.SIGTERM)
	return ctx, func() { others(); hangups() }
}
