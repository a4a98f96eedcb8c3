package connect

import (
	"context"
	"crypto/tls"
	"net"
	"strings"

	"kivaloo"
	"kivaloo/wire"
)

// Kind says whether a connection is replaced when it is lost.
type Kind bool

const (
	Once     Kind = false // one connection
	Repeated Kind = true  // a lost connection is replaced
)

// Dial connects a Client to the server at addr. The text of its error is for users.
func (o *Options) Dial(ctx context.Context, addr string, kind Kind) (*kivaloo.Client, error) {
	timeout, err := o.Timeout()
	if err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	config, err := o.tlsFor(within, addr)
	if err != nil {
		return nil, err
	}
	c, err := kivaloo.Dial(within, addr, kivaloo.DialOptions{TLS: config, Reconnect: kind == Repeated, OnEvent: o.OnEvent})
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, o.explain(within, addr, timeout, config, err)
	}
	return c, nil
}

// tlsFor returns the TLS configuration for addr, or nil for no TLS. For a unix socket it does not
// look at the variables.
func (o *Options) tlsFor(ctx context.Context, addr string) (*tls.Config, error) {
	if want, byFlags, err := o.wanted(); (want || err != nil) && !byFlags {
		if addrs, err := wire.ResolveAddrContext(ctx, addr); err == nil && addrs[0].Network == "unix" {
			return nil, nil
		}
	}
	return o.TLS() // dialing reports a wrong address
}

// Conn returns a connection to the server at addr after a first request was answered. The text of
// its error is for users.
func (o *Options) Conn(ctx context.Context, addr string) (net.Conn, error) {
	c, err := o.Dial(ctx, addr, Once) // finds out what is wrong
	if err != nil {
		return nil, err
	}
	c.Close()
	config, err := o.tlsFor(ctx, addr)
	if err != nil {
		return nil, err
	}
	timeout, err := o.Timeout()
	if err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	addrs, err := wire.ResolveAddrContext(within, addr)
	if err != nil {
		return nil, err
	}
	nc, err := wire.Dial(within, addrs)
	if err != nil || config == nil {
		return nc, err
	}
	if config.ServerName == "" {
		config.ServerName = strings.Trim(addr[:strings.LastIndexByte(addr, ':')], "[]")
	}
	secure := tls.Client(nc, config)
	if err := secure.HandshakeContext(within); err != nil {
		nc.Close()
		return nil, err
	}
	return secure, nil
}
