package kivaloo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kv "kivaloo"
	"kivaloo/internal/must"
	"kivaloo/wire/wiretest"
)

// smallCache has room for only a part of what the tests here store.
const smallCache = 1024 * 512

// openDB opens a store and closes it at the end of the test.
func openDB(t testing.TB, dir string, o kv.Options) *kv.DB {
	t.Helper()
	db, err := kv.Open(dir, o)
	must.Do(t, err)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// eventually waits until cond holds. It is patient, because the machine may be busy.
func eventually(t testing.TB, cond func() bool) {
	t.Helper()
	must.Eventually(t, "what the test waits for", cond)
}

// contents is the content of a store.
type contents map[string]string

// gather returns the pairs of a Range, and checks that they ascend.
func gather(t testing.TB, pairs func(func(kv.Pair, error) bool)) contents {
	t.Helper()
	all, last := contents{}, ""
	for p, err := range pairs {
		must.Do(t, err)
		if len(all) > 0 && string(p.Key) <= last {
			t.Fatalf("%q comes after %q", p.Key, last)
		}
		last = string(p.Key)
		all[last] = string(p.Value)
	}
	return all
}

func (c contents) same(t testing.TB, got contents) {
	t.Helper()
	if diff := wiretest.Model(c).Diff(wiretest.Model(got)); diff != "" {
		t.Fatal(diff)
	}
}

func (c contents) between(start, end string) contents {
	part := contents{}
	for k, v := range c {
		if k >= start && (end == "" || k < end) {
			part[k] = v
		}
	}
	return part
}

// TestDBModel makes random changes, reads and reopens, and compares with a map.
func TestDBModel(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "for", "it")
	want := contents{}
	key := func() string { return fmt.Sprintf("%060d", rand.IntN(8000)) }
	for range 4 {
		db := openDB(t, dir, kv.Options{BlockSize: 512, CacheBytes: smallCache, NoSync: true})
		b := new(kv.Batch)
		for range 3000 {
			k := key()
			if rand.IntN(3) > 0 {
				want[k] = fmt.Sprint(rand.IntN(1000))
				b.Set([]byte(k), []byte(want[k]))
			} else {
				delete(want, k)
				b.Delete([]byte(k))
			}
		}
		must.Do(t, db.Apply(t.Context(), b))
		if b.Reset(); b.Len() != 0 {
			t.Errorf("%d changes after Reset", b.Len())
		}
		for range 200 {
			k := key()
			got, err := db.Get(t.Context(), []byte(k))
			if v, ok := want[k]; ok != (err == nil) || string(got) != v || err != nil && err != kv.ErrNotFound {
				t.Fatalf("%q: %q, %v; want %q, %t", k, got, err, v, ok)
			}
			start, end := key(), key()
			if rand.IntN(5) == 0 {
				end = ""
			}
			want.between(start, end).same(t, gather(t, db.Range(t.Context(), []byte(start), []byte(end))))
		}
		want.same(t, gather(t, db.Range(t.Context(), nil, nil)))
		must.Do(t, db.Verify(t.Context()))
		must.Do(t, db.Close())
	}
}

// TestDBOperations checks the result of each operation.
func TestDBOperations(t *testing.T) {
	db := openDB(t, t.TempDir(), kv.Options{NoSync: true})
	ctx, k := t.Context(), []byte("key")
	step := 0
	is := func(done bool, err error, want bool, value string) {
		t.Helper()
		step++
		must.Do(t, err)
		got, err := db.Get(ctx, k)
		if value == "-" {
			if got != nil || err != kv.ErrNotFound {
				t.Errorf("step %d: %q, %v", step, got, err)
			}
		} else if err != nil || string(got) != value {
			t.Errorf("step %d: %q, %v; want %q", step, got, err, value)
		}
		if done != want {
			t.Errorf("step %d: %t", step, done)
		}
	}
	is(true, db.Delete(ctx, k), true, "-")
	done, err := db.Modify(ctx, k, []byte("a"))
	is(done, err, false, "-")
	done, err = db.Add(ctx, k, []byte("b"))
	is(done, err, true, "b")
	done, err = db.Add(ctx, k, []byte("c"))
	is(done, err, false, "b")
	done, err = db.Modify(ctx, k, []byte("d"))
	is(done, err, true, "d")
	done, err = db.CompareAndSwap(ctx, k, []byte("x"), []byte("e"))
	is(done, err, false, "d")
	done, err = db.CompareAndSwap(ctx, k, []byte("d"), []byte("f"))
	is(done, err, true, "f")
	done, err = db.CompareAndDelete(ctx, k, []byte("x"))
	is(done, err, false, "f")
	done, err = db.CompareAndDelete(ctx, k, []byte("f"))
	is(done, err, true, "-")
	is(true, db.Set(ctx, k, nil), true, "")
	if got, err := db.AppendGet(ctx, []byte("the "), k); string(got) != "the " || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := db.AppendGet(ctx, []byte("no "), []byte("other")); string(got) != "no " || err != kv.ErrNotFound {
		t.Errorf("%q, %v", got, err)
	}
}

