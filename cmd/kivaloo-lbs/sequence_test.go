package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// nowhere is a block number that no store reaches.
const nowhere = math.MaxUint64 - 2

// sequenceBlocks is the length of each half of the sequence below.
const sequenceBlocks = 256

// sequence is the original's test of a block store. It writes n blocks after the existing ones in
// appends of 1 to 15, and n more one by one. It reads all of them back one by one, and the first n
// at once. Then it frees everything.
func sequence(ctx context.Context, addr string, size, n int) error {
	c, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()

	b, base, err := c.params()
	if err != nil || int(b) != size {
		return fmt.Errorf("PARAMS: block size %d, %v", b, err)
	}
	want := func(i uint64) []byte {
		if i >= uint64(n) {
			i = 0
		}
		return bytes.Repeat([]byte{byte(i)}, size)
	}
	end := base + 2*uint64(n)
	if err := writeSequence(c, base, n, want); err != nil {
		return err
	}
	if _, err := c.append(nowhere, 1, make([]byte, size)); !errors.Is(err, errStatus1) {
		return fmt.Errorf("append to nowhere: %v", err)
	}
	for i := base; i < end; i++ {
		if got, err := c.get(i, size); err != nil || !bytes.Equal(got, want(i-base)) {
			return fmt.Errorf("block %d: %v, %.8x...", i, err, got)
		}
	}
	if err := readTogether(c, base, n, size, want); err != nil {
		return err
	}
	if _, err := c.get(nowhere, 0); !errors.Is(err, errStatus1) {
		return fmt.Errorf("block from nowhere: %v", err)
	}
	return c.free(end)
}

// writeSequence appends n blocks in appends of 1, 2, ... 15, 1, ... blocks, then n more one by one.
// Block base+i holds want(i).
func writeSequence(c *client, base uint64, n int, want func(i uint64) []byte) error {
	next := base
	write := func(count int) error {
		var blocks []byte
		for i := range uint64(count) {
			blocks = append(blocks, want(next-base+i)...)
		}
		got, err := c.append(next, count, blocks)
		if err != nil || got != next+uint64(count) {
			return fmt.Errorf("append of %d blocks at %d: next %d, %v", count, next, got, err)
		}
		next = got
		return nil
	}
	for i := 0; next < base+uint64(n); i++ {
		if err := write(min(i%15+1, n-int(next-base))); err != nil {
			return err
		}
	}
	for range n {
		if err := write(1); err != nil {
			return err
		}
	}
	return nil
}

// readTogether reads n blocks from base on with all requests outstanding.
func readTogether(c *client, base uint64, n, size int, want func(uint64) []byte) error {
	var requests [][]byte
	for i := range uint64(n) {
		requests = append(requests, request(wire.TypeLBSGet, base+i))
	}
	firstID := c.lastID + 1
	if err := c.send(requests...); err != nil {
		return err
	}
	answered := make(map[uint64]bool)
	for range n {
		id, answer, err := c.receive()
		if err != nil {
			return err
		}
		i, got := id-firstID, make([]byte, size)
		if err := status(answer, got); err != nil || answered[i] || i >= uint64(n) || !bytes.Equal(got, want(i)) {
			return fmt.Errorf("block %d of those read together: %v, %.8x...", i, err, got)
		}
		answered[i] = true
	}
	return nil
}

func (s *server) sequence(t *testing.T, size, n int) {
	t.Helper()
	must.Do(t, sequence(t.Context(), s.addr, size, n))
}

func TestSequence(t *testing.T) {
	for _, c := range []struct {
		delay string // of reads, in nanoseconds
		times int
	}{{"0", 3}, {"1000000", 1}} {
		t.Run("once with -1, delay "+c.delay, func(t *testing.T) {
			t.Parallel()
			s := newPlace(t).start(t, 512, "-1", "-l", c.delay)
			s.sequence(t, 512, sequenceBlocks)
			if status := s.Wait(t); status.ExitStatus() != 0 {
				t.Errorf("ended with %v", status)
			}
		})
		t.Run("again and again, delay "+c.delay, func(t *testing.T) {
			t.Parallel()
			s := newPlace(t).start(t, 512, "-l", c.delay)
			for range c.times {
				s.sequence(t, 512, sequenceBlocks)
			}
		})
	}
}

func TestSequenceAtOtherBlockSizes(t *testing.T) {
	for _, c := range []struct{ size, n int }{{1000, 64}, {1023, 64}, {1024, 64}, {131072, 8}} {
		t.Run(strconv.Itoa(c.size), func(t *testing.T) {
			t.Parallel()
			s := newPlace(t).start(t, c.size, "-L")
			s.sequence(t, c.size, c.n)
			s = s.restart(t, c.size, "-L")
			end := uint64(2 * c.n)
			between := s.connect(t)
			between.mustNext(t, end, end-1)
			between.Close()
			s.sequence(t, c.size, c.n)
		})
	}
}

func TestSequenceAfterAClientWasKilled(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 512)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for ctx.Err() == nil {
		_ = sequence(ctx, s.addr, 512, sequenceBlocks) // interrupted somewhere
	}
	s.sequence(t, 512, sequenceBlocks)
}

func TestClientsQueue(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 512, "-L", "-l", "200000")
	done := make(chan error, 3)
	for range 3 {
		go func() { done <- sequence(t.Context(), s.addr, 512, 64) }()
		time.Sleep(20 * time.Millisecond) // so that they overlap, in this order
	}
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestOneClientAtATime(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 512)
	first := s.connect(t)
	if _, _, err := first.params(); err != nil {
		t.Fatal(err)
	}
	second := s.connect(t)
	must.Do(t, second.send(request(wire.TypeLBSParams)))
	second.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, _, err := second.receive(); err == nil {
		t.Fatal("a second client was answered while the first one is connected")
	}
	if _, _, err := first.params(); err != nil {
		t.Fatal(err)
	}
	first.Close()
	second.SetReadDeadline(time.Now().Add(patience))
	if _, _, err := second.receive(); err != nil {
		t.Fatal(err)
	}
}

func TestTCP(t *testing.T) {
	for _, host := range []string{"localhost", "[127.0.0.1]", "127.0.0.1", "[::1]"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			s := startTCP(t, host)
			s.sequence(t, 512, sequenceBlocks)
		})
	}
}

// startTCP starts a daemon on a free port. It tries another port if the chosen one has been taken
// meanwhile.
func startTCP(t *testing.T, host string) *server {
	t.Helper()
	var r daemontest.Result
	for range 5 {
		ln, err := net.Listen("tcp", host+":0")
		if err != nil && strings.Contains(host, "::") {
			t.Skipf("no IPv6 here: %v", err)
		} else if err != nil {
			t.Fatal(err)
		}
		port := ln.Addr().(*net.TCPAddr).Port
		ln.Close()
		p, addr := newPlace(t), fmt.Sprintf("%s:%d", host, port)
		r = p.run(t, "-s", addr, "-d", p.path("d"), "-b512", "-L")
		if r.Status == 0 {
			// The pid file of a TCP address is in the working directory.
			return &server{daemontest.Take(t, p.path(addr+".pid")), p, addr}
		}
		if !strings.Contains(r.Output, "address already in use") {
			break
		}
	}
	t.Fatalf("status %v, said %q", r.Status, r.Output)
	return nil
}
