package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"kivaloo/wire"
)

// client is a connection to a kvlds. Methods that do not begin with must return what went
// wrong, so that clients which are to be killed can use them too.
type client struct {
	nc     net.Conn
	in     []byte // received, not yet cut
	lastID uint64
}

// dial connects, waiting for a place in the backlog if it has to.
func dial(ctx context.Context, addr string) (*client, error) {
	addrs, err := wire.ResolveAddr(addr)
	if err != nil {
		return nil, err
	}
	nc, err := wire.Dial(ctx, addrs)
	if err != nil {
		return nil, err
	}
	nc.SetDeadline(time.Now().Add(patience))
	return &client{nc: nc}, nil
}

// connect is dial for tests in which it must succeed.
func (p place) connect(t *testing.T) *client {
	t.Helper()
	c, err := dial(t.Context(), p.socket())
	must(t, err)
	t.Cleanup(func() { c.nc.Close() })
	return c
}

func get(key string) wire.KVRequest {
	return wire.KVRequest{Type: wire.TypeGet, Key: []byte(key)}
}

func set(key, value string) wire.KVRequest {
	return wire.KVRequest{Type: wire.TypeSet, Key: []byte(key), Value: []byte(value)}
}

func add(key, value string) wire.KVRequest {
	return wire.KVRequest{Type: wire.TypeAdd, Key: []byte(key), Value: []byte(value)}
}

func modify(key, value string) wire.KVRequest {
	return wire.KVRequest{Type: wire.TypeModify, Key: []byte(key), Value: []byte(value)}
}

func cas(key, old, value string) wire.KVRequest {
	return wire.KVRequest{Type: wire.TypeCAS, Key: []byte(key), Old: []byte(old), Value: []byte(value)}
}

func del(key string) wire.KVRequest {
	return wire.KVRequest{Type: wire.TypeDelete, Key: []byte(key)}
}

func cad(key, old string) wire.KVRequest {
	return wire.KVRequest{Type: wire.TypeCAD, Key: []byte(key), Old: []byte(old)}
}

func ranged(max uint32, start, end string) wire.KVRequest {
	return wire.KVRequest{Type: wire.TypeRange, Max: max, Key: []byte(start), End: []byte(end)}
}

var params = wire.KVRequest{Type: wire.TypeParams}

// packets encodes requests, with IDs that count on.
func (c *client) packets(requests ...wire.KVRequest) []byte {
	var b []byte
	for i := range requests {
		c.lastID++
		start := len(b)
		b = wire.Begin(b, c.lastID)
		b = wire.AppendKVRequest(b, &requests[i])
		b = wire.End(b, start)
	}
	return b
}

// send sends requests in one write.
func (c *client) send(requests ...wire.KVRequest) error {
	return c.sendRaw(c.packets(requests...))
}

func (c *client) sendRaw(b []byte) error {
	_, err := c.nc.Write(b)
	return err
}

// receive returns the next answer. The record is good until the next call.
func (c *client) receive() (id uint64, record []byte, err error) {
	for {
		p, n, _, err := wire.Cut(c.in, math.MaxUint32)
		if err != nil {
			return 0, nil, err
		}
		if n > 0 {
			c.in = c.in[n:]
			return p.ID, p.Record, nil
		}
		chunk := make([]byte, 64<<10)
		got, err := c.nc.Read(chunk)
		if err != nil {
			return 0, nil, err
		}
		c.in = append(c.in, chunk[:got]...)
	}
}

// ask sends one request and returns its answer.
func (c *client) ask(r wire.KVRequest) ([]byte, error) {
	if err := c.send(r); err != nil {
		return nil, err
	}
	id, answer, err := c.receive()
	if err == nil && id != c.lastID {
		err = fmt.Errorf("answer to %d instead of %d", id, c.lastID)
	}
	return answer, err
}

// change makes a modifying request and compares the status of its answer.
func (c *client) change(r wire.KVRequest, want uint32) error {
	answer, err := c.ask(r)
	if err != nil {
		return err
	}
	if status, err := wire.ParseKVStatus(r.Type, answer); err != nil || status != want {
		return fmt.Errorf("%s of %q: status %d, %v, want %d", wire.TypeName(r.Type), r.Key, status, err, want)
	}
	return nil
}

