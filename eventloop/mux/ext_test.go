package mux_test

import (
	"math"
	"testing"

	"kivaloo/eventloop"
	"kivaloo/eventloop/mux"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// extRules are the rules of a target with extensions.
var extRules = &mux.Rules{MaxKey: 64, MaxValue: 104, Extensions: wire.Extensions1}

func watch(wait, max uint32) []byte {
	return kv(wire.KVRequest{Type: wire.TypeWatch, Position: 7, Wait: wait, Max: max, Key: []byte("a"), End: []byte("b")})
}

func unwatch(id uint64) []byte { return kv(wire.KVRequest{Type: wire.TypeUnwatch, Watch: id}) }

var (
	done    = wire.AppendKVStatus(nil, wire.StatusDone)
	nothing = wire.AppendWatched(nil, &wire.Watched{Position: 8})
	tooMany = wire.AppendRefusal(nil, wire.StatusTooMany, "64 of one client, or 1024 of all clients of kivaloo-mux, wait, which is the limit")
)

// expectUnwatch receives an UNWATCH for the target's request id, and answers it.
func (p *peer) expectUnwatch(id uint64) {
	p.T.Helper()
	p.Send(packet(p.Expect(unwatch(id)), done))
}

// extensions has a request of every type that is forwarded.
var extensions = []wire.KVRequest{
	{Type: wire.TypeApply}, {Type: wire.TypeDeleteRange}, {Type: wire.TypeGetAt}, {Type: wire.TypeScan},
	{Type: wire.TypeSnapshot}, {Type: wire.TypeRelease}, {Type: wire.TypeWatch}, {Type: wire.TypeWatch, Wait: 1000},
}

// TestHello checks that a client learns from its first request what the target offers, without
// another request to the target.
func TestHello(t *testing.T) {
	hello := kv(wire.KVRequest{Type: wire.TypeParams})
	for _, c := range []struct {
		rules  *mux.Rules
		answer []byte
	}{
		{kvRules, wire.AppendKVParams(nil, 64, 104)},
		{extRules, wire.AppendKVHello(nil, 64, 104, wire.Extensions1)},
	} {
		r := newRig(t, c.rules)
		client := dial(t, r.source(mux.Source{}))
		client.Send(packet(wire.HelloID, hello))
		client.ExpectAnswer(wire.HelloID, c.answer)
		client.Send(packet(1, hello)) // one of the original's clients
		r.target.Send(packet(r.target.Expect(hello), wire.AppendKVParams(nil, 64, 104)))
		client.ExpectAnswer(1, wire.AppendKVParams(nil, 64, 104))
		r.counted(map[string]uint64{"params ok": 2})
	}
}

func TestExtensionsPass(t *testing.T) {
	r := newRig(t, extRules)
	c := dial(t, r.source(mux.Source{}))
	for i, q := range extensions {
		c.Send(packet(uint64(i), kv(q)))
		r.target.Send(packet(r.target.Expect(kv(q)), []byte("answer")))
		c.ExpectAnswer(uint64(i), []byte("answer"))
	}
}

// TestExtensionsRefused checks that what the target does not offer, or a source may not ask, is
// refused without asking the target, and that the connection stays open.
func TestExtensionsRefused(t *testing.T) {
	readers, err := mux.ParseAllowed("get,scan")
	must.Do(t, err)
	for _, c := range []struct {
		name   string
		rules  *mux.Rules
		allow  mux.Allowed
		reason string
	}{
		{"not offered", kvRules, mux.Everything, "request refused: the server behind this kivaloo-mux does not offer apply"},
		{"not allowed", extRules, readers, "request refused: only get,scan are allowed here, not apply"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.rules)
			client := dial(t, r.source(mux.Source{Allow: c.allow}))
			client.Send(packet(3, kv(wire.KVRequest{Type: wire.TypeApply})))
			client.ExpectAnswer(3, wire.AppendRefusal(nil, wire.StatusRefused, c.reason))
			must.Eventually(t, "the log has it", func() bool { return r.log.count(c.reason) == 1 && r.log.count("source=here") == 1 })
			client.Send(packet(4, kv(wire.KVRequest{Type: wire.TypeWatch, Wait: 1 << 31})))
			if id, answer := client.Receive(); id != 4 || wire.ParseDone(wire.TypeWatch, answer) == nil {
				t.Errorf("WATCH: answer %d: %x", id, answer)
			}
			client.Send(packet(5, get("a")))
			r.target.Send(packet(r.target.Expect(get("a")), []byte("A")))
			client.ExpectAnswer(5, []byte("A"))
			r.counted(map[string]uint64{"apply failed": 1, "watch failed": 1, "get ok": 1})
		})
	}
}

