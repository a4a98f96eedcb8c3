package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"kivaloo/cmd/internal/stopping"
)

// stopSignals returns the signals that make a command stop cleanly.
func stopSignals() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !hangupsIgnored() {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// hangupsIgnored reports whether nohup started the command. Then it continues when the terminal is
// closed.
func hangupsIgnored() bool { return signal.Ignored(syscall.SIGHUP) }

// untilStopped returns a context that the first stop signal cancels, so that a command can tidy up.
// A later SIGINT or SIGTERM ends the program at once, in case the command hangs. A later SIGHUP
// does not, because both the kernel and the shell send one when a terminal is closed. stop restores
// the handling of signals.
func untilStopped(ctx context.Context) (_ context.Context, stop context.CancelFunc) {
	hangups := func() {}
	if !hangupsIgnored() {
		ctx, hangups = signal.NotifyContext(ctx, syscall.SIGHUP)
	}
	ctx, others := stopping.Context(ctx, os.Interrupt, syscall.SIGTERM)
	return ctx, func() { others(); hangups() }
}
