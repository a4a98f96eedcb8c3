package kvlds_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

func backup(snapshot uint64, max uint32, start []byte) wire.KVRequest {
	return wire.KVRequest{Type: wire.TypeBackup, Snapshot: snapshot, Max: max, Key: start}
}

// backedUp sends one BACKUP and returns the answer.
func backedUp(c *wiretest.Peer, r wire.KVRequest) wire.KVBackup {
	c.T.Helper()
	c.Send(packets(5, r))
	id, record := c.Receive()
	a, err := wire.ParseKVBackup(record, max(r.Max, 1<<20))
	if id != 5 || err != nil {
		c.T.Fatalf("answer %d: %x, %v", id, record, err)
	}
	a.Next, a.Pairs = bytes.Clone(a.Next), bytes.Clone(a.Pairs)
	return a
}

// TestBackupIsOfOneMoment checks that a backup in many requests, by several connections, shows one
// moment, whatever changes meanwhile.
func TestBackupIsOfOneMoment(t *testing.T) {
	s := serve(t, &slowStore{})
	writer := s.dial()
	const keys = 500
	var want []byte
	key := func(i int) string { return fmt.Sprintf("key-%05d", i) }
	for i := range keys {
		writer.Send(packets(1, set(key(i), "before")))
		writer.ExpectAnswer(1, done)
		want = fmt.Appendf(want, "\x09%s\x06before", key(i))
	}
	var got []byte
	var next []byte
	var snapshot uint64
	requests := 0
	for first := true; first || len(next) > 0; first = false {
		a := backedUp(s.dial(), backup(snapshot, 1000, next))
		if a.Status != wire.BackupOK || !first && a.Snapshot != snapshot || !first && bytes.Compare(a.Next, next) <= 0 && len(a.Next) > 0 {
			t.Fatalf("from %q in snapshot %d: %+v", next, snapshot, a)
		}
		snapshot, next, got = a.Snapshot, a.Next, append(got, a.Pairs...)
		i := requests % keys
		writer.Send(packets(2, set(key(keys-1-i), "after"), set(key(i)+"+", "new")))
		writer.ExpectAnswer(2, done)
		writer.ExpectAnswer(3, done)
		requests++
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes of pairs, want %d; %.100q", len(got), len(want), got)
	}
	if requests < 8 {
		t.Errorf("only %d requests", requests)
	}
	// The end was reached and the store has changed, so the snapshot is gone.
	c := s.dial()
	if a := backedUp(c, backup(snapshot, 1000, nil)); a.Status != wire.BackupGone {
		t.Errorf("after the end: %+v", a)
	}
	// That does not end the connection.
	c.Send(packets(1, get(key(0))))
	c.ExpectAnswer(1, value("before"))
}

func TestTooManyBackups(t *testing.T) {
	s := serve(t, &slowStore{})
	c := s.dial()
	begun := 0
	for ; begun < 20; begun++ {
		c.Send(packets(1, set("a", fmt.Sprint(begun)), set("b", fmt.Sprint(begun))))
		c.ExpectAnswer(1, done)
		c.ExpectAnswer(2, done)
		a := backedUp(c, backup(0, 1, nil)) // one pair: the backup continues
		if a.Status == wire.BackupTooMany {
			break
		}
		if a.Status != wire.BackupOK || a.N != 1 || string(a.Next) != "b" {
			t.Fatalf("backup %d: %+v", begun, a)
		}
	}
	if begun != 4 {
		t.Errorf("%d backups at a time, want 4", begun)
	}
}

// TestBackupOfBrokenDisk checks that a backup works although the disk cannot be written to: it
// needs no room there.
func TestBackupOfBrokenDisk(t *testing.T) {
	s, syncs := serveHeld(t, 1<<20) // the data to back up is in the journal only
	c := s.dial()
	c.Send(packets(1, set("a", "b")))
	c.ExpectAnswer(1, done)
	close(syncs.hold(errors.New("out of order")))
	if a := backedUp(c, backup(0, 1000, nil)); a.Status != wire.BackupOK || a.N != 2 {
		t.Errorf("%+v", a)
	}
	c.Send(packets(1, get("a")))
	c.ExpectAnswer(1, value("b"))
}

// TestBackupsThatAreNotRead checks that unread backups are held back, as ranges are.
func TestBackupsThatAreNotRead(t *testing.T) {
	s := serve(t, &slowStore{})
	c := s.dial()
	var sets []wire.KVRequest
	for i := range 4000 {
		sets = append(sets, set(fmt.Sprintf("%064d", i), fmt.Sprintf("%0104d", i)))
	}
	c.Send(packets(0, sets...))
	for i := range sets {
		c.ExpectAnswer(uint64(i), done)
	}
	greedy := s.dial()
	const asked = 60 // each of 680 kB
	backups := make([]wire.KVRequest, asked)
	for i := range backups {
		backups[i] = backup(0, 1<<32-1, nil)
	}
	greedy.Send(packets(0, backups...))
	c.Send(packets(1, get("nothing")))
	c.ExpectAnswer(1, not)
	for i := range asked {
		id, record := greedy.Receive()
		a, err := wire.ParseKVBackup(record, 1<<32-1)
		if id != uint64(i) || err != nil || a.Status != wire.BackupOK || a.N != 4000 || len(a.Next) != 0 {
			t.Fatalf("answer %d, want %d: status %d, %d pairs, next %q, %v", id, i, a.Status, a.N, a.Next, err)
		}
	}
}
