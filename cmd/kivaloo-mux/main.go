// Command kivaloo-mux lets many clients share one connection to a server. The server is usually a
// kivaloo-kvlds, which serves one connection at a time. It replaces the original's multiplexer,
// with the same options, order of answers and exit statuses. It can also serve clients on other
// machines: see docs/exposing.md.
//
//	client --socket----+
//	client --socket----+--> eventloop/mux --socket--> target
//	client --TCP, TLS--+
package main

// Reading order: this file (the command line and the preparations), sources.go (the listening
// sockets), serve.go (the life of the daemon), limits.go.

import (
	"context"
	"errors"
	"fmt"
	"net"

	"kivaloo/cmd/internal/daemon"
	"kivaloo/cmd/internal/debug"
	"kivaloo/eventloop"
	"kivaloo/eventloop/mux"
	"kivaloo/wire"
)

const usage = "-t <target> -s <source> [-s <source> ...] [-n <connections>] [-p <pidfile>]\n" +
	"   [--protocol kvlds|any] [--allow [<source>=]<types>] [--clients [<source>=]<n>]\n" +
	"   [--tls-cert <file> --tls-key <file> [--tls-client-ca <file>]] [--foreground]\n" +
	"   [--log-format text|json] [--log-level debug|info|warn|error]\n" +
	"   " + debug.Usage

// options are the options of the command line.
type options struct {
	target      string
	connections int // 0: unlimited
	blind       bool
	allow       perSource[mux.Allowed]
	clients     perSource[int]
	cert        string
	key         string
	clientCA    string
	debug       *debug.Options
}

func main() {
	o := &options{}
	p := daemon.New("kivaloo-mux", usage)
	p.ManySockets()
	p.Text(&o.target, "t")
	p.Require("t")
	p.Number(&o.connections, "n", 0, maxConnections)
	p.Long("protocol", false, o.setProtocol)
	p.Long("allow", true, o.setAllow)
	p.Long("clients", true, o.setClients)
	p.Long("tls-cert", false, text(&o.cert))
	p.Long("tls-key", false, text(&o.key))
	p.Long("tls-client-ca", false, text(&o.clientCA))
	p.LogOptions()
	o.debug = debug.Flags(p, "kivaloo-mux")
	p.Main(func() (daemon.Serve, error) { return start(p, o) })
}

// text accepts the argument of an option unchanged.
func text(dst *string) func(string) error {
	return func(s string) error { *dst = s; return nil }
}

func (o *options) setProtocol(s string) error {
	switch s {
	case "kvlds":
	case "any":
		o.blind = true
	default:
		return fmt.Errorf("%q is neither kvlds nor any", s)
	}
	return nil
}

// check refuses options that do not fit together.
func (o *options) check(sources []string) error {
	switch {
	case o.blind && len(o.allow) > 0:
		return errors.New("--allow needs --protocol kvlds: requests of other protocols are not looked at")
	case (o.cert == "") != (o.key == ""):
		return errors.New("--tls-cert and --tls-key need each other")
	case o.clientCA != "" && o.cert == "":
		return errors.New("--tls-client-ca needs --tls-cert and --tls-key")
	}
	if err := o.allow.check("--allow", sources); err != nil {
		return err
	}
	return o.clients.check("--clients", sources)
}

// start opens everything in the original's order. If the target cannot be reached, no socket's file
// exists yet. If a source cannot be opened, the sockets of the sources before it remain.
func start(p *daemon.Program, o *options) (daemon.Serve, error) {
	if err := o.check(p.Sockets); err != nil {
		return nil, err
	}
	sources, err := o.resolve(p.Sockets)
	if err != nil {
		return nil, err
	}
	certs, err := o.certificates(sources)
	if err != nil {
		return nil, err
	}
	dbg, err := debug.Start(*o.debug)
	if err != nil {
		return nil, err
	}
	target, rules, err := o.connect()
	if err != nil {
		return nil, err
	}
	loop, err := eventloop.New(p.Log)
	if err != nil {
		return nil, err
	}
	dbg.Measure(loop, nil)
	var counts *eventloop.RequestCounts
	if dbg != nil {
		counts = mux.NewCounts()
	}
	m, err := mux.New(loop, target, mux.Options{Rules: rules, Log: p.Log, Counts: counts})
	if err != nil {
		return nil, err
	}
	gate, err := o.listen(m, sources, certs, p.Log)
	if err != nil {
		return nil, err
	}
	s := &service{log: p.Log, loop: loop, mux: m, certs: certs, gate: gate, counts: counts, debug: dbg}
	return s.serve, nil
}

// connect connects to the target and asks which requests it accepts, except with --protocol any. It
// waits while the target is serving another client.
func (o *options) connect() (net.Conn, *mux.Rules, error) {
	addrs, err := wire.ResolveAddr(o.target)
	if err != nil {
		return nil, nil, err
	}
	ctx := context.Background()
	nc, err := wire.Dial(ctx, addrs)
	if err != nil || o.blind {
		return nc, nil, err
	}
	rules, err := mux.AskRules(ctx, nc)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w (--protocol any)", o.target, err)
	}
	return nc, rules, nil
}
