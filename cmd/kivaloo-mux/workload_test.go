package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// The number of pairs that the workload stores: as many as in the original, and fewer where the
// number does not matter.
const (
	manyPairs = 10_000
	somePairs = 2000
)

// workload is the original's client. It stores pairs under a prefix with all requests outstanding
// at once, reads them back in the same way, and deletes the pairs that RANGE finds.
func workload(ctx context.Context, addr, prefix string, pairs int) error {
	c, err := kvtest.Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	key := func(i int) []byte { return fmt.Appendf(nil, "%s%06d", prefix, i) }
	err = pipeline(c, pairs, func(i int) wire.KVRequest {
		return wire.KVRequest{Type: wire.TypeSet, Key: key(i), Value: strconv.AppendInt(nil, int64(i), 10)}
	}, func(i int, record []byte) error {
		_, err := wire.ParseKVStatus(wire.TypeSet, record)
		return err
	})
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	err = pipeline(c, pairs, func(i int) wire.KVRequest {
		return wire.KVRequest{Type: wire.TypeGet, Key: key(i)}
	}, func(i int, record []byte) error {
		value, _, err := wire.ParseKVValue(record)
		if err == nil && string(value) != strconv.Itoa(i) {
			err = fmt.Errorf("pair %d has the value %q", i, value)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	n, err := deleteRange(c, key(0), key(pairs))
	if err == nil && n != pairs {
		err = fmt.Errorf("RANGE finds %d pairs", n)
	}
	return err
}

// pipeline makes n requests without waiting for answers, and checks each answer once.
func pipeline(c *kvtest.Conn, n int, request func(i int) wire.KVRequest, check func(i int, record []byte) error) error {
	var first uint64
	for i := range n {
		r := request(i)
		id := c.Queue(&r)
		if i == 0 {
			first = id
		}
	}
	sent := make(chan error, 1)
	go func() { sent <- c.Flush() }()
	seen := make([]bool, n)
	for range n {
		p, err := c.Next()
		if err != nil {
			c.Close()
			<-sent
			return err
		}
		i := p.ID - first
		if i >= uint64(n) || seen[i] {
			return fmt.Errorf("answer to request %d, which is not outstanding", p.ID)
		}
		seen[i] = true
		if err := check(int(i), p.Record); err != nil {
			return err
		}
	}
	return <-sent
}

// deleteRange deletes the pairs from start up to end, and returns their number.
func deleteRange(c *kvtest.Conn, start, end []byte) (n int, err error) {
	for {
		r := wire.KVRequest{Type: wire.TypeRange, Max: 64 << 10, Key: start, End: end}
		record, err := c.Ask(&r)
		if err != nil {
			return n, err
		}
		_, next, pairs, err := wire.ParseKVPairs(record, r.Max)
		if err != nil {
			return n, err
		}
		start = append([]byte(nil), next...)
		var keys [][]byte
		for len(pairs) > 0 {
			var key []byte
			if key, _, pairs, err = wire.CutPair(pairs); err != nil {
				return n, err
			}
			keys = append(keys, append([]byte(nil), key...))
		}
		n += len(keys)
		err = pipeline(c, len(keys), func(i int) wire.KVRequest {
			return wire.KVRequest{Type: wire.TypeDelete, Key: keys[i]}
		}, func(_ int, record []byte) error {
			_, err := wire.ParseKVStatus(wire.TypeDelete, record)
			return err
		})
		if err != nil || string(start) == string(end) {
			return n, err
		}
	}
}

// rounds is the number of times that each player of pingPong hits the ball.
const rounds = 100

// pingPong is one of two clients that take turns in incrementing the value of a key. The client
// that finds the last number deletes the key.
func pingPong(ctx context.Context, addr string, player int) error {
	c, err := kvtest.Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	key := []byte("ball")
	if player == 0 {
		if err := c.Set(string(key), "0"); err != nil {
			return err
		}
	}
	for {
		value, err := c.Get(string(key))
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(value))
		if err != nil || n%2 != player && n < rounds {
			continue // the first serve, or the other player's turn
		}
		if n >= rounds {
			if player != rounds%2 {
				return nil // the other player deletes it
			}
			return expectStatus(c, &wire.KVRequest{Type: wire.TypeCAD, Key: key, Old: value})
		}
		next := strconv.AppendInt(nil, int64(n+1), 10)
		err = expectStatus(c, &wire.KVRequest{Type: wire.TypeCAS, Key: key, Old: append([]byte(nil), value...), Value: next})
		if err != nil || n+1 == rounds {
			return err
		}
	}
}

// expectStatus makes a modifying request that must succeed.
func expectStatus(c *kvtest.Conn, r *wire.KVRequest) error {
	record, err := c.Ask(r)
	if err != nil {
		return err
	}
	if status, err := wire.ParseKVStatus(r.Type, record); err != nil || status != 0 {
		return fmt.Errorf("%s: status %d, %w", wire.TypeName(r.Type), status, err)
	}
	return nil
}

// loop repeats the workload until ctx is done, which is not an error.
func loop(ctx context.Context, addr, prefix string) error {
	for {
		if err := workload(ctx, addr, prefix, somePairs); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

func TestWorkload(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	must.Do(t, workload(t.Context(), s.socket(), "p", manyPairs))
	var clients sync.WaitGroup
	for i := range 10 {
		clients.Go(func() {
			if err := workload(t.Context(), s.socket(), fmt.Sprintf("p%d-", i), somePairs); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	clients.Wait()
}

func TestPingPong(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var players sync.WaitGroup
	for player := range 2 {
		players.Go(func() {
			if err := pingPong(ctx, s.socket(), player); err != nil {
				t.Errorf("player %d: %v", player, err)
			}
		})
	}
	players.Wait()
}

// TestOneConnection checks that two clients that need each other make no progress if only one may
// connect.
func TestOneConnection(t *testing.T) {
	t.Parallel()
	s := startStack(t, "-n", "1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 2)
	for player := range 2 {
		go func() { ended <- pingPong(ctx, s.socket(), player) }()
	}
	select {
	case err := <-ended:
		t.Errorf("a player is done, %v", err)
	case <-time.After(5 * silence):
	}
	cancel()
	for range 2 {
		<-ended
	}
	must.Do(t, workload(t.Context(), s.socket(), "after", somePairs))
}

func TestKilledClient(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	time.AfterFunc(3*silence, cancel)
	must.Do(t, loop(ctx, s.socket(), "loop"))
	must.Do(t, workload(t.Context(), s.socket(), "after", somePairs))
}

// goneWithin limits the time for a mux to end after its target. The original's test allows a
// second, on an idle machine.
const goneWithin = 10 * time.Second

func TestTargetIsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	ended := make(chan error, 1)
	go func() { ended <- loop(t.Context(), s.socket(), "loop") }()
	time.Sleep(3 * silence)
	start := time.Now()
	s.kvlds.Kill()
	if status := s.mux.Wait(t); !status.Exited() || status.ExitStatus() != 0 {
		t.Errorf("the mux ends with %v", status)
	}
	if took := time.Since(start); took > goneWithin {
		t.Errorf("the mux takes %v to end", took)
	}
	if err := <-ended; !wiretest.Lost(err) && !errors.Is(err, syscall.ECONNREFUSED) { // it may have been about to connect again
		t.Errorf("the client ends with %v", err)
	}
	if absent(s.socket()) || absent(s.path("s.pid")) {
		t.Error("the socket or the pid file is gone")
	}
}

// TestTargetIsKilledWhileIdle checks that the death of an idle target is noticed, unlike in the
// original.
func TestTargetIsKilledWhileIdle(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	kvlds := p.startTarget(t)
	mux := p.foreground(t)
	idle := dial(t, p.socket())
	mustServe(t, idle)
	kvlds.Kill()
	must.Do(t, idle.Closed())
	if status := mux.Wait(t); !status.Exited() || status.ExitStatus() != 0 {
		t.Errorf("the mux ends with %v", status)
	}
	if said := mux.said(t); said != "kivaloo-mux: the target is lost, ending: it has closed the connection\n" {
		t.Errorf("it says %q", said)
	}
}

// TestBadRequestIsOneClientsOwn checks that a bad request or a damaged packet affects only its own
// client.
func TestBadRequestIsOneClientsOwn(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.startTarget(t)
	mux := p.foreground(t)
	good := dial(t, p.socket())
	long := wire.AppendKVRequest(nil, &wire.KVRequest{Type: wire.TypeSet, Value: make([]byte, 105)})
	damaged := wire.AppendPacket(nil, 1, long)
	damaged[0]++
	for _, packet := range [][]byte{
		damaged,
		wire.AppendPacket(nil, 1, long),
		wire.AppendPacket(nil, 1, []byte{0, 0, 0, 2}),
	} {
		bad := dial(t, p.socket())
		mustServe(t, bad)
		_, err := bad.Write(packet)
		must.Do(t, err)
		must.Do(t, bad.Closed())
		mustServe(t, good)
	}
	mux.mustSay(t, "kivaloo-mux: client disconnected source="+p.socket()+": badly formed record: value of 105 bytes, the longest allowed is 104\n")
}

// TestBlindMux checks that with --protocol any a bad request reaches the target, as in the
// original, and ends the mux.
func TestBlindMux(t *testing.T) {
	t.Parallel()
	s := startStack(t, "--protocol", "any")
	good, bad := dial(t, s.socket()), dial(t, s.socket())
	mustServe(t, good)
	must.Do(t, workload(t.Context(), s.socket(), "p", somePairs))
	_, err := bad.Write(wire.AppendPacket(nil, 1, []byte{0, 0, 0, 2}))
	must.Do(t, err)
	must.Do(t, bad.Closed())
	must.Do(t, good.Closed())
	if status := s.mux.Wait(t); !status.Exited() || status.ExitStatus() != 0 {
		t.Errorf("the mux ends with %v", status)
	}
}

// TestHalfClosedClient checks that a client that has closed its sending side gets all its answers.
func TestHalfClosedClient(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	c := dial(t, s.socket())
	const n = 100
	for i := range n {
		c.Queue(&wire.KVRequest{Type: wire.TypeSet, Key: fmt.Append(nil, i)})
	}
	must.Do(t, c.Flush())
	must.Do(t, c.CloseWrite())
	for range n {
		if _, err := c.Next(); err != nil {
			t.Fatal(err)
		}
	}
	must.Do(t, c.Closed())
}

// TestStop checks that a stopped mux still passes on pending requests, and then dies of the signal.
func TestStop(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	c := dial(t, s.socket())
	mustServe(t, c)
	s.mux.Signal(t, os.Interrupt)
	must.Do(t, c.Closed())
	if status := s.mux.Wait(t); !status.Signaled() || status.Signal() != os.Interrupt {
		t.Errorf("the mux ends with %v", status)
	}
	if _, err := kvtest.Dial(t.Context(), s.socket()); err == nil {
		t.Error("somebody still listens")
	}
}

// TestOutOfDescriptors checks that clients wait if there are no descriptors left, and that no other
// client is affected.
func TestOutOfDescriptors(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.startTarget(t)
	mux := p.foregroundCommand(t, limited(40, p.args("-n", "1000", "--foreground")...))
	first := dial(t, p.socket())
	mustServe(t, first)
	var clients []*kvtest.Conn
	var answers []chan error
	for !strings.Contains(mux.said(t), "cannot accept connections, will try again") {
		c, answered := dial(t, p.socket()), make(chan error, 1)
		c.Queue(&wire.KVRequest{Type: wire.TypeParams})
		must.Do(t, c.Flush())
		go func() {
			_, err := c.Next()
			answered <- err
		}()
		clients, answers = append(clients, c), append(answers, answered)
		if len(clients) > 40 {
			t.Fatal("there is no limit")
		}
		time.Sleep(silence / 20) // for the log
	}
	mustServe(t, first)
	for i, c := range clients {
		must.Do(t, <-answers[i]) // the last ones wait for the first to leave
		c.Close()
	}
	mustServe(t, dial(t, p.socket()))
}
