package kivaloo_test

import (
	"context"
	"errors"
	"fmt"
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

// describe returns a change as text.
func describe(c kivaloo.Change) string {
	if c.Deleted {
		return fmt.Sprintf("-%s", c.Key)
	}
	return fmt.Sprintf("%s=%s", c.Key, c.Value)
}

// watchStores calls f with each kind of store that can be watched.
func watchStores(t *testing.T, f func(t *testing.T, s kivaloo.Store)) {
	t.Run("DB", func(t *testing.T) { f(t, openDB(t, t.TempDir(), kivaloo.Options{NoSync: true})) })
	t.Run("DB without a journal", func(t *testing.T) {
		f(t, openDB(t, t.TempDir(), kivaloo.Options{NoSync: true, JournalBytes: -1}))
	})
	t.Run("Client", func(t *testing.T) { f(t, dialFake(t, &wiretest.Server{RangeMax: 20, Extensions: true})) })
}

// TestWatch checks that Watch returns all changes in its range after a position, in order, from any
// position that came with a change.
func TestWatch(t *testing.T) {
	watchStores(t, func(t *testing.T, s kivaloo.Store) {
		ctx := within(t)
		must.Do(t, s.Set(ctx, []byte("a/before"), nil))
		from, err := s.Position(ctx)
		must.Do(t, err)
		var want []string
		for i := range 50 {
			key, value := fmt.Appendf(nil, "a/%02d", i), fmt.Append(nil, i)
			must.Do(t, s.Set(ctx, key, value))
			must.Do(t, s.Set(ctx, []byte("b"), nil))
			want = append(want, fmt.Sprintf("%s=%s", key, value))
			if i%5 == 0 {
				must.Do(t, s.Delete(ctx, key))
				want = append(want, fmt.Sprintf("-%s", key))
			}
		}
		var got []string
		var positions []uint64
		for c, err := range s.Watch(ctx, kivaloo.WatchOptions{Prefix: []byte("a/"), Position: from}) {
			must.Do(t, err)
			if (c.Value == nil) != c.Deleted {
				t.Errorf("%+v", c)
			}
			got, positions = append(got, describe(c)), append(positions, c.Position)
			if len(got) == len(want) {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
		// Each change is a commit. So from every position come exactly the changes after it.
		for i, position := range positions[:len(positions)-1] {
			for c, err := range s.Watch(ctx, kivaloo.WatchOptions{Prefix: []byte("a/"), Position: position}) {
				must.Do(t, err)
				if describe(c) != want[i+1] {
					t.Fatalf("%q comes after position %d, want %q", describe(c), position, want[i+1])
				}
				break
			}
		}
	})
}

// TestWatchWaits checks that Watch returns a change soon after it was made, and that cancelling the
// context ends it.
func TestWatchWaits(t *testing.T) {
	watchStores(t, func(t *testing.T, s kivaloo.Store) {
		ctx, cancel := context.WithCancel(within(t))
		defer cancel()
		from, err := s.Position(ctx)
		must.Do(t, err)
		seen := make(chan string, 100)
		ended := make(chan error, 1)
		go func() {
			for c, err := range s.Watch(ctx, kivaloo.WatchOptions{Position: from}) {
				if err != nil {
					ended <- err
					return
				}
				seen <- describe(c)
			}
			ended <- nil
		}()
		for i := range 20 {
			time.Sleep(time.Millisecond)
			must.Do(t, s.Set(ctx, []byte("k"), fmt.Append(nil, i)))
			if got := <-seen; got != fmt.Sprintf("k=%d", i) {
				t.Fatal(got)
			}
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the end: %v", err)
		}
		must.Do(t, s.Set(t.Context(), []byte("k"), nil))
	})
}

// TestWatchErrors checks invalid positions and bounds.
func TestWatchErrors(t *testing.T) {
	watchStores(t, func(t *testing.T, s kivaloo.Store) {
		watch := func(o kivaloo.WatchOptions) (err error) {
			for _, err = range s.Watch(within(t), o) {
				break
			}
			return err
		}
		if err := watch(kivaloo.WatchOptions{Position: 1 << 40}); !errors.Is(err, kivaloo.ErrPositionGone) {
			t.Error(err)
		}
		if err := watch(kivaloo.WatchOptions{Prefix: make([]byte, 256)}); !errors.Is(err, kivaloo.ErrTooLong) || !strings.Contains(err.Error(), "WatchOptions.Prefix of 256 bytes") {
			t.Error(err)
		}
		if err := watch(kivaloo.WatchOptions{Start: []byte("b"), End: []byte("a")}); err != nil { // nothing can come
			t.Error(err)
		}
	})
}

// TestWatchProgress checks that the position advances with changes outside of the range, and that a
// Watch from there returns no earlier change.
func TestWatchProgress(t *testing.T) {
	watchStores(t, func(t *testing.T, s kivaloo.Store) {
		ctx, cancel := context.WithCancel(within(t))
		defer cancel()
		begun, err := s.Position(ctx)
		must.Do(t, err)
		must.Do(t, s.Set(ctx, []byte("a"), nil))
		seen, err := s.Position(ctx)
		must.Do(t, err)
		must.Do(t, s.Set(ctx, []byte("b"), nil))
		now, err := s.Position(ctx)
		must.Do(t, err)
		var got []uint64
		o := kivaloo.WatchOptions{Prefix: []byte("a"), Position: begun, Progress: func(position uint64) {
			if got = append(got, position); position == now {
				cancel()
			}
		}}
		n := 0
		for c, err := range s.Watch(ctx, o) {
			if errors.Is(err, context.Canceled) {
				break
			}
			must.Do(t, err)
			if n++; len(got) > 0 || c.Position != seen && c.Position != now {
				t.Errorf("position %d, progress %d; the change is at %d", c.Position, got, seen)
			}
		}
		if n != 1 || len(got) == 0 || got[len(got)-1] != now {
			t.Errorf("%d changes, progress %d; want one, up to %d", n, got, now)
		}

		// Without a given position, the first one reported is the current one.
		ctx, cancel = context.WithCancel(within(t))
		defer cancel()
		got = nil
		for _, err := range s.Watch(ctx, kivaloo.WatchOptions{Progress: func(position uint64) { got = append(got, position); cancel() }}) {
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		if len(got) != 1 || got[0] != now {
			t.Errorf("progress %d, want %d", got, now)
		}
	})
}

// TestWatchReconnects checks that nothing is missed while there is no connection.
func TestWatchReconnects(t *testing.T) {
	ctx := within(t)
	s := &wiretest.Server{Extensions: true}
	path, stop, err := s.Start(t.TempDir())
	must.Do(t, err)
	defer stop()
	c, err := kivaloo.Dial(ctx, path, kivaloo.DialOptions{Reconnect: true})
	must.Do(t, err)
	defer c.Close()
	other, err := kivaloo.Dial(ctx, path, kivaloo.DialOptions{Reconnect: true})
	must.Do(t, err)
	defer other.Close()
	from, err := c.Position(ctx)
	must.Do(t, err)
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() {
		for i := 0; i < 20; {
			if other.Set(ctx, []byte("k"), fmt.Append(nil, i)) == nil {
				i++
			} else if ctx.Err() != nil {
				return
			}
		}
	})
	n := 0
	for change, err := range c.Watch(ctx, kivaloo.WatchOptions{Position: from, Start: []byte("k"), End: []byte("l")}) {
		must.Do(t, err)
		if n > 0 && describe(change) == fmt.Sprintf("k=%d", n-1) { // its answer was lost, so it was set again
			continue
		}
		if want := fmt.Sprintf("k=%d", n); describe(change) != want {
			t.Fatalf("%s, want %s", describe(change), want)
		}
		if n++; n == 20 {
			break
		}
		if n%4 == 0 {
			s.HangUp()
		}
	}
}

// TestWatchCancelled checks that the server is told to stop waiting.
func TestWatchCancelled(t *testing.T) {
	watching, unwatched := make(chan uint64, 1), make(chan uint64, 1)
	s := &wiretest.Server{Extensions: true}
	s.Hook = func(id uint64, r wire.KVRequest) ([]byte, wiretest.Verdict) {
		switch {
		case r.Type == wire.TypeWatch && r.Wait > 0:
			watching <- id
			return nil, wiretest.WithThis // no answer yet
		case r.Type == wire.TypeUnwatch:
			unwatched <- r.Watch
		}
		return nil, wiretest.Normally
	}
	c := dialFake(t, s)
	ctx, cancel := context.WithCancel(within(t))
	go func() {
		id := <-watching
		cancel()
		watching <- id
	}()
	for _, err := range c.Watch(ctx, kivaloo.WatchOptions{}) {
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if id, told := <-watching, <-unwatched; id != told {
		t.Errorf("request %d was waiting, and %d was ended", id, told)
	}
	one := dialFake(t, &wiretest.Server{Extensions: true}, kivaloo.DialOptions{Window: 1})
	for _, err := range one.Watch(within(t), kivaloo.WatchOptions{}) {
		var option *kivaloo.OptionError
		if !errors.As(err, &option) || option.Field != "DialOptions.Window" {
			t.Error(err)
		}
	}
}
