package kivaloo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"kivaloo"
	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// backupServer is a server whose answers are so short that a backup takes several. onScan, if not
// nil, is called with the number of each SCAN. It may change the answer, or return nil to hang up.
type backupServer struct {
	wiretest.Server
	onScan func(n int, a wire.Scanned) []byte
	scans  int
}

func newBackupServer() *backupServer {
	s := &backupServer{Server: wiretest.Server{Extensions: true, RangeMax: 300}}
	s.Hook = func(id uint64, r wire.KVRequest) ([]byte, wiretest.Verdict) {
		if r.Type != wire.TypeScan {
			return nil, wiretest.Normally
		}
		s.scans++
		record := s.Answer(r)
		if a, err := wire.ParseScanned(record, &r); err == nil && s.onScan != nil {
			if record = s.onScan(s.scans, a); record == nil {
				return nil, wiretest.HangUp
			}
		}
		return wire.AppendPacket(nil, id, record), wiretest.WithThis
	}
	return s
}

// open returns how many snapshots the server keeps.
func (s *backupServer) open() int {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return len(s.Snapshots)
}

// put changes the server's pairs.
func put(s *wiretest.Server, n int, value string) (pairs map[string]string) {
	pairs = map[string]string{}
	for i := range n {
		pairs[fmt.Sprintf("key %05d", i)] = value
	}
	s.Replace(pairs)
	return pairs
}

// restored returns what is in a backup.
func restored(t *testing.T, backup []byte) contents {
	t.Helper()
	dir := t.TempDir() + "/restored"
	must.Do(t, kivaloo.Restore(t.Context(), bytes.NewReader(backup), dir, kivaloo.Options{NoSync: true, CacheBytes: smallCache * 4}, kivaloo.RestoreOptions{}))
	return gather(t, openDB(t, dir, kivaloo.Options{ReadOnly: true, CacheBytes: smallCache * 4}).Range(t.Context(), nil, nil))
}

// A backup is what the store was when it began. At its end the server keeps no snapshot.
func TestClientBackup(t *testing.T) {
	for _, n := range []int{0, 1, 1000} {
		s := newBackupServer()
		c := dialFake(t, &s.Server)
		want := contents(put(&s.Server, n, "then"))
		s.onScan = func(scan int, a wire.Scanned) []byte {
			put(&s.Server, n+scan, "later")
			return wire.AppendScanned(nil, &a)
		}
		var out bytes.Buffer
		var pairs, size int64
		must.Do(t, c.Backup(within(t), &out, kivaloo.BackupOptions{Progress: func(p, b int64) {
			if p < pairs || b <= size {
				t.Errorf("progress from %d, %d to %d, %d", pairs, size, p, b)
			}
			pairs, size = p, b
		}}))
		must.Do(t, c.Close())
		if pairs != int64(n) || size != int64(out.Len()) || s.open() != 0 {
			t.Errorf("%d pairs, %d bytes; want %d, %d; %d snapshots are left", pairs, size, n, out.Len(), s.open())
		}
		want.same(t, restored(t, out.Bytes()))
	}
}

// brokenWriter takes so many bytes.
type brokenWriter struct {
	bytes.Buffer
	room int
}

func (w *brokenWriter) Write(p []byte) (int, error) {
	if len(p) > w.room {
		n, _ := w.Buffer.Write(p[:w.room])
		w.room = 0
		return n, errors.New("the writer is full")
	}
	w.room -= len(p)
	return w.Buffer.Write(p)
}

