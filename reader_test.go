package kivaloo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"kivaloo"
	"kivaloo/internal/must"
	"kivaloo/wire/wiretest"

	"pgregory.net/rapid"
)

// readers calls f with each kind of Reader, and with a function that fills it. A snapshot is taken
// afterwards.
func readers(t *testing.T, f func(t *testing.T, fill func(map[string]string) kivaloo.Reader)) {
	clear := func(s kivaloo.Store) {
		for p, err := range s.Range(context.Background(), nil, nil) {
			must.Do(t, err)
			must.Do(t, s.Delete(context.Background(), p.Key))
		}
	}
	set := func(s kivaloo.Store, pairs map[string]string) {
		clear(s)
		for k, v := range pairs {
			must.Do(t, s.Set(context.Background(), []byte(k), []byte(v)))
		}
	}
	snapshotOf := func(t *testing.T, s interface {
		Snapshot(context.Context) (kivaloo.Snapshot, error)
	}) kivaloo.Snapshot {
		at, err := s.Snapshot(t.Context())
		must.Do(t, err)
		t.Cleanup(func() { must.Do(t, at.Close()) })
		return at
	}
	t.Run("DB", func(t *testing.T) {
		db := openDB(t, t.TempDir(), kivaloo.Options{NoSync: true})
		f(t, func(pairs map[string]string) kivaloo.Reader {
			set(db, pairs)
			return db
		})
	})
	t.Run("Snapshot of a DB", func(t *testing.T) {
		db := openDB(t, t.TempDir(), kivaloo.Options{NoSync: true})
		f(t, func(pairs map[string]string) kivaloo.Reader {
			set(db, pairs)
			s := snapshotOf(t, db)
			clear(db)
			return s
		})
	})
	t.Run("Client", func(t *testing.T) {
		c := dialFake(t, &wiretest.Server{RangeMax: 40, Extensions: true})
		f(t, func(pairs map[string]string) kivaloo.Reader {
			set(c, pairs)
			return c
		})
	})
	t.Run("Snapshot of a Client", func(t *testing.T) {
		c := dialFake(t, &wiretest.Server{RangeMax: 40, Extensions: true})
		f(t, func(pairs map[string]string) kivaloo.Reader {
			set(c, pairs)
			s := snapshotOf(t, c)
			clear(c)
			return s
		})
	})
	t.Run("Client of the original", func(t *testing.T) {
		c := dialFake(t, &wiretest.Server{RangeMax: 40, EndKeyToo: true})
		f(t, func(pairs map[string]string) kivaloo.Reader {
			set(c, pairs)
			return c
		})
	})
}

// wanted returns the expected result of a Scan of pairs.
func wanted(pairs map[string]string, o kivaloo.ScanOptions) (want []kivaloo.Pair) {
	for k, v := range pairs {
		after := o.After == nil || !o.Reverse && k > string(o.After) || o.Reverse && k < string(o.After)
		if k >= string(o.Start) && (len(o.End) == 0 || k < string(o.End)) && bytes.HasPrefix([]byte(k), o.Prefix) && after {
			p := kivaloo.Pair{Key: []byte(k), Value: []byte(v)}
			if o.KeysOnly {
				p.Value = nil
			}
			want = append(want, p)
		}
	}
	slices.SortFunc(want, func(a, b kivaloo.Pair) int { return bytes.Compare(a.Key, b.Key) })
	if o.Reverse {
		slices.Reverse(want)
	}
	if o.Limit > 0 {
		want = want[:min(len(want), o.Limit)]
	}
	return want
}

// TestReadersAgainstModel checks that every Reader answers like a sorted map.
func TestReadersAgainstModel(t *testing.T) {
	readers(t, func(t *testing.T, fill func(map[string]string) kivaloo.Reader) {
		str := rapid.StringOfN(rapid.RuneFrom([]rune("\x00ab\x7f")), 0, 3, -1)
		rapid.Check(t, func(rt *rapid.T) {
			pairs := rapid.MapOfN(str, str, 0, 30).Draw(rt, "pairs")
			r := fill(pairs)
			for range 10 {
				key := func(name string) []byte { return []byte(str.Draw(rt, name)) }
				o := kivaloo.ScanOptions{
					Reverse:  rapid.Bool().Draw(rt, "reverse"),
					KeysOnly: rapid.Bool().Draw(rt, "keys only"),
					Borrow:   rapid.Bool().Draw(rt, "borrow"),
					Limit:    rapid.IntRange(0, 10).Draw(rt, "limit"),
				}
				for name, field := range map[string]*[]byte{"start": &o.Start, "end": &o.End, "prefix": &o.Prefix, "after": &o.After} {
					if rapid.Bool().Draw(rt, "with "+name) {
						*field = key(name)
					}
				}
				check(rt, r, pairs, o)
			}
			var keys [][]byte
			for range 5 {
				keys = append(keys, []byte(str.Draw(rt, "key")))
			}
			values, err := r.GetMany(context.Background(), keys...)
			must.Do(rt, err)
			for i, key := range keys {
				want, present := pairs[string(key)]
				has, err := r.Has(context.Background(), key)
				must.Do(rt, err)
				if has != present || (values[i] != nil) != present || string(values[i]) != want {
					rt.Fatalf("%q: has %v, value %q; want %v, %q", key, has, values[i], present, want)
				}
			}
		})
	})
}

