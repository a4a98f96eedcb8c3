package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"kivaloo/disk"
	"kivaloo/eventloop"
	"kivaloo/wire"
)

// params2Len is the length of the record that answers PARAMS2.
const params2Len = 4 + 8 + 8

// Dial connects to the block store at the first of addrs that accepts, and asks it for its state.
// ctx covers both. log may be nil.
func Dial(ctx context.Context, addrs []wire.Addr, log *slog.Logger) (*Store, error) {
	nc, err := wire.Dial(ctx, addrs)
	if err != nil {
		return nil, err
	}
	peer := addrs[0].Name
	info, err := hello(ctx, nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("ask the block store at %s for its parameters: %w", peer, err)
	}
	if log == nil {
		log = slog.Default()
	}
	loop, err := eventloop.New(log)
	if err != nil {
		nc.Close()
		return nil, err
	}
	s := newStore(peer, info, loop)
	go func() {
		defer close(s.loopEnded)
		if err := loop.Run(); err != nil {
			log.Error("event loop of the block store's connection failed", "peer", peer, "error", err)
		}
	}()
	// The answer to a GET is the longest one.
	longest := max(4+uint32(info.BlockSize), params2Len)
	s.conn, err = loop.Attach(nc, longest, func(*eventloop.Conn) eventloop.Handler { return (*handler)(s) })
	if err != nil {
		loop.Stop(0)
		<-s.loopEnded
		return nil, fmt.Errorf("connect to the block store at %s: %w", peer, err)
	}
	return s, nil
}

// hello makes the first request, and waits for its answer. It reads nothing after the answer.
func hello(ctx context.Context, nc net.Conn) (disk.Info, error) {
	answer, err := wire.Ask(ctx, nc, wire.AppendLBSRequest(nil, &wire.LBSRequest{Type: wire.TypeLBSParams2}), params2Len)
	if errors.Is(err, wire.ErrHungUp) {
		err = fmt.Errorf("%w; kivaloo-lbs serves blocks, kivaloo-kvlds and kivaloo serve do not", err)
	}
	if err != nil {
		return disk.Info{}, err
	}
	size, next, last, err := wire.ParseLBSParams2(answer)
	if err != nil {
		return disk.Info{}, fmt.Errorf("%w: %w", wire.ErrNotKivaloo, err)
	}
	if size < disk.MinBlockSize || size > disk.MaxBlockSize {
		return disk.Info{}, fmt.Errorf("its block size %d is not between %d and %d",
			size, disk.MinBlockSize, disk.MaxBlockSize)
	}
	return disk.Info{BlockSize: int(size), Next: next, Last: last}, nil
}
