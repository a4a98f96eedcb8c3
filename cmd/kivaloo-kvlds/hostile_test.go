package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// TestBadPackets sends the daemon every packet that a kvlds must refuse, and some similar valid
// ones, each on a connection of its own.
func TestBadPackets(t *testing.T) {
	t.Parallel()
	s := startStack(t, 512)
	text, err := os.ReadFile("../../wire/testdata/invalid.txt")
	must.Do(t, err)
	refused, answered := 0, 0
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if f[0] != "kvlds" {
			continue
		}
		packet, err := hex.DecodeString(f[2])
		must.Do(t, err)
		c := s.connect(t)
		must.Do(t, c.Put(packet))
		if want, ok := strings.CutPrefix(f[1], "ok:"); ok {
			_, record, err := c.receive()
			if err != nil || hex.EncodeToString(record) != want {
				t.Errorf("%s: %x, %v, want %s", f[3], record, err, want)
			}
			answered++
		} else if f[1] != "close" {
			t.Fatalf("outcome %q is not known", f[1])
		} else if err := c.Closed(); err != nil {
			t.Errorf("%s: %v", f[3], err)
		} else {
			refused++
		}
		c.Close()
	}
	if refused < 15 || answered < 5 {
		t.Errorf("only %d and %d packets found", refused, answered)
	}
}

// badPackets are packets that end a connection, each in its own way.
var badPackets = map[string]func() []byte{
	"unknown type":         func() []byte { return wire.AppendPacket(nil, 9, []byte{0, 0, 1, 0x40}) },
	"header of rubbish":    func() []byte { return bytes.Repeat([]byte{7}, wire.HeaderSize) },
	"too long":             func() []byte { return wire.AppendHeader(nil, 9, wire.MaxKVRequestLen+1) },
	"record checksum":      func() []byte { return damaged(wire.AppendPacket(nil, 9, []byte{0, 0, 1, 0})) },
	"value that is longer": func() []byte { return new(kvtest.Conn).Packets(set("k", strings.Repeat("v", 97))) },
}

// damaged flips a bit of the trailer of a packet.
func damaged(packet []byte) []byte {
	packet[len(packet)-1] ^= 1
	return packet
}

// TestBadPacketTakesQueuedChangesWithIt checks that changes that were not yet started when a bad
// packet followed them have no effect. Reads are answered.
func TestBadPacketTakesQueuedChangesWithIt(t *testing.T) {
	t.Parallel()
	s := startStack(t, 512)
	s.connectOnce(t, func(c *client) { c.mustChange(t, set("there", "1"), 0) })
	for name, bad := range badPackets {
		for range 20 {
			s.connectOnce(t, func(c *client) {
				must.Do(t, c.Put(append(c.Packets(set("k", name), get("there"), params, del("there")), bad()...)))
				for range 2 {
					if id, record, err := c.receive(); err != nil || id != 2 && id != 3 {
						t.Fatalf("%s: answer to %d: %x, %v", name, id, record, err)
					}
				}
				must.Do(t, c.Closed())
			})
			s.connectOnce(t, func(c *client) {
				c.mustMiss(t, "k")
				c.mustGet(t, "there", "1")
			})
		}
	}
}

// connectOnce connects for the duration of use.
func (p place) connectOnce(t *testing.T, use func(c *client)) {
	t.Helper()
	c := p.connect(t)
	defer c.Close()
	use(c)
}

// TestBadPacketBehindABatch checks that a change decided during an earlier commit is executed and
// answered although a bad packet follows. Changes after the bad packet are ignored.
func TestBadPacketBehindABatch(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	f := p.startFake(t, 512)
	p.start(t, "-n", "2")
	other := p.connect(t)
	f.hold(true)
	p.connectOnce(t, func(c *client) {
		before := f.count()
		must.Do(t, c.send(set("started", "1")))
		f.mustSee(t, before+1)
		must.Do(t, c.send(set("waiting", "1")))
		c.mustMiss(t, "waiting") // now it waits
		must.Do(t, c.Put(damaged(c.Packets(set("bad", "1")))))
		for range 2 { // after one round of the loop the bad packet has been read
			_, err := other.ask(params)
			must.Do(t, err)
		}
		must.Do(t, c.Silent())
		f.hold(false)
		f.release(t)
		c.mustReceive(t, 1, 1)
		id, _, err := c.receive()
		if must.Do(t, err); id != 2 {
			t.Fatalf("answer to %d, want 2", id)
		}
		must.Do(t, c.Closed())
	})
	other.mustGet(t, "started", "1")
	other.mustGet(t, "waiting", "1")
	other.mustMiss(t, "bad")
}

// TestDisconnectDuringABatch checks that a started batch is durable, and that the daemon continues
// to serve, although the client has gone.
func TestDisconnectDuringABatch(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	f := p.startFake(t, 512)
	p.start(t)
	f.hold(true)
	p.connectOnce(t, func(c *client) {
		before := f.count()
		must.Do(t, c.send(set("k", "1")))
		f.mustSee(t, before+1)
	})
	f.hold(false)
	f.release(t)
	p.connectOnce(t, func(c *client) { c.mustGet(t, "k", "1") })
}

// TestDisconnectDuringAPacket checks that an incomplete packet changes nothing.
func TestDisconnectDuringAPacket(t *testing.T) {
	t.Parallel()
	s := startStack(t, 512)
	whole := new(kvtest.Conn).Packets(set("k", "value"))
	for n := range whole {
		s.connectOnce(t, func(c *client) { must.Do(t, c.Put(whole[:n])) })
	}
	s.connectOnce(t, func(c *client) { c.mustMiss(t, "k") })
}

// TestHalfClose checks that a client that has closed its sending side still gets all its answers.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	s := startStack(t, 512)
	s.connectOnce(t, func(c *client) {
		requests := []wire.KVRequest{params, get("k")}
		for i := range 100 {
			requests = append(requests, set("k", fmt.Sprint(i)))
		}
		must.Do(t, c.send(requests...))
		must.Do(t, c.CloseWrite())
		seen := make(map[uint64]bool)
		for range requests {
			id, record, err := c.receive()
			if err != nil || seen[id] {
				t.Fatalf("answer to %d: %x, %v", id, record, err)
			}
			seen[id] = true
		}
		must.Do(t, c.Closed())
	})
	s.connectOnce(t, func(c *client) { c.mustGet(t, "k", "99") })
}
