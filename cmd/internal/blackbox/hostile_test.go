package blackbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// requests has one request of each kind, for the key that witness watches.
var requests = []wire.KVRequest{
	{Type: wire.TypeParams},
	{Type: wire.TypeSet, Key: []byte("watched"), Value: []byte("bad")},
	{Type: wire.TypeAdd, Key: []byte("watched"), Value: []byte("bad")},
	{Type: wire.TypeModify, Key: []byte("watched"), Value: []byte("bad")},
	{Type: wire.TypeCAS, Key: []byte("watched"), Old: []byte("good"), Value: []byte("bad")},
	{Type: wire.TypeDelete, Key: []byte("watched")},
	{Type: wire.TypeCAD, Key: []byte("watched"), Old: []byte("good")},
	{Type: wire.TypeGet, Key: []byte("watched")},
	{Type: wire.TypeRange, Max: 1000, Key: []byte("wa"), End: []byte("wb")},
}

// extensions has one extension request of each kind, for the same key.
var extensions = []wire.KVRequest{
	kvtest.Apply([]wire.Condition{kvtest.If(wire.IfAbsent, "nothing", ""), kvtest.If(wire.IfEquals, "watched", "good")},
		kvtest.Put("watched", "bad"), kvtest.Drop("watched")),
	{Type: wire.TypeDeleteRange, Max: 10, Key: []byte("wa"), End: []byte("wb")},
	{Type: wire.TypeGetAt, Snapshot: 1, Key: []byte("watched")},
	{Type: wire.TypeScan, Max: 1000, Key: []byte("wa"), End: []byte("wb")},
	{Type: wire.TypeSnapshot},
	{Type: wire.TypeRelease, Snapshot: 1},
	{Type: wire.TypeWatch, Position: 1, Max: 1000, Key: []byte("wa"), End: []byte("wb")},
	{Type: wire.TypeUnwatch, Watch: 1},
}

// slowest is the longest that another client's round trip may take while a server is under attack.
const slowest = 5 * time.Second

// witness is a well-behaved client.
type witness struct {
	conn *kvtest.Conn
	trip int
}

func newWitness(t *testing.T, addr string) *witness {
	t.Helper()
	w := &witness{conn: connect(t, addr)}
	must.Do(t, w.conn.Set("watched", "good"))
	return w
}

// look checks that the server still serves others.
func (w *witness) look(t *testing.T) {
	t.Helper()
	w.trip++
	begin := time.Now()
	value, err := w.conn.Get("watched")
	if err != nil || string(value) != "good" {
		t.Fatalf("the watched key is %q, %v", value, err)
	}
	mine := fmt.Sprint(w.trip)
	must.Do(t, w.conn.Set("mine", mine))
	if value, err := w.conn.Get("mine"); err != nil || string(value) != mine {
		t.Fatalf("after SET %s: %q, %v", mine, value, err)
	}
	if took := time.Since(begin); took > slowest {
		t.Errorf("three round trips of a client that does nothing wrong took %v", took)
	}
}

// record returns the record of a request.
func record(r wire.KVRequest) []byte { return wire.AppendKVRequest(nil, &r) }

// TestHostilePackets checks that whatever breaks the rules closes the connection, without an answer
// and without an effect, and that nobody else notices.
func TestHostilePackets(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	s.start(t)
	w := newWitness(t, s.addr())
	refused := func(t *testing.T, what string, b []byte) {
		t.Helper()
		c, err := kvtest.Dial(t.Context(), s.addr())
		must.Do(t, err)
		defer c.Close()
		if _, err := c.Write(b); err != nil && !wiretest.Lost(err) {
			t.Fatal(err)
		}
		if err := c.Closed(); err != nil {
			t.Errorf("%s: not closed: %v", what, err)
		}
	}
	for _, r := range slices.Concat(requests, extensions) {
		name := wire.TypeName(r.Type)
		whole := record(r)
		for n := range whole {
			refused(t, fmt.Sprintf("%s cut off after %d bytes", name, n), wire.AppendPacket(nil, 1, whole[:n]))
		}
		refused(t, name+" with a byte too many", wire.AppendPacket(nil, 1, append(record(r), 0)))
		for _, at := range []int{0, 8, wire.HeaderSize - 1} {
			refused(t, fmt.Sprintf("%s with byte %d of the header changed", name, at), flip(wire.AppendPacket(nil, 1, whole), at)[:wire.HeaderSize])
		}
		refused(t, name+" with its record changed", flip(wire.AppendPacket(nil, 1, whole), wire.HeaderSize))
		refused(t, name+" with its trailer changed", flip(wire.AppendPacket(nil, 1, whole), wire.HeaderSize+len(whole)))
		w.look(t)
	}
	refused(t, "a record of 4 GiB", wire.AppendHeader(nil, 1, 1<<32-1))
	refused(t, "a record that is a byte longer than any request", wire.AppendHeader(nil, 1, wire.MaxKVRequestLen+1))
	refused(t, "a GET of 1000 bytes", binary.BigEndian.AppendUint32(wire.AppendHeader(nil, 1, 1000), wire.TypeGet))
	refused(t, "an unknown type of 1 MiB", binary.BigEndian.AppendUint32(wire.AppendHeader(nil, 1, 1<<20), wire.TypeApply+1))
	for what, record := range hostileExtensions() {
		refused(t, what, wire.AppendPacket(nil, 1, record))
	}
	refused(t, "an unknown type", wire.AppendPacket(nil, 1, binary.BigEndian.AppendUint32(nil, 0x132)))
	refused(t, "another protocol", []byte("GET / HTTP/1.1\r\nHost: kivaloo\r\n\r\n"))
	w.look(t)
}

