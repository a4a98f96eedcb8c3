package kivaloo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"kivaloo"
	"kivaloo/internal/must"
	"kivaloo/wire/wiretest"
)

// methods maps method names to calls of a value's methods. Each call returns the method's error,
// ErrClosed included.
type methods map[string]func(ctx context.Context) error

// lasting returns a method that still works, without an error, after Close.
func lasting(closed <-chan struct{}, call func()) func(context.Context) error {
	return func(context.Context) error {
		call()
		select {
		case <-closed:
			return kivaloo.ErrClosed
		default:
			return nil
		}
	}
}

// drain reads a whole range and returns its error.
func drain(pairs iter.Seq2[kivaloo.Pair, error]) error {
	for _, err := range pairs {
		if err != nil {
			return err
		}
	}
	return nil
}

// second returns its second argument.
func second[T any](_ T, err error) error { return err }

// closeAmid calls all methods of T repeatedly, each on a goroutine of its own, while end closes
// something. Each must return its result or ErrClosed, and only ErrClosed after end has returned.
// Close is not in all: as many goroutines call it.
func closeAmid[T any](t *testing.T, all methods, closed chan struct{}, end func() error) {
	t.Helper()
	typ := reflect.TypeFor[T]()
	for m := range typ.Methods() {
		if all[m.Name] == nil && m.Name != "Close" {
			t.Fatalf("what does %v.%s do while it is closed? Add it to this test", typ, m.Name)
		}
	}
	var begun, group sync.WaitGroup
	for name, call := range all {
		begun.Add(1)
		group.Go(func() {
			begun.Done()
			for {
				after := false
				select {
				case <-closed:
					after = true
				default:
				}
				switch err := call(t.Context()); {
				case errors.Is(err, kivaloo.ErrClosed):
					return
				case err != nil && !errors.Is(err, kivaloo.ErrNotFound):
					t.Errorf("%s: %v", name, err)
					return
				case after:
					t.Errorf("%s: %v, after Close", name, err)
					return
				}
			}
		})
	}
	begun.Wait()
	time.Sleep(time.Duration(rand.IntN(5000)) * time.Microsecond) // anywhere in the middle of the calls
	var closing sync.WaitGroup
	for range 2 {
		closing.Go(func() {
			if err := end(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	closing.Wait()
	close(closed)
	group.Wait()
}

// readerMethods returns the methods of a Reader.
func readerMethods(s kivaloo.Reader, key []byte) methods {
	return methods{
		"Get":       func(ctx context.Context) error { return second(s.Get(ctx, key)) },
		"AppendGet": func(ctx context.Context) error { return second(s.AppendGet(ctx, nil, key)) },
		"Has":       func(ctx context.Context) error { return second(s.Has(ctx, key)) },
		"GetMany":   func(ctx context.Context) error { return second(s.GetMany(ctx, key, []byte("other"))) },
		"Range":     func(ctx context.Context) error { return drain(s.Range(ctx, nil, nil)) },
		"Scan": func(ctx context.Context) error {
			return drain(s.Scan(ctx, kivaloo.ScanOptions{Prefix: key, KeysOnly: true}))
		},
		"Count": func(ctx context.Context) error { return second(s.Count(ctx, kivaloo.ScanOptions{})) },
	}
}

// storeMethods returns the methods of a Store.
func storeMethods(s kivaloo.Store, key, value []byte) methods {
	all := methods{
		"Set":    func(ctx context.Context) error { return s.Set(ctx, key, value) },
		"Delete": func(ctx context.Context) error { return s.Delete(ctx, []byte("other")) },
		"Add":    func(ctx context.Context) error { return second(s.Add(ctx, key, value)) },
		"Modify": func(ctx context.Context) error { return second(s.Modify(ctx, key, value)) },
		"CompareAndSwap": func(ctx context.Context) error {
			return second(s.CompareAndSwap(ctx, key, value, value))
		},
		"CompareAndDelete": func(ctx context.Context) error {
			return second(s.CompareAndDelete(ctx, key, []byte("not this")))
		},
		"Apply": func(ctx context.Context) error {
			b := new(kivaloo.Batch)
			b.Set(key, value)
			b.Delete([]byte("other"))
			return s.Apply(ctx, b)
		},
		"Update": func(ctx context.Context) error {
			return s.Update(ctx, func(tx *kivaloo.Tx) error {
				tx.Set(key, value)
				return second(tx.Has([]byte("other")))
			})
		},
		"DeleteRange":  func(ctx context.Context) error { return second(s.DeleteRange(ctx, []byte("other"), []byte("others"))) },
		"DeletePrefix": func(ctx context.Context) error { return second(s.DeletePrefix(ctx, []byte("other"))) },
		"Load": func(ctx context.Context) error {
			return second(s.Load(ctx, func(yield func(kivaloo.Pair, error) bool) { yield(kivaloo.Pair{Key: key, Value: value}, nil) }))
		},
		"Position": func(ctx context.Context) error { return second(s.Position(ctx)) },
		"Watch": func(ctx context.Context) error {
			for _, err := range s.Watch(ctx, kivaloo.WatchOptions{Start: key}) {
				return err
			}
			return nil
		},
		"Params": func(ctx context.Context) error { return second(s.Params(ctx)) },
		"Backup": func(ctx context.Context) error { return s.Backup(ctx, &bytes.Buffer{}, kivaloo.BackupOptions{}) },
	}
	maps.Copy(all, readerMethods(s, key))
	return all
}

// TestDBCloseAmid closes a DB while all its methods are in use.
func TestDBCloseAmid(t *testing.T) {
	const keys = 3000
	for range rounds(4) {
		db := openDB(t, t.TempDir(), kivaloo.Options{BlockSize: 512, NoSync: true})
		fillPresent(t, db, keys)
		copies, closed := t.TempDir(), make(chan struct{})
		n := 0
		all := storeMethods(db, presentKey(7), presentValue(7, 1))
		all["Snapshot"] = func(ctx context.Context) error {
			s, err := db.Snapshot(ctx)
			if err != nil {
				return err
			}
			return errors.Join(checkPresent(s.Range(ctx, nil, nil), 0, keys), s.Close())
		}
		all["Checkpoint"] = func(ctx context.Context) error {
			n++
			return db.Checkpoint(ctx, filepath.Join(copies, fmt.Sprint(n)))
		}
		all["Verify"] = db.Verify
		all["Stats"] = lasting(closed, func() { db.Stats() })
		all["Events"] = lasting(closed, func() { db.Events(0) })
		closeAmid[*kivaloo.DB](t, all, closed, db.Close)
		if s := db.Stats(); s != (kivaloo.Stats{}) {
			t.Errorf("after Close: %+v", s)
		}
	}
}

// TestSnapshotCloseAmid closes a Snapshot, or its DB, while all its methods are in use.
func TestSnapshotCloseAmid(t *testing.T) {
	const keys = 3000
	for round := range rounds(6) {
		db := openDB(t, t.TempDir(), kivaloo.Options{BlockSize: 512, CacheBytes: smallCache, NoSync: true})
		fillPresent(t, db, keys)
		s, err := db.Snapshot(t.Context())
		must.Do(t, err)
		end := []func() error{s.Close, db.Close}[round%2]
		all := readerMethods(s, presentKey(7))
		all["Range"] = func(ctx context.Context) error { return checkPresent(s.Range(ctx, nil, nil), 0, keys) }
		closeAmid[kivaloo.Snapshot](t, all, make(chan struct{}), end)
		must.Do(t, s.Close())
	}
	for round := range rounds(6) {
		fake := &wiretest.Server{Extensions: true}
		c := dialFake(t, fake)
		fake.Replace(wiretest.Model{"key": "value"})
		s, err := c.Snapshot(t.Context())
		must.Do(t, err)
		end := []func() error{s.Close, c.Close}[round%2]
		closeAmid[kivaloo.Snapshot](t, readerMethods(s, []byte("key")), make(chan struct{}), end)
		must.Do(t, s.Close())
	}
}

// TestClientCloseAmid closes a Client while all its methods are in use.
func TestClientCloseAmid(t *testing.T) {
	for round := range rounds(6) {
		s := &wiretest.Server{Extensions: true, RangeMax: 300}
		put(s, 1000, "value")
		var o kivaloo.DialOptions
		if round%2 == 1 {
			o.Reconnect = true
		}
		c := dialFake(t, s, o)
		all := storeMethods(c, []byte("key"), []byte("value"))
		all["Snapshot"] = func(ctx context.Context) error {
			s, err := c.Snapshot(ctx)
			if err != nil {
				return err
			}
			return errors.Join(second(s.Get(ctx, []byte("key"))), s.Close())
		}
		closed := make(chan struct{})
		all["Stats"] = lasting(closed, func() { c.Stats() })
		all["Pipeline"] = func(ctx context.Context) error { return c.Pipeline(ctx).Set([]byte("key"), nil) }
		closeAmid[*kivaloo.Client](t, all, closed, c.Close)
	}
}

// TestPipelineCloseAmid closes a Client while a Pipeline of it is in use.
func TestPipelineCloseAmid(t *testing.T) {
	key, value := []byte("key"), []byte("value")
	issue := map[string]func(p *kivaloo.Pipeline) error{
		"Get":              func(p *kivaloo.Pipeline) error { return p.Get(key, func([]byte, bool) {}) },
		"Set":              func(p *kivaloo.Pipeline) error { return p.Set(key, value) },
		"Delete":           func(p *kivaloo.Pipeline) error { return p.Delete(key) },
		"Add":              func(p *kivaloo.Pipeline) error { return p.Add(key, value, func(bool) {}) },
		"Modify":           func(p *kivaloo.Pipeline) error { return p.Modify(key, value, nil) },
		"CompareAndSwap":   func(p *kivaloo.Pipeline) error { return p.CompareAndSwap(key, value, value, nil) },
		"CompareAndDelete": func(p *kivaloo.Pipeline) error { return p.CompareAndDelete(key, key, nil) },
		"Wait":             func(p *kivaloo.Pipeline) error { return errors.Join(p.Set(key, value), p.Wait()) },
	}
	for range rounds(6) {
		c := dialFake(t, &wiretest.Server{})
		all := methods{}
		for name, one := range issue {
			all[name] = func(ctx context.Context) error {
				p := c.Pipeline(ctx)
				for range 100 {
					if err := one(p); err != nil {
						break // Wait returns it too
					}
				}
				return p.Wait()
			}
		}
		closeAmid[*kivaloo.Pipeline](t, all, make(chan struct{}), c.Close)
	}
}

// TestNothingAfterClose checks that calls that have nothing to do fail with ErrClosed once the
// store, or the snapshot, is closed.
func TestNothingAfterClose(t *testing.T) {
	none := kivaloo.ScanOptions{Start: []byte("b"), End: []byte("a")}
	reads := func(r kivaloo.Reader) methods {
		return methods{
			"GetMany": func(ctx context.Context) error { return second(r.GetMany(ctx)) },
			"Range":   func(ctx context.Context) error { return drain(r.Range(ctx, none.Start, none.End)) },
			"Count":   func(ctx context.Context) error { return second(r.Count(ctx, none)) },
		}
	}
	check := func(all methods, want error) {
		t.Helper()
		for name, call := range all {
			if err := call(t.Context()); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
	}
	watchStores(t, func(t *testing.T, s kivaloo.Store) {
		all := reads(s)
		all["Apply"] = func(ctx context.Context) error { return s.Apply(ctx, new(kivaloo.Batch)) }
		all["Update"] = func(ctx context.Context) error { return s.Update(ctx, func(*kivaloo.Tx) error { return nil }) }
		all["Load"] = func(ctx context.Context) error {
			return second(s.Load(ctx, func(func(kivaloo.Pair, error) bool) {}))
		}
		all["DeleteRange"] = func(ctx context.Context) error { return second(s.DeleteRange(ctx, none.Start, none.End)) }
		all["Watch"] = func(ctx context.Context) error {
			for _, err := range s.Watch(ctx, kivaloo.WatchOptions{Start: none.Start, End: none.End}) {
				return err
			}
			return nil
		}
		at, err := s.Snapshot(t.Context())
		must.Do(t, err)
		check(all, nil)
		check(reads(at), nil)
		must.Do(t, at.Close())
		check(reads(at), kivaloo.ErrClosed)
		must.Do(t, s.Close())
		check(all, kivaloo.ErrClosed)
	})
}
