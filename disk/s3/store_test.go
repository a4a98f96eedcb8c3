package s3

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"kivaloo/actors"
	"kivaloo/disk"
	"kivaloo/internal/must"
)

func TestAppendAndReopen(t *testing.T) {
	in(t, func(t *testing.T) {
		m := newMemory()
		s := opened(t, m, Options{NewBlockSize: size})
		if info := s.Info(); info != (disk.Info{BlockSize: size, Next: firstBlock(2), Last: disk.NoBlock}) {
			t.Errorf("a new store: %+v", info)
		}
		a, b := appended(t, s, "a", 3), appended(t, s, "b", 1)
		if a != firstBlock(2) || b != firstBlock(3) || s.Info().Last != b {
			t.Errorf("blocks %d and %d, then %+v", a, b, s.Info())
		}
		closed(t, s)
		s = opened(t, m, Options{})
		if info := s.Info(); info != (disk.Info{BlockSize: size, Next: firstBlock(5), Last: b}) {
			t.Errorf("opened again: %+v", info)
		}
		for block, want := range map[uint64]string{a: "a/0", a + 1: "a/1", a + 2: "a/2", a + 3: "-", b: "b/0", b + 1: "-", 0: "-", firstBlock(4): "-", s.Info().Next: "-"} {
			if got := text(t, s, block); got != want {
				t.Errorf("block %x is %q, want %q", block, got, want)
			}
		}
		if c := appended(t, s, "c", 1); c != firstBlock(5) {
			t.Errorf("block %x", c)
		}
		closed(t, s)
		if counts := s.Counts(); counts["PUT"].Requests < 3 || counts["GET"].Bytes < 4*size || counts["PUT"].Failures != 0 || len(counts) != len(Kinds) {
			t.Errorf("%+v", counts)
		}
	})
}

// Starts without an append between them leave a fence each, but do not make the next one slower.
func TestManyStarts(t *testing.T) {
	in(t, func(t *testing.T) {
		m := newMemory()
		s := opened(t, m, Options{NewBlockSize: size})
		at := appended(t, s, "a", 1)
		closed(t, s)
		most := 0
		for range 100 {
			before := m.count("HEAD")
			s := opened(t, m, Options{})
			if s.Info().Last != at {
				t.Fatalf("%+v", s.Info())
			}
			closed(t, s)
			most = max(most, m.count("HEAD")-before)
		}
		if most > 30 {
			t.Errorf("a start sent %d HEADs", most)
		}
	})
}

// A store of the original has no settings. Its last object may be empty, and it has no metadata.
func TestOriginal(t *testing.T) {
	in(t, func(t *testing.T) {
		m := newMemory()
		for n, blocks := range []int{0, 2, 3, 0, 0} {
			var content []byte
			for _, p := range pages(fmt.Sprint(n+1), blocks) {
				content = append(content, p...)
			}
			m.objects[objectKey(uint64(n+1))] = memoryObject{content: content}
		}
		m.objects[markerKey] = memoryObject{content: binary.BigEndian.AppendUint64(nil, 2)}
		if _, err := open(t.Context(), m, Options{NewBlockSize: size, Log: quiet}); !errors.Is(err, ErrBlockSizeNeeded) {
			t.Errorf("without a block size: %v", err)
		}
		if _, err := open(t.Context(), m, Options{BlockSize: 1000, Log: quiet}); !errors.Is(err, disk.ErrCorrupt) {
			t.Errorf("with a wrong block size: %v", err)
		}
		delete(m.objects, settingsKey)
		s := opened(t, m, Options{BlockSize: size})
		defer closed(t, s)
		if last := s.Info().Last; last != firstBlock(3)+2 || text(t, s, last) != "3/2" {
			t.Errorf("the last block is %x: %q", last, text(t, s, last))
		}
	})
}