// Wherever a backup is interrupted, it can be continued and is what it would have been.
func TestClientBackupResumes(t *testing.T) {
	s := newBackupServer()
	c := dialFake(t, &s.Server)
	want := contents(put(&s.Server, 100, "then"))
	var whole bytes.Buffer
	must.Do(t, c.Backup(within(t), &whole, kivaloo.BackupOptions{}))
	for room := 24; room < whole.Len(); room += 31 {
		put(&s.Server, 100, "then")
		w := &brokenWriter{room: room}
		err := c.Backup(within(t), w, kivaloo.BackupOptions{})
		var op *kivaloo.OpError
		if !errors.As(err, &op) || op.Op != "backup" || op.Sent || !strings.Contains(err.Error(), "the writer is full") {
			t.Fatalf("with room for %d bytes: %v", room, err)
		}
		put(&s.Server, 50, "later")
		p, err := kivaloo.FindBackupPosition(bytes.NewReader(w.Bytes()))
		must.Do(t, err)
		w.Truncate(int(p.Offset()))
		w.room = 2 * whole.Len() // with smaller pieces there are more of them
		s.Mu.Lock()
		s.RangeMax = uint32(100 + room%300) // answers need not be the same pieces again
		s.Mu.Unlock()
		if err := c.Backup(within(t), w, kivaloo.BackupOptions{Resume: p}); err != nil {
			t.Fatalf("continued at byte %d: %v", p.Offset(), err)
		}
		want.same(t, restored(t, w.Bytes()))
		if s.open() != 0 {
			t.Fatalf("continued at byte %d: %d snapshots are left", p.Offset(), s.open())
		}
	}
	p, err := kivaloo.FindBackupPosition(&whole)
	if must.Do(t, err); !p.Complete() {
		t.Error("a backup is not complete")
	}
	before := s.scans
	must.Do(t, c.Backup(within(t), nil, kivaloo.BackupOptions{Resume: p}))
	if s.scans != before {
		t.Error("something has been asked for a backup that is complete")
	}
}

// A backup is not continued from another state of the store, nor from another store that calls its
// own state the same.
func TestClientBackupSnapshotGone(t *testing.T) {
	for name, change := range map[string]func(snapshots map[uint64]wiretest.Model){
		"gone":    func(snapshots map[uint64]wiretest.Model) { clear(snapshots) },
		"another": func(snapshots map[uint64]wiretest.Model) { snapshots[1]["key 00001"] = "else" },
		"fewer":   func(snapshots map[uint64]wiretest.Model) { delete(snapshots[1], "key 00001") },
		"more":    func(snapshots map[uint64]wiretest.Model) { snapshots[1]["key 00001+"] = "then" },
		"ends": func(snapshots map[uint64]wiretest.Model) {
			for i := 2; i < 100; i++ {
				delete(snapshots[1], fmt.Sprintf("key %05d", i))
			}
		},
		"none": func(snapshots map[uint64]wiretest.Model) { clear(snapshots[1]) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newBackupServer()
			c := dialFake(t, &s.Server)
			put(&s.Server, 100, "then")
			w := &brokenWriter{room: 400} // one piece
			if err := c.Backup(within(t), w, kivaloo.BackupOptions{}); err == nil {
				t.Fatal("no error")
			}
			p, err := kivaloo.FindBackupPosition(&w.Buffer)
			must.Do(t, err)
			s.Mu.Lock()
			change(s.Snapshots)
			s.Mu.Unlock()
			var out bytes.Buffer
			if err := c.Backup(within(t), &out, kivaloo.BackupOptions{Resume: p}); !errors.Is(err, kivaloo.ErrSnapshotGone) || out.Len() != 0 {
				t.Errorf("%v, %d bytes", err, out.Len())
			}
		})
	}
	t.Run("without a server", func(t *testing.T) {
		var out bytes.Buffer
		db := openDB(t, t.TempDir(), kivaloo.Options{NoSync: true})
		must.Do(t, db.Backup(t.Context(), &out, kivaloo.BackupOptions{}))
		p, err := kivaloo.FindBackupPosition(bytes.NewReader(out.Bytes()[:out.Len()-1]))
		must.Do(t, err)
		if err := dialFake(t, &newBackupServer().Server).Backup(within(t), io.Discard, kivaloo.BackupOptions{Resume: p}); !errors.Is(err, kivaloo.ErrSnapshotGone) {
			t.Error(err)
		}
	})
}

