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

// connect opens a session, and asks the server for its limits.
func (c *Client) connect(ctx context.Context) (*session, error) {
	conn, err := dial(ctx, c.addr, c.options.TLS)
	if err != nil {
		return nil, &OpError{Op: "dial", Addr: c.addr, Err: err}
	}
	limits, extensions, err := hello(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, &OpError{Op: "dial", Addr: c.addr, Err: err}
	}
	return newSession(conn, c, limits, extensions), nil
}

// hello asks for the limits. That shows whether the other end is a server, and whether it offers
// extensions. It reads nothing after the answer.
func hello(ctx context.Context, conn net.Conn) (limits Params, extensions bool, err error) {
	request := wire.AppendKVRequest(nil, &wire.KVRequest{Type: wire.TypeParams})
	answer, err := wire.Ask(ctx, conn, request, maxHelloBytes)
	if err != nil {
		return Params{}, false, err
	}
	maxKey, maxValue, offered, err := wire.ParseKVHello(answer)
	if err != nil {
		return Params{}, false, fmt.Errorf("%w: %w", ErrNotKivaloo, err)
	}
	return newParams(maxKey, maxValue), offered&wire.Extensions1 != 0, nil
}

// dial connects to addr, with TLS unless config is nil.
func dial(ctx context.Context, addr string, config *tls.Config) (net.Conn, error) {
	addrs, err := wire.ResolveAddrContext(ctx, addr)
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

// handshake begins TLS on conn, which leads to addr. It closes conn if that fails.
func handshake(ctx context.Context, conn net.Conn, addr string, config *tls.Config) (net.Conn, error) {
	if config.ServerName == "" {
		config = config.Clone()
		host := addr[:strings.LastIndexByte(addr, ':')] // an address without a colon would not have been resolved
		config.ServerName = strings.Trim(host, "[]")
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return secure, nil
}