// A store whose objects are gone is no new one.
func TestObjectsGone(t *testing.T) {
	in(t, func(t *testing.T) {
		m := newMemory()
		s := opened(t, m, Options{NewBlockSize: size})
		appended(t, s, "a", 1)
		closed(t, s)
		closed(t, opened(t, m, Options{}))
		for n := uint64(1); n < 10; n++ {
			delete(m.objects, objectKey(n))
		}
		if _, err := open(t.Context(), m, Options{NewBlockSize: size, Log: quiet}); !errors.Is(err, disk.ErrCorrupt) || !strings.Contains(err.Error(), "deleted by hand") {
			t.Error(err)
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	for want, change := range map[string]func(m *memory, o *Options){
		"no store":            func(m *memory, o *Options) { o.NewBlockSize = 0 },
		"100 is not between":  func(m *memory, o *Options) { o.NewBlockSize = 100 },
		"1001 readers":        func(m *memory, o *Options) { o.Readers = 1001 },
		"DeletedMarker has 3": func(m *memory, o *Options) { m.objects[markerKey] = memoryObject{content: []byte("abc")} },
		"format 2":            func(m *memory, o *Options) { m.objects[settingsKey] = memoryObject{content: []byte(`{"format":2}`)} },
		"is not the settings": func(m *memory, o *Options) { m.objects[settingsKey] = memoryObject{content: []byte(`format`)} },
		"blocks have 7 bytes": func(m *memory, o *Options) {
			m.objects[settingsKey] = memoryObject{content: []byte(`{"format":1,"block_size":7}`)}
		},
		"512 bytes, not 1024": func(m *memory, o *Options) {
			m.objects[settingsKey] = memoryObject{content: []byte(`{"format":1,"block_size":512}`)}
			o.BlockSize = 1024
		},
		"If-None-Match":        func(m *memory, o *Options) { m.careless = true },
		"the service is down;": nil,
	} {
		in(t, func(t *testing.T) {
			m, o := newMemory(), Options{NewBlockSize: size, Log: quiet}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if change == nil {
				m.downUntil = time.Now().Add(time.Hour)
				want = "the service is down"
			} else {
				change(m, &o)
			}
			puts := m.count("PUT")
			if _, err := open(ctx, m, o); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want an error with %q", err, want)
			} else if !m.careless && change != nil && m.count("PUT") != puts {
				t.Errorf("%v, but something was put", err)
			}
		})
	}
}

// A writer that another has replaced fails with who that was, at its next append or when it looks.
func TestFenced(t *testing.T) {
	in(t, func(t *testing.T) {
		m := newMemory()
		first := opened(t, m, Options{NewBlockSize: size, LookEvery: -1})
		idle := opened(t, m, Options{})
		appended(t, idle, "idle", 1)
		second := opened(t, m, Options{Writer: "the second"})
		for _, s := range []*Store{first, idle} {
			if s == idle {
				waitLost(t, s)
			}
			_, ok, err := disk.AppendPages(s, s.Info().Next, pages("late", 1))
			if ok || !errors.Is(err, ErrFenced) || !errors.Is(err, disk.ErrFailed) || s == idle && !strings.Contains(err.Error(), "the second, since 2000-") {
				t.Errorf("the append of a writer that has been replaced: ok %v, %v", ok, err)
			}
			waitLost(t, s)
			if !errors.Is(s.Err(), ErrFenced) {
				t.Error(s.Err())
			}
		}
		at := appended(t, second, "second", 1)
		time.Sleep(time.Minute)
		if err := second.Err(); err != nil || text(t, second, at) != "second/0" {
			t.Errorf("the writer: %v", err)
		}
		for _, s := range []*Store{first, idle, second} {
			closed(t, s)
		}
	})
}

func waitLost(t *testing.T, s *Store) {
	t.Helper()
	select {
	case <-s.Lost():
	case <-time.After(time.Hour):
		t.Error("the store does not say that it has been lost")
	}
}

// An append waits for a service that is down, and reads fail in time. At a stop it does not wait.
func TestOutage(t *testing.T) {
	in(t, func(t *testing.T) {
		m := newMemory()
		s := opened(t, m, Options{NewBlockSize: size})
		at := appended(t, s, "before", 1)
		down := func(d time.Duration) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.downUntil = time.Now().Add(d)
		}
		down(5 * time.Minute)
		var reading sync.WaitGroup
		reading.Go(func() {
			began := time.Now()
			_, err := disk.ReadBlock(s, at, make([]byte, size))
			if !errors.Is(err, errDown) || time.Since(began) > readTime {
				t.Errorf("a read after %v: %v", time.Since(began), err)
			}
		})
		began := time.Now()
		appended(t, s, "during", 1)
		if took := time.Since(began); took < 5*time.Minute || took > 5*time.Minute+lastPause+time.Second {
			t.Errorf("the append took %v", took)
		}
		reading.Wait()
		if got := text(t, s, at); got != "before/0" {
			t.Errorf("block %x: %q", at, got)
		}
		down(time.Hour)
		began = time.Now()
		op := &disk.Op{Kind: disk.Append, Block: s.Info().Next, Pages: pages("never", 1), Done: disk.NewCompletions(new(actors.Doorbell))}
		s.Submit(op, op)
		s.Stopping()
		time.Sleep(closeTime / 2)
		closed(t, s)
		if op.OK || !errors.Is(op.Err, disk.ErrFailed) || time.Since(began) > closeTime+time.Second {
			t.Errorf("an append that was cut off: ok %v, %v, after %v", op.OK, op.Err, time.Since(began))
		}
	})
}

// hooked is a bucket that calls before on each put, and after with its outcome, which it may
// change.
type hooked struct {
	bucket
	before func(key string)
	after  func(key string, err error) error
}

func (h *hooked) put(ctx context.Context, key string, content []byte, when condition, by putter) (string, error) {
	if h.before != nil {
		h.before(key)
	}
	etag, err := h.bucket.put(ctx, key, content, when, by)
	if h.after != nil {
		err = h.after(key, err)
	}
	return etag, err
}

// A starter stalls after it has looked for the last object. Meanwhile the writer appends, and
// deletes what it has appended first, so the fence can be put, but far before the last object.
func TestStalledStarter(t *testing.T) {
	in(t, func(t *testing.T) {
		m := newMemory()
		writer := opened(t, m, Options{NewBlockSize: size})
		for n := range 12 {
			appended(t, writer, fmt.Sprint(n), 1)
		}
		stalled := objectKey(14)
		var last uint64
		s := opened(t, &hooked{bucket: m, before: func(key string) {
			if key == stalled {
				stalled = ""
				for n := range 12 {
					last = appended(t, writer, fmt.Sprint(n), 1)
				}
				free(writer, last)
				time.Sleep(time.Second)
				if m.has(key) {
					t.Fatal("the object where the fence goes has not been deleted")
				}
			}
		}}, Options{})
		if info := s.Info(); info.Last != last || info.Next <= last {
			t.Errorf("the last block is %x; the store says %+v", last, info)
		}
		if _, ok, err := disk.AppendPages(writer, writer.Info().Next, pages("late", 1)); ok || !errors.Is(err, ErrFenced) {
			t.Errorf("the old writer's append: ok %v, %v", ok, err)
		}
		appended(t, s, "new", 1)
		closed(t, writer)
		closed(t, s)
	})
}

// A put arrives, and its answer is lost. The repetition meets it, and has not been fenced by it.
func TestLostAnswers(t *testing.T) {
	in(t, func(t *testing.T) {
		m := newMemory()
		seen := make(map[string]bool)
		lossy := &hooked{bucket: m, after: func(key string, err error) error {
			if !seen[key] {
				seen[key] = true
				return errNetwork
			}
			return err
		}}
		s := opened(t, lossy, Options{NewBlockSize: size})
		at := appended(t, s, "a", 1)
		appended(t, s, "b", 1)
		if got := text(t, s, at); got != "a/0" || s.Counts()["PUT"].Retries < 3 {
			t.Errorf("%q, %+v", got, s.Counts())
		}
		closed(t, s)
		seen = make(map[string]bool)
		s = opened(t, lossy, Options{})
		appended(t, s, "c", 1)
		closed(t, s)
	})
}

// Of starters at the same moment, exactly one goes on.
func TestStartersAtOnce(t *testing.T) {
	in(t, func(t *testing.T) {
		m := newMemory()
		closed(t, opened(t, m, Options{NewBlockSize: size}))
		stores := make([]*Store, 5)
		var all sync.WaitGroup
		for i := range stores {
			all.Go(func() {
				stores[i] = opened(t, &network{bucket: m, random: rand.New(rand.NewPCG(uint64(i), 0))}, Options{})
			})
		}
		all.Wait()
		writers := 0
		for i, s := range stores {
			_, ok, err := disk.AppendPages(s, s.Info().Next, pages(fmt.Sprint(i), 1))
			if ok {
				writers++
			} else if !errors.Is(err, ErrFenced) {
				t.Error(err)
			}
			closed(t, s)
		}
		if writers != 1 {
			t.Errorf("%d writers", writers)
		}
	})
}

func TestRefusedAppends(t *testing.T) {
	in(t, func(t *testing.T) {
		s := opened(t, newMemory(), Options{NewBlockSize: size})
		defer closed(t, s)
		if _, ok, err := disk.AppendPages(s, s.Info().Next+1, pages("x", 1)); ok || err != nil {
			t.Errorf("an append elsewhere: ok %v, %v", ok, err)
		}
		for _, p := range [][][]byte{nil, {make([]byte, size-1)}} {
			if _, ok, err := disk.AppendPages(s, s.Info().Next, p); ok || err == nil {
				t.Errorf("an append of %d wrong pages: ok %v, %v", len(p), ok, err)
			}
		}
		if _, err := disk.ReadBlock(s, 0, make([]byte, 1)); err == nil {
			t.Error("a read into a wrong buffer")
		}
	})
}

// What is freed goes, as the original's lbs-s3 deletes it, but for fences.
func TestFree(t *testing.T) {
	in(t, func(t *testing.T) {
		m := newMemory()
		s := opened(t, m, Options{NewBlockSize: size})
		var at []uint64
		for n := range 40 {
			at = append(at, appended(t, s, fmt.Sprint(n), 1))
			if n == 10 {
				closed(t, s)
				s = opened(t, m, Options{}) // puts fence 13
			}
		}
		free(s, at[33])
		synctest.Wait()
		time.Sleep(time.Second)
		n, _ := objectOf(at[33])
		var want []string
		for i := uint64(1); i < n; i++ {
			for _, x := range passed(i) {
				if x != 13 {
					want = append(want, objectKey(x))
				}
			}
			if emptied(i) && i > 1 {
				want = append(want, objectKey(i)+"=")
			}
		}
		slices.Sort(want)
		deleted := slices.Sorted(slices.Values(m.gone()))
		if !slices.Equal(deleted, want) {
			t.Errorf("deleted:\n%v, want\n%v", deleted, want)
		}
		for i, block := range at[33:] {
			if got, want := text(t, s, block), fmt.Sprintf("%d/0", 33+i); got != want {
				t.Errorf("block %x is %q, want %q", block, got, want)
			}
		}
		free(s, 1<<63) // more than there is
		time.Sleep(time.Second)
		closed(t, s)
		s = opened(t, m, Options{})
		if last := s.Info().Last; last != at[39] || text(t, s, last) != "39/0" {
			t.Errorf("the last block is %x: %q", last, text(t, s, last))
		}
		closed(t, s)
	})
}

// Every 256 objects a marker is put, so a start does not delete all again; the pruned fences stay.
func TestMarker(t *testing.T) {
	in(t, func(t *testing.T) {
		m := newMemory()
		s := opened(t, m, Options{NewBlockSize: size})
		for n := range 600 {
			appended(t, s, fmt.Sprint(n), 1)
		}
		free(s, s.Info().Last)
		time.Sleep(time.Minute)
		closed(t, s)
		s = opened(t, m, Options{})
		if s.claimed.deleted != 512 || s.claimed.Pruned != 512 || slices.Contains(s.claimed.Fences, 1) {
			t.Errorf("deleted up to %d, pruned up to %d, fences %v", s.claimed.deleted, s.claimed.Pruned, s.claimed.Fences)
		}
		closed(t, s)
		// A writer of the past notes that it has deleted less. The fences that have been pruned
		// since must not be deleted for that.
		m.objects[markerKey] = memoryObject{content: binary.BigEndian.AppendUint64(nil, 256)}
		m.deleted = nil
		s = opened(t, m, Options{})
		free(s, s.Info().Last)
		time.Sleep(time.Minute)
		closed(t, s)
		for _, key := range m.gone() {
			if strings.TrimSuffix(key[5:], "=") < fmt.Sprintf("%016x", 512) {
				t.Errorf("%s was deleted again", key)
			}
		}
	})
}

// Deletions that fail are tried again with the next.
func TestFreeFails(t *testing.T) {
	in(t, func(t *testing.T) {
		m := newMemory()
		s := opened(t, m, Options{NewBlockSize: size})
		for n := range 10 {
			appended(t, s, fmt.Sprint(n), 1)
		}
		m.mu.Lock()
		m.failDelete = fatalError{errors.New("not allowed")}
		m.mu.Unlock()
		free(s, s.Info().Last)
		time.Sleep(time.Second)
		m.mu.Lock()
		m.failDelete = nil
		m.mu.Unlock()
		free(s, s.Info().Last)
		time.Sleep(time.Second)
		if m.has(objectKey(5)) {
			t.Error("object 5 is still there")
		}
		closed(t, s)
	})
}

// A recovery reads each object once, those ahead at the same time, and no more than a few too many.
func TestRecoveryReads(t *testing.T) {
	in(t, func(t *testing.T) {
		m := newMemory()
		s := opened(t, m, Options{NewBlockSize: size})
		const objects = 200
		var at []uint64
		for n := range objects {
			at = append(at, appended(t, s, fmt.Sprint(n), 4))
		}
		closed(t, s)
		s = opened(t, &network{bucket: m, random: rand.New(rand.NewPCG(1, 0))}, Options{})
		before, began := m.count("GET"), time.Now()
		read := func(block uint64) string {
			op := &disk.Op{Kind: disk.Read, Block: block, Buf: make([]byte, size), AsIs: true}
			bell := actors.NewWaiter()
			op.Done = disk.NewCompletions(&bell.Doorbell)
			s.Submit(op, op)
			for op.Done.Drain() == nil {
				bell.Wait(-1, op.Done.Empty)
			}
			must.Do(t, op.Err)
			return strings.TrimRight(string(op.Buf), "\x00")
		}
		for i := objects - 1; i >= objects-3; i-- { // the last root is looked for
			for b := 3; b >= 0; b-- {
				if got, want := read(at[i]+uint64(b)), fmt.Sprintf("%d/%d", i, b); got != want {
					t.Fatalf("%q, want %q", got, want)
				}
			}
		}
		for i, block := range at[:objects-3] {
			for b := range uint64(4) {
				if got, want := read(block+b), fmt.Sprintf("%d/%d", i, b); got != want {
					t.Fatalf("%q, want %q", got, want)
				}
			}
		}
		if gets := m.count("GET") - before; gets > objects+20 {
			t.Errorf("%d GETs of %d objects", gets, objects)
		}
		if took := time.Since(began); took > objects*20*time.Millisecond/4 {
			t.Errorf("reading %d objects took %v, one after the other it would be %v", objects, took, objects*20*time.Millisecond)
		}
		closed(t, s)
	})
}

// life is what one writer did.
type life struct {
	acked   map[uint64]string // blocks that it was told are durable
	freed   uint64
	claimed time.Time            // when its claim was over; zero if it was not
	fence   uint64               // the object that it put then
	began   map[uint64]time.Time // when each append that succeeded began
}

// Writers claim the store, append, delete, stall and die, with requests that are lost, late,
// repeated, and still under way when their sender is long dead. What was acknowledged is there at
// the end, and nothing is acknowledged that was begun after another writer's claim.
func TestWriters(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		writers := rapid.IntRange(1, 6).Draw(rt, "writers")
		in(t, func(t *testing.T) { writersLive(t, seed, writers) })
		if t.Failed() {
			rt.Fatalf("seed %d, %d writers", seed, writers)
		}
	})
}