// TestRangeAllowsScan checks that a source that may RANGE may also SCAN, which reads the same.
func TestRangeAllowsScan(t *testing.T) {
	readers, err := mux.ParseAllowed("get,range,params")
	must.Do(t, err)
	r := newRig(t, extRules)
	c := dial(t, r.source(mux.Source{Allow: readers}))
	scan := kv(wire.KVRequest{Type: wire.TypeScan})
	c.Send(packet(1, scan))
	r.target.Send(packet(r.target.Expect(scan), []byte("answer")))
	c.ExpectAnswer(1, []byte("answer"))
	c.Send(packet(2, kv(wire.KVRequest{Type: wire.TypeSnapshot})))
	c.ExpectAnswer(2, wire.AppendRefusal(nil, wire.StatusRefused, "request refused: only get,range,params are allowed here, not snapshot"))
}

// TestLongestApply checks that the longest APPLY passes, and that a longer one does not.
func TestLongestApply(t *testing.T) {
	r := newRig(t, extRules)
	a := r.source(mux.Source{})
	q := wire.KVRequest{Type: wire.TypeApply}
	for {
		more := wire.AppendChange(q.Changes.Data, wire.Change{Key: text(64), Value: text(104)})
		if 12+len(more) > wire.MaxKVRequestLen {
			break
		}
		q.Changes = wire.List{N: q.Changes.N + 1, Data: more}
	}
	c := dial(t, a)
	sent := make(chan error, 1)
	go func() { // together they are more than is read from one client, or sent to the target
		for i := range uint64(8) {
			if _, err := c.Write(packet(i, kv(q))); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for i := range uint64(8) {
		r.target.Send(packet(r.target.Expect(kv(q)), done))
		c.ExpectAnswer(i, done)
	}
	must.Do(t, <-sent)
	bad := dial(t, a)
	bad.Send(wire.AppendHeader(nil, 1, wire.MaxKVRequestLen+1))
	bad.ExpectEnd()
	bad = dial(t, a)
	bad.Send(append(wire.AppendHeader(nil, 1, 1000), 0, 0, 1, 0x30)) // a GET
	bad.ExpectEnd()
}

// TestScansThatAskForMuch checks that SCANs and WATCHes reserve room for their answers as RANGEs
// do. A waiting WATCH may only ask for little.
func TestScansThatAskForMuch(t *testing.T) {
	r := newRig(t, extRules)
	c := dial(t, r.source(mux.Source{}))
	scan := func(max uint32) []byte { return kv(wire.KVRequest{Type: wire.TypeScan, Max: max}) }
	const most = 1 << 20
	for _, q := range []struct{ asked, passed []byte }{
		{scan(math.MaxUint32), scan(most)}, {watch(0, math.MaxUint32), watch(0, most)}, {scan(10), scan(10)},
		{watch(10, math.MaxUint32), watch(10, mux.WatchAnswerBytes)}, {watch(10, 5), watch(10, 5)},
	} {
		c.Send(packet(1, q.asked))
		r.target.Send(packet(r.target.Expect(q.passed), nothing))
		c.ExpectAnswer(1, nothing)
	}
}

// TestWatchesAreBounded checks that clients' WATCHes are bounded, each client's and all together,
// and that other requests pass however many wait.
func TestWatchesAreBounded(t *testing.T) {
	r := newRig(t, extRules)
	a := r.source(mux.Source{})
	var ids []uint64
	var clients []*peer
	for range mux.MaxWatches / mux.MaxClientWatches {
		c := dial(t, a)
		clients = append(clients, c)
		for i := range uint64(mux.MaxClientWatches) {
			c.Send(packet(i, watch(1000, 100)))
			ids = append(ids, r.target.Expect(watch(1000, 100)))
		}
		c.Send(packet(100, watch(1000, 100)))
		c.ExpectAnswer(100, tooMany)
		c.Send(packet(101, watch(0, 100))) // this one does not wait
		r.target.Send(packet(r.target.Expect(watch(0, 100)), nothing))
		c.ExpectAnswer(101, nothing)
	}
	late := dial(t, a)
	late.Send(packet(1, watch(1000, 100)), packet(2, get("a")))
	late.ExpectAnswer(1, tooMany)
	r.target.Send(packet(r.target.Expect(get("a")), []byte("A")))
	late.ExpectAnswer(2, []byte("A"))

	r.target.Send(packet(ids[0], nothing))
	clients[0].ExpectAnswer(0, nothing)
	late.Send(packet(3, watch(1000, 100)))
	r.target.Expect(watch(1000, 100))
}

// TestUnwatch checks that UNWATCH ends the WATCHes of this client with that ID, and no others.
func TestUnwatch(t *testing.T) {
	r := newRig(t, extRules)
	a := r.source(mux.Source{})
	c, other := dial(t, a), dial(t, a)
	other.Send(packet(5, watch(1000, 100)))
	others := r.target.Expect(watch(1000, 100))
	c.Send(packet(5, watch(1000, 100)), packet(6, watch(1000, 100)), packet(5, watch(1000, 100)))
	var ids []uint64
	for range 3 {
		ids = append(ids, r.target.Expect(watch(1000, 100)))
	}
	c.Send(packet(7, unwatch(5)), packet(8, unwatch(99)))
	c.ExpectAnswer(7, done)
	c.ExpectAnswer(8, done)
	ended := map[uint64]bool{}
	for range 2 {
		id, record := r.target.Receive()
		q, err := wire.ParseKVRequest(record)
		must.Do(t, err)
		r.target.Send(packet(id, done))
		ended[q.Watch] = true
	}
	if !ended[ids[0]] || !ended[ids[2]] {
		t.Errorf("%v were ended, want %d and %d of %v", ended, ids[0], ids[2], ids)
	}
	r.target.ExpectSilence()
	r.target.Send(packet(ids[2], nothing), packet(ids[0], nothing), packet(others, nothing))
	c.ExpectAnswer(5, nothing)
	c.ExpectAnswer(5, nothing)
	other.ExpectAnswer(5, nothing)

	// In one write with the WATCH.
	c.Send(packet(1, watch(2000, 100)), packet(2, unwatch(1)))
	id := r.target.Expect(watch(2000, 100))
	r.target.expectUnwatch(id)
	r.target.Send(packet(id, nothing))
	c.ExpectAnswer(2, done)
	c.ExpectAnswer(1, nothing)
}

// TestWatchersThatLeave checks that the WATCHes of clients that are gone, or have closed their
// sending side, end.
func TestWatchersThatLeave(t *testing.T) {
	r := newRig(t, extRules)
	a := r.source(mux.Source{Gate: eventloop.NewGate(2)})
	for range 3 {
		gone, half := dial(t, a), dial(t, a)
		gone.Send(packet(1, watch(1000, 100)))
		goneID := r.target.Expect(watch(1000, 100))
		half.Send(packet(1, watch(2000, 100)))
		halfID := r.target.Expect(watch(2000, 100))
		gone.Close()
		r.target.expectUnwatch(goneID)
		must.Do(t, half.CloseWrite())
		r.target.expectUnwatch(halfID)
		r.target.Send(packet(goneID, nothing), packet(halfID, nothing))
		half.ExpectAnswer(1, nothing)
		half.ExpectEnd()
	}
}

// TestWatchBehindTheEnd checks that a WATCH does not wait if its client has closed its sending side
// before it is forwarded.
func TestWatchBehindTheEnd(t *testing.T) {
	r := newRig(t, extRules)
	a := r.source(mux.Source{})
	busy := dial(t, a)
	busy.sendAll(0, mux.MaxOutstanding)
	var ids []uint64
	for range mux.MaxOutstanding {
		id, _ := r.target.Receive()
		ids = append(ids, id)
	}
	c := dial(t, a)
	c.Send(packet(1, watch(1000, 100)))
	must.Do(t, c.CloseWrite())
	r.target.ExpectSilence()
	r.target.Send(packet(ids[0], nil), packet(ids[1], nil))
	id := r.target.Expect(watch(1000, 100))
	r.target.expectUnwatch(id)
	r.target.Send(packet(id, nothing))
	c.ExpectAnswer(1, nothing)
	c.ExpectEnd()
}

// TestStopWithWatches checks that a stop does not wait for changes.
func TestStopWithWatches(t *testing.T) {
	r := newRig(t, extRules)
	c := dial(t, r.source(mux.Source{}))
	c.Send(packet(1, watch(1000, 100)))
	id := r.target.Expect(watch(1000, 100))
	r.mux.Stop(patience)
	r.target.expectUnwatch(id)
	r.target.Send(packet(id, nothing))
	c.ExpectAnswer(1, nothing)
	c.ExpectEnd()
	r.wait()
}

// TestWatchesOfALostTarget checks that WATCHes, and requests to end them, are dropped when the
// target is lost.
func TestWatchesOfALostTarget(t *testing.T) {
	r := newRig(t, extRules)
	a := r.source(mux.Source{})
	c, gone := dial(t, a), dial(t, a)
	c.Send(packet(1, watch(1000, 100)))
	gone.Send(packet(1, watch(1000, 100)))
	r.target.Expect(watch(1000, 100))
	r.target.Expect(watch(1000, 100))
	gone.Close()
	r.target.Receive() // the UNWATCH
	r.target.Close()
	c.ExpectEnd()
	r.wait()
	r.counted(map[string]uint64{"watch failed": 2})
}
