package kivaloo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kivaloo"
	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// snapshots has a wiretest.Server keep snapshots and answer BACKUP.
type snapshots struct {
	server *wiretest.Server
	most   int // bytes of pairs in an answer, at the most

	mu     sync.Mutex
	kept   map[uint64][]kivaloo.Pair
	lastID uint64
	asked  int                                // requests for a backup
	twist  func(n int, a *wire.KVBackup) bool // of the nth one's answer, if not nil; false: hang up
}

func newSnapshots(most int) *snapshots {
	s := &snapshots{server: &wiretest.Server{}, most: most, kept: map[uint64][]kivaloo.Pair{}}
	s.server.Hook = s.hook
	return s
}

func (s *snapshots) hook(id uint64, r wire.KVRequest) ([]byte, wiretest.Verdict) {
	if r.Type != wire.TypeBackup {
		return nil, wiretest.Normally
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	a := s.answer(&r)
	if s.twist != nil && !s.twist(s.asked, &a) {
		return nil, wiretest.HangUp
	}
	return wire.AppendPacket(nil, id, wire.AppendKVBackup(nil, &a)), wiretest.WithThis
}

func (s *snapshots) answer(r *wire.KVRequest) wire.KVBackup {
	id := r.Snapshot
	if id == 0 {
		s.lastID++
		id = s.lastID
		s.kept[id] = sorted(s.server)
	}
	pairs, ok := s.kept[id]
	if !ok {
		return wire.KVBackup{Status: wire.BackupGone}
	}
	a := wire.KVBackup{Snapshot: id}
	for _, p := range pairs {
		if bytes.Compare(p.Key, r.Key) < 0 {
			continue
		}
		one := wiretest.AppendPair(nil, string(p.Key), string(p.Value))
		if a.N > 0 && len(a.Pairs)+len(one) > min(int(r.Max), s.most) {
			a.Next = p.Key
			return a
		}
		a.N, a.Pairs = a.N+1, append(a.Pairs, one...)
	}
	delete(s.kept, id)
	return a
}

// sorted returns the pairs in order.
func sorted(s *wiretest.Server) (all []kivaloo.Pair) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	for k, v := range s.Pairs {
		all = append(all, kivaloo.Pair{Key: []byte(k), Value: []byte(v)})
	}
	slices.SortFunc(all, func(a, b kivaloo.Pair) int { return bytes.Compare(a.Key, b.Key) })
	return all
}

// put changes the server's pairs.
func put(s *wiretest.Server, n int, value string) (pairs map[string]string) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	pairs = map[string]string{}
	for i := range n {
		pairs[fmt.Sprintf("key %05d", i)] = value
	}
	s.Pairs = pairs
	return pairs
}

// restored returns what is in a backup.
func restored(t *testing.T, backup []byte) contents {
	t.Helper()
	dir := t.TempDir() + "/restored"
	must.Do(t, kivaloo.Restore(t.Context(), bytes.NewReader(backup), dir, kivaloo.Options{NoSync: true, CacheBytes: smallCache * 4}, kivaloo.RestoreOptions{}))
	return gather(t, openDB(t, dir, kivaloo.Options{ReadOnly: true, CacheBytes: smallCache * 4}).Range(t.Context(), nil, nil))
}

