package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// patience bounds every wait for an answer.
const patience = 60 * time.Second

// errStatus1 is the answer for a missing block or a refused append.
var errStatus1 = errors.New("status 1")

// client is a connection to a block store. Its methods return errors, so that clients that will be
// killed can use them too.
type client struct {
	*wiretest.Conn
	lastID uint64
}

// dial connects. It waits for a place in the backlog if necessary.
func dial(ctx context.Context, addr string) (*client, error) {
	c, err := wiretest.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return &client{Conn: c}, nil
}

// connect is dial for tests in which it must succeed.
func (s *server) connect(t *testing.T) *client {
	t.Helper()
	c, err := dial(t.Context(), s.addr)
	must.Do(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func request(typ uint32, fields ...any) []byte {
	record := binary.BigEndian.AppendUint32(nil, typ)
	for _, f := range fields {
		record, _ = binary.Append(record, binary.BigEndian, f)
	}
	return record
}

func appendRequest(first uint64, n int, blocks []byte) []byte {
	return request(wire.TypeLBSAppend, uint32(n), first, blocks)
}

// packet returns the packet of a record.
func (c *client) packet(record []byte) []byte {
	c.lastID++
	return wire.AppendPacket(nil, c.lastID, record)
}

// send sends requests in one write.
func (c *client) send(records ...[]byte) error {
	var b []byte
	for _, r := range records {
		b = append(b, c.packet(r)...)
	}
	return c.Put(b)
}

// receive returns the next answer.
func (c *client) receive() (id uint64, record []byte, err error) {
	p, err := c.Next()
	return p.ID, p.Record, err
}

// ask sends one request and returns its answer.
func (c *client) ask(record []byte) ([]byte, error) {
	if err := c.send(record); err != nil {
		return nil, err
	}
	id, answer, err := c.receive()
	if err == nil && id != c.lastID {
		err = fmt.Errorf("answer to %d instead of %d", id, c.lastID)
	}
	return answer, err
}

// fields splits an answer into its fields. They must fill it.
func fields(answer []byte, into ...any) error {
	r := bytes.NewReader(answer)
	for _, f := range into {
		if err := binary.Read(r, binary.BigEndian, f); err != nil {
			return fmt.Errorf("answer %x: %w", answer, err)
		}
	}
	if r.Len() > 0 {
		return fmt.Errorf("answer %x: %d bytes too many", answer, r.Len())
	}
	return nil
}

// status splits an answer that begins with a status.
func status(answer []byte, into ...any) error {
	if bytes.Equal(answer, []byte{0, 0, 0, 1}) {
		return errStatus1
	}
	var zero uint32
	err := fields(answer, append([]any{&zero}, into...)...)
	if err == nil && zero != 0 {
		err = fmt.Errorf("status %d", zero)
	}
	return err
}

func (c *client) params() (blockSize uint32, next uint64, err error) {
	answer, err := c.ask(request(wire.TypeLBSParams))
	if err == nil {
		err = fields(answer, &blockSize, &next)
	}
	return blockSize, next, err
}

func (c *client) params2() (blockSize uint32, next, last uint64, err error) {
	answer, err := c.ask(request(wire.TypeLBSParams2))
	if err == nil {
		err = fields(answer, &blockSize, &next, &last)
	}
	return blockSize, next, last, err
}

func (c *client) get(block uint64, size int) ([]byte, error) {
	answer, err := c.ask(request(wire.TypeLBSGet, block))
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	return data, status(answer, data)
}

func (c *client) append(first uint64, n int, blocks []byte) (next uint64, err error) {
	answer, err := c.ask(appendRequest(first, n, blocks))
	if err != nil {
		return 0, err
	}
	return next, status(answer, &next)
}

func (c *client) free(block uint64) error {
	answer, err := c.ask(request(wire.TypeLBSFree, block))
	if err != nil {
		return err
	}
	return status(answer)
}

// mustNext checks the next and the last block in the answer to PARAMS2.
func (c *client) mustNext(t *testing.T, next, last uint64) {
	t.Helper()
	_, gotNext, gotLast, err := c.params2()
	if err != nil || gotNext != next || gotLast != last {
		t.Fatalf("next %d, last %d, %v; want %d, %d", gotNext, int64(gotLast), err, next, int64(last))
	}
}

// mustAppend appends n blocks at first. Each block is filled with its number as a byte.
func (c *client) mustAppend(t *testing.T, first uint64, n, size int) {
	t.Helper()
	next, err := c.append(first, n, pattern(first, n, size))
	if err != nil || next != first+uint64(n) {
		t.Fatalf("append of %d blocks at %d: next %d, %v", n, first, next, err)
	}
}

// pattern returns n blocks from number first on, each filled with its number.
func pattern(first uint64, n, size int) []byte {
	blocks := make([]byte, 0, n*size)
	for i := range n {
		blocks = append(blocks, bytes.Repeat([]byte{byte(first) + byte(i)}, size)...)
	}
	return blocks
}

// mustGet checks that a block exists and is filled with its number.
func (c *client) mustGet(t *testing.T, block uint64, size int) {
	t.Helper()
	data, err := c.get(block, size)
	if err != nil || !bytes.Equal(data, pattern(block, 1, size)) {
		t.Fatalf("block %d: %v, %.8x...", block, err, data)
	}
}

// mustMiss checks that a block does not exist.
func (c *client) mustMiss(t *testing.T, block uint64) {
	t.Helper()
	if _, err := c.get(block, 0); !errors.Is(err, errStatus1) {
		t.Fatalf("block %d: %v, want status 1", block, err)
	}
}