// hostileExtensions returns records of extension requests that no client may send.
func hostileExtensions() map[string][]byte {
	const none, most, tooMany, all = "\x00\x00\x00\x00", "\x00\x00\x20\x00", "\x00\x00\x20\x01", "\xff\xff\xff\xff"
	of := func(typ uint32, rest string) []byte { return append(binary.BigEndian.AppendUint32(nil, typ), rest...) }
	one, many := "\x01\x00", strings.Repeat("\x01\x00", wire.MaxApplyItems) // changes that delete the empty key
	return map[string][]byte{
		"2^32-1 conditions":              of(wire.TypeApply, all+none),
		"2^32-1 changes":                 of(wire.TypeApply, none+all+one),
		"2^32-1 of both":                 of(wire.TypeApply, all+all),
		"a change too many":              of(wire.TypeApply, none+tooMany+many+one),
		"a condition too many":           of(wire.TypeApply, tooMany+many+one+none),
		"too many of both":               of(wire.TypeApply, "\x00\x00\x00\x01"+one+most+many),
		"a change of an unknown kind":    of(wire.TypeApply, none+"\x00\x00\x00\x01\x02\x01a\x01b"),
		"a condition of an unknown kind": of(wire.TypeApply, "\x00\x00\x00\x01\x03\x01a"+none),
		"unknown flags":                  of(wire.TypeScan, "snapshot\x08"+none+none+"\x00\x00"),
		"all flags":                      of(wire.TypeScan, "snapshot\xff"+none+none+"\x00\x00"),
		"a count of keys":                of(wire.TypeScan, "snapshot\x06"+none+none+"\x00\x00"),
	}
}

const (
	// applyPeers clients send APPLYs of applyBytes at the same time. One in stalledPeers keeps the
	// end back. The others wait for its memory until it is dropped.
	applyPeers   = 100
	stalledPeers = 25
	applyBytes   = 1 << 20

	// applyMemory bounds the memory of serve because of them, in bytes: what all connections may
	// take beside a small cache, and as much again for grown buffers, for the tree, and for
	// garbage.
	applyMemory = 64 << 20
)

// longApply returns an APPLY that is nearly as long as allowed. Its changes are to keys from prefix
// on.
func longApply(prefix string) wire.KVRequest {
	var changes []wire.Change
	for n := 12; n < applyBytes-300; n += 3 + 16 + 200 {
		changes = append(changes, kvtest.Put(fmt.Sprintf("%s%012d", prefix, len(changes)), strings.Repeat("v", 200)))
	}
	return kvtest.Apply(nil, changes...)
}