// check compares a Scan and a Count with the expected result.
func check(t *rapid.T, r kivaloo.Reader, pairs map[string]string, o kivaloo.ScanOptions) {
	want := wanted(pairs, o)
	n, err := r.Count(context.Background(), o)
	must.Do(t, err)
	if int(n) != len(want) {
		t.Fatalf("%+v: counted %d, want %d", o, n, len(want))
	}
	var got []kivaloo.Pair
	for p, err := range r.Scan(context.Background(), o) {
		if o.Reverse && errors.Is(err, kivaloo.ErrUnsupported) {
			return
		}
		must.Do(t, err)
		if o.Borrow {
			p = p.Clone()
		}
		got = append(got, p)
	}
	same := slices.EqualFunc(got, want, func(a, b kivaloo.Pair) bool {
		return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) && (a.Value == nil) == (b.Value == nil)
	})
	if !same {
		t.Fatalf("%+v: got %q, want %q", o, got, want)
	}
}

// TestScanOfMany checks a scan in many pieces over pages that are not in memory.
func TestScanOfMany(t *testing.T) {
	db := openDB(t, t.TempDir(), kivaloo.Options{NoSync: true, BlockSize: 512, CacheBytes: smallCache})
	pairs := map[string]string{}
	var b []kivaloo.Pair
	for i := range 20_000 {
		k, v := fmt.Sprintf("%05d", i), fmt.Sprint(i)
		pairs[k] = v
		b = append(b, kivaloo.Pair{Key: []byte(k), Value: []byte(v)})
	}
	p := new(kivaloo.Batch)
	for _, pair := range b {
		p.Set(pair.Key, pair.Value)
	}
	must.Do(t, db.Apply(t.Context(), p))
	must.Do(t, db.Verify(t.Context()))
	rapid.Check(t, func(rt *rapid.T) {
		o := kivaloo.ScanOptions{
			Start:    fmt.Appendf(nil, "%05d", rapid.IntRange(0, 20_000).Draw(rt, "start")),
			Reverse:  rapid.Bool().Draw(rt, "reverse"),
			KeysOnly: rapid.Bool().Draw(rt, "keys only"),
			Limit:    rapid.SampledFrom([]int{0, 1, 10_000}).Draw(rt, "limit"),
		}
		check(rt, db, pairs, o)
	})
}

// TestScanBounds checks invalid bounds of a Scan, and the smallest and greatest possible keys.
func TestScanBounds(t *testing.T) {
	long, last := bytes.Repeat([]byte("k"), kivaloo.MaxLen), bytes.Repeat([]byte{0xff}, kivaloo.MaxLen)
	readers(t, func(t *testing.T, fill func(map[string]string) kivaloo.Reader) {
		pairs := map[string]string{"": "first", string(long): "long", "l": "behind it", string(last): "last", "\xff": "prefix"}
		r := fill(pairs)
		keys := func(o kivaloo.ScanOptions) (keys []string) {
			for p, err := range r.Scan(t.Context(), o) {
				must.Do(t, err)
				keys = append(keys, string(p.Key))
			}
			return keys
		}
		for _, test := range []struct {
			o    kivaloo.ScanOptions
			want []string
		}{
			{kivaloo.ScanOptions{After: long}, []string{"l", "\xff", string(last)}},
			{kivaloo.ScanOptions{After: last}, nil},
			{kivaloo.ScanOptions{After: []byte{}, Limit: 1}, []string{string(long)}},
			{kivaloo.ScanOptions{Prefix: []byte{0xff}}, []string{"\xff", string(last)}},
			{kivaloo.ScanOptions{Prefix: last}, []string{string(last)}},
		} {
			if got := keys(test.o); !slices.Equal(got, test.want) {
				t.Errorf("%q: %q, want %q", test.o.After, got, test.want)
			}
		}
		for _, o := range []kivaloo.ScanOptions{{Start: append(long, 'k')}, {End: append(long, 'k')}, {Prefix: append(long, 'k')}, {After: append(long, 'k')}} {
			_, err := r.Count(t.Context(), o)
			if err2 := drain(r.Scan(t.Context(), o)); !errors.Is(err, kivaloo.ErrTooLong) || !errors.Is(err2, kivaloo.ErrTooLong) {
				t.Errorf("%v, %v", err, err2)
			}
		}
		var option *kivaloo.OptionError
		if err := drain(r.Scan(t.Context(), kivaloo.ScanOptions{Limit: -1})); !errors.As(err, &option) || option.Field != "ScanOptions.Limit" {
			t.Error(err)
		}
	})
}
