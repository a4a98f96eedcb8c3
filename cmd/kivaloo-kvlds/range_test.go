package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"kivaloo"
	"kivaloo/internal/must"
)

// mustRange checks the answer to one RANGE.
func (c *client) mustRange(t *testing.T, max uint32, start, end, next string, want ...pair) {
	t.Helper()
	pairs, gotNext, err := c.ranged(max, start, end)
	if err != nil || gotNext != next || !slices.Equal(pairs, want) {
		t.Errorf("RANGE of %d from %q to %q: %v, next %q, %v; want %v, next %q", max, start, end, pairs, gotNext, err, want, next)
	}
}

// TestRange checks that a RANGE goes from start up to, but not including, end. The original also
// returns a key that equals end, and stops after one leaf if end is empty.
func TestRange(t *testing.T) {
	t.Parallel()
	conn := startStack(t, 512).connect(t)
	a, b, c, d, e := pair{"a", "v"}, pair{"b", "v"}, pair{"c", "v"}, pair{"d", "v"}, pair{"e", "v"}
	for _, step := range []struct {
		max              uint32
		start, end, next string
		want             []pair
	}{
		{max: 1000}, // the store is still empty
		{max: 1000, start: "a", end: "b", next: "b"},
		{max: 1000, want: []pair{a, b, c, d, e}},
		{max: math.MaxUint32, want: []pair{a, b, c, d, e}},
		{max: 1000, end: "zzz", next: "zzz", want: []pair{a, b, c, d, e}},
		{max: 1000, start: "b", end: "d", next: "d", want: []pair{b, c}},
		{max: 1000, start: "c", end: "c", next: "c"},
		{max: 1000, start: "d", end: "b", next: "b"},
		{max: 1000, start: "x"},
		{max: 1000, start: "x", end: "z", next: "z"},
		{max: 1000, start: "a\x00", end: "e", next: "e", want: []pair{b, c, d}},
		{max: 1000, start: "aa", end: "ab", next: "ab"},
		{max: 1000, end: "a", next: "a"},
		{max: 0, next: "b", want: []pair{a}},
		{max: 1, start: "b", next: "c", want: []pair{b}},
		{max: 0, end: "b", next: "b", want: []pair{a}},
		{max: 0, start: "e", want: []pair{e}},
		{max: 0, start: "x"},
		{max: 7, next: "b", want: []pair{a}}, // a pair takes four bytes
		{max: 8, next: "c", want: []pair{a, b}},
		{max: 11, next: "c", want: []pair{a, b}},
		{max: 20, want: []pair{a, b, c, d, e}},
		{max: 8, start: "d", want: []pair{d, e}},
		{max: 8, start: "b", end: "d", next: "d", want: []pair{b, c}},
		{max: 8, start: "b", end: "e", next: "d", want: []pair{b, c}},
	} {
		if step.want != nil {
			conn.mustSet(t, a, b, c, d, e)
		}
		conn.mustRange(t, step.max, step.start, step.end, step.next, step.want...)
	}
	conn.mustSet(t, pair{"", ""}, pair{"a", strings.Repeat("v", 90)})
	conn.mustRange(t, 3, "", "b", "a", pair{"", ""})
	conn.mustRange(t, 3, "a", "b", "b", pair{"a", strings.Repeat("v", 90)})
}

