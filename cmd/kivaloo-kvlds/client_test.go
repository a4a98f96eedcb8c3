package main

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// client is a connection to a kvlds. Methods whose names do not begin with "must" return an error,
// so that clients that will be killed can use them too.
type client struct{ *kvtest.Conn }

func (p place) connect(t *testing.T) *client {
	t.Helper()
	c, err := kvtest.Dial(t.Context(), p.socket())
	must.Do(t, err)
	t.Cleanup(func() { c.Close() })
	return &client{c}
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

// send sends requests in one write.
func (c *client) send(requests ...wire.KVRequest) error { return c.Put(c.Packets(requests...)) }

// receive returns the next answer.
func (c *client) receive() (id uint64, record []byte, err error) {
	p, err := c.Next()
	return p.ID, p.Record, err
}

// ask sends one request and returns its answer.
func (c *client) ask(r wire.KVRequest) ([]byte, error) { return c.Ask(&r) }

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

// errAbsent is returned for an absent key.
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

// ranged makes one RANGE. It returns the pairs, and the start of the next RANGE.
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

// all returns the pairs with start <= key < end, requesting max bytes at a time.
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

// mustChange checks the status of the answer to a modifying request.
func (c *client) mustChange(t *testing.T, r wire.KVRequest, want uint32) {
	t.Helper()
	must.Do(t, c.change(r, want))
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

// mustReceive reads the answers to n requests, in order. The first request has ID first.
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

// mustSet stores all pairs at once.
func (c *client) mustSet(t *testing.T, pairs ...pair) {
	t.Helper()
	requests := make([]wire.KVRequest, len(pairs))
	for i, p := range pairs {
		requests[i] = set(p.key, p.value)
	}
	first := c.LastID + 1
	sent := make(chan error, 1)
	go func() { sent <- c.send(requests...) }()
	c.mustReceive(t, first, len(pairs))
	must.Do(t, <-sent)
}
