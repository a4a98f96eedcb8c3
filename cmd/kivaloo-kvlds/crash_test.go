package main

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/wire"
)

// crashes is how often the daemons are killed in the ordinary run, and in the long one.
const (
	crashes     = 12
	crashesLong = 400
)

// model is what the store holds.
type model map[string]string

// apply carries out a modifying request.
func (m model) apply(r *wire.KVRequest) {
	value, there := m[string(r.Key)]
	matches := there && value == string(r.Old)
	switch r.Type {
	case wire.TypeSet:
		m[string(r.Key)] = string(r.Value)
	case wire.TypeAdd:
		if !there {
			m[string(r.Key)] = string(r.Value)
		}
	case wire.TypeModify:
		if there {
			m[string(r.Key)] = string(r.Value)
		}
	case wire.TypeCAS:
		if matches {
			m[string(r.Key)] = string(r.Value)
		}
	case wire.TypeDelete:
		delete(m, string(r.Key))
	case wire.TypeCAD:
		if matches {
			delete(m, string(r.Key))
		}
	}
}

// A daemon that is killed at any moment, or whose block store is, leaves what some moment
// between the last acknowledged change and the last requested one has left: every change up to
// it, and none behind it.
func TestCrashes(t *testing.T) {
	t.Parallel()
	rounds := crashes
	if daemontest.Torture() {
		rounds = crashesLong
	}
	for name, journal := range map[string]string{"pages": "0", "journal": "1048576", "short journal": "4096"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crashOften(t, rounds, "-C", "1024", "-S", eager, "--journal", journal)
		})
	}
}

func crashOften(t *testing.T, rounds int, options ...string) {
	rnd := daemontest.Seeded(t)
	s := startStack(t, 512, options...)
	state := make(model)
	serial := 0
	for round := range rounds {
		var requests []wire.KVRequest
		for range 10000 {
			serial++
			requests = append(requests, randomChange(rnd, state, serial))
		}
		acknowledged := s.crash(t, requests, rnd, options)
		c := s.connect(t)
		found, err := c.all(1<<20, "", "")
		must(t, err)
		c.nc.Close()
		if n := state.advance(requests, acknowledged, found); n < 0 {
			t.Fatalf("round %d: %d changes were acknowledged, but what is there now is not what %d or more have left",
				round, acknowledged, acknowledged)
		}
	}
}

// randomChange makes a change of one of 400 keys, with a value that no other change has. Old values
// are taken from what the store held some time ago.
func randomChange(rnd *rand.Rand, state model, serial int) wire.KVRequest {
	key, value := number(rnd.IntN(400)), strconv.Itoa(serial)
	switch rnd.IntN(10) {
	case 0:
		return add(key, value)
	case 1:
		return modify(key, value)
	case 2:
		return cas(key, state[key], value)
	case 3:
		return del(key)
	case 4:
		return cad(key, state[key])
	}
	return set(key, value)
}

// crash makes requests until a daemon is killed, starts what has ended anew, the kvlds with options, and returns how
// many requests were answered.
func (s *stack) crash(t *testing.T, requests []wire.KVRequest, rnd *rand.Rand, options []string) (acknowledged int) {
	t.Helper()
	victim := s.kvlds
	if rnd.IntN(3) == 0 {
		victim = s.blocks
	}
	c := s.connect(t)
	first := c.lastID + 1
	packets := c.packets(requests...)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_ = c.sendRaw(packets) // ends when the daemon does
	}()
	timer := time.AfterFunc(time.Duration(rnd.Int64N(int64(60*time.Millisecond))), victim.Kill)
	for {
		id, _, err := c.receive()
		if err != nil {
			break
		}
		if id != first+uint64(acknowledged) {
			t.Fatalf("answer to %d after %d answers, want %d", id, acknowledged, first+uint64(acknowledged))
		}
		acknowledged++
	}
	timer.Stop()
	c.nc.Close()
	<-sent
	if status := s.kvlds.Wait(t); victim != s.kvlds && status.ExitStatus() != 1 {
		t.Fatalf("the block store was killed, and the daemon ended with %v", status)
	}
	s.clear(t)
	if victim == s.blocks {
		s.blocks.Wait(t)
		must(t, os.Remove(s.path("b")))
		s.blocks, _ = s.launch(t, "kivaloo-lbs", "b.pid", s.blocksArgs(512)...) // may say what it has cut off
	}
	s.kvlds, _ = s.launch(t, "kivaloo-kvlds", "s.pid", s.args(options...)...) // may say what it has replayed
	return acknowledged
}

// advance applies requests until the model equals found, at least so many of them as were
// acknowledged, and returns how many. It is -1 if that never happens.
func (m model) advance(requests []wire.KVRequest, acknowledged int, found []pair) int {
	want := make(model)
	for _, p := range found {
		want[p.key] = p.value
	}
	wrong := make(map[string]bool) // keys at which the two differ
	compare := func(key string) {
		value, there := m[key]
		wanted, wantedThere := want[key]
		if delete(wrong, key); value != wanted || there != wantedThere {
			wrong[key] = true
		}
	}
	for key := range m {
		compare(key)
	}
	for key := range want {
		compare(key)
	}
	for n := 0; n <= len(requests); n++ {
		if n >= acknowledged && len(wrong) == 0 {
			return n
		}
		if n < len(requests) {
			m.apply(&requests[n])
			compare(string(requests[n].Key))
		}
	}
	return -1
}
