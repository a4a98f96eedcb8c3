package kivaloo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"

	"kivaloo/wire"
)

// connect opens a session: one whose server has told its limits.
func (c *Client) connect(ctx context.Context) (*session, error) {
	conn, err := dial(ctx, c.addr, c.options.tls)
	if err != nil {
		return nil, &OpError{Op: "dial", Addr: c.addr, Err: err}
	}
	s := newSession(c.addr, conn, c.options.window)
	s.limits, err = s.params(ctx)
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// dial connects to addr, with TLS unless config is nil.
func dial(ctx context.Context, addr string, config *tls.Config) (net.Conn, error) {
	addrs, err := resolve(ctx, addr)
	if err != nil {
		return nil, err
	}
	if config != nil && addrs[0].Network == "unix" {
		return nil, errors.New("TLS is for host:port, not for the path of a unix socket")
	}
	conn, err := wire.Dial(ctx, addrs)
	if err != nil || config == nil {
		return conn, err
	}
	return handshake(ctx, conn, addr, config)
}

func resolve(ctx context.Context, addr string) ([]wire.Addr, error) {
	if !strings.HasPrefix(addr, "./") && !strings.HasPrefix(addr, "../") {
		return wire.ResolveAddrContext(ctx, addr)
	}
	// Not made absolute, because a socket's path may not be long.
	if len(addr) > wire.MaxUnixPathLen {
		return nil, fmt.Errorf("the path has %d bytes, a unix socket's at most %d", len(addr), wire.MaxUnixPathLen)
	}
	return []wire.Addr{{Name: addr, Network: "unix", Address: addr}}, nil
}

// handshake puts TLS on conn, which leads to addr. It closes conn if that fails.
func handshake(ctx context.Context, conn net.Conn, addr string, config *tls.Config) (net.Conn, error) {
	if config.ServerName == "" {
		config = config.Clone()
		host := addr[:strings.LastIndexByte(addr, ':')] // it has one, or it would not have been resolved
		config.ServerName = strings.Trim(host, "[]")
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return secure, nil
}
