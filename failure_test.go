package kivaloo_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"kivaloo"
	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// operations calls each method once, with a key of its own.
var operations = map[uint32]func(ctx context.Context, c *kivaloo.Client) error{
	wire.TypeParams: func(ctx context.Context, c *kivaloo.Client) error { _, err := c.Params(ctx); return err },
	wire.TypeGet: func(ctx context.Context, c *kivaloo.Client) error {
		if _, err := c.Get(ctx, []byte("k")); !errors.Is(err, kivaloo.ErrNotFound) {
			return err
		}
		return nil
	},
	wire.TypeSet: func(ctx context.Context, c *kivaloo.Client) error { return c.Set(ctx, []byte("s"), nil) },
	wire.TypeAdd: func(ctx context.Context, c *kivaloo.Client) error {
		_, err := c.Add(ctx, []byte("a"), nil)
		return err
	},
	wire.TypeModify: func(ctx context.Context, c *kivaloo.Client) error {
		_, err := c.Modify(ctx, []byte("m"), nil)
		return err
	},
	wire.TypeCAS: func(ctx context.Context, c *kivaloo.Client) error {
		_, err := c.CompareAndSwap(ctx, []byte("c"), nil, nil)
		return err
	},
	wire.TypeDelete: func(ctx context.Context, c *kivaloo.Client) error { return c.Delete(ctx, []byte("d")) },
	wire.TypeCAD: func(ctx context.Context, c *kivaloo.Client) error {
		_, err := c.CompareAndDelete(ctx, []byte("d"), nil)
		return err
	},
	wire.TypeRange: func(_ context.Context, c *kivaloo.Client) error { return rangeErr(c, nil, nil) },
}

// TestMalformedAnswers checks that a malformed answer fails its own request and no other.
func TestMalformedAnswers(t *testing.T) {
	status := func(n uint32) []byte { return wire.AppendKVStatus(nil, n) }
	for _, tc := range []struct {
		name   string
		record []byte
		types  []uint32
	}{
		{"empty", nil, []uint32{wire.TypeParams, wire.TypeGet, wire.TypeSet, wire.TypeAdd, wire.TypeModify, wire.TypeCAS, wire.TypeDelete, wire.TypeCAD, wire.TypeRange}},
		{"status 2", status(2), []uint32{wire.TypeParams, wire.TypeGet, wire.TypeSet, wire.TypeAdd, wire.TypeModify, wire.TypeCAS, wire.TypeDelete, wire.TypeCAD, wire.TypeRange}},
		{"status 1", status(1), []uint32{wire.TypeParams, wire.TypeSet, wire.TypeDelete, wire.TypeRange}},
		{"absent and more", append(status(1), 0), []uint32{wire.TypeGet}},
		{"value cut off", append(status(0), 2, 'x'), []uint32{wire.TypeGet}},
		{"value and more", append(status(0), 1, 'x', 'y'), []uint32{wire.TypeGet}},
		{"fewer pairs than said", wire.AppendKVPairs(nil, 2, nil, wiretest.AppendPair(nil, "k", "v")), []uint32{wire.TypeRange}},
		{"more pairs than said", wire.AppendKVPairs(nil, 0, nil, wiretest.AppendPair(nil, "k", "v")), []uint32{wire.TypeRange}},
		{"more pairs than can be", wire.AppendKVPairs(nil, 1<<30, nil, nil), []uint32{wire.TypeRange}},
	} {
		for _, typ := range tc.types {
			t.Run(tc.name+"/"+wire.TypeName(typ), func(t *testing.T) {
				bad := true
				s := &wiretest.Server{Hook: func(id uint64, r wire.KVRequest) ([]byte, wiretest.Verdict) {
					if r.Type == typ && bad {
						bad = false
						return wire.AppendPacket(nil, id, tc.record), wiretest.WithThis
					}
					return nil, wiretest.Normally
				}}
				c := dialFake(t, s)
				ctx := within(t)
				err := operations[typ](ctx, c)
				var op *kivaloo.OpError
				if !errors.Is(err, kivaloo.ErrBadAnswer) || !errors.As(err, &op) || !op.Sent {
					t.Errorf("got %v", err)
				}
				for typ, operation := range operations {
					if err := operation(ctx, c); err != nil {
						t.Errorf("%s afterwards: %v", wire.TypeName(typ), err)
					}
				}
			})
		}
	}
}

