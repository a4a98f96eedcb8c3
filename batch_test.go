package kivaloo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"strconv"
	"sync"
	"testing"
	"time"

	"kivaloo"
	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"

	"pgregory.net/rapid"
)

// stores calls f with an empty store of each kind.
func stores(t *testing.T, f func(t *testing.T, s kivaloo.Store)) {
	t.Run("DB", func(t *testing.T) { f(t, openDB(t, t.TempDir(), kivaloo.Options{NoSync: true})) })
	t.Run("DB without a journal", func(t *testing.T) {
		f(t, openDB(t, t.TempDir(), kivaloo.Options{NoSync: true, JournalBytes: -1}))
	})
	t.Run("DB in memory", func(t *testing.T) {
		db, err := kivaloo.OpenMemory(kivaloo.Options{})
		must.Do(t, err)
		f(t, db)
		must.Do(t, db.Verify(t.Context()))
		must.Do(t, db.Close())
	})
	t.Run("Client", func(t *testing.T) { f(t, dialFake(t, &wiretest.Server{RangeMax: 40, Extensions: true})) })
}

// TestBatchAgainstModel checks that a batch is applied completely if all its conditions hold, and
// not at all otherwise.
func TestBatchAgainstModel(t *testing.T) {
	stores(t, func(t *testing.T, s kivaloo.Store) {
		ctx, model := t.Context(), contents{}
		str := rapid.SampledFrom([]string{"", "a", "b", "c"})
		rapid.Check(t, func(rt *rapid.T) {
			var b kivaloo.Batch
			after, holds := maps.Clone(model), true
			for range rapid.IntRange(0, 4).Draw(rt, "steps") {
				key, value := str.Draw(rt, "key"), str.Draw(rt, "value")
				now, present := model[key]
				switch rapid.IntRange(0, 4).Draw(rt, "what") {
				case 0:
					b.Set([]byte(key), []byte(value))
					after[key] = value
				case 1:
					b.Delete([]byte(key))
					delete(after, key)
				case 2:
					b.RequireAbsent([]byte(key))
					holds = holds && !present
				case 3:
					b.RequirePresent([]byte(key))
					holds = holds && present
				case 4:
					b.RequireValue([]byte(key), []byte(value))
					holds = holds && present && now == value
				}
			}
			err := s.Apply(ctx, &b)
			var op *kivaloo.OpError
			switch {
			case holds:
				must.Do(rt, err)
				model = after
			case !errors.Is(err, kivaloo.ErrConflict) || !errors.As(err, &op) || op.Sent:
				rt.Fatalf("a condition does not hold: %v", err)
			}
			got := contents{}
			for p, err := range s.Range(ctx, nil, nil) {
				must.Do(rt, err)
				got[string(p.Key)] = string(p.Value)
			}
			if !maps.Equal(got, model) {
				rt.Fatalf("%v, want %v", got, model)
			}
		})
	})
}

// TestBatchBelongsToNoStore checks that one batch can be applied to several stores, and repeatedly.
func TestBatchBelongsToNoStore(t *testing.T) {
	var b kivaloo.Batch
	b.RequireAbsent([]byte("k"))
	b.Set([]byte("k"), []byte("v"))
	stores(t, func(t *testing.T, s kivaloo.Store) {
		must.Do(t, s.Apply(t.Context(), &b))
		err := s.Apply(t.Context(), &b)
		if !errors.Is(err, kivaloo.ErrConflict) || !bytes.Contains([]byte(err.Error()), []byte(`"k" is not absent`)) {
			t.Errorf("the second time: %v", err)
		}
	})
	if b.Len() != 1 {
		t.Errorf("%d changes", b.Len())
	}
	if b.Reset(); b.Len() != 0 {
		t.Errorf("%d changes after Reset", b.Len())
	}
}