// A server that has no snapshots, is stopped, or makes no sense is an error that says so.
func TestClientBackupErrors(t *testing.T) {
	refusal := func(status uint32, reason string) func(int, wire.Scanned) []byte {
		return func(int, wire.Scanned) []byte { return wire.AppendRefusal(nil, status, reason) }
	}
	for _, tc := range []struct {
		name string
		from int                                // the first SCAN that is answered otherwise; 0: the SNAPSHOT is
		with func(n int, a wire.Scanned) []byte // nil: the connection is closed
		is   error
		says string
	}{
		{"too many", 0, refusal(wire.StatusTooMany, "64 are open"), kivaloo.ErrTooManySnapshots, "too many snapshots: 64 are open"},
		{"failed at first", 0, refusal(wire.StatusFailed, "disk full"), nil, "disk full"},
		{"failed", 3, refusal(wire.StatusFailed, "disk full"), nil, "disk full"},
		{"lost", 3, func(int, wire.Scanned) []byte { return nil }, io.EOF, "connection lost"},
		{"gone", 3, refusal(wire.StatusGone, ""), kivaloo.ErrSnapshotGone, ""},
		{"in circles", 2, func(_ int, a wire.Scanned) []byte {
			a.Next = []byte("key 00000")
			return wire.AppendScanned(nil, &a)
		}, wire.ErrBadRecord, "continues at"},
		{"the same again", 2, func(_ int, a wire.Scanned) []byte {
			return wire.AppendScanned(nil, &wire.Scanned{N: 1, Next: a.Next, Pairs: wiretest.AppendPair(nil, "key 00000", "then")})
		}, wire.ErrBadRecord, "key 00000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newBackupServer()
			put(&s.Server, 100, "then")
			s.onScan = func(n int, a wire.Scanned) []byte {
				if n < tc.from {
					return wire.AppendScanned(nil, &a)
				}
				return tc.with(n, a)
			}
			if hook := s.Hook; tc.from == 0 {
				s.Hook = func(id uint64, r wire.KVRequest) ([]byte, wiretest.Verdict) {
					if r.Type == wire.TypeSnapshot {
						return wire.AppendPacket(nil, id, tc.with(0, wire.Scanned{})), wiretest.WithThis
					}
					return hook(id, r)
				}
			}
			c := dialFake(t, &s.Server)
			var out bytes.Buffer
			err := c.Backup(within(t), &out, kivaloo.BackupOptions{})
			if tc.is != nil && !errors.Is(err, tc.is) || !errors.As(err, new(*kivaloo.OpError)) || !strings.Contains(err.Error(), tc.says) ||
				!strings.HasPrefix(err.Error(), "kivaloo: backup at ") || strings.Contains(err.Error(), "taken effect") {
				t.Errorf("got %v, want %v, %q", err, tc.is, tc.says)
			}
			if err := kivaloo.Restore(t.Context(), &out, t.TempDir(), kivaloo.Options{}, kivaloo.RestoreOptions{}); !errors.Is(err, kivaloo.ErrBadBackup) {
				t.Errorf("what has been written restores: %v", err)
			}
		})
	}
	t.Run("original", func(t *testing.T) {
		c := dialFake(t, &wiretest.Server{})
		var out bytes.Buffer
		err := c.Backup(within(t), &out, kivaloo.BackupOptions{})
		if !errors.Is(err, kivaloo.ErrUnsupported) || !strings.Contains(err.Error(), "a backup needs snapshots, which a server of the original does not have") || out.Len() > 0 {
			t.Errorf("%v, %d bytes", err, out.Len())
		}
	})
}

// A writer that takes its time does not lose the snapshot.
func TestClientBackupKeepsSnapshot(t *testing.T) {
	s := newBackupServer()
	kept := make(chan bool, 1000)
	hook := s.Hook
	s.Hook = func(id uint64, r wire.KVRequest) ([]byte, wiretest.Verdict) {
		if r.Type == wire.TypeGetAt {
			kept <- true
		}
		return hook(id, r)
	}
	c := dialFake(t, &s.Server)
	want := contents(put(&s.Server, 50, "then"))
	var out bytes.Buffer
	pieces := 0
	must.Do(t, c.Backup(within(t), &out, kivaloo.BackupOptions{Progress: func(int64, int64) {
		if pieces++; pieces == 2 {
			<-kept
		}
	}}.KeepSnapshotEvery(time.Millisecond)))
	want.same(t, restored(t, out.Bytes()))
}

// A context ends a backup between two pieces. The connection lives on, and the snapshot stays, for
// the rest.
func TestClientBackupCancelled(t *testing.T) {
	s := newBackupServer()
	c := dialFake(t, &s.Server)
	put(&s.Server, 100, "then")
	ctx, cancel := context.WithCancel(within(t))
	err := c.Backup(ctx, io.Discard, kivaloo.BackupOptions{Progress: func(int64, int64) { cancel() }})
	if !errors.Is(err, context.Canceled) || s.open() != 1 {
		t.Errorf("%v, %d snapshots", err, s.open())
	}
	must.Do(t, c.Set(within(t), []byte("k"), []byte("v")))
}
