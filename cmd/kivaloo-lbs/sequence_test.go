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
	"kivaloo/wire"
)

// nowhere is a block number that no store reaches.
const nowhere = math.MaxUint64 - 2

// sequence is the original's test of a block store: it writes 512 blocks behind
// those that are there, reads them back one by one and all at once, and frees all.
func sequence(ctx context.Context, addr string, size int) error {
	c, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer c.nc.Close()
	defer context.AfterFunc(ctx, func() { c.nc.Close() })()

	b, base, err := c.params()
	if err != nil || int(b) != size {
		return fmt.Errorf("PARAMS: block size %d, %v", b, err)
	}
	want, err := writeSequence(c, base, size)
	if err != nil {
		return err
	}
	if _, err := c.append(nowhere, 1, make([]byte, size)); !errors.Is(err, errStatus1) {
		return fmt.Errorf("append to nowhere: %v", err)
	}
	for i := range uint64(512) {
		if got, err := c.get(base+i, size); err != nil || !bytes.Equal(got, want(i)) {
			return fmt.Errorf("block %d: %v, %.8x...", base+i, err, got)
		}
	}
	if err := readTogether(c, base, 256, size, want); err != nil {
		return err
	}
	if _, err := c.get(nowhere, 0); !errors.Is(err, errStatus1) {
		return fmt.Errorf("block from nowhere: %v", err)
	}
	return c.free(base + 512)
}

// writeSequence appends 256 blocks in 39 appends of 1 to 15 blocks, then 256
// more one by one, from base on. want gives what the block that is i behind base
// holds.
func writeSequence(c *client, base uint64, size int) (want func(i uint64) []byte, err error) {
	want = func(i uint64) []byte {
		if i >= 256 {
			i = 0
		}
		return bytes.Repeat([]byte{byte(i)}, size)
	}
	next, left := base, 256
	for i := range 39 {
		n := i%15 + 1
		if i >= 30 { // 240 blocks are written, 9 appends are left for 16
			n = 1 + 7*(i/38)
		}
		var blocks []byte
		for j := range n {
			blocks = append(blocks, want(next-base+uint64(j))...)
		}
		if next, err = c.append(next, n, blocks); err != nil {
			return nil, fmt.Errorf("append %d: %v", i, err)
		}
		left -= n
	}
	if left != 0 {
		return nil, fmt.Errorf("the sequence is wrong by %d blocks", left)
	}
	for i := range 256 {
		if next, err = c.append(next, 1, want(256)); err != nil {
			return nil, fmt.Errorf("append of single block %d: %v", i, err)
		}
	}
	if next != base+512 {
		return nil, fmt.Errorf("512 blocks from %d on, and next is %d", base, next)
	}
	return want, nil
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

func (s *server) sequence(t *testing.T, size int) {
	t.Helper()
	if err := sequence(t.Context(), s.addr, size); err != nil {
		t.Fatal(err)
	}
}

func TestSequence(t *testing.T) {
	for _, delay := range []string{"0", "1000000"} {
		t.Run("once with -1, delay "+delay, func(t *testing.T) {
			t.Parallel()
			s := newPlace(t).start(t, 512, "-1", "-l", delay)
			s.sequence(t, 512)
			if status := s.Wait(t); status.ExitStatus() != 0 {
				t.Errorf("ended with %v", status)
			}
		})
		t.Run("three times, delay "+delay, func(t *testing.T) {
			t.Parallel()
			s := newPlace(t).start(t, 512, "-l", delay)
			for range 3 {
				s.sequence(t, 512)
			}
		})
	}
}

func TestSequenceAtOtherBlockSizes(t *testing.T) {
	for _, size := range []int{1000, 1023, 4096, 131072} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			t.Parallel()
			s := newPlace(t).start(t, size, "-L")
			s.sequence(t, size)
			s.restart(t, size, "-L").sequence(t, size)
		})
	}
}

func TestSequenceAfterAClientWasKilled(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 512)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for ctx.Err() == nil {
		_ = sequence(ctx, s.addr, 512) // cut off somewhere
	}
	s.sequence(t, 512)
}

func TestClientsQueue(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 512, "-L", "-l", "200000")
	done := make(chan error, 3)
	for range 3 {
		go func() { done <- sequence(t.Context(), s.addr, 512) }()
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
	if err := second.send(request(wire.TypeLBSParams)); err != nil {
		t.Fatal(err)
	}
	second.nc.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, _, err := second.receive(); err == nil {
		t.Fatal("a second client was answered while the first one is connected")
	}
	if _, _, err := first.params(); err != nil {
		t.Fatal(err)
	}
	first.nc.Close()
	second.nc.SetReadDeadline(time.Now().Add(patience))
	if _, _, err := second.receive(); err != nil {
		t.Fatal(err)
	}
}

func TestTCP(t *testing.T) {
	for _, host := range []string{"localhost", "[127.0.0.1]", "127.0.0.1", "[::1]"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			s := startTCP(t, host)
			s.sequence(t, 512)
		})
	}
}

// startTCP starts a daemon on a free port. The port is free when it is chosen; if
// somebody else was quicker, another one is tried.
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
			// The pid file of an address that is no path is in the working directory.
			return &server{daemontest.Take(t, p.path(addr+".pid")), p, addr}
		}
		if !strings.Contains(r.Output, "address already in use") {
			break
		}
	}
	t.Fatalf("status %v, said %q", r.Status, r.Output)
	return nil
}