// TestBatchTooLong checks that a batch no store would accept is refused before anything is sent.
func TestBatchTooLong(t *testing.T) {
	long := make([]byte, kivaloo.MaxLen+1)
	stores(t, func(t *testing.T, s kivaloo.Store) {
		var key, value, many kivaloo.Batch
		key.Set(long, nil)
		value.RequireValue(nil, long)
		for range kivaloo.MaxBatch + 1 {
			many.Delete(nil)
		}
		for _, b := range []*kivaloo.Batch{&key, &value, &many} {
			b.Set([]byte("k"), []byte("v"))
			var op *kivaloo.OpError
			if err := s.Apply(t.Context(), b); !errors.Is(err, kivaloo.ErrTooLong) || !errors.As(err, &op) || op.Sent {
				t.Error(err)
			}
		}
		if has, err := s.Has(t.Context(), []byte("k")); has || err != nil {
			t.Error(has, err)
		}
	})
	short := dialFake(t, &wiretest.Server{MaxKey: 10, MaxValue: 10, Extensions: true})
	for _, lens := range [][2]int{{11, 1}, {1, 11}} {
		var b kivaloo.Batch
		b.Set(make([]byte, lens[0]), make([]byte, lens[1]))
		if err := short.Apply(t.Context(), &b); !errors.Is(err, kivaloo.ErrTooLong) {
			t.Error(err)
		}
	}
	c := dialFake(t, &wiretest.Server{Extensions: true})
	var big kivaloo.Batch
	for range 5000 {
		big.Set(make([]byte, 200), make([]byte, 200))
	}
	if err := c.Apply(t.Context(), &big); !errors.Is(err, kivaloo.ErrTooLong) {
		t.Error(err)
	}
}