// TestDBConcurrent checks that many goroutines, each with keys of its own, see their own changes
// immediately.
func TestDBConcurrent(t *testing.T) {
	db := openDB(t, t.TempDir(), kv.Options{BlockSize: 512, CacheBytes: smallCache, NoSync: true})
	var group sync.WaitGroup
	for g := range 20 {
		group.Go(func() {
			ctx, mine := t.Context(), contents{}
			for i := range 300 {
				key, value := fmt.Sprintf("%d/%055d", g, rand.IntN(100)), fmt.Sprint(i)
				if err := db.Set(ctx, []byte(key), []byte(value)); err != nil {
					t.Error(err)
				}
				mine[key] = value
				for k, v := range mine {
					if got, err := db.Get(ctx, []byte(k)); err != nil || string(got) != v {
						t.Errorf("%q: %q, %v; want %q", k, got, err, v)
					}
					break
				}
			}
			for p, err := range db.Range(ctx, fmt.Appendf(nil, "%d/", g), fmt.Appendf(nil, "%d0", g)) {
				if err != nil || mine[string(p.Key)] != string(p.Value) {
					t.Errorf("%q: %q, %v", p.Key, p.Value, err)
				}
				delete(mine, string(p.Key))
			}
			if len(mine) > 0 {
				t.Errorf("%d pairs are missing", len(mine))
			}
		})
	}
	group.Wait()
	must.Do(t, db.Verify(t.Context()))
	if s := db.Stats(); s.ReadOnly || s.Commits == 0 || s.Commits > 6000 || s.Written == 0 || s.Pages == 0 || s.CachedPages == 0 || s.DiskBytes < 512*s.Pages || s.Height < 2 {
		t.Errorf("%+v", s)
	}
}