// TestConnectionFailures checks that a stream error fails all outstanding requests and all later
// ones.
func TestConnectionFailures(t *testing.T) {
	flip := func(packet []byte, at int) []byte {
		packet[at] ^= 1
		return packet
	}
	absent := wire.AppendKVStatus(nil, 1)
	for name, tc := range map[string]struct {
		send    func(id uint64) []byte
		verdict wiretest.Verdict
		want    error
	}{
		"unknown request": {func(id uint64) []byte { return wire.AppendPacket(nil, id+1, absent) }, wiretest.WithThis, nil},
		"far-off request": {func(uint64) []byte { return wire.AppendPacket(nil, 1<<63, absent) }, wiretest.WithThis, nil},
		// It would use the slot of the outstanding one.
		"later request": {func(id uint64) []byte { return wire.AppendPacket(nil, id+kivaloo.MaxOutstanding, absent) }, wiretest.WithThis, nil},
		"answered twice": {func(id uint64) []byte {
			return wire.AppendPacket(wire.AppendPacket(nil, id, absent), id, absent)
		}, wiretest.WithThis, nil},
		"header sum":       {func(id uint64) []byte { return flip(wire.AppendPacket(nil, id, absent), 3) }, wiretest.WithThis, wire.ErrHeaderSum},
		"record sum":       {func(id uint64) []byte { return flip(wire.AppendPacket(nil, id, absent), 16) }, wiretest.WithThis, wire.ErrRecordSum},
		"4 GiB announced":  {func(id uint64) []byte { return wire.AppendHeader(nil, id, 1<<32-1) }, wiretest.WithThis, wire.ErrRecordLong},
		"end":              {func(uint64) []byte { return nil }, wiretest.HangUp, io.EOF},
		"end in a header":  {func(id uint64) []byte { return wire.AppendPacket(nil, id, absent)[:7] }, wiretest.HangUp, io.ErrUnexpectedEOF},
		"end in a record":  {func(id uint64) []byte { return wire.AppendPacket(nil, id, absent)[:18] }, wiretest.HangUp, io.ErrUnexpectedEOF},
		"end after answer": {func(id uint64) []byte { return wire.AppendPacket(nil, id, absent) }, wiretest.HangUp, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			// The first request stays unanswered. The second gets the bad answer.
			arrived := make(chan struct{}, 1)
			s := &wiretest.Server{Hook: func(id uint64, r wire.KVRequest) ([]byte, wiretest.Verdict) {
				if r.Type == wire.TypeSet {
					arrived <- struct{}{}
					return nil, wiretest.WithThis
				}
				return tc.send(id), tc.verdict
			}}
			c := dialFake(t, s)
			ctx := within(t)
			first := make(chan error, 1)
			go func() { first <- c.Set(ctx, []byte("k"), []byte("v")) }()
			<-arrived
			c.Get(ctx, []byte("k"))
			var op *kivaloo.OpError
			err := <-first
			if !errors.As(err, &op) || !op.Sent || tc.want != nil && !errors.Is(err, tc.want) || ctx.Err() != nil {
				t.Errorf("outstanding: %v", err)
			}
			for typ, operation := range operations {
				err := operation(ctx, c)
				if !errors.As(err, &op) || op.Sent || tc.want != nil && !errors.Is(err, tc.want) {
					t.Errorf("%s afterwards: %v", wire.TypeName(typ), err)
				}
			}
			if err := c.Pipeline(ctx).Set([]byte("k"), nil); !errors.As(err, &op) || op.Sent {
				t.Errorf("pipeline afterwards: %v", err)
			}
		})
	}
}

// TestFailureWhileWindowFull checks that callers waiting for room in the window see a connection
// failure too.
func TestFailureWhileWindowFull(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	s := &wiretest.Server{Hook: func(uint64, wire.KVRequest) ([]byte, wiretest.Verdict) {
		close(arrived)
		<-release
		return nil, wiretest.HangUp
	}}
	c := dialFake(t, s, kivaloo.DialOptions{Window: 1})
	ctx := within(t)
	failed := make(chan error, 8)
	for range cap(failed) {
		go func() { failed <- c.Set(ctx, []byte("k"), []byte("v")) }()
	}
	<-arrived
	close(release)
	sent := 0
	for range cap(failed) {
		err := <-failed
		var op *kivaloo.OpError
		if !errors.Is(err, io.EOF) || !errors.As(err, &op) {
			t.Errorf("got %v", err)
		} else if op.Sent {
			sent++
		}
	}
	if sent != 1 {
		t.Errorf("%d were sent, want 1", sent)
	}
}

// TestLongAnswer checks that an answer longer than the read buffer arrives completely.
func TestLongAnswer(t *testing.T) {
	s := &wiretest.Server{}
	c := dialFake(t, s)
	s.Mu.Lock()
	for i := range 10000 {
		s.Pairs[string([]byte{byte(i >> 8), byte(i)})] = string(bytes.Repeat([]byte{byte(i)}, 150))
	}
	s.Mu.Unlock()
	n := 0
	for p, err := range c.Range(within(t), nil, nil) {
		must.Do(t, err)
		if want := []byte{byte(n >> 8), byte(n)}; !bytes.Equal(p.Key, want) || !bytes.Equal(p.Value, bytes.Repeat([]byte{byte(n)}, 150)) {
			t.Fatalf("pair %d: %x %x", n, p.Key, p.Value)
		}
		n++
	}
	if n != 10000 {
		t.Errorf("%d pairs", n)
	}
}
