package kvlds_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

var gone = wire.AppendRefusal(nil, wire.StatusGone, "")

func snapshotting() wire.KVRequest { return wire.KVRequest{Type: wire.TypeSnapshot} }

func releasing(snapshot uint64) wire.KVRequest {
	return wire.KVRequest{Type: wire.TypeRelease, Snapshot: snapshot}
}

func gettingAt(snapshot uint64, key string) wire.KVRequest {
	return wire.KVRequest{Type: wire.TypeGetAt, Snapshot: snapshot, Key: []byte(key)}
}

func scanningAt(snapshot uint64, flags byte, max uint32, start, end string) wire.KVRequest {
	r := scanning(flags, max, 0, start, end)
	r.Snapshot = snapshot
	return r
}

// takeSnapshot returns the number of a new snapshot.
func takeSnapshot(c *wiretest.Peer) uint64 {
	c.T.Helper()
	snapshot, err := wire.ParseSnapshot(ask(c, snapshotting()))
	if err != nil {
		c.T.Fatal(err)
	}
	return snapshot
}

// scanned sends a SCAN, which must not be refused, and returns the answer.
func scanned(c *wiretest.Peer, r wire.KVRequest) wire.Scanned {
	c.T.Helper()
	a, err := wire.ParseScanned(ask(c, r), &r)
	if err != nil {
		c.T.Fatal(err)
	}
	return a
}

// TestSnapshotIsOfOneMoment checks that many requests of several connections that read one snapshot
// show one moment, in either direction, whatever changes meanwhile.
func TestSnapshotIsOfOneMoment(t *testing.T) {
	s := serve(t, &slowStore{})
	writer := s.dial()
	const keys = 500
	key := func(i int) string { return fmt.Sprintf("key-%05d", i) }
	for i := range keys {
		writer.Send(packets(1, set(key(i), "before")))
		writer.ExpectAnswer(1, done)
	}
	var up, down []byte
	for i := range keys {
		up = fmt.Appendf(up, "\x09%s\x06before", key(i))
		down = fmt.Appendf(down, "\x09%s\x06before", key(keys-1-i))
	}
	snapshot := takeSnapshot(writer)
	for _, direction := range []struct {
		flags byte
		want  []byte
	}{{0, up}, {wire.ScanReverse, down}} {
		var got []byte
		start, end := "", ""
		requests := 0
		for more := true; more; requests++ {
			a := scanned(s.dial(), scanningAt(snapshot, direction.flags, 1000, start, end))
			got, more = append(got, a.Pairs...), len(a.Next) > 0
			if direction.flags == 0 {
				start = string(a.Next)
			} else {
				end = string(a.Next)
			}
			i := requests % keys
			writer.Send(packets(2, set(key(keys-1-i), "after"), set(key(i)+"+", "new")))
			writer.ExpectAnswer(2, done)
			writer.ExpectAnswer(3, done)
		}
		if !bytes.Equal(got, direction.want) || requests < 8 {
			t.Errorf("flags %d: %d bytes of pairs, want %d, in %d requests", direction.flags, len(got), len(direction.want), requests)
		}
	}
	c := s.dial()
	if a := scanned(c, scanningAt(snapshot, wire.ScanCountOnly, 0, "", "")); a.N != keys {
		t.Errorf("%d pairs are counted, want %d", a.N, keys)
	}
	for _, step := range []struct {
		request wire.KVRequest
		want    []byte
	}{
		{gettingAt(snapshot, key(0)), value("before")},
		{gettingAt(snapshot, key(keys-1)), value("before")},
		{get(key(keys - 1)), value("after")},
		{gettingAt(snapshot, key(0)+"+"), not},
		{get(key(0) + "+"), value("new")},
		{gettingAt(0, key(0)), gone},
		{gettingAt(snapshot+1, key(0)), gone},
		{scanningAt(snapshot+1, 0, 1000, "", ""), gone},
		{releasing(snapshot + 1), gone},
		{releasing(snapshot), done},
		{releasing(snapshot), gone},
		{gettingAt(snapshot, key(0)), gone},
		{scanningAt(snapshot, 0, 1000, "", ""), gone},
		{get(key(0)), value("before")}, // the connection stays open
	} {
		if got := ask(c, step.request); !bytes.Equal(got, step.want) {
			t.Errorf("%+v: %q, want %q", step.request, got, step.want)
		}
	}
}

// TestSnapshotsOfTheSameState checks that snapshots of the same state may share a number, and that
// each exists until it is released itself.
func TestSnapshotsOfTheSameState(t *testing.T) {
	s := serve(t, &slowStore{})
	c, other := s.dial(), s.dial()
	c.Send(packets(1, set("a", "b")))
	c.ExpectAnswer(1, done)
	first, second := takeSnapshot(c), takeSnapshot(other)
	c.Send(packets(2, set("a", "c")))
	c.ExpectAnswer(2, done)
	if got := ask(c, releasing(first)); !bytes.Equal(got, done) {
		t.Fatalf("%q", got)
	}
	if got := ask(other, gettingAt(second, "a")); !bytes.Equal(got, value("b")) {
		t.Errorf("after the other's release: %q", got)
	}
	if got := ask(other, releasing(second)); !bytes.Equal(got, done) {
		t.Errorf("%q", got)
	}
	if got := ask(other, gettingAt(second, "a")); !bytes.Equal(got, gone) {
		t.Errorf("after both releases: %q", got)
	}
}