// TestSnapshotStays checks that a snapshot shows one moment, while batches move amounts between
// keys and keep their sum.
func TestSnapshotStays(t *testing.T) {
	db := openDB(t, t.TempDir(), kv.Options{BlockSize: 512, CacheBytes: smallCache, NoSync: true})
	ctx := t.Context()
	const accounts, each = 8000, 100
	key := func(i int) []byte { return fmt.Appendf(nil, "%060d", i) }
	b := new(kv.Batch)
	for i := range accounts {
		b.Set(key(i), fmt.Append(nil, each))
	}
	must.Do(t, db.Apply(ctx, b))
	stop := make(chan bool)
	var group sync.WaitGroup
	group.Go(func() {
		balance := slices.Repeat([]int{each}, accounts)
		for {
			select {
			case <-stop:
				return
			default:
			}
			b.Reset()
			for range 20 {
				from, to, n := rand.IntN(accounts), rand.IntN(accounts), rand.IntN(10)
				balance[from] -= n
				balance[to] += n
				b.Set(key(from), fmt.Append(nil, balance[from]))
				b.Set(key(to), fmt.Append(nil, balance[to]))
			}
			if err := db.Apply(ctx, b); err != nil {
				t.Error(err)
			}
		}
	})
	for range 6 {
		s, err := db.Snapshot(ctx)
		must.Do(t, err)
		var first contents
		for range 2 {
			sum, all := 0, gather(t, s.Range(ctx, nil, nil))
			for _, v := range all {
				n := 0
				fmt.Sscan(v, &n)
				sum += n
			}
			if sum != accounts*each || len(all) != accounts {
				t.Errorf("%d accounts have %d", len(all), sum)
			}
			if first != nil {
				first.same(t, all)
			}
			first = all
		}
		asked := 0
		for k, v := range first { // in any order
			if got, err := s.Get(ctx, []byte(k)); err != nil || string(got) != v {
				t.Errorf("%q: %q, %v; want %q", k, got, err, v)
			}
			if asked++; asked == accounts/16 {
				break
			}
		}
		must.Do(t, s.Close())
		must.Do(t, s.Close())
		if _, err := s.Get(ctx, key(1)); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("Get from a closed snapshot: %v", err)
		}
		for _, err := range s.Range(ctx, nil, nil) {
			if !errors.Is(err, kv.ErrClosed) {
				t.Errorf("Range over a closed snapshot: %v", err)
			}
		}
	}
	close(stop)
	group.Wait()
	if n := db.Stats().Snapshots; n != 0 {
		t.Errorf("%d snapshots are open", n)
	}
	events, next := db.Events(0)
	if i := slices.IndexFunc(events, func(e kv.Event) bool { return e.Kind == "snapshot" && !e.Ongoing }); i < 0 || next == 0 {
		t.Errorf("no snapshot is among the events: %v", events)
	}
	if later, _ := db.Events(next); slices.ContainsFunc(later, func(e kv.Event) bool { return !e.Ongoing }) {
		t.Errorf("nothing has happened since, and it is told: %v", later)
	}
}