func writersLive(t *testing.T, seed uint64, writers int) {
	m := newMemory()
	random := rand.New(rand.NewPCG(seed, 1))
	lives := make([]*life, writers)
	var all sync.WaitGroup
	for i := range lives {
		lives[i] = &life{acked: make(map[uint64]string), began: make(map[uint64]time.Time)}
		mine := rand.New(rand.NewPCG(seed, uint64(i)+2))
		start := time.Duration(random.IntN(1+random.IntN(120_000))) * time.Millisecond
		all.Go(func() {
			time.Sleep(start)
			lives[i].live(t, m, i, mine)
		})
	}
	all.Wait()
	time.Sleep(10 * time.Minute) // whatever is under way arrives
	s, err := open(t.Context(), m, Options{NewBlockSize: size, Log: quiet})
	if err != nil {
		t.Errorf("the last start: %v", err)
		return
	}
	freed := uint64(0)
	for _, l := range lives {
		freed = max(freed, l.freed)
	}
	for i, l := range lives {
		for block, want := range l.acked {
			if block < freed {
				continue
			}
			if got := text(t, s, block); got != want {
				t.Errorf("block %x was acknowledged to writer %d as %q, and is %q", block, i, want, got)
			}
			for j, other := range lives {
				if i != j && !other.claimed.IsZero() && l.fence < other.fence && l.began[block].After(other.claimed) {
					t.Errorf("writer %d appended block %x at %v, after writer %d had claimed the store at %v", i, block, l.began[block], j, other.claimed)
				}
			}
		}
	}
	must.Do(t, s.Close())
}

