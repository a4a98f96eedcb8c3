package mux_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"kivaloo/eventloop"
	"kivaloo/eventloop/mux"
	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// TestIDsAreEachClientsOwn checks that clients may use any IDs, even one twice, and that the target
// never sees a duplicate.
func TestIDsAreEachClientsOwn(t *testing.T) {
	r := newRig(t, kvRules)
	a := r.source(mux.Source{})
	first, second := dial(t, a), dial(t, a)
	ids := []uint64{7, 7, math.MaxUint64, 0}
	upstream := make(map[uint64]bool)
	var order []uint64
	for i, id := range ids {
		for _, c := range []*peer{first, second} {
			c.Send(packet(id, set("key", string(rune('a'+i)))))
			up := r.target.Expect(set("key", string(rune('a'+i))))
			if upstream[up] {
				t.Fatalf("two requests with ID %d are outstanding", up)
			}
			upstream[up] = true
			order = append(order, up)
		}
	}
	// The answers come in reverse order, all at once.
	var answers []byte
	for i, up := range slices.Backward(order) {
		answers = append(answers, packet(up, []byte{byte(i)})...)
	}
	r.target.Send(answers)
	for i, id := range slices.Backward(ids) {
		second.ExpectAnswer(id, []byte{byte(2*i + 1)})
	}
	for i, id := range slices.Backward(ids) {
		first.ExpectAnswer(id, []byte{byte(2 * i)})
	}
}

func TestRequestsKeepTheirOrder(t *testing.T) {
	r := newRig(t, kvRules)
	a := r.source(mux.Source{})
	const clients, requests = 3, 6000
	for i := range clients {
		dial(t, a).sendAll(i, requests)
	}
	var next [clients]int
	var out []byte
	for range clients * requests {
		id, record := r.target.Receive()
		client, i := number(record)
		if i != next[client] {
			t.Fatalf("client %d: request %d comes after %d others", client, i, next[client])
		}
		next[client]++
		if out = wire.AppendPacket(out, id, record[:4]); len(out) > 1000 {
			r.target.Send(out)
			out = out[:0]
		}
	}
}

// TestWindowAndTurns checks that requests wait while the window is full, and that all clients take
// turns.
func TestWindowAndTurns(t *testing.T) {
	r := newRig(t, kvRules)
	a := r.source(mux.Source{})
	first := dial(t, a)
	first.sendAll(0, 3*mux.MaxOutstanding)
	ids := make([]uint64, 0, mux.MaxOutstanding)
	for i := range mux.MaxOutstanding {
		id, record := r.target.Receive()
		if _, n := number(record); n != i {
			t.Fatalf("request %d comes after %d others", n, i)
		}
		ids = append(ids, id)
	}
	r.target.ExpectSilence()
	if slices.Sort(ids); len(slices.Compact(ids)) != mux.MaxOutstanding {
		t.Fatal("two outstanding requests have the same ID")
	}

	// Other busy clients share what becomes free, and a client with few requests is served soon.
	const freed = 80
	dial(t, a).sendAll(1, 3000)
	dial(t, a).sendAll(2, 3000)
	r.target.ExpectSilence()
	dial(t, a).Send(packet(1, numbered(3, 0)))
	r.target.ExpectSilence()
	var b []byte
	for _, id := range ids[:freed] {
		b = wire.AppendPacket(b, id, []byte("done"))
	}
	r.target.Send(b)
	var got [4]int
	for i := range freed {
		_, record := r.target.Receive()
		client, _ := number(record)
		if got[client]++; client == 3 && i > 2*mux.TurnRequests {
			t.Errorf("a single request is forwarded after %d others", i)
		}
	}
	r.target.ExpectSilence()
	if got[3] != 1 || got[1]-got[2] > 2*mux.TurnRequests || got[2]-got[1] > 2*mux.TurnRequests {
		t.Errorf("of %d requests %v were of the clients", freed, got)
	}
}

