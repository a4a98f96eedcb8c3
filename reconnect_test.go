package kivaloo_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kivaloo"
	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// TestReconnect checks that a restart of the server fails only the requests that it interrupts.
func TestReconnect(t *testing.T) {
	dir := t.TempDir()
	arrived := make(chan struct{}, 1)
	s := &wiretest.Server{Hook: func(_ uint64, r wire.KVRequest) ([]byte, wiretest.Verdict) {
		if string(r.Key) == "silence" {
			arrived <- struct{}{}
			return nil, wiretest.WithThis
		}
		return nil, wiretest.Normally
	}}
	path, stop, err := s.Start(dir)
	must.Do(t, err)
	ctx := within(t)
	c, err := kivaloo.Dial(ctx, path, kivaloo.DialOptions{Reconnect: true})
	must.Do(t, err)
	defer c.Close()
	for round := range 3 {
		must.Do(t, c.Set(ctx, []byte("k"), []byte{byte(round)}))
		interrupted := make(chan error, 1)
		go func() { interrupted <- c.Set(ctx, []byte("silence"), nil) }()
		<-arrived
		stop()
		var op *kivaloo.OpError
		if err := <-interrupted; !errors.As(err, &op) || !op.Sent || errors.Is(err, kivaloo.ErrClosed) {
			t.Errorf("interrupted: %v", err)
		}

		// Meanwhile some requests wait until their context ends.
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		err := c.Set(short, []byte("k"), []byte("given up"))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &op) || op.Sent || !strings.Contains(err.Error(), "no connection") {
			t.Errorf("given up: %v", err)
		}
		var waiting sync.WaitGroup
		for range 10 {
			waiting.Go(func() {
				if got, err := c.Get(ctx, []byte("k")); err != nil || len(got) != 1 || got[0] != byte(round) {
					t.Errorf("waiting: got %q, %v", got, err)
				}
			})
		}
		if _, stop, err = s.Start(dir); err != nil {
			t.Fatal(err)
		}
		waiting.Wait()
	}
	stop()
}

// TestReconnectWindowFull checks that requests that wait for the window of the lost connection are
// sent on the next one.
func TestReconnectWindowFull(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s := &wiretest.Server{Hook: func(uint64, wire.KVRequest) ([]byte, wiretest.Verdict) {
		v := wiretest.Normally
		once.Do(func() {
			close(arrived)
			<-release
			v = wiretest.HangUp
		})
		return nil, v
	}}
	c := dialFake(t, s, kivaloo.DialOptions{Window: 1, Reconnect: true})
	ctx := within(t)
	errs := make(chan error, 8)
	set := func() { errs <- c.Set(ctx, []byte("k"), nil) }
	go set()
	<-arrived
	for range cap(errs) - 1 {
		go set()
	}
	time.Sleep(10 * time.Millisecond) // most of them wait by now, but the outcome must be the same for any number
	close(release)
	failed := 0
	for range cap(errs) {
		if err := <-errs; err != nil {
			failed++
			var op *kivaloo.OpError
			if !errors.Is(err, io.EOF) || !errors.As(err, &op) || !op.Sent {
				t.Errorf("got %v", err)
			}
		}
	}
	if failed != 1 {
		t.Errorf("%d failed, want the 1 that was sent", failed)
	}
}

// TestReconnectLimits checks that the limits are those of the current server.
func TestReconnectLimits(t *testing.T) {
	dir := t.TempDir()
	s := &wiretest.Server{}
	path, stop, err := s.Start(dir)
	must.Do(t, err)
	ctx := within(t)
	c, err := kivaloo.Dial(ctx, path, kivaloo.DialOptions{Reconnect: true})
	must.Do(t, err)
	defer c.Close()
	stop()
	s.MaxKey, s.MaxValue = 3, 3
	if _, stop, err = s.Start(dir); err != nil {
		t.Fatal(err)
	}
	defer stop()
	for {
		err := c.Set(ctx, []byte("long"), nil)
		if errors.Is(err, kivaloo.ErrTooLong) {
			break
		}
		var op *kivaloo.OpError
		if !errors.As(err, &op) || op.Sent && !errors.Is(err, io.EOF) || ctx.Err() != nil {
			t.Fatalf("got %v", err)
		}
	}
}

// TestReconnectClose checks Close in every state: connected, between two attempts, during an
// attempt. Waiting requests must get ErrClosed.
func TestReconnectClose(t *testing.T) {
	t.Run("connected", func(t *testing.T) {
		c := dialFake(t, &wiretest.Server{}, kivaloo.DialOptions{Reconnect: true})
		c.Close()
		if err := c.Set(within(t), nil, nil); !errors.Is(err, kivaloo.ErrClosed) {
			t.Errorf("afterwards: %v", err)
		}
	})
	for name, accept := range map[string]bool{"nobody listens": false, "nobody answers": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, stop, err := (&wiretest.Server{}).Start(dir)
			must.Do(t, err)
			ctx := within(t)
			c, err := kivaloo.Dial(ctx, path, kivaloo.DialOptions{Reconnect: true})
			must.Do(t, err)
			stop()
			if accept {
				<-silence(t, path)
			}
			untilLost(t, c)
			failed := make(chan error, 1)
			go func() { _, err := c.Get(ctx, []byte("k")); failed <- err }()
			time.Sleep(5 * time.Millisecond) // it waits by now; if not, the outcome must be the same
			c.Close()
			var op *kivaloo.OpError
			if err := <-failed; !errors.Is(err, kivaloo.ErrClosed) || !errors.As(err, &op) || op.Sent {
				t.Errorf("waiting: %v", err)
			}
			c.Close()
		})
	}
}

// untilLost returns when c knows that its connection is lost.
func untilLost(t *testing.T, c *kivaloo.Client) {
	t.Helper()
	for range 1000 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		_, err := c.Params(ctx)
		cancel()
		var op *kivaloo.OpError
		if errors.As(err, &op) && !op.Sent && errors.Is(err, context.DeadlineExceeded) {
			return
		}
	}
	t.Fatal("the connection is never lost")
}

// silence starts a listener on path that never answers. The channel is closed at the first
// connection.
func silence(t *testing.T, path string) <-chan struct{} {
	ln, err := net.Listen("unix", path)
	must.Do(t, err)
	t.Cleanup(func() { ln.Close() })
	connected := make(chan struct{})
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		close(connected)
		io.Copy(io.Discard, nc) // until the client closes it
		nc.Close()
	}()
	return connected
}

// TestReconnectBadServer checks that a server that drops every connection at once is not called in
// a tight loop, and that the caller's error says what is wrong.
func TestReconnectBadServer(t *testing.T) {
	var dialled atomic.Int32
	s := &wiretest.Server{Hook: func(uint64, wire.KVRequest) ([]byte, wiretest.Verdict) {
		dialled.Add(1)
		return nil, wiretest.HangUp
	}}
	c := dialFake(t, s, kivaloo.DialOptions{Reconnect: true})
	ctx, cancel := context.WithTimeout(within(t), 500*time.Millisecond)
	defer cancel()
	var last error
	for ctx.Err() == nil {
		last = c.Set(ctx, nil, nil)
		if last == nil {
			t.Fatal("it was answered")
		}
	}
	// Pauses of at least 25, 50, 100 and 200 ms allow no more attempts than these.
	if n := dialled.Load(); n < 2 || n > 5 {
		t.Errorf("%d connections", n)
	}
	if !errors.Is(last, io.EOF) && !errors.Is(last, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", last)
	}
}