// TestHostileApplies has many clients send APPLYs of the greatest length, as a whole or without the
// end. They must take bounded memory, nobody else may notice, and whole ones must be carried out.
func TestHostileApplies(t *testing.T) {
	t.Parallel()
	s := newServe(t, "--cache", "4M", "--no-sync")
	s.start(t)
	w := newWitness(t, s.addr())
	before := memory(t, s.process.Pid, "VmRSS")
	var peers sync.WaitGroup
	errs := make([]error, applyPeers)
	for i := range applyPeers {
		c := connect(t, s.addr())
		defer c.Close() // it may be writing, or reading
		packet := wire.AppendPacket(nil, 1, record(longApply(fmt.Sprintf("p%03d", i))))
		if i%stalledPeers == 0 {
			go c.Write(packet[:len(packet)-1-i])
			continue
		}
		peers.Go(func() {
			if _, errs[i] = c.Write(packet); errs[i] != nil {
				return
			}
			p, err := c.Next()
			if errs[i] = err; err == nil && string(p.Record) != "\x00\x00\x00\x00" {
				errs[i] = fmt.Errorf("answer %q", p.Record)
			}
		})
	}
	for range 20 {
		w.look(t)
	}
	peers.Wait()
	must.Do(t, errors.Join(errs...))
	if grown := memory(t, s.process.Pid, "VmHWM") - before; grown > applyMemory && !daemontest.Race {
		t.Errorf("serve took %d bytes for %d peers that send long APPLYs", grown, applyPeers)
	}
	w.look(t)
	total := 0
	for counting := scanning(wire.ScanCountOnly); ; {
		answer, err := w.conn.Ask(&counting)
		must.Do(t, err)
		a, err := wire.ParseScanned(answer, &counting)
		must.Do(t, err)
		total += int(a.N)
		if counting.Key = a.Next; len(a.Next) == 0 {
			break
		}
	}
	if want := (applyPeers-applyPeers/stalledPeers)*int(longApply("").Changes.N) + 2; total != want {
		t.Errorf("%d pairs are there, want %d", total, want)
	}
}

// scanning returns a SCAN of everything.
func scanning(flags byte) wire.KVRequest {
	return wire.KVRequest{Type: wire.TypeScan, Flags: flags, Max: 1 << 20}
}

// flip returns b with one bit of it changed.
func flip(b []byte, at int) []byte {
	b[at] ^= 4
	return b
}

// TestHostileLengths checks that too long keys and values are refused, except in requests that only
// look for them.
func TestHostileLengths(t *testing.T) {
	t.Parallel()
	s := newServe(t, "--block-size", "512", "--max-key", "20", "--max-value", "30")
	s.start(t)
	w := newWitness(t, s.addr())
	long := []byte(strings.Repeat("k", 255))
	for _, r := range requests {
		c := connect(t, s.addr())
		r.Key, r.End = long[:21], long
		if r.Old != nil {
			r.Old = long
		}
		_, err := c.Ask(&r)
		switch r.Type {
		case wire.TypeSet, wire.TypeAdd, wire.TypeModify, wire.TypeCAS:
			if !wiretest.Lost(err) {
				t.Errorf("%s with a key of 21 bytes: %v", wire.TypeName(r.Type), err)
			}
			c = connect(t, s.addr())
			r.Key, r.Value = []byte("watched"), long[:31]
			if _, err := c.Ask(&r); !wiretest.Lost(err) {
				t.Errorf("%s with a value of 31 bytes: %v", wire.TypeName(r.Type), err)
			}
		default:
			must.Do(t, err)
		}
		w.look(t)
	}
}

// TestOneByteAtATime checks that a request that arrives byte by byte is answered when it is
// complete.
func TestOneByteAtATime(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	s.start(t)
	w := newWitness(t, s.addr())
	c := connect(t, s.addr())
	for _, b := range wire.AppendPacket(nil, 7, record(wire.KVRequest{Type: wire.TypeGet, Key: []byte("watched")})) {
		<-time.After(3 * time.Millisecond)
		_, err := c.Write([]byte{b})
		must.Do(t, err)
		w.look(t)
	}
	p, err := c.Next()
	must.Do(t, err)
	if value, _, err := wire.ParseKVValue(p.Record); err != nil || string(value) != "good" || p.ID != 7 {
		t.Errorf("answer to request %d: %q, %v", p.ID, value, err)
	}
}

// TestHalfClose checks that a client that has closed its sending side gets all its answers, then
// the end.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	s.start(t)
	w := newWitness(t, s.addr())
	c := connect(t, s.addr())
	want := make(map[uint64]bool)
	for i := range 3000 {
		r := wire.KVRequest{Type: wire.TypeSet, Key: fmt.Appendf(nil, "%04d", i), Value: make([]byte, 200)}
		switch i % 3 {
		case 1:
			r = wire.KVRequest{Type: wire.TypeGet, Key: []byte("watched")}
		case 2:
			r = wire.KVRequest{Type: wire.TypeRange, Max: 4096, Key: []byte("w")}
		}
		want[c.Queue(&r)] = true
	}
	must.Do(t, c.Flush())
	must.Do(t, c.CloseWrite())
	for len(want) > 0 {
		p, err := c.Next()
		if err != nil {
			t.Fatalf("%d answers are missing: %v", len(want), err)
		}
		if !want[p.ID] {
			t.Fatalf("answer to request %d, which is not outstanding", p.ID)
		}
		delete(want, p.ID)
	}
	must.Do(t, c.Closed())
	w.look(t)
}