// refusedAsTooMany reports whether record is a refusal that gives the limit as its reason.
func refusedAsTooMany(record []byte) bool {
	var refusal *wire.Refusal
	return errors.As(wire.ParseDone(wire.TypeSnapshot, record), &refusal) && refusal.Status == wire.StatusTooMany && refusal.Reason != ""
}

func TestTooManySnapshots(t *testing.T) {
	c := serve(t, &slowStore{}).dial()
	var taken []uint64
	for i := 0; ; i++ {
		c.Send(packets(1, set("a", fmt.Sprint(i))))
		c.ExpectAnswer(1, done)
		answer := ask(c, snapshotting())
		if refusedAsTooMany(answer) {
			break
		}
		snapshot, err := wire.ParseSnapshot(answer)
		if err != nil || i == 100 {
			t.Fatalf("snapshot %d: %v", i, err)
		}
		taken = append(taken, snapshot)
	}
	if len(taken) != 64 {
		t.Errorf("%d snapshots at a time, want 64", len(taken))
	}
	for i, snapshot := range taken {
		if got := ask(c, gettingAt(snapshot, "a")); !bytes.Equal(got, value(fmt.Sprint(i))) {
			t.Errorf("snapshot %d: %q", i, got)
		}
	}
	if got := ask(c, releasing(taken[0])); !bytes.Equal(got, done) {
		t.Errorf("%q", got)
	}
	takeSnapshot(c)
}

// TestSnapshotOfBrokenDisk checks that a snapshot can be taken although the disk cannot be written
// to: it needs no room there.
func TestSnapshotOfBrokenDisk(t *testing.T) {
	s, syncs := serveHeld(t, 1<<20) // its content is in the journal only
	c := s.dial()
	c.Send(packets(1, set("a", "b")))
	c.ExpectAnswer(1, done)
	close(syncs.hold(errors.New("out of order")))
	if a := scanned(c, scanningAt(takeSnapshot(c), 0, 1000, "", "")); a.N != 2 {
		t.Errorf("%+v", a)
	}
	c.Send(packets(1, get("a")))
	c.ExpectAnswer(1, value("b"))
}

// TestDeleteRange checks that DELETE_RANGE deletes what is in the range, up to its limit at a time.
func TestDeleteRange(t *testing.T) {
	c := serve(t, &slowStore{}).dial()
	deleteRange := func(max uint32, start, end string) wire.Deleted {
		t.Helper()
		a, err := wire.ParseDeleted(ask(c, wire.KVRequest{Type: wire.TypeDeleteRange, Max: max, Key: []byte(start), End: []byte(end)}))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	left := func() string {
		t.Helper()
		return string(scanned(c, scanning(wire.ScanKeysOnly, 1<<20, 0, "", "")).Pairs)
	}
	for _, k := range "abcdefgh" {
		c.Send(packets(1, set(string(k), "v")))
		c.ExpectAnswer(1, done)
	}
	if a := deleteRange(100, "c", "e"); a.N != 2 || len(a.Next) > 0 || left() != "\x01a\x01b\x01e\x01f\x01g\x01h" {
		t.Errorf("%+v, left %q", a, left())
	}
	if a := deleteRange(2, "b", ""); a.N != 2 || len(a.Next) == 0 || left() != "\x01a\x01f\x01g\x01h" {
		t.Errorf("%+v, left %q", a, left())
	}
	if a := deleteRange(0, "x", "z"); a.N != 0 || len(a.Next) > 0 {
		t.Errorf("%+v", a)
	}
	if a := deleteRange(0, "", ""); a.N != 4 || len(a.Next) > 0 || left() != "" {
		t.Errorf("%+v, left %q", a, left())
	}
	// A large range takes several requests.
	var sets []wire.KVRequest
	for i := range 20_000 {
		sets = append(sets, set(fmt.Sprintf("%06d", i), "v"))
	}
	go c.Write(packets(0, sets...)) // ends with the connection
	for i := range sets {
		c.ExpectAnswer(uint64(i), done)
	}
	total, requests := uint64(0), 0
	for next := "000001"; ; requests++ {
		a := deleteRange(1<<32-1, next, "019999")
		if total += a.N; len(a.Next) == 0 {
			break
		}
		next = string(a.Next)
	}
	if total != 19_998 || requests == 0 || left() != "\x06000000\x06019999" {
		t.Errorf("%d deleted in %d requests and one; left %q", total, requests, left())
	}
}
