package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"kivaloo"
	"kivaloo/wire"
)

// connectTimeout bounds connecting and the first answer. A server that is not busy with another client
// answers in microseconds.
const connectTimeout = 10 * time.Second

// dial connects a Client.
func dial(ctx context.Context, addr string) (*kivaloo.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return kivaloo.Dial(ctx, addr, kivaloo.WithReconnect())
}

// connect returns a connection to a server that has answered.
func connect(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	addrs, err := wire.ResolveAddrContext(ctx, addr)
	if err != nil {
		return nil, err
	}
	nc, err := wire.Dial(ctx, addrs)
	if err != nil {
		return nil, err
	}
	params := wire.AppendKVRequest(nil, &wire.KVRequest{Type: wire.TypeParams})
	if _, err := wire.Ask(ctx, nc, params, wire.MaxKVRequestLen); err != nil {
		nc.Close()
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	return nc, nil
}