// TestDroppedSnapshot checks that a snapshot that became unreachable is closed and named in the
// log.
func TestDroppedSnapshot(t *testing.T) {
	var text lockedBuffer
	db := openDB(t, t.TempDir(), kv.Options{Log: slog.New(slog.NewTextHandler(&text, nil))})
	_, err := db.Snapshot(t.Context())
	must.Do(t, err)
	for range 500 {
		runtime.GC()
		if db.Stats().Snapshots == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n := db.Stats().Snapshots; n != 0 || !strings.Contains(text.String(), "db_test.go:") {
		t.Errorf("%d snapshots, the log says %q", n, text.String())
	}
}

// lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestSlowScan checks that a slow scan sees its moment to the end while everything is overwritten
// repeatedly. Closing its snapshot must free the disk space. The torture form takes minutes.
func TestSlowScan(t *testing.T) {
	t.Parallel()
	times, pause := 8, time.Duration(0)
	if os.Getenv("KIVALOO_TORTURE") != "" {
		times, pause = 500, 400*time.Millisecond
	}
	const pairs = 5000
	db := openDB(t, t.TempDir(), kv.Options{BlockSize: 512, CacheBytes: smallCache, NoSync: true})
	ctx := t.Context()
	overwrite := func(version int) {
		b := new(kv.Batch)
		for i := range pairs {
			b.Set(fmt.Appendf(nil, "%060d", i), fmt.Append(nil, version))
		}
		must.Do(t, db.Apply(ctx, b))
	}
	overwrite(0)
	s, err := db.Snapshot(ctx)
	must.Do(t, err)
	version, seen := 0, 0
	for p, err := range s.Range(ctx, nil, nil) {
		must.Do(t, err)
		if want := fmt.Sprintf("%060d", seen); string(p.Key) != want || string(p.Value) != "0" {
			t.Fatalf("%q is %q", p.Key, p.Value)
		}
		seen++
		if seen%(pairs/times) == 0 {
			version++
			overwrite(version)
			time.Sleep(pause)
		}
	}
	if seen != pairs {
		t.Errorf("%d pairs", seen)
	}
	held := db.Stats().DiskBytes
	must.Do(t, s.Close())
	overwrite(version + 1)
	stats := db.Stats()
	if live := stats.Pages * int64(stats.BlockSize); held < 3*live || stats.Snapshots != 0 {
		t.Errorf("%d bytes were kept for the scan, for pages of %d; %d snapshots", held, live, stats.Snapshots)
	}
	eventually(t, func() bool { // the flush of what was overwritten continues
		stats := db.Stats()
		return stats.DiskBytes <= 3*stats.Pages*int64(stats.BlockSize)
	})
}

// TestCheckpoint checks that a copy is a complete store of one moment, and that none is made in a
// directory that is not empty.
func TestCheckpoint(t *testing.T) {
	db := openDB(t, t.TempDir(), kv.Options{BlockSize: 1024, MaxKey: 20})
	want := contents{}
	b := new(kv.Batch)
	for i := range 25_000 {
		key := fmt.Sprintf("%08d", i)
		want[key] = "v"
		b.Set([]byte(key), []byte("v"))
	}
	must.Do(t, db.Apply(t.Context(), b))
	dir := filepath.Join(t.TempDir(), "to", "copy")
	must.Do(t, db.Checkpoint(t.Context(), dir))
	must.Do(t, db.Set(t.Context(), []byte("later"), nil))
	copied := openDB(t, dir, kv.Options{})
	want.same(t, gather(t, copied.Range(t.Context(), nil, nil)))
	must.Do(t, copied.Verify(t.Context()))
	if s := copied.Stats(); s.BlockSize != 1024 {
		t.Errorf("blocks of %d bytes", s.BlockSize)
	}
	if err := db.Checkpoint(t.Context(), dir); !errors.Is(err, kv.ErrNotEmpty) {
		t.Errorf("over another store: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	other := filepath.Join(filepath.Dir(dir), "other")
	if err := db.Checkpoint(ended, other); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	if names, _ := os.ReadDir(filepath.Dir(dir)); len(names) != 1 {
		t.Errorf("what is left: %v", names)
	}
}

// TestDBClose checks that operations during and after Close end, and that no acknowledged change is
// lost.
func TestDBClose(t *testing.T) {
	for range 5 {
		dir := t.TempDir()
		db := openDB(t, dir, kv.Options{NoSync: true})
		s, err := db.Snapshot(t.Context())
		must.Do(t, err)
		var group sync.WaitGroup
		var written [8]atomic.Int64
		for g := range written {
			group.Go(func() {
				for i := int64(1); ; i++ {
					key := fmt.Appendf(nil, "%d/%d", g, i)
					if err := db.Set(t.Context(), key, key); err != nil {
						if !errors.Is(err, kv.ErrClosed) {
							t.Error(err)
						}
						return
					}
					written[g].Store(i)
					if _, err := db.Get(t.Context(), key); err != nil && !errors.Is(err, kv.ErrClosed) {
						t.Error(err)
					}
				}
			})
		}
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
		must.Do(t, db.Close())
		group.Wait()
		must.Do(t, s.Close())
		if _, err := db.Snapshot(t.Context()); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("Snapshot: %v", err)
		}
		for _, err := range db.Range(t.Context(), nil, nil) {
			if !errors.Is(err, kv.ErrClosed) {
				t.Errorf("Range: %v", err)
			}
		}
		db = openDB(t, dir, kv.Options{})
		for g := range written {
			for i := int64(1); i <= written[g].Load(); i++ {
				key := fmt.Appendf(nil, "%d/%d", g, i)
				if got, err := db.Get(t.Context(), key); err != nil || !bytes.Equal(got, key) {
					t.Fatalf("%q: %q, %v", key, got, err)
				}
			}
		}
	}
}

// TestDBContext checks that an ended context keeps an operation from starting. If it ends during a
// change, the change may or may not have been made.
func TestDBContext(t *testing.T) {
	db := openDB(t, t.TempDir(), kv.Options{CommitDelay: 200 * time.Millisecond})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, getErr := db.Get(ended, nil)
	_, snapshotErr := db.Snapshot(ended)
	_, paramsErr := db.Params(ended)
	for _, err := range []error{getErr, snapshotErr, paramsErr, db.Set(ended, nil, nil), db.Verify(ended)} {
		var op *kv.OpError
		if !errors.As(err, &op) || op.Sent || !errors.Is(err, context.Canceled) {
			t.Errorf("before: %v", err)
		}
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	var op *kv.OpError
	if err := db.Set(short, []byte("k"), []byte("v")); !errors.As(err, &op) || !op.Sent || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("meanwhile: %v", err)
	}
	must.Do(t, db.Set(t.Context(), []byte("l"), nil))
	if got, err := db.Get(t.Context(), []byte("k")); !errors.Is(err, kv.ErrNotFound) && (err != nil || string(got) != "v") {
		t.Errorf("the change that was under way: %q, %v", got, err)
	}
}

func TestDBTooLong(t *testing.T) {
	db := openDB(t, t.TempDir(), kv.Options{MaxKey: 10, MaxValue: 20})
	if err := db.Apply(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "nil") {
		t.Errorf("no batch: %v", err)
	}
	ctx, eleven, long := t.Context(), make([]byte, 11), make([]byte, 256)
	b := new(kv.Batch)
	b.Set(eleven, nil)
	b.Set([]byte("k"), nil)
	_, get := db.Get(ctx, long)
	_, cas := db.CompareAndSwap(ctx, nil, long, nil)
	_, add := db.Add(ctx, nil, make([]byte, 21))
	for i, err := range []error{get, cas, add, db.Set(ctx, eleven, nil), db.Delete(ctx, long), db.Apply(ctx, b)} {
		var op *kv.OpError
		if !errors.Is(err, kv.ErrTooLong) || !errors.As(err, &op) || op.Sent {
			t.Errorf("%d: %v", i, err)
		}
	}
	if _, err := db.Get(ctx, []byte("k")); err != kv.ErrNotFound {
		t.Errorf("the rest of a batch that cannot be: %v", err)
	}
	if p, err := db.Params(ctx); p != (kv.Params{MaxKey: 10, MaxValue: 20}) || err != nil {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestOpenRefuses checks that Open names what is wrong with the directory or the options, and
// touches nothing.
func TestOpenRefuses(t *testing.T) {
	store := t.TempDir()
	db := openDB(t, store, kv.Options{BlockSize: 1024})
	must.Do(t, db.Set(t.Context(), []byte("k"), []byte("v")))
	other := t.TempDir()
	must.Do(t, openDB(t, other, kv.Options{BlockSize: 1024}).Close())
	empty := filepath.Join(t.TempDir(), "empty")
	for _, test := range []struct {
		dir  string
		o    kv.Options
		is   error
		says string
	}{
		{dir: store, is: kv.ErrLocked},
		{dir: store, o: kv.Options{ReadOnly: true}, is: kv.ErrLocked},
		{dir: other, o: kv.Options{BlockSize: 2048}, says: "has blocks of 1024 bytes, not 2048"},
		{dir: empty, o: kv.Options{ReadOnly: true}, says: "no store"},
	} {
		db, err := kv.Open(test.dir, test.o)
		if err == nil {
			db.Close()
			t.Errorf("%+v: no error", test.o)
			continue
		}
		if !strings.Contains(err.Error(), test.says) || test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.dir) {
			t.Errorf("%+v: %v", test.o, err)
		}
	}
	if _, err := os.Stat(empty); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory that was refused: %v", err)
	}
}

// TestDBReadOnly checks that several DBs can read one store, and that none can change it.
func TestDBReadOnly(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, dir, kv.Options{})
	must.Do(t, db.Set(t.Context(), []byte("k"), []byte("v")))
	must.Do(t, db.Close())
	before := dirContent(t, dir)
	for _, wait := range []time.Duration{0, 1100 * time.Millisecond} { // housekeeping runs every second
		db := openDB(t, dir, kv.Options{ReadOnly: true})
		if got, err := db.Get(t.Context(), []byte("k")); string(got) != "v" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		var op *kv.OpError
		if err := db.Set(t.Context(), []byte("k"), []byte("w")); !errors.Is(err, kv.ErrReadOnly) || !errors.As(err, &op) || op.Sent {
			t.Errorf("%v", err)
		}
		// What only looks at the store goes on.
		must.Do(t, db.Update(t.Context(), func(tx *kv.Tx) error {
			_, err := tx.Has([]byte("k"))
			return err
		}))
		for _, c := range []struct {
			require func(b *kv.Batch)
			err     error
		}{
			{func(b *kv.Batch) { b.RequirePresent([]byte("k")) }, nil},
			{func(b *kv.Batch) { b.RequireAbsent([]byte("none")) }, nil},
			{func(b *kv.Batch) { b.RequirePresent([]byte("none")) }, kv.ErrConflict},
			{func(b *kv.Batch) { b.RequireAbsent([]byte("k")) }, kv.ErrConflict},
			{func(b *kv.Batch) { b.RequireValue([]byte("k"), []byte("another")) }, kv.ErrConflict},
		} {
			var b kv.Batch
			c.require(&b)
			if err := db.Apply(t.Context(), &b); !errors.Is(err, c.err) {
				t.Errorf("conditions alone: %v, want %v", err, c.err)
			}
		}
		if !db.Stats().ReadOnly {
			t.Error("Stats do not say that it is read-only")
		}
		time.Sleep(wait)
		must.Do(t, db.Verify(t.Context()))
	}
	before.same(t, dirContent(t, dir))
}

// dirContent returns the files of a directory.
func dirContent(t *testing.T, dir string) contents {
	t.Helper()
	c := contents{}
	files, err := os.ReadDir(dir)
	must.Do(t, err)
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		must.Do(t, err)
		c[f.Name()] = string(text)
	}
	return c
}