// TestClientThatDoesNotRead checks that a client that does not read loses nothing, is no longer
// served, and holds up nobody.
func TestClientThatDoesNotRead(t *testing.T) {
	r := newRig(t, nil)
	r.echoing()
	a := r.source(mux.Source{})
	const requests, size = 8000, 2000 // 16 MB
	before := heap()
	slow := dial(t, a)
	var b []byte
	for i := range requests {
		b = wire.AppendPacket(b, uint64(i), bytes.Repeat([]byte{byte(i)}, size))
	}
	before += int64(cap(b))
	sent := make(chan error, 1)
	var written int
	go func() {
		n, err := slow.Write(b)
		written = n
		sent <- err
	}()
	other := dial(t, a)
	for start := time.Now(); time.Since(start) < 300*time.Millisecond; {
		other.Send(packet(5, []byte("quick")))
		other.ExpectAnswer(5, []byte("quick"))
	}
	select {
	case err := <-sent:
		t.Fatalf("%d bytes were taken from a client that does not read, %v", written, err)
	default:
	}
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("a client that does not read costs %d bytes", grown)
	}
	for i := range requests {
		slow.ExpectAnswer(uint64(i), bytes.Repeat([]byte{byte(i)}, size))
	}
	must.Do(t, <-sent)
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the first run leaves what is in pools
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestRangesThatAskForMuch checks that promised answers count. Few RANGEs that could fill the
// memory are forwarded, and they are limited to less.
func TestRangesThatAskForMuch(t *testing.T) {
	r := newRig(t, kvRules)
	c := dial(t, r.source(mux.Source{}))
	ranges := func(max uint32) []byte {
		return kv(wire.KVRequest{Type: wire.TypeRange, Max: max, Key: []byte("a"), End: []byte("b")})
	}
	const most = 1 << 20
	for i := range uint64(3) {
		c.Send(packet(i, ranges(math.MaxUint32)))
	}
	for i := range uint64(3) {
		id := r.target.Expect(ranges(most))
		r.target.ExpectSilence()
		r.target.Send(packet(id, []byte("pairs")))
		c.ExpectAnswer(i, []byte("pairs"))
	}
}

// TestRangesOfAll checks that the answers of all clients together are bounded, whatever they ask
// for, and that every client gets one.
func TestRangesOfAll(t *testing.T) {
	const (
		clients, most = 1000, 1 << 20
		// The total limit of the event loop, plus the minimum for each client.
		together = 64<<20 + clients*(16<<10)
	)
	r := newRig(t, extRules)
	a := r.source(mux.Source{})
	for range clients {
		dial(t, a).Send(packet(0, kv(wire.KVRequest{Type: wire.TypeRange, Max: most})), packet(1, kv(wire.KVRequest{Type: wire.TypeScan, Max: most})))
	}
	sum := 0
	for range clients {
		_, record := r.target.Receive()
		q, err := wire.ParseKVRequest(record)
		must.Do(t, err)
		sum += int(q.Max)
	}
	if sum > together {
		t.Errorf("the target is asked for %d bytes, at most %d are allowed", sum, together)
	}
}

func TestHalfClosedClientGetsEveryAnswer(t *testing.T) {
	r := newRig(t, kvRules)
	c := dial(t, r.source(mux.Source{}))
	c.Send(packet(1, get("a")), packet(2, get("b")))
	must.Do(t, c.CloseWrite())
	first, second := r.target.Expect(get("a")), r.target.Expect(get("b"))
	c.ExpectSilence()
	r.target.Send(packet(second, []byte("B")))
	c.ExpectAnswer(2, []byte("B"))
	c.ExpectSilence()
	r.target.Send(packet(first, []byte("A")))
	c.ExpectAnswer(1, []byte("A"))
	c.ExpectEnd()
}

// TestHalfCloseWithRequestsWaiting half-closes with more requests than the window. All of them must
// still be forwarded.
func TestHalfCloseWithRequestsWaiting(t *testing.T) {
	r := newRig(t, kvRules)
	c := dial(t, r.source(mux.Source{}))
	const requests = 2 * mux.MaxOutstanding
	sent := c.sendAll(0, requests)
	var ids []uint64
	for range mux.MaxOutstanding {
		id, _ := r.target.Receive()
		ids = append(ids, id)
	}
	go r.target.echo()
	var b []byte
	for i, id := range ids {
		b = wire.AppendPacket(b, id, numbered(0, i))
	}
	r.target.Send(b)
	for i := range requests {
		c.ExpectAnswer(uint64(i), numbered(0, i))
		if i == 0 {
			must.Do(t, <-sent)
			sent <- nil // for the cleanup
			must.Do(t, c.CloseWrite())
		}
	}
	c.ExpectEnd()
	r.target.Close()
}