// TestUpdate adds to the same counters from many goroutines. No addition may be lost.
func TestUpdate(t *testing.T) {
	stores(t, func(t *testing.T, s kivaloo.Store) {
		ctx := within(t)
		const workers, each = 8, 25
		var group sync.WaitGroup
		for range workers {
			group.Go(func() {
				for i := range each {
					err := s.Update(ctx, func(tx *kivaloo.Tx) error {
						for _, key := range []string{"all", fmt.Sprint("of ", i%3)} {
							old, err := tx.Get([]byte(key))
							if err != nil && !errors.Is(err, kivaloo.ErrNotFound) {
								return err
							}
							n, _ := strconv.Atoi(string(old))
							tx.Set([]byte(key), strconv.AppendInt(nil, int64(n+1), 10))
						}
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		sum := 0
		for p, err := range s.Range(ctx, nil, nil) {
			must.Do(t, err)
			n, err := strconv.Atoi(string(p.Value))
			must.Do(t, err)
			sum += n
		}
		if sum != 2*workers*each {
			t.Errorf("%d, want %d", sum, 2*workers*each)
		}
	})
}

// TestTx checks that a Tx reads its own changes, and that an error undoes them all.
func TestTx(t *testing.T) {
	stores(t, func(t *testing.T, s kivaloo.Store) {
		ctx := t.Context()
		must.Do(t, s.Set(ctx, []byte("there"), []byte("1")))
		must.Do(t, s.Set(ctx, []byte("gone"), []byte("1")))
		look := func(tx *kivaloo.Tx, key, want string, present bool) {
			t.Helper()
			value, err := tx.Get([]byte(key))
			has, hasErr := tx.Has([]byte(key))
			if string(value) != want || has != present || errors.Is(err, kivaloo.ErrNotFound) == present || hasErr != nil {
				t.Errorf("%s: %q, %v, %v, %v", key, value, has, err, hasErr)
			}
		}
		failed := errors.New("failed")
		change := func(err error) error {
			return s.Update(ctx, func(tx *kivaloo.Tx) error {
				look(tx, "there", "1", true)
				tx.Set([]byte("there"), []byte("2"))
				look(tx, "there", "2", true)
				tx.Delete([]byte("gone"))
				look(tx, "gone", "", false)
				tx.Set([]byte("empty"), nil)
				look(tx, "empty", "", true)
				return err
			})
		}
		if err := change(failed); err != failed {
			t.Error(err)
		}
		contents{"there": "1", "gone": "1"}.same(t, gather(t, s.Range(ctx, nil, nil)))
		must.Do(t, change(nil))
		contents{"there": "2", "empty": ""}.same(t, gather(t, s.Range(ctx, nil, nil)))

		// Keys that were only read count too, present or absent.
		for _, key := range []string{"there", "absent"} {
			tries := 0
			must.Do(t, s.Update(ctx, func(tx *kivaloo.Tx) error {
				if _, err := tx.Has([]byte(key)); err != nil {
					return err
				}
				if tries++; tries == 1 {
					must.Do(t, s.Set(ctx, []byte(key), []byte("meanwhile")))
				}
				tx.Set([]byte("result"), []byte("r"))
				return nil
			}))
			if tries != 2 {
				t.Errorf("%s: %d tries", key, tries)
			}
		}

		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		n := 0
		err := s.Update(short, func(tx *kivaloo.Tx) error {
			_, err := tx.Get([]byte("there"))
			n++
			return errors.Join(err, s.Set(ctx, []byte("there"), fmt.Append(nil, n)))
		})
		if !errors.Is(err, context.DeadlineExceeded) || n < 2 {
			t.Errorf("after %d tries: %v", n, err)
		}
	})
}

// TestDeleteRange checks that exactly the keys in the range are deleted, also if that takes several
// requests.
func TestDeleteRange(t *testing.T) {
	each := func(t *testing.T, s kivaloo.Store) {
		ctx := t.Context()
		const keys = 10_000
		n, err := s.Load(ctx, func(yield func(kivaloo.Pair, error) bool) {
			for i := range keys {
				if !yield(kivaloo.Pair{Key: fmt.Appendf(nil, "%05d", i), Value: []byte("v")}, nil) {
					return
				}
			}
		})
		if must.Do(t, err); n != keys {
			t.Fatalf("%d loaded", n)
		}
		for _, test := range []struct {
			start, end string
			n, left    int64
		}{{"00100", "00100", 0, keys}, {"00100", "00050", 0, keys}, {"00100", "09000", 8900, 1100}, {"09990", "", 10, 1090}} {
			n, err := s.DeleteRange(ctx, []byte(test.start), []byte(test.end))
			must.Do(t, err)
			left, err := s.Count(ctx, kivaloo.ScanOptions{})
			must.Do(t, err)
			if n != test.n || left != test.left {
				t.Errorf("%q to %q: %d deleted, %d left", test.start, test.end, n, left)
			}
		}
		n, err = s.DeletePrefix(ctx, []byte("0000"))
		if must.Do(t, err); n != 10 {
			t.Errorf("%d deleted", n)
		}
		n, err = s.DeletePrefix(ctx, nil)
		if must.Do(t, err); n != 1080 {
			t.Errorf("%d deleted", n)
		}
		if _, err := s.DeleteRange(ctx, make([]byte, kivaloo.MaxLen+1), nil); !errors.Is(err, kivaloo.ErrTooLong) {
			t.Error(err)
		}
	}
	stores(t, each)
	t.Run("Client of the original", func(t *testing.T) { each(t, dialFake(t, &wiretest.Server{})) })
}

// TestLoadError checks that an error of the source of pairs is passed on.
func TestLoadError(t *testing.T) {
	stores(t, func(t *testing.T, s kivaloo.Store) {
		failed := errors.New("failed")
		_, err := s.Load(t.Context(), func(yield func(kivaloo.Pair, error) bool) {
			_ = yield(kivaloo.Pair{Key: []byte("k")}, nil) && yield(kivaloo.Pair{}, failed)
		})
		if err != failed {
			t.Error(err)
		}
		_, err = s.Load(t.Context(), func(yield func(kivaloo.Pair, error) bool) { yield(kivaloo.Pair{Key: make([]byte, 256)}, nil) })
		if !errors.Is(err, kivaloo.ErrTooLong) {
			t.Error(err)
		}
	})
}

// TestSentOfParts checks that the error of an operation that takes several requests has the name of
// the operation, and says that it may have had an effect if only its last request certainly had
// none.
func TestSentOfParts(t *testing.T) {
	pairs := func(n int) iter.Seq2[kivaloo.Pair, error] { // n pairs, and then one that is too long
		return func(yield func(kivaloo.Pair, error) bool) {
			for i := range n {
				if !yield(kivaloo.Pair{Key: fmt.Append(nil, i)}, nil) {
					return
				}
			}
			yield(kivaloo.Pair{Key: make([]byte, 256)}, nil)
		}
	}
	for _, n := range []int{0, 20_000} {
		stores(t, func(t *testing.T, s kivaloo.Store) {
			_, err := s.Load(t.Context(), pairs(n))
			var op *kivaloo.OpError
			if !errors.As(err, &op) || op.Op != "load" || op.Sent != (n > 0) {
				t.Errorf("a key is too long after %d pairs: %v", n, err)
			}
		})
	}

	// The second DELETE_RANGE finds no connection.
	s := &wiretest.Server{Extensions: true}
	s.Hook = func(id uint64, r wire.KVRequest) ([]byte, wiretest.Verdict) {
		first := wire.AppendDeleted(nil, wire.Deleted{N: 1, Next: []byte("b")})
		return wire.AppendPacket(nil, id, first), wiretest.HangUp
	}
	n, err := dialFake(t, s).DeleteRange(t.Context(), nil, nil)
	var op *kivaloo.OpError
	if n != 1 || !errors.As(err, &op) || op.Op != "delete range" || !op.Sent {
		t.Errorf("%d deleted: %v", n, err)
	}

	// A server of the original gets a DELETE for each key, until the second RANGE fails.
	original := &wiretest.Server{PairsMax: 1, Pairs: wiretest.Model{"a": "", "b": ""}}
	deleted := false
	original.Hook = func(id uint64, r wire.KVRequest) ([]byte, wiretest.Verdict) {
		if r.Type == wire.TypeRange && deleted {
			return nil, wiretest.HangUp
		}
		deleted = deleted || r.Type == wire.TypeRange
		return nil, wiretest.Normally
	}
	c := dialFake(t, original)
	_, err = c.DeleteRange(t.Context(), nil, nil)
	if !errors.As(err, &op) || op.Op != "delete range" || !op.Sent {
		t.Errorf("server of the original: %v", err)
	}
	_, err = c.Count(t.Context(), kivaloo.ScanOptions{})
	if !errors.As(err, &op) || op.Op != "count" {
		t.Errorf("%v", err)
	}
	_, err = c.Position(t.Context())
	if !errors.As(err, &op) || op.Op != "position" || op.Sent {
		t.Errorf("%v", err)
	}
}

// TestRefused checks that the error says that a change that was refused had no effect.
func TestRefused(t *testing.T) {
	s := &wiretest.Server{Extensions: true}
	s.Hook = func(id uint64, r wire.KVRequest) ([]byte, wiretest.Verdict) {
		return wire.AppendPacket(nil, id, wire.AppendRefusal(nil, wire.StatusRefused, "not allowed")), wiretest.WithThis
	}
	c := dialFake(t, s)
	var b kivaloo.Batch
	b.Set([]byte("k"), nil)
	_, deleteErr := c.DeletePrefix(t.Context(), []byte("k"))
	for name, err := range map[string]error{"batch": c.Apply(t.Context(), &b), "delete range": deleteErr} {
		var op *kivaloo.OpError
		if !errors.As(err, &op) || op.Sent || op.Op != name || op.Err.Error() != "not allowed" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUnsupported checks that a call that a server of the original does not support fails before it
// is sent, and that the connection stays usable.
func TestUnsupported(t *testing.T) {
	c := dialFake(t, &wiretest.Server{})
	var b kivaloo.Batch
	b.Set([]byte("k"), []byte("v"))
	set := func(tx *kivaloo.Tx) error {
		tx.Set([]byte("k"), []byte("v"))
		return nil
	}
	_, snapshotErr := c.Snapshot(t.Context())
	_, positionErr := c.Position(t.Context())
	var watchErr error
	for _, watchErr = range c.Watch(t.Context(), kivaloo.WatchOptions{}) {
	}
	for name, err := range map[string]error{
		"Snapshot": snapshotErr, "Position": positionErr, "Watch": watchErr,
		"Apply":   c.Apply(t.Context(), &b),
		"Update":  c.Update(t.Context(), set),
		"Reverse": drain(c.Scan(t.Context(), kivaloo.ScanOptions{Reverse: true})),
	} {
		var op *kivaloo.OpError
		if !errors.Is(err, kivaloo.ErrUnsupported) || !errors.As(err, &op) || op.Sent {
			t.Errorf("%s: %v", name, err)
		}
	}
	must.Do(t, c.Set(t.Context(), []byte("k"), []byte("v")))
}
