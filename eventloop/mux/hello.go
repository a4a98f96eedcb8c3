package mux

import (
	"context"
	"errors"
	"fmt"
	"net"

	"kivaloo/wire"
)

// helloLen is the longest answer to the first PARAMS.
const helloLen = 4 + 4 + 4

// AskRules asks a server of the key-value protocol for its rules. Nothing else may be outstanding
// on the connection. It waits for as long as the server is busy with another client, or ctx allows.
// It reads nothing after the answer.
func AskRules(ctx context.Context, nc net.Conn) (*Rules, error) {
	rules, err := askRules(ctx, nc)
	if errors.Is(err, wire.ErrHungUp) {
		err = fmt.Errorf("%w; if it serves another protocol than kvlds, say so", err)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the target for its parameters: %w", err)
	}
	return rules, nil
}

func askRules(ctx context.Context, nc net.Conn) (*Rules, error) {
	answer, err := wire.Ask(ctx, nc, wire.AppendKVRequest(nil, &wire.KVRequest{Type: wire.TypeParams}), helloLen)
	if err != nil {
		return nil, err
	}
	maxKey, maxValue, extensions, err := wire.ParseKVHello(answer)
	if err != nil {
		return nil, err
	}
	// A length that no key can have is no limit.
	return &Rules{
		MaxKey:     int(min(maxKey, wire.MaxKeyLen)),
		MaxValue:   int(min(maxValue, wire.MaxKeyLen)),
		Extensions: extensions & wire.Extensions1, // others would not get through
	}, nil
}