// TestClientsThatVanish checks that clients that vanish with requests outstanding leave nothing
// behind: all slots must become free.
func TestClientsThatVanish(t *testing.T) {
	r := newRig(t, kvRules)
	a := r.source(mux.Source{Gate: eventloop.NewGate(1)})
	for round := range 3 {
		c := dial(t, a)
		c.sendAll(round, 2*mux.MaxOutstanding)
		var ids []uint64
		for range mux.MaxOutstanding {
			id, _ := r.target.Receive()
			ids = append(ids, id)
		}
		c.Close()
		// Its place is taken until its requests are answered.
		next := dial(t, a)
		next.Send(packet(1, numbered(9, 9)))
		r.target.ExpectSilence()
		var b []byte
		for _, id := range ids {
			b = wire.AppendPacket(b, id, []byte("too late"))
		}
		r.target.Send(b)
		// Waiting requests may have been forwarded before the end of the client was noticed.
		for {
			id, record := r.target.Receive()
			r.target.Send(packet(id, []byte("answer")))
			if client, _ := number(record); client == 9 {
				break
			}
		}
		next.ExpectAnswer(1, []byte("answer"))
		next.Close()
	}
}

func TestTargetIsLostWhileIdle(t *testing.T) {
	r := newRig(t, kvRules)
	c := dial(t, r.source(mux.Source{}))
	c.Send(packet(1, get("a")))
	r.target.Send(packet(r.target.Expect(get("a")), []byte("A")))
	c.ExpectAnswer(1, []byte("A"))
	r.target.Close()
	c.ExpectEnd()
	r.wait()
	if r.mux.Lost() == nil {
		t.Error("the loss is not reported")
	}
}

// TestTargetIsLostWithRequestsOutstanding checks that answers before the loss are delivered, and
// that there are no others.
func TestTargetIsLostWithRequestsOutstanding(t *testing.T) {
	r := newRig(t, kvRules)
	a := r.source(mux.Source{})
	c, waits := dial(t, a), dial(t, a)
	c.Send(packet(1, get("a")), packet(2, get("b")))
	first := r.target.Expect(get("a"))
	r.target.Expect(get("b"))
	waits.sendAll(0, 2*mux.MaxOutstanding)
	r.target.Receive()
	r.target.Send(packet(first, []byte("A")))
	r.target.Close()
	c.ExpectAnswer(1, []byte("A"))
	c.ExpectEnd()
	waits.ExpectEnd()
	r.wait()
	if r.mux.Lost() == nil {
		t.Error("the loss is not reported")
	}
}

func TestTargetThatMakesNoSense(t *testing.T) {
	for name, nonsense := range map[string][]byte{
		"not outstanding": packet(5, []byte("answer")),
		"no slot":         packet(math.MaxUint64, []byte("answer")),
		"bad header":      make([]byte, wire.HeaderSize),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, kvRules)
			c := dial(t, r.source(mux.Source{}))
			c.Send(packet(1, get("a")))
			r.target.Expect(get("a"))
			r.target.Send(nonsense)
			c.ExpectEnd()
			r.wait()
			if r.mux.Lost() == nil {
				t.Error("the loss is not reported")
			}
		})
	}
}

// TestStop checks that Stop lets the target answer outstanding requests.
func TestStop(t *testing.T) {
	r := newRig(t, kvRules)
	a := r.source(mux.Source{})
	c, idle := dial(t, a), dial(t, a)
	c.Send(packet(1, get("a")))
	id := r.target.Expect(get("a"))
	idle.Send(packet(1, get("b")))
	r.target.Send(packet(r.target.Expect(get("b")), []byte("B")))
	idle.ExpectAnswer(1, []byte("B"))
	r.mux.Stop(patience)
	idle.ExpectEnd()
	c.ExpectSilence()
	r.target.Send(packet(id, []byte("A")))
	c.ExpectAnswer(1, []byte("A"))
	c.ExpectEnd()
	r.target.ExpectEnd()
	r.wait()
	if err := r.mux.Lost(); err != nil {
		t.Errorf("a stop is reported as a loss: %v", err)
	}
}

func TestStopDoesNotWaitForEver(t *testing.T) {
	r := newRig(t, kvRules)
	c := dial(t, r.source(mux.Source{}))
	c.Send(packet(1, get("a")))
	r.target.Expect(get("a"))
	r.mux.Stop(20 * time.Millisecond)
	c.ExpectEnd()
	r.wait()
}

