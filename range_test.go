package kivaloo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"kivaloo"
	"kivaloo/wire"

	"pgregory.net/rapid"
)

// collect returns the range as "key=value" strings.
func collect(t interface{ Fatal(...any) }, c *kivaloo.Client, start, end string) []string {
	var got []string
	for p, err := range c.Range(context.Background(), []byte(start), []byte(end)) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(p.Key)+"="+string(p.Value))
	}
	return got
}

// A range is exactly start <= key < end, however the server divides it.
func TestRangeAgainstModel(t *testing.T) {
	for _, endKeyToo := range []bool{false, true} {
		t.Run(fmt.Sprintf("end key too %v", endKeyToo), func(t *testing.T) {
			s := &fakeServer{endKeyToo: endKeyToo}
			c := s.dial(t)
			str := rapid.StringOfN(rapid.RuneFrom([]rune("\x00ab\xff")), 0, 3, -1)
			rapid.Check(t, func(t *rapid.T) {
				pairs := rapid.MapOfN(str, str, 0, 30).Draw(t, "pairs")
				start, end := str.Draw(t, "start"), str.Draw(t, "end")
				s.mu.Lock()
				s.pairs, s.rangeMax = pairs, rapid.Uint32Range(0, 40).Draw(t, "page")
				s.mu.Unlock()
				var want []string
				for key, value := range pairs {
					if key >= start && (end == "" || key < end) {
						want = append(want, key+"="+value)
					}
				}
				got := collect(t, c, start, end)
				// Order is that of the keys, not of the strings with "=" in them.
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
	s := &fakeServer{rangeMax: 1, hook: func(uint64, wire.KVRequest) ([]byte, verdict) {
		asked++
		return nil, normally
	}}
	c := s.dial(t)
	s.mu.Lock()
	s.pairs = map[string]string{"a": "1", "b": "2", "c": "3"}
	s.mu.Unlock()
	for p, err := range c.Range(within(t), nil, nil) {
		if err != nil {
			t.Fatal(err)
		}
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

// Appending to what is returned must not write over its neighbour.
func TestRangePairsAreApart(t *testing.T) {
	s := &fakeServer{}
	c := s.dial(t)
	s.mu.Lock()
	s.pairs = map[string]string{"a": "1", "b": "2"}
	s.mu.Unlock()
	var got []kivaloo.Pair
	for p, err := range c.Range(within(t), nil, nil) {
		if err != nil {
			t.Fatal(err)
		}
		_ = append(p.Key, "xxxx"...)
		_ = append(p.Value, "xxxx"...)
		got = append(got, p)
	}
	if s := fmt.Sprintf("%s", got); s != "[{a 1} {b 2}]" {
		t.Errorf("got %s", s)
	}
}

// A server that answers nonsense must not have a loop go round for ever, nor pass off
// pairs that were not asked for.
func TestRangeBadAnswers(t *testing.T) {
	pairs := func(keys ...string) (out []byte) {
		for _, key := range keys {
			out = appendPair(out, key, "")
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
			s := &fakeServer{hook: func(id uint64, r wire.KVRequest) ([]byte, verdict) {
				if r.Type != wire.TypeRange {
					return nil, normally
				}
				return wire.AppendPacket(nil, id, wire.AppendKVPairs(nil, tc.n, []byte(tc.next), tc.pairs)), withThis
			}}
			c := s.dial(t)
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
