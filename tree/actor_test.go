package tree

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kivaloo/disk"
	"kivaloo/internal/must"
)

// caller is a client that waits for its answers.
type caller struct {
	*recorder
	released chan *Batch
}

func newCaller() *caller { return &caller{newRecorder(), make(chan *Batch, 100)} }

func (c *caller) Release(b *Batch) { c.released <- b }

// push sends requests to an actor. The caller chooses their IDs.
func (c *caller) push(a *Actor, requests ...Request) {
	a.Requests().PushOne(&Batch{Client: c, Requests: requests})
}

// startActor runs an actor on a store in dir. stop ends both and returns the error of Run.
func startActor(t *testing.T, dir string, cfg Config) (a *Actor, stop func() error) {
	t.Helper()
	s, err := disk.Open(dir, disk.Options{BlockSize: 1024, Log: quiet})
	must.Do(t, err)
	tree, err := Open(s, cfg)
	must.Do(t, err)
	a = NewActor(tree, s)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	return a, func() error {
		cancel()
		err := <-ended
		if tree.Busy() {
			t.Error("the actor has stopped with work left")
		}
		tree.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		return err
	}
}

// TestActor has several clients read and write on a real disk. Each must see its own changes.
func TestActor(t *testing.T) {
	dir := t.TempDir()
	a, stop := startActor(t, dir, testConfig())
	const clients, rounds, each = 4, 15, 20
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() {
			c := newCaller()
			id := uint64(0)
			for round := range rounds {
				var batch []Request
				for i := range each {
					id++
					r := set(fmt.Sprintf("%d/%d", n, i), fmt.Sprint(round))
					r.ID = id
					batch = append(batch, r)
				}
				c.push(a, batch...)
				<-c.released
				id++
				read := get(fmt.Sprintf("%d/%d", n, round%each))
				read.ID = id
				c.push(a, read)
				<-c.released
				if got := c.values[id]; got != fmt.Sprint(round) {
					t.Errorf("client %d reads %q after round %d was acknowledged", n, got, round)
				}
			}
			if len(c.done) != rounds*each || len(c.failed) > 0 {
				t.Errorf("client %d: %d changes done, failed: %v", n, len(c.done), c.failed)
			}
		})
	}
	wg.Wait()
	if err := stop(); err != nil {
		t.Error(err)
	}
	s, err := disk.Open(dir, disk.Options{BlockSize: 1024, Log: quiet})
	must.Do(t, err)
	defer s.Close()
	if r := checkStore(t, s); r.Pairs != clients*each {
		t.Errorf("%d pairs", r.Pairs)
	}
}

// TestActorFinishes checks that everything pushed before the stop is carried out, even if it waits
// for a timer.
func TestActorFinishes(t *testing.T) {
	cfg := testConfig()
	cfg.CommitDelay = 50 * time.Millisecond
	a, stop := startActor(t, t.TempDir(), cfg)
	c := newCaller()
	const batches = 40
	for i := range batches {
		r := set(fmt.Sprint(i), "v")
		r.ID = uint64(i + 1)
		c.push(a, r)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if len(c.done) != batches || len(c.released) != batches {
		t.Errorf("%d answers, %d batches released, want %d", len(c.done), len(c.released), batches)
	}
}

// countingStore counts the operations submitted to a store.
type countingStore struct {
	disk.Store
	frees atomic.Int32
}

func (s *countingStore) Submit(first, last *disk.Op) {
	for op := first; op != nil; op = op.Link.Next() {
		if op.Kind == disk.Free {
			s.frees.Add(1)
		}
	}
	s.Store.Submit(first, last)
}

// TestActorWakes checks that the clock runs even if an actor has nothing to do.
func TestActorWakes(t *testing.T) {
	t.Parallel()
	s := &countingStore{Store: newMemStore(512)}
	tree, err := Open(s, testConfig())
	must.Do(t, err)
	defer tree.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 1100*time.Millisecond)
	defer cancel()
	if err := NewActor(tree, s).Run(ctx); err != nil {
		t.Error(err)
	}
	if s.frees.Load() == 0 {
		t.Error("no FREE in more than a second")
	}
}

// stopper is a client that calls stop as soon as it is answered, in the middle of a step.
type stopper struct {
	*recorder
	stop func()
}

func (s stopper) Flush() {
	s.recorder.Flush()
	s.stop()
}

// stopInStep makes a change whose answer makes the client call inStep and then stop. It returns the
// error of Run.
func stopInStep(t *testing.T, store *memStore, inStep func()) error {
	t.Helper()
	tree, err := Open(store, journalConfig())
	must.Do(t, err)
	defer tree.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a := NewActor(tree, store)
	client := stopper{newRecorder(), func() { inStep(); cancel() }}
	a.Requests().PushOne(&Batch{Client: client, Requests: []Request{set("k", "v")}})
	return a.Run(ctx)
}

// TestActorFlushesAtAnyStop checks that a stop in the middle of a step is also followed by the last
// flush.
func TestActorFlushesAtAnyStop(t *testing.T) {
	for range 100 {
		store := newMemStore(512)
		if err := stopInStep(t, store, func() {}); err != nil || !endsInRoot(store) {
			t.Fatalf("the last block is a root: %t, %v", endsInRoot(store), err)
		}
	}
}

// TestActorSaysWhatIsNotFlushed checks that a stop fails if it cannot write the last flush, and
// that the journal has everything.
func TestActorSaysWhatIsNotFlushed(t *testing.T) {
	for _, cause := range []error{errDisk, disk.ErrNoSpace} {
		store := newMemStore(512)
		err := stopInStep(t, store, func() { store.fail = cause })
		if !errors.Is(err, cause) || endsInRoot(store) {
			t.Errorf("%v: the last block is a root: %t, %v", cause, endsInRoot(store), err)
		}
		sameContent(t, newHarness(t, store, journalConfig()).dump(), model{"k": "v"})
	}
}

// TestActorTriesAFullDiskAgain checks that a stop tries to append at once, although the disk was
// full a moment ago.
func TestActorTriesAFullDiskAgain(t *testing.T) {
	store := newMemStore(512)
	tree, err := Open(store, journalConfig())
	must.Do(t, err)
	defer tree.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a := NewActor(tree, store)
	refused := stopper{newRecorder(), cancel}
	made := stopper{newRecorder(), func() {
		store.fail = disk.ErrNoSpace
		a.Requests().PushOne(&Batch{Client: refused, Requests: []Request{set("l", "w")}})
	}}
	a.Requests().PushOne(&Batch{Client: made, Requests: []Request{set("k", "v")}})
	if err := a.Run(ctx); err != nil || len(refused.failed) != 1 || !endsInRoot(store) {
		t.Errorf("%v; refused: %v; the last block is a root: %t", err, refused.failed, endsInRoot(store))
	}
}
