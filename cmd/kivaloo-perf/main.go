// Command kivaloo-perf stands between a client and a server of any of the protocols, passes
// everything on, and logs how long the server takes for each type of request. It replaces the
// original's performance monitor, with the same options, log and exit statuses. One difference is
// that it ends, with status 1, when the server is lost.
//
//	client --socket--> [client] --requests, new IDs--> [target] --socket--> server
//	       <--socket-- [client] <--answers, old IDs--- [target] <--socket--
//	                                                      |
//	                              meter: one window <-----+ type, time taken
//	                                       |
//	                  reporter <-----------+ when the window ends
//	                     |
//	                     +--> log file, a line for each window
//
// The event loop owns the two connections, the outstanding requests and the current window. The
// reporter is a goroutine of its own, so that neither computing a line nor a slow disk delays what
// is measured.
package main

// Reading order: this file (the command line and the preparations); serve.go (the life of the
// daemon); forward.go (the two connections), outbox.go and answers.go; meter.go and window.go
// (counting), reporter.go; limits.go.

import (
	"context"

	"kivaloo/cmd/internal/daemon"
	"kivaloo/cmd/internal/logfile"
	"kivaloo/eventloop"
	"kivaloo/wire"
)

const usage = "-t <target socket> -s <source socket> -l <logfile> [-w <seconds>]\n" +
	"[-p <pidfile>] [-1] [--foreground]"

// options are the options of the command line.
type options struct {
	target string // address of the server
	log    string // path
	window int    // seconds
	once   bool   // end after the first connection
}

func main() {
	o := options{window: defaultWindowSeconds}
	p := daemon.New("kivaloo-perf", usage)
	p.Text(&o.target, "t")
	p.Text(&o.log, "l")
	p.Require("t", "l")
	p.Number(&o.window, "w", 1, maxWindowSeconds)
	p.Switch(&o.once, "1")
	p.Main(func() (daemon.Serve, error) { return start(p, o) })
}

// start opens everything in the original's order. So the socket's file exists, and remains, even if
// the target or the log is unusable.
func start(p *daemon.Program, o options) (daemon.Serve, error) {
	addrs, err := wire.ResolveAddr(o.target)
	if err != nil {
		return nil, err
	}
	ln, err := p.Listen()
	if err != nil {
		return nil, err
	}
	// Wait for a target that is serving another client.
	target, err := wire.Dial(context.Background(), addrs)
	if err != nil {
		return nil, err
	}
	log, err := logfile.Open(o.log)
	if err != nil {
		return nil, err
	}
	loop, err := eventloop.New(p.Log)
	if err != nil {
		return nil, err
	}
	s := &service{o: o, ln: ln, target: target, log: log, loop: loop, diagnostics: p.Log}
	return s.serve, nil
}