const (
	// deafPeers is how many clients never read their answers.
	deafPeers = 16

	// deafMemory bounds the memory of serve because of them, in bytes. For each it is the 1 MiB of
	// answers that it may be owed, in grown buffers that may be half empty, and as much garbage as
	// there may be before it is collected.
	deafMemory = deafPeers * 6 << 20

	// deafRequests bounds what serve reads from a client that asks for small answers, in bytes:
	// 4096 requests, one read, and the content of the socket, with much to spare.
	deafRequests = 1 << 20
)

// TestDeafPeers checks that a server stops reading from clients that ask for more and more and
// never read. They must take bounded memory, nobody else may notice, and their answers must be
// there when they begin to read.
func TestDeafPeers(t *testing.T) {
	t.Parallel()
	s := newServe(t, "--cache", "4M", "--no-sync")
	s.start(t)
	fill(t, s.addr(), 5000)
	w := newWitness(t, s.addr())
	before := memory(t, s.process.Pid, "VmRSS")

	var peers []*deaf
	for i := range deafPeers {
		r := wire.KVRequest{Type: wire.TypeGet, Key: []byte("00000042")}
		switch i % 3 {
		case 1:
			r = wire.KVRequest{Type: wire.TypeRange, Max: 1 << 20}
		case 2:
			r = scanning(wire.ScanReverse)
		}
		peers = append(peers, newDeaf(t, s.addr(), r))
	}
	for _, p := range peers {
		for still := 0; still < 100; still++ {
			before := p.written.Load()
			w.look(t)
			if now := p.written.Load(); now > deafRequests {
				t.Fatalf("a peer that does not read could write %d bytes", now)
			} else if now > before {
				still = 0
			}
		}
	}
	if grown := memory(t, s.process.Pid, "VmHWM") - before; grown > deafMemory && !daemontest.Race {
		t.Errorf("serve took %d bytes for %d peers that do not read", grown, deafPeers)
	}
	peers[0].hear(t)
	w.look(t)
}

// fill stores n pairs of 8 and 200 bytes.
func fill(t *testing.T, addr string, n int) {
	t.Helper()
	c := connect(t, addr)
	for done := 0; done < n; {
		window := min(n-done, 1000)
		for i := range window {
			c.Queue(&wire.KVRequest{Type: wire.TypeSet, Key: fmt.Appendf(nil, "%08d", done+i), Value: make([]byte, 200)})
		}
		must.Do(t, c.Flush())
		for range window {
			_, err := c.Next()
			must.Do(t, err)
		}
		done += window
	}
}

// deaf is a client that repeats a request and does not read.
type deaf struct {
	conn    *kvtest.Conn
	packet  []byte
	written atomic.Int64 // in bytes
	group   sync.WaitGroup
}

func newDeaf(t *testing.T, addr string, r wire.KVRequest) *deaf {
	t.Helper()
	d := &deaf{conn: connect(t, addr), packet: wire.AppendPacket(nil, 1, record(r))}
	many := make([]byte, 0, 100*len(d.packet))
	for range 100 {
		many = append(many, d.packet...)
	}
	d.group.Go(func() {
		for {
			n, err := d.conn.Write(many)
			d.written.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		d.conn.Close()
		d.group.Wait()
	})
	return d
}

// hear makes the client stop writing, and read. Every request that it has written completely must
// have an answer.
func (d *deaf) hear(t *testing.T) {
	t.Helper()
	must.Do(t, d.conn.SetWriteDeadline(time.Now()))
	d.group.Wait()
	for n := d.written.Load() / int64(len(d.packet)); n > 0; n-- {
		if _, err := d.conn.Next(); err != nil {
			t.Fatalf("%d answers are missing: %v", n, err)
		}
	}
}

// memory returns a value from the kernel's report on a process's memory, in bytes.
func memory(t *testing.T, pid int, what string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must.Do(t, err)
	_, rest, ok := strings.Cut(string(text), what+":")
	var kilobytes int64
	if _, err := fmt.Sscanf(rest, "%d kB", &kilobytes); !ok || err != nil {
		t.Fatalf("%s of process %d: %v", what, pid, err)
	}
	return kilobytes << 10
}
