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
	"kivaloo/wire"
	"kivaloo/wire/wiretest"

	"pgregory.net/rapid"
)

// collect returns the range as "key=value" strings.
func collect(t rapid.TB, c *kivaloo.Client, start, end string) []string {
	var got []string
	for p, err := range c.Range(context.Background(), []byte(start), []byte(end)) {
		must.Do(t, err)
		got = append(got, string(p.Key)+"="+string(p.Value))
	}
	return got
}

// TestRangeAgainstModel checks that a range has exactly the keys start <= key < end, however the
// server divides it.
func TestRangeAgainstModel(t *testing.T) {
	for _, endKeyToo := range []bool{false, true} {
		t.Run(fmt.Sprintf("end key too %v", endKeyToo), func(t *testing.T) {
			s := &wiretest.Server{EndKeyToo: endKeyToo}
			c := dialFake(t, s)
			str := rapid.StringOfN(rapid.RuneFrom([]rune("\x00ab\xff")), 0, 3, -1)
			rapid.Check(t, func(t *rapid.T) {
				pairs := rapid.MapOfN(str, str, 0, 30).Draw(t, "pairs")
				start, end := str.Draw(t, "start"), str.Draw(t, "end")
				s.Mu.Lock()
				s.Pairs, s.RangeMax = pairs, rapid.Uint32Range(0, 40).Draw(t, "page")
				s.Mu.Unlock()
				var want []string
				for key, value := range pairs {
					if key >= start && (end == "" || key < end) {
						want = append(want, key+"="+value)
					}
				}
				got := collect(t, c, start, end)
				// The order is that of the keys, not of the strings with "=" in them.
				if !slices.IsSortedFunc(got, func(a, b string) int {
					ka, _, _ := bytes.Cut([]byte(a), []byte("="))
					kb, _, _ := bytes.Cut([]byte(b), []byte("="))
					return bytes.Compare(ka, kb)
				}) {
					t.Fatalf("out of order: %q", got)
				}
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Fatalf("%q to %q: got %q, want %q", start, end, got, want)
				}
			})
		})
	}
}

func TestRangeStopsEarly(t *testing.T) {
	asked := 0
	s := &wiretest.Server{RangeMax: 1, Hook: func(uint64, wire.KVRequest) ([]byte, wiretest.Verdict) {
		asked++
		return nil, wiretest.Normally
	}}
	c := dialFake(t, s)
	s.Mu.Lock()
	s.Pairs = map[string]string{"a": "1", "b": "2", "c": "3"}
	s.Mu.Unlock()
	for p, err := range c.Range(within(t), nil, nil) {
		must.Do(t, err)
		if string(p.Key) == "b" {
			break
		}
	}
	collect(t, c, "b", "b")
	collect(t, c, "c", "b")
	if asked != 2 {
		t.Errorf("asked %d times, want 2", asked)
	}
}

// TestRangePairsAreApart checks that appending to a returned slice does not overwrite its
// neighbour.
func TestRangePairsAreApart(t *testing.T) {
	s := &wiretest.Server{}
	c := dialFake(t, s)
	s.Mu.Lock()
	s.Pairs = map[string]string{"a": "1", "b": "2"}
	s.Mu.Unlock()
	var got []kivaloo.Pair
	for p, err := range c.Range(within(t), nil, nil) {
		must.Do(t, err)
		_ = append(p.Key, "xxxx"...)
		_ = append(p.Value, "xxxx"...)
		got = append(got, p)
	}
	if s := fmt.Sprintf("%s", got); s != "[{a 1} {b 2}]" {
		t.Errorf("got %s", s)
	}
}

// TestRangeBadAnswers checks that invalid answers of a server neither make a loop endless nor
// return pairs outside of the range.
func TestRangeBadAnswers(t *testing.T) {
	pairs := func(keys ...string) (out []byte) {
		for _, key := range keys {
			out = wiretest.AppendPair(out, key, "")
		}
		return out
	}
	for name, tc := range map[string]struct {
		next  string
		n     uint32
		pairs []byte
	}{
		"goes back":          {"a", 0, nil},
		"stands still":       {"b", 0, nil},
		"before the start":   {"", 1, pairs("a")},
		"out of order":       {"", 2, pairs("d", "c")},
		"the same key twice": {"", 2, pairs("c", "c")},
		"beyond next":        {"d", 2, pairs("c", "d")},
		"beyond the end":     {"f", 2, pairs("c", "g")},
	} {
		t.Run(name, func(t *testing.T) {
			s := &wiretest.Server{Hook: func(id uint64, r wire.KVRequest) ([]byte, wiretest.Verdict) {
				if r.Type != wire.TypeRange {
					return nil, wiretest.Normally
				}
				return wire.AppendPacket(nil, id, wire.AppendKVPairs(nil, tc.n, []byte(tc.next), tc.pairs)), wiretest.WithThis
			}}
			c := dialFake(t, s)
			n := 0
			var err error
			for _, err = range c.Range(within(t), []byte("b"), []byte("f")) {
				n++
			}
			var op *kivaloo.OpError
			if n != 1 || !errors.Is(err, wire.ErrBadRecord) || !errors.As(err, &op) || op.Op != "range" {
				t.Errorf("%d steps, the last with %v", n, err)
			}
			if err := c.Set(within(t), []byte("k"), nil); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}