// A backup is what the store was when it began.
func TestClientBackup(t *testing.T) {
	for _, n := range []int{0, 1, 1000} {
		s := newSnapshots(300)
		c := dialFake(t, s.server)
		want := contents(put(s.server, n, "then"))
		s.twist = func(asked int, _ *wire.KVBackup) bool {
			put(s.server, n+asked, "later")
			return true
		}
		var out bytes.Buffer
		var pairs, size int64
		must.Do(t, c.Backup(within(t), &out, kivaloo.BackupOptions{Progress: func(p, b int64) {
			if p < pairs || b <= size {
				t.Errorf("progress from %d, %d to %d, %d", pairs, size, p, b)
			}
			pairs, size = p, b
		}}))
		if pairs != int64(n) || size != int64(out.Len()) {
			t.Errorf("%d pairs, %d bytes; want %d, %d", pairs, size, n, out.Len())
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
	s := newSnapshots(300)
	c := dialFake(t, s.server)
	want := contents(put(s.server, 100, "then"))
	var whole bytes.Buffer
	must.Do(t, c.Backup(within(t), &whole, kivaloo.BackupOptions{}))
	for room := 24; room < whole.Len(); room += 31 {
		put(s.server, 100, "then")
		w := &brokenWriter{room: room}
		err := c.Backup(within(t), w, kivaloo.BackupOptions{})
		var op *kivaloo.OpError
		if !errors.As(err, &op) || op.Op != "backup" || op.Sent || !strings.Contains(err.Error(), "the writer is full") {
			t.Fatalf("with room for %d bytes: %v", room, err)
		}
		put(s.server, 50, "later")
		p, err := kivaloo.FindBackupPosition(bytes.NewReader(w.Bytes()))
		must.Do(t, err)
		w.Truncate(int(p.Offset()))
		w.room = 2 * whole.Len() // with smaller pieces there are more of them
		s.mu.Lock()
		// Answers need not be the same pieces again.
		s.most = 100 + room%300
		_, kept := s.kept[s.lastID]
		s.mu.Unlock()
		err = c.Backup(within(t), w, kivaloo.BackupOptions{Resume: p})
		if !kept && errors.Is(err, kivaloo.ErrSnapshotGone) {
			continue // all had been read, and not all been written
		}
		if err != nil {
			t.Fatalf("continued at byte %d: %v", p.Offset(), err)
		}
		want.same(t, restored(t, w.Bytes()))
	}
	p, err := kivaloo.FindBackupPosition(&whole)
	if must.Do(t, err); !p.Complete() {
		t.Error("a backup is not complete")
	}
	asked := s.asked
	must.Do(t, c.Backup(within(t), nil, kivaloo.BackupOptions{Resume: p}))
	if s.asked != asked {
		t.Error("something has been asked for a backup that is complete")
	}
}

// A backup is not continued from another state of the store, nor from another store that calls its
// own state the same.
func TestClientBackupSnapshotGone(t *testing.T) {
	interrupted := func(t *testing.T) (*snapshots, *kivaloo.Client, *kivaloo.BackupPosition) {
		s := newSnapshots(300)
		c := dialFake(t, s.server)
		put(s.server, 100, "then")
		w := &brokenWriter{room: 1000}
		if err := c.Backup(within(t), w, kivaloo.BackupOptions{}); err == nil {
			t.Fatal("no error")
		}
		p, err := kivaloo.FindBackupPosition(&w.Buffer)
		must.Do(t, err)
		return s, c, p
	}
	for name, change := range map[string]func(*snapshots){
		"gone":    func(s *snapshots) { clear(s.kept) },
		"another": func(s *snapshots) { put(s.server, 100, "else"); s.kept[1] = sorted(s.server) },
		"fewer":   func(s *snapshots) { s.kept[1] = s.kept[1][:20] },
		"more":    func(s *snapshots) { s.kept[1] = slices.Insert(s.kept[1], 50, kivaloo.Pair{Key: []byte("key 00049+")}) },
		"none":    func(s *snapshots) { s.kept[1] = nil },
	} {
		t.Run(name, func(t *testing.T) {
			s, c, p := interrupted(t)
			change(s)
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
		if err := dialFake(t, newSnapshots(1).server).Backup(within(t), io.Discard, kivaloo.BackupOptions{Resume: p}); !errors.Is(err, kivaloo.ErrSnapshotGone) {
			t.Error(err)
		}
	})
}

// What a server that does not know backups, is stopped, or makes no sense leads to.
func TestClientBackupErrors(t *testing.T) {
	for _, tc := range []struct {
		name  string
		twist func(n int, a *wire.KVBackup) bool
		is    error
	}{
		{"unknown", func(int, *wire.KVBackup) bool { return false }, kivaloo.ErrNoBackups},
		{"lost", func(n int, _ *wire.KVBackup) bool { return n < 3 }, io.EOF},
		{"gone", func(n int, a *wire.KVBackup) bool {
			if n == 3 {
				a.Status = wire.BackupGone
			}
			return true
		}, kivaloo.ErrSnapshotGone},
		{"too many", func(_ int, a *wire.KVBackup) bool { a.Status = wire.BackupTooMany; return true }, kivaloo.ErrTooManySnapshots},
		{"failed at first", func(_ int, a *wire.KVBackup) bool { a.Status = wire.BackupFailed; return true }, kivaloo.ErrBackupFailed},
		{"failed", func(n int, a *wire.KVBackup) bool { a.Status = wire.BackupFailed * uint32(n/3); return true }, kivaloo.ErrBackupFailed},
		{"another snapshot", func(n int, a *wire.KVBackup) bool { a.Snapshot += uint64(n / 3); return true }, wire.ErrBadRecord},
		{"in circles", func(n int, a *wire.KVBackup) bool { a.Next = a.Next[:min(len(a.Next), 9/n)]; return true }, wire.ErrBadRecord},
		{"the same again", func(n int, a *wire.KVBackup) bool {
			if n == 2 {
				a.N, a.Pairs = 1, wiretest.AppendPair(nil, "key 00000", "then")
			}
			return true
		}, wire.ErrBadRecord},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSnapshots(300)
			c := dialFake(t, s.server)
			put(s.server, 100, "then")
			s.twist = tc.twist
			var out bytes.Buffer
			err := c.Backup(within(t), &out, kivaloo.BackupOptions{})
			if !errors.Is(err, tc.is) || !errors.As(err, new(*kivaloo.OpError)) || strings.Contains(err.Error(), "taken effect") {
				t.Errorf("got %v, want %v", err, tc.is)
			}
			if tc.is != kivaloo.ErrNoBackups && errors.Is(err, kivaloo.ErrNoBackups) {
				t.Errorf("a server that offers backups: %v", err)
			}
			if tc.is == kivaloo.ErrTooManySnapshots && !strings.Contains(err.Error(), "try again in a minute") {
				t.Errorf("%v does not say what to do", err)
			}
			if err := kivaloo.Restore(t.Context(), &out, t.TempDir(), kivaloo.Options{}, kivaloo.RestoreOptions{}); !errors.Is(err, kivaloo.ErrBadBackup) {
				t.Errorf("what has been written restores: %v", err)
			}
		})
	}
}

// A server that ends instead of answering may well offer backups.
func TestClientBackupServerEnds(t *testing.T) {
	s := &wiretest.Server{}
	path := t.TempDir() + "/s"
	ln, err := net.Listen("unix", path)
	must.Do(t, err)
	s.Hook = func(uint64, wire.KVRequest) ([]byte, wiretest.Verdict) {
		ln.Close()
		return nil, wiretest.HangUp
	}
	t.Cleanup(s.Listen(ln))
	c, err := kivaloo.Dial(t.Context(), path, kivaloo.DialOptions{})
	must.Do(t, err)
	t.Cleanup(func() { c.Close() })
	if err := c.Backup(within(t), io.Discard, kivaloo.BackupOptions{}); !errors.Is(err, io.EOF) || errors.Is(err, kivaloo.ErrNoBackups) {
		t.Errorf("got %v", err)
	}
}

// A writer that takes its time does not lose the snapshot.
func TestClientBackupKeepsSnapshot(t *testing.T) {
	s := newSnapshots(300)
	c := dialFake(t, s.server)
	want := contents(put(s.server, 50, "then"))
	kept := make(chan bool)
	s.twist = func(n int, a *wire.KVBackup) bool {
		if n == 5 { // no more than two are for pieces by then
			close(kept)
		}
		return true
	}
	var out bytes.Buffer
	pieces := 0
	must.Do(t, c.Backup(within(t), &out, kivaloo.BackupOptions{Progress: func(int64, int64) {
		if pieces++; pieces == 2 {
			<-kept
		}
	}}.KeepSnapshotEvery(time.Millisecond)))
	want.same(t, restored(t, out.Bytes()))
}

// A context ends a backup between two pieces, and the connection lives on.
func TestClientBackupCancelled(t *testing.T) {
	s := newSnapshots(300)
	c := dialFake(t, s.server)
	put(s.server, 100, "then")
	ctx, cancel := context.WithCancel(within(t))
	err := c.Backup(ctx, io.Discard, kivaloo.BackupOptions{Progress: func(int64, int64) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	must.Do(t, c.Set(within(t), []byte("k"), []byte("v")))
}
