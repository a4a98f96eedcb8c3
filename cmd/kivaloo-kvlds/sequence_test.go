package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// sequencePairs is the number of pairs in the sequence below if it does not matter.
const sequencePairs = 2000

// sequence is the original's test of a kvlds. It tries every operation on one key. Then it stores n
// pairs with all requests outstanding at once, and reads them back in the same way. Finally it
// deletes the pairs that RANGE finds.
func sequence(ctx context.Context, addr string, n int) error {
	conn, err := kvtest.Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := &client{conn}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if answer, err := c.ask(params); err != nil || len(answer) != 8 {
		return fmt.Errorf("PARAMS: %x, %w", answer, err)
	}
	if err := c.oneKey(); err != nil {
		return err
	}
	key := func(i int) string { return string(binary.BigEndian.AppendUint64(nil, uint64(i))) }
	err = c.pipeline(n, func(i int) wire.KVRequest { return set(key(i), strconv.Itoa(i)) }, func(i int, answer []byte) error {
		status, err := wire.ParseKVStatus(wire.TypeSet, answer)
		if err != nil || status != 0 {
			return fmt.Errorf("SET %d: status %d, %w", i, status, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = c.pipeline(n, func(i int) wire.KVRequest { return get(key(i)) }, func(i int, answer []byte) error {
		value, found, err := wire.ParseKVValue(answer)
		if err != nil || !found || string(value) != strconv.Itoa(i) {
			return fmt.Errorf("GET %d: %q, %t, %w", i, value, found, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.deleteRange(key(0), key(n), n)
}

// oneKey tries every operation on one key, which must be absent, and reads it after each.
func (c *client) oneKey() error {
	long := strings.Repeat("v", 100)
	steps := []struct {
		request wire.KVRequest
		status  uint32
		after   string // "": absent
	}{
		{set("key", "value"), 0, "value"},
		{set("key", long), 0, long},
		{add("key", "value"), 1, long},
		{del("key"), 0, ""},
		{del("key"), 0, ""},
		{modify("key", "value"), 1, ""},
		{add("key", "value"), 0, "value"},
		{modify("key", "other"), 0, "other"},
		{cas("key", "value", long), 1, "other"},
		{cas("key", "other", long), 0, long},
		{cad("key", "value"), 1, long},
		{cad("key", long), 0, ""},
		{cas("key", "value", long), 1, ""},
		{cad("key", "value"), 1, ""},
	}
	for i, step := range steps {
		if err := c.change(step.request, step.status); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		value, err := c.get("key")
		if step.after == "" && errors.Is(err, errAbsent) {
			continue
		}
		if err != nil || value != step.after {
			return fmt.Errorf("after step %d: %q, want %q: %w", i, value, step.after, err)
		}
	}
	return nil
}

// pipeline makes n requests without waiting for answers. It calls check once with each answer, in
// any order.
func (c *client) pipeline(n int, request func(i int) wire.KVRequest, check func(i int, answer []byte) error) error {
	var b []byte
	first := c.LastID + 1
	for i := range n {
		b = append(b, c.Packets(request(i))...)
	}
	sent := make(chan error, 1)
	go func() { sent <- c.Put(b) }()
	seen := make([]bool, n)
	for range n {
		id, answer, err := c.receive()
		if err != nil {
			c.Close()
			<-sent
			return err
		}
		i := id - first
		if i >= uint64(n) || seen[i] {
			return fmt.Errorf("an answer to request %d, which is not outstanding", id)
		}
		seen[i] = true
		if err := check(int(i), answer); err != nil {
			return err
		}
	}
	return <-sent
}

// deleteRange deletes the pairs that RANGE finds from start to end. There must be n pairs.
func (c *client) deleteRange(start, end string, n int) error {
	for start < end {
		pairs, next, err := c.ranged(1<<20, start, end)
		if err != nil {
			return err
		}
		err = c.pipeline(len(pairs), func(i int) wire.KVRequest { return del(pairs[i].key) }, func(i int, answer []byte) error {
			_, err := wire.ParseKVStatus(wire.TypeDelete, answer)
			return err
		})
		if err != nil {
			return err
		}
		n -= len(pairs)
		start = next
	}
	if n != 0 {
		return fmt.Errorf("RANGE finds %d pairs too few", n)
	}
	return nil
}

func (p place) sequence(t *testing.T, n int) {
	t.Helper()
	must.Do(t, sequence(t.Context(), p.socket(), n))
}

// small has a cache too small for the sequence.
var small = []string{"-v", "104", "-C", "1024"}

func TestSequence(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]string{
		"once":       append(small, "-1"),
		"many times": small,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startStack(t, 512, options...)
			if name == "once" {
				s.sequence(t, sequencePairs)
				if status := s.kvlds.Wait(t); status.ExitStatus() != 0 {
					t.Errorf("ended with %v", status)
				}
				return
			}
			s.sequence(t, 40000)
			emptied := time.Now()
			must.Eventually(t, "one file is left", func() bool { return len(s.files(t)) == 1 })
			if took := time.Since(emptied); took > 10*time.Second {
				t.Errorf("the files went in %v", took)
			}
			for range 2 {
				s.sequence(t, sequencePairs)
			}
		})
	}
}

func TestSequenceAtOddBlockSizes(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 1023, 1025, 1100} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			t.Parallel()
			startStack(t, size, small...).sequence(t, sequencePairs)
		})
	}
}

func TestSequenceAfterClientsWereKilled(t *testing.T) {
	t.Parallel()
	s := startStack(t, 512, small...)
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		for ctx.Err() == nil {
			_ = sequence(ctx, s.socket(), sequencePairs) // interrupted somewhere
		}
		cancel()
	}
	s.sequence(t, sequencePairs)
}