// TestDBCorrupt checks that reads of a damaged page, and Verify, return an error that names the
// block.
func TestDBCorrupt(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, dir, kv.Options{BlockSize: 512, JournalBytes: -1})
	b := new(kv.Batch)
	for i := range 100 {
		b.Set(fmt.Appendf(nil, "%060d", i), make([]byte, 50))
	}
	must.Do(t, db.Apply(t.Context(), b))
	must.Do(t, db.Close())
	files, _ := filepath.Glob(filepath.Join(dir, "blks_*"))
	text, err := os.ReadFile(files[len(files)-1])
	must.Do(t, err)
	// The page must not be part of the last commit, or a start would pass over that commit: the one
	// before it has the same leaves.
	at := bytes.Index(text, fmt.Appendf(nil, "%060d", 50))
	db = openDB(t, dir, kv.Options{JournalBytes: -1})
	must.Do(t, db.Set(t.Context(), []byte("z"), nil))
	must.Do(t, db.Close())
	f, err := os.OpenFile(files[len(files)-1], os.O_WRONLY, 0)
	must.Do(t, err)
	_, err = f.WriteAt([]byte("damage"), int64(at))
	must.Do(t, errors.Join(err, f.Close()))

	db = openDB(t, dir, kv.Options{})
	_, get := db.Get(t.Context(), fmt.Appendf(nil, "%060d", 50))
	for what, err := range map[string]error{
		"Get": get, "Verify": db.Verify(t.Context()),
	} {
		var corrupt *kv.CorruptionError
		if !errors.As(err, &corrupt) || corrupt.Block == 0 {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := db.Get(t.Context(), fmt.Appendf(nil, "%060d", 99)); err != nil {
		t.Errorf("another page: %v", err)
	}
	last := error(nil)
	for _, err := range db.Range(t.Context(), nil, nil) {
		last = err
	}
	if !errors.As(last, new(*kv.CorruptionError)) {
		t.Errorf("Range: %v", last)
	}
}

// TestDBAllocations checks that reading into a buffer allocates nothing. The race detector makes
// pools drop items at random.
func TestDBAllocations(t *testing.T) {
	db := openDB(t, t.TempDir(), kv.Options{NoSync: true})
	key := []byte("key")
	must.Do(t, db.Set(t.Context(), key, []byte("value")))
	buf := make([]byte, 0, 100)
	if n := testing.AllocsPerRun(1000, func() { db.AppendGet(t.Context(), buf, key) }); n >= 1 {
		t.Errorf("AppendGet allocates %v times", n)
	}
	if n := testing.AllocsPerRun(1000, func() { db.Get(t.Context(), key) }); n >= 2 {
		t.Errorf("Get allocates %v times", n)
	}
}