func (l *life) live(t *testing.T, m *memory, number int, random *rand.Rand) {
	n := &network{bucket: m, random: random, wild: random.IntN(3) > 0}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s, err := open(ctx, n, Options{NewBlockSize: size, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), LookEvery: time.Minute, Readers: 2})
	if err != nil {
		return
	}
	l.claimed, l.fence = time.Now(), s.claimed.fence
	dies := random.IntN(2) == 0
	var last *disk.Op // of one that dies
	for i := range random.IntN(60) {
		n.mu.Lock()
		what := random.IntN(20)
		pause := time.Duration(random.IntN(100)) * time.Millisecond
		long := time.Duration(random.IntN(300)) * time.Second
		n.mu.Unlock()
		switch what {
		case 0:
			time.Sleep(long)
		case 1:
			if last := s.Info().Last; last != disk.NoBlock {
				l.freed = max(l.freed, last)
				free(s, last)
			}
		default:
			time.Sleep(pause)
		}
		began, at, say := time.Now(), s.Info().Next, fmt.Sprintf("%d.%d", number, i)
		if dies && i == 30 { // it dies while it appends, before, or after that
			last = &disk.Op{Kind: disk.Append, Block: at, Pages: pages(say, 2), Done: disk.NewCompletions(new(actors.Doorbell))}
			time.AfterFunc(pause, n.kill)
			s.Submit(last, last)
			time.Sleep(pause + time.Second)
			l.began[at], l.began[at+1] = began, began
			break
		}
		if _, ok, err := disk.AppendPages(s, at, pages(say, 2)); err != nil || !ok {
			break
		}
		l.acked[at], l.acked[at+1] = say+"/0", say+"/1"
		l.began[at], l.began[at+1] = began, began
	}
	n.kill()
	must.Do(t, s.Close()) // ends the last append
	if last != nil && last.OK {
		say, _, _ := strings.Cut(strings.TrimRight(string(last.Pages[0]), "\x00"), "/")
		l.acked[last.Block], l.acked[last.Block+1] = say+"/0", say+"/1"
	}
}