// TestLongRecords checks that records of any length pass in both directions, mixed with others.
func TestLongRecords(t *testing.T) {
	r := newRig(t, nil)
	r.echoing()
	a := r.source(mux.Source{})
	lengths := []int{0, 1, 100, mux.LongBytes - 1, mux.LongBytes, 100_000, 3, 700_000, 70_000, 0}
	var wg sync.WaitGroup
	for client := range 3 {
		c := dial(t, a)
		record := func(i int) []byte { return blind(client, i, 2*lengths[i]) }
		var b []byte
		for i := range lengths {
			b = wire.AppendPacket(b, uint64(i), record(i))
		}
		wg.Go(func() {
			if _, err := c.Write(b); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			for i := range lengths {
				p, err := c.Next()
				if err != nil || p.ID != uint64(i) || !bytes.Equal(p.Record, record(i)) {
					t.Errorf("client %d: answer %d of %d bytes, %v; want %d", client, p.ID, len(p.Record), err, i)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestNothingIsLostOrCrossed has many clients and kills some of them. The target answers in any
// order. Nobody may get another client's answer, and the surviving clients must get all of theirs.
func TestNothingIsLostOrCrossed(t *testing.T) {
	r := newRig(t, nil)
	a := r.source(mux.Source{})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var target, clients sync.WaitGroup
	target.Go(func() { shuffle(r.target, rand.New(rand.NewPCG(seed, 0))) })
	for client := range 10 {
		clients.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(client+1)))
			for rnd.IntN(3) > 0 { // some lives that end early
				if err := ask(t, a, client, 1000, rnd.IntN(1000), rnd); err != nil {
					t.Error(err)
				}
			}
			if err := ask(t, a, client, 1000, 1000, rnd); err != nil {
				t.Error(err)
			}
		})
	}
	clients.Wait()
	r.target.Close()
	target.Wait()
}

// shuffle echoes requests in any order.
func shuffle(p *peer, rnd *rand.Rand) {
	var held [][]byte
	for {
		got, err := p.Next()
		if err != nil {
			return
		}
		held = append(held, packet(got.ID, got.Record))
		for len(held) > 0 && (!p.Buffered() || len(held) > 500) {
			i := rnd.IntN(len(held))
			if _, err := p.Write(held[i]); err != nil {
				return
			}
			held[i] = held[len(held)-1]
			held = held[:len(held)-1]
		}
	}
}

// ask makes n requests as a client and checks the answers. It waits for stop of them, then
// disconnects.
func ask(t *testing.T, a wire.Addr, client, n, stop int, rnd *rand.Rand) error {
	c, err := net.Dial(a.Network, a.Address)
	if err != nil {
		return err
	}
	p := wiretest.NewConn(c)
	var b []byte
	want := make(map[uint64][]byte, n)
	for i := range n {
		id := rnd.Uint64()
		want[id] = fmt.Appendf(nil, "%d %d %0*d", client, i, rnd.IntN(300), 0)
		b = wire.AppendPacket(b, id, want[id])
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = p.Write(b) // a failure shows in the answers
	}()
	defer func() {
		p.Close()
		<-sent
	}()
	for i := range stop {
		got, err := p.Next()
		if err != nil {
			return fmt.Errorf("client %d: answer %d of %d: %w", client, i, n, err)
		}
		if !bytes.Equal(got.Record, want[got.ID]) || want[got.ID] == nil {
			return fmt.Errorf("client %d: got %q under ID %d, want %q", client, got.Record, got.ID, want[got.ID])
		}
		delete(want, got.ID)
	}
	return nil
}

func TestAllocations(t *testing.T) {
	const requests = 100_000
	r := newRig(t, kvRules)
	r.echoing()
	c := dial(t, r.source(mux.Source{}))
	var b []byte
	for i := range requests {
		b = wire.AppendPacket(b, uint64(i), numbered(0, i))
	}
	trip := func() {
		sent := make(chan error, 1)
		go func() {
			_, err := c.Write(b)
			sent <- err
		}()
		for range requests {
			if _, err := c.Next(); err != nil {
				t.Error(err)
				break
			}
		}
		must.Do(t, <-sent)
	}
	trip()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	trip()
	runtime.ReadMemStats(&after)
	if n := float64(after.Mallocs-before.Mallocs) / requests; n > 0.1 {
		t.Errorf("%.3f allocations for each request", n)
	}
}