func TestSequenceAfterTheDaemonWasKilled(t *testing.T) {
	t.Parallel()
	s := startStack(t, 512, small...)
	for range 3 {
		timer := time.AfterFunc(100*time.Millisecond, s.kvlds.Kill)
		for sequence(t.Context(), s.socket(), sequencePairs) == nil {
		}
		timer.Stop()
		s.restart(t, small...)
	}
	s.sequence(t, sequencePairs)
}

// TestSequenceThatIsRefused checks key and value limits that are too low for the sequence.
func TestSequenceThatIsRefused(t *testing.T) {
	t.Parallel()
	for _, limit := range [][]string{{"-v", "50"}, {"-k", "5"}} {
		t.Run(limit[0], func(t *testing.T) {
			t.Parallel()
			s := startStack(t, 512, limit...)
			if err := sequence(t.Context(), s.socket(), 10); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// TestBothDaemonsEndWithTheirClient runs a client that makes one request at a time, with daemons
// that end after one connection.
func TestBothDaemonsEndWithTheirClient(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	blocks := p.startBlocks(t, 512, "-1")
	kvlds := p.start(t, "-1")
	p.connectOnce(t, func(c *client) {
		c.mustChange(t, set("k", "v"), 0)
		c.mustGet(t, "k", "v")
	})
	for _, d := range []*daemontest.Daemon{kvlds, blocks} {
		if status := d.Wait(t); status.ExitStatus() != 0 {
			t.Errorf("ended with %v", status)
		}
	}
}

// TestFirstSteps makes the first operations of the original's test in another language.
func TestFirstSteps(t *testing.T) {
	t.Parallel()
	c := startStack(t, 512).connect(t)
	c.mustChange(t, set("a", "1"), 0)
	c.mustGet(t, "a", "1")
	c.mustChange(t, add("b", "2"), 0)
	c.mustChange(t, add("b", "3"), 1)
	c.mustChange(t, set("c", "3"), 0)
	long := strings.Repeat("3", 40)
	c.mustChange(t, set("c", long), 0)
	c.mustRange(t, 10, "", "", "c", pair{"a", "1"}, pair{"b", "2"})
	c.mustRange(t, 10, "c", "", "", pair{"c", long})
}
