package mux_test

import (
	"testing"

	"kivaloo/eventloop/mux"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// counted waits until all counts are as wanted; those not given must be 0.
func (r *rig) counted(want map[string]uint64) {
	r.t.Helper()
	must.Eventually(r.t, "the counts are as wanted", func() bool {
		same := true
		r.counts.Each(func(op, status string, n uint64) { same = same && n == want[op+" "+status] })
		return same
	})
}

// TestCounts checks that requests are counted by the target's answer.
func TestCounts(t *testing.T) {
	r := newRig(t, extRules)
	c := dial(t, r.source(mux.Source{}))
	for i, ask := range []struct{ request, answer []byte }{
		{get("a"), wire.AppendKVValue(nil, []byte("A"))},
		{get("b"), wire.AppendKVStatus(nil, 1)},
		{set("a", "A"), wire.AppendKVStatus(nil, 0)},
		{kv(wire.KVRequest{Type: wire.TypeParams}), wire.AppendKVParams(nil, 64, 104)},
		{kv(wire.KVRequest{Type: wire.TypeSnapshot}), wire.AppendRefusal(nil, wire.StatusTooMany, "")},
	} {
		c.Send(packet(uint64(i), ask.request))
		r.target.Send(packet(r.target.Expect(ask.request), ask.answer))
		c.ExpectAnswer(uint64(i), ask.answer)
	}
	r.counted(map[string]uint64{"get ok": 1, "get not_done": 1, "set ok": 1, "params ok": 1, "snapshot failed": 1})
}

func TestCountsOfBlindness(t *testing.T) {
	r := newRig(t, nil)
	r.echoing()
	c := dial(t, r.source(mux.Source{}))
	c.Send(packet(1, []byte{0, 0, 0, 1, 5}))
	c.ExpectAnswer(1, []byte{0, 0, 0, 1, 5})
	r.counted(map[string]uint64{"any ok": 1})
}

// TestCountsOfALostTarget checks that requests already sent to a lost target count as failed, and
// the others as dropped.
func TestCountsOfALostTarget(t *testing.T) {
	r := newRig(t, kvRules)
	c := dial(t, r.source(mux.Source{}))
	const waiting = 100
	c.sendAll(0, mux.MaxOutstanding)
	for range mux.MaxOutstanding {
		r.target.Receive()
	}
	other := dial(t, r.source(mux.Source{}))
	other.sendAll(1, waiting)
	r.target.ExpectSilence()
	r.target.Close()
	r.wait()
	r.counted(map[string]uint64{"get failed": mux.MaxOutstanding, "get dropped": waiting})
}