// errAbsent: there is no such key.
var errAbsent = errors.New("absent")

// get returns the value of key, or errAbsent.
func (c *client) get(key string) (string, error) {
	answer, err := c.ask(get(key))
	if err != nil {
		return "", err
	}
	value, found, err := wire.ParseKVValue(answer)
	if err == nil && !found {
		err = errAbsent
	}
	return string(value), err
}

// pair is a key with its value.
type pair struct{ key, value string }

// ranged makes one RANGE and returns the pairs that come, and where the next one has to
// start.
func (c *client) ranged(max uint32, start, end string) (pairs []pair, next string, err error) {
	answer, err := c.ask(ranged(max, start, end))
	if err != nil {
		return nil, "", err
	}
	_, nextKey, rest, err := wire.ParseKVPairs(answer, max)
	for err == nil && len(rest) > 0 {
		var key, value []byte
		if key, value, rest, err = wire.CutPair(rest); err == nil {
			pairs = append(pairs, pair{string(key), string(value)})
		}
	}
	return pairs, string(nextKey), err
}

// all returns the pairs with start <= key < end, asking for max bytes at a time.
func (c *client) all(max uint32, start, end string) ([]pair, error) {
	var all []pair
	for {
		pairs, next, err := c.ranged(max, start, end)
		if err != nil {
			return nil, err
		}
		all = append(all, pairs...)
		if next == end {
			return all, nil
		}
		if next <= start {
			return nil, fmt.Errorf("RANGE from %q leads to %q", start, next)
		}
		start = next
	}
}

// closed waits for the server to close the connection without another answer.
func (c *client) closed() error {
	switch id, record, err := c.receive(); {
	case err == nil:
		return fmt.Errorf("answer to %d: %x", id, record)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return nil
	default:
		return err
	}
}

// silence is how long nothing comes before it is taken as not coming.
const silence = 50 * time.Millisecond

// mustBeSilent checks that no answer comes for a while.
func (c *client) mustBeSilent(t *testing.T) {
	t.Helper()
	c.nc.SetReadDeadline(time.Now().Add(silence))
	id, record, err := c.receive()
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("answer to %d: %x, %v", id, record, err)
	}
	c.nc.SetReadDeadline(time.Now().Add(patience))
}

// mustChange checks the status of the answer to a modifying request.
func (c *client) mustChange(t *testing.T, r wire.KVRequest, want uint32) {
	t.Helper()
	must(t, c.change(r, want))
}

// mustGet checks the value of a key.
func (c *client) mustGet(t *testing.T, key, want string) {
	t.Helper()
	if value, err := c.get(key); err != nil || value != want {
		t.Fatalf("GET %q: %q, %v, want %q", key, value, err, want)
	}
}

// mustMiss checks that a key is absent.
func (c *client) mustMiss(t *testing.T, key string) {
	t.Helper()
	if value, err := c.get(key); !errors.Is(err, errAbsent) {
		t.Fatalf("GET %q: %q, %v, want none", key, value, err)
	}
}

// mustReceive takes the answers to n requests, of which the first has ID first, in order.
func (c *client) mustReceive(t *testing.T, first uint64, n int) (records [][]byte) {
	t.Helper()
	for i := range uint64(n) {
		id, record, err := c.receive()
		if err != nil || id != first+i {
			t.Fatalf("answer %d of %d: to %d instead of %d, %v", i, n, id, first+i, err)
		}
		records = append(records, bytes.Clone(record))
	}
	return records
}

// mustSet stores pairs in one go.
func (c *client) mustSet(t *testing.T, pairs ...pair) {
	t.Helper()
	requests := make([]wire.KVRequest, len(pairs))
	for i, p := range pairs {
		requests[i] = set(p.key, p.value)
	}
	first := c.lastID + 1
	sent := make(chan error, 1)
	go func() { sent <- c.send(requests...) }()
	c.mustReceive(t, first, len(pairs))
	must(t, <-sent)
}
