package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"kivaloo/wire"
)

// paramsLen is the length of the record that answers PARAMS.
const paramsLen = 4 + 4

// AskRules asks a server of the key-value protocol, over a connection on which nothing else is
// outstanding, what it takes. It waits for as long as that server is busy with somebody else,
// or ctx allows. It reads nothing behind the answer.
func AskRules(ctx context.Context, nc net.Conn) (*Rules, error) {
	defer nc.SetDeadline(time.Time{})
	defer context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })()
	rules, err := askRules(nc)
	switch {
	case err == nil:
		return rules, nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("it closed the connection, which it does after a request that it does not know; " +
			"if it serves another protocol than kvlds, say so")
	}
	return nil, fmt.Errorf("ask the target for its parameters: %w", err)
}

func askRules(nc net.Conn) (*Rules, error) {
	request := wire.AppendKVRequest(nil, &wire.KVRequest{Type: wire.TypeParams})
	if _, err := nc.Write(wire.AppendPacket(nil, 0, request)); err != nil {
		return nil, err
	}
	b := make([]byte, wire.Overhead+paramsLen)
	if _, err := io.ReadFull(nc, b[:wire.HeaderSize]); err != nil {
		return nil, err
	}
	_, _, want, err := wire.Cut(b[:wire.HeaderSize], paramsLen)
	if err != nil {
		return nil, err
	}
	b = b[:want]
	if _, err := io.ReadFull(nc, b[wire.HeaderSize:]); err != nil {
		return nil, err
	}
	p, _, _, err := wire.Cut(b, paramsLen)
	if err != nil {
		return nil, err
	}
	if p.ID != 0 {
		return nil, fmt.Errorf("the answer is to request %d, which was not made", p.ID)
	}
	maxKey, maxValue, err := wire.ParseKVParams(p.Record)
	if err != nil {
		return nil, err
	}
	// A length that no key can have is no limit.
	return &Rules{
		MaxKey:   int(min(maxKey, wire.MaxKeyLen)),
		MaxValue: int(min(maxValue, wire.MaxKeyLen)),
	}, nil
}
