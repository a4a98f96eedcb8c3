package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// TestBadPackets sends the daemon every packet that a block store must refuse, each on a connection
// of its own, and then cut off at every length.
func TestBadPackets(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 512)
	text, err := os.ReadFile("../../wire/testdata/invalid.txt")
	must.Do(t, err)
	tried := 0
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if f[0] != "lbs" {
			continue
		}
		if outcome := strings.TrimSuffix(f[1], "*"); outcome != "close" {
			t.Fatalf("outcome %q is not known", f[1])
		}
		packet, err := hex.DecodeString(f[2])
		must.Do(t, err)
		c := s.connect(t)
		must.Do(t, c.Put(packet))
		if err := c.Closed(); err != nil {
			t.Errorf("%s: %v", f[3], err)
		}
		c.Close()
		tried++
	}
	if tried < 20 {
		t.Errorf("only %d packets found", tried)
	}
	s.connect(t).mustNext(t, 0, noBlock)
}

// TestBadPacketBehindGoodOnes checks that requests before a bad packet are answered.
func TestBadPacketBehindGoodOnes(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 512)
	c := s.connect(t)
	c.mustAppend(t, 0, 1, 512)
	must.Do(t, c.send(request(wire.TypeLBSFree, uint64(0)), request(99), request(wire.TypeLBSParams)))
	if _, answer, err := c.receive(); err != nil || status(answer) != nil {
		t.Errorf("%x, %v", answer, err)
	}
	if err := c.Closed(); err != nil {
		t.Error(err)
	}
}

// TestParamsDuringAppend checks a PARAMS during an append, when the state that it would report is
// about to change. The append is finished and answered. The client that sent PARAMS is
// disconnected.
func TestParamsDuringAppend(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 512)
	var next uint64
	for _, typ := range []uint32{wire.TypeLBSParams, wire.TypeLBSParams2} {
		c := s.connect(t)
		must.Do(t, c.send(appendRequest(next, 1, pattern(next, 1, 512)), request(typ)))
		id, answer, err := c.receive()
		if err == nil {
			err = status(answer, &next)
		}
		if err != nil || id != 1 {
			t.Fatalf("append: answer to %d, %v", id, err)
		}
		if err := c.Closed(); err != nil {
			t.Error(err)
		}
		c.Close()
	}
	s.connect(t).mustNext(t, 2, 1)
}

func TestAppendOfAnotherBlockSize(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 1000)
	for _, c := range []struct{ n, size int }{{1, 512}, {1, 999}, {2, 500}, {3, 1001}, {1, 2000}, {1, 0}} {
		client := s.connect(t)
		must.Do(t, client.send(appendRequest(0, c.n, make([]byte, c.n*c.size))))
		if err := client.Closed(); err != nil {
			t.Errorf("%d blocks of %d: %v", c.n, c.size, err)
		}
		client.Close()
	}
	s.connect(t).mustNext(t, 0, noBlock)
}

// TestDisconnectDuringAppend checks that an append is done if and only if all of it has arrived.
func TestDisconnectDuringAppend(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 512)
	whole := wire.AppendPacket(nil, 1, appendRequest(0, 3, pattern(0, 3, 512)))
	for _, n := range []int{1, 15, 16, 17, 32, 33, 1000, len(whole) - 1} {
		c := s.connect(t)
		must.Do(t, c.Put(whole[:n]))
		c.Close()
	}
	c := s.connect(t)
	c.mustNext(t, 0, noBlock)
	must.Do(t, c.Put(whole))
	c.Close()
	c = s.connect(t)
	c.mustNext(t, 3, 2)
	c.mustGet(t, 2, 512)
}

func TestHalfClose(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 512)
	c := s.connect(t)
	c.mustAppend(t, 0, 1, 512)
	must.Do(t, c.send(request(wire.TypeLBSFree, uint64(0)), appendRequest(1, 1, pattern(1, 1, 512))))
	must.Do(t, c.CloseWrite())
	for range 2 {
		if _, answer, err := c.receive(); err != nil || errors.Is(status(answer), errStatus1) {
			t.Fatalf("%x, %v", answer, err)
		}
	}
	if err := c.Closed(); err != nil {
		t.Error(err)
	}
	s.connect(t).mustNext(t, 2, 1)
}

// TestLongRecordIsNotBelieved checks that a header that announces 4 GiB takes no memory. Only
// received bytes do.
func TestLongRecordIsNotBelieved(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 512)
	before := s.memory(t)
	c := s.connect(t)
	const longest = math.MaxUint32 - (math.MaxUint32-wire.LBSAppendHeadLen)%512
	packet := wire.AppendHeader(nil, 1, longest)
	packet = append(packet, request(wire.TypeLBSAppend)...)
	packet = append(packet, make([]byte, 1<<20)...)
	must.Do(t, c.Put(packet))
	c.Close()
	s.connect(t).mustNext(t, 0, noBlock) // by now everything that came has been read
	if after := s.memory(t); after > before+128<<20 {
		t.Errorf("grew from %d to %d bytes", before, after)
	}
}

// TestLongAppendsTakeTheirLength checks that long appends take little more memory than their
// length, also several in a row.
func TestLongAppendsTakeTheirLength(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 131072, "-L")
	before := s.memory(t)
	c := s.connect(t)
	const blocks = 64 << 20 / 131072
	for i := range 3 {
		c.mustAppend(t, uint64(i*blocks), blocks, 131072)
	}
	if grown := s.memory(t) - before; grown > 144<<20 && !daemontest.Race {
		t.Errorf("grew by %d bytes", grown)
	}
}

// memory returns the daemon's peak memory use in bytes.
func (s *server) memory(t *testing.T) (peak int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid))
	must.Do(t, err)
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &peak); err == nil {
			return peak << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// TestClientThatNeverReads checks that the daemon stops reading from a client that reads no
// answers, so that its memory stays limited, and that it serves the next client.
func TestClientThatNeverReads(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 131072, "-L")
	c := s.connect(t)
	c.mustAppend(t, 0, 1, 131072)
	before := s.memory(t)
	get := c.packet(request(wire.TypeLBSGet, uint64(0)))
	var requests []byte
	for range 2000 { // a quarter of a gigabyte of answers
		requests = append(requests, get...)
	}
	must.Do(t, c.Put(requests))
	for range 50 { // enough to block the daemon
		if _, answer, err := c.receive(); err != nil || len(answer) != 4+131072 {
			t.Fatalf("%d bytes, %v", len(answer), err)
		}
	}
	if after := s.memory(t); after > before+64<<20 {
		t.Errorf("grew from %d to %d bytes", before, after)
	}
	c.Close()
	s.connect(t).mustNext(t, 1, 0)
}