// TestRangeOverManyLeaves checks that answers over many leaves have as many pairs as requested, and
// lead to the end.
func TestRangeOverManyLeaves(t *testing.T) {
	t.Parallel()
	c := startStack(t, 512).connect(t)
	var pairs []pair
	for i := range 3000 {
		pairs = append(pairs, pair{number(3 * i), strings.Repeat("v", i%60)})
	}
	c.mustSet(t, pairs...)
	c.mustRange(t, 1<<20, "", "", "", pairs...)

	rnd := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		start, end := rnd.IntN(9300), rnd.IntN(9300)
		max := uint32(rnd.IntN(20000))
		from, to := number(start), number(end)
		if rnd.IntN(4) == 0 {
			to = ""
		}
		var want []pair
		for _, p := range pairs {
			if p.key >= from && (to == "" || p.key < to) {
				want = append(want, p)
			}
		}
		all, err := c.all(max, from, to)
		if err != nil || !slices.Equal(all, want) {
			t.Fatalf("RANGE of %d from %q to %q: %d pairs, %v, want %d", max, from, to, len(all), err, len(want))
		}
		got, next, err := c.ranged(max, from, to)
		if full := fill(want, int(max)); err != nil || len(got) != full {
			t.Fatalf("RANGE of %d from %q to %q: %d pairs, next %q, %v, want %d", max, from, to, len(got), next, err, full)
		}
	}
}

// fill returns how many of pairs fit in max bytes, but at least one if there is one.
func fill(pairs []pair, max int) int {
	size := 0
	for i, p := range pairs {
		size += 2 + len(p.key) + len(p.value)
		if i > 0 && size > max {
			return i
		}
	}
	return len(pairs)
}

// TestRangeAnswerIsBounded checks that an answer has at most 1 MiB of pairs, however much is
// requested.
func TestRangeAnswerIsBounded(t *testing.T) {
	t.Parallel()
	c := startStack(t, 4096).connect(t)
	var pairs []pair
	for i := range 6000 {
		pairs = append(pairs, pair{number(i), strings.Repeat("v", 255)})
	}
	c.mustSet(t, pairs...)
	got, next, err := c.ranged(math.MaxUint32, "", "")
	if want := fill(pairs, 1<<20); err != nil || len(got) != want || next != number(want) {
		t.Errorf("%d pairs, next %q, %v; want %d", len(got), next, err, want)
	}
}

// TestRangesAreComplete checks ranges and backups of a client while others write, in a store larger
// than the cache. They must have everything that is present throughout.
func TestRangesAreComplete(t *testing.T) {
	t.Parallel()
	const keys, readers = 20_000, 6
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	p := startStack(t, 512, "-C", "1024", "-n", strconv.Itoa(readers+2))
	key := func(n int) []byte { return fmt.Appendf(nil, "%055d", n) }
	value := func(n, version int) []byte { return fmt.Appendf(nil, "%d=%09d", n, version) }
	c, err := kivaloo.Dial(ctx, p.socket(), kivaloo.DialOptions{})
	must.Do(t, err)
	defer c.Close()
	filling := c.Pipeline(ctx)
	for n := range keys {
		filling.Set(key(n), value(n, 0))
	}
	must.Do(t, filling.Wait())

	check := func(c *kivaloo.Client, first, end int) error {
		next := first
		for p, err := range c.Range(ctx, key(first), key(end)) {
			if err != nil {
				return err
			}
			if !bytes.Equal(p.Key, key(next)) || !bytes.HasPrefix(p.Value, fmt.Appendf(nil, "%d=", next)) {
				return fmt.Errorf("the pair %q, %q comes where key %d is due", p.Key, p.Value, next)
			}
			next++
		}
		if next != end {
			return fmt.Errorf("the range from %d ends before %d of %d", first, next, end)
		}
		return nil
	}
	var group sync.WaitGroup
	for reader := range readers {
		group.Go(func() {
			own, err := kivaloo.Dial(ctx, p.socket(), kivaloo.DialOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			defer own.Close()
			for round := 0; ctx.Err() == nil; round++ {
				first := round * 50 % keys
				err := check(own, first, first+50)
				if reader == 0 && err == nil {
					err = own.Set(ctx, key(first), value(first, round))
				}
				if err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 3 {
		must.Do(t, check(c, 0, keys))
		pairs := int64(0)
		must.Do(t, c.Backup(ctx, io.Discard, kivaloo.BackupOptions{Progress: func(n, _ int64) { pairs = n }}))
		if pairs != keys {
			t.Errorf("a backup has %d pairs of %d", pairs, keys)
		}
	}
	stop()
	group.Wait()
}
