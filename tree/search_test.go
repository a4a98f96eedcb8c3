package tree

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kivaloo/internal/must"
	"kivaloo/tree/keys"
	"kivaloo/tree/page"
)

// searchKeys draws distinct keys, in order, of the kinds that are hard to search.
func searchKeys(t *rapid.T) []string {
	var key *rapid.Generator[string]
	switch rapid.SampledFrom([]string{"tiny", "binary", "long equal heads", "prefixes of each other", "any"}).Draw(t, "kind") {
	case "tiny": // more of them than the index has entries
		key = rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 1), func(b []byte) string { return string(b) })
	case "binary": // heads are padded with zeros, and ff is the last byte
		key = rapid.StringOfN(rapid.SampledFrom([]rune{0, 1, 'a'}), 0, 12, -1)
		key = rapid.Map(key, func(s string) string { return strings.ReplaceAll(s, "\x01", "\xff") })
	case "long equal heads":
		key = rapid.Map(rapid.StringOfN(rapid.SampledFrom([]rune{0, 'a', 'b'}), 0, 4, -1),
			func(s string) string { return "commonxxxxxxxx" + s })
	case "prefixes of each other":
		key = rapid.Map(rapid.IntRange(0, 40), func(n int) string { return strings.Repeat("p", n) })
	default:
		key = rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 20), func(b []byte) string { return string(b) })
	}
	keys := rapid.SliceOfN(key, 0, 200).Draw(t, "keys")
	slices.Sort(keys)
	return slices.Compact(keys)
}

// probes returns keys to search for: the existing ones, and their neighbours.
func probes(keys []string) []string {
	all := []string{"", "\x00", "a", "commonxx", "commonxxxxxxxx", "commony", strings.Repeat("\xff", 255)}
	for _, k := range keys {
		all = append(all, k, k+"\x00", k+"\xff", k+"b")
		if n := len(k); n > 0 {
			last := k[n-1]
			all = append(all, k[:n-1], k[:n-1]+string([]byte{last - 1}), k[:n-1]+string([]byte{last + 1}))
		}
	}
	return all
}

// TestSearchLeaf compares position and lookup with a search in a slice.
func TestSearchLeaf(t *testing.T) {
	c := testCache(t, 2048)
	small := testCache(t, 512)
	strided := 0
	rapid.Check(t, func(t *rapid.T) {
		c := c
		if rapid.Bool().Draw(t, "small") {
			c = small
		}
		a := parts{}
		for i, k := range searchKeys(t) {
			next := parts{keys: append(a.keys, k), values: append(a.values, string(rune(i)))}
			if next.size() > c.blockSize {
				break
			}
			a = next
		}
		nd := putParts(t, c, a)
		if nd.stride > 1 {
			strided++
		}
		for _, k := range probes(a.keys) {
			want, exact := slices.BinarySearch(a.keys, k)
			if got, found := c.position(nd, []byte(k)); got != want || found != exact {
				t.Fatalf("position of %q: %d, %t; want %d, %t", k, got, found, want, exact)
			}
			value, found := c.lookup(nd, []byte(k))
			if found != exact || found && string(value) != a.values[want] {
				t.Fatalf("lookup of %q: %q, %t", k, value, found)
			}
		}
		for i, k := range a.keys {
			if got := string(c.key(nd, i)); got != k {
				t.Fatalf("key %d is %q, want %q", i, got, k)
			}
		}
		c.free(c.table[nd.block])
	})
	if strided == 0 {
		t.Error("no leaf had more keys than its index has room for")
	}
}

// TestSearchParent compares childFor with a search in a slice.
func TestSearchParent(t *testing.T) {
	c := testCache(t, 4096)
	rapid.Check(t, func(t *rapid.T) {
		a := parts{height: 1, records: []page.Child{{Size: page.HeadBytes}}}
		for i, k := range searchKeys(t) {
			b := uint64(i + 1)
			next := parts{height: 1, keys: append(a.keys, k), records: append(a.records, page.Child{Block: b, Oldest: b, Size: page.HeadBytes})}
			if next.size() > c.blockSize {
				break
			}
			a = next
		}
		nd := putParts(t, c, a)
		for _, k := range probes(a.keys) {
			// A key equal to a separator belongs to the right of it.
			want := sort.Search(len(a.keys), func(i int) bool { return a.keys[i] > k })
			if got := c.childFor(nd, []byte(k)); got != want {
				t.Fatalf("child for %q is %d, want %d", k, got, want)
			}
		}
		for i, r := range a.records {
			if got := c.record(nd, i); got != r {
				t.Fatalf("record %d is %+v, want %+v", i, got, r)
			}
		}
		c.free(c.table[nd.block])
	})
}

func putParts(t tester, c *cache, a parts) *node {
	t.Helper()
	p := a.encode(c.blockSize)
	l, err := page.Parse(p)
	must.Do(t, err)
	return putPage(t, c, p, l)
}

func TestCountBelow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		head := rapid.OneOf(rapid.Uint64Range(0, 5), rapid.Uint64Range(math.MaxUint64-5, math.MaxUint64), rapid.Uint64())
		heads := rapid.SliceOf(head).Draw(t, "heads")
		slices.Sort(heads)
		for _, h := range append([]uint64{head.Draw(t, "h"), 0, math.MaxUint64}, heads...) {
			want := sort.Search(len(heads), func(i int) bool { return heads[i] >= h })
			if got := countBelow(heads, h); got != want {
				t.Fatalf("%d of %x are below %x, want %d", got, heads, h, want)
			}
		}
	})
}

// TestKeyHead checks that heads are in the same order as their keys, or equal.
func TestKeyHead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0x7f, 0x80, 0xff}), 0, 10)
		a, b := key.Draw(t, "a"), key.Draw(t, "b")
		if order := cmp.Compare(keys.Head(a), keys.Head(b)); order != 0 && order != bytes.Compare(a, b) {
			t.Fatalf("heads %x, %x", keys.Head(a), keys.Head(b))
		}
	})
}

// TestCountBefore compares countBefore with a linear search.
func TestCountBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 'a', 0xff}), 0, 4)
		drawn := rapid.SliceOfNDistinct(key, 1, -1, func(k []byte) string { return string(k) }).Draw(t, "keys")
		slices.SortFunc(drawn, bytes.Compare)
		changes := make([]change, len(drawn))
		for i, k := range drawn {
			changes[i].key = k
		}
		bound := append(slices.Clone(drawn[0]), key.Draw(t, "bound")...)
		bound = append(bound, 0) // countBefore requires that its first change is before the bound
		n := sort.Search(len(drawn), func(i int) bool { return bytes.Compare(drawn[i], bound) >= 0 })
		if got := countBefore(changes, bound); got != n {
			t.Fatalf("%d changes before %q, want %d", got, bound, n)
		}
	})
}

// TestShortestSeparator tries every shorter string that could be a separator.
func TestShortestSeparator(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 0xff}), 0, 12)
		left, right := key.Draw(t, "left"), key.Draw(t, "right")
		switch bytes.Compare(left, right) {
		case 0:
			t.Skip("equal")
		case 1:
			left, right = right, left
		}
		sep := keys.ShortestSeparator(left, right)
		if bytes.Compare(left, sep) >= 0 || bytes.Compare(sep, right) > 0 {
			t.Fatalf("%q is not between", sep)
		}
		// The greatest string of a length that is not after right is its prefix.
		if n := len(sep) - 1; n >= 0 && bytes.Compare(right[:n], left) > 0 {
			t.Fatalf("%q would do instead of %q", right[:n], sep)
		}
	})
}

func testCache(t tester, blockSize int) *cache {
	t.Helper()
	c, err := newCache(blockSize, MinCachePages)
	must.Do(t, err)
	t.Cleanup(c.close)
	return c
}

// putPage puts a page into c as a clean page.
func putPage(t tester, c *cache, p []byte, l page.Layout) *node {
	t.Helper()
	id, nd, err := c.alloc(l.Height)
	must.Do(t, err)
	copy(c.page(nd), p)
	c.index(nd, l)
	nd.block, nd.state = 1, frameClean
	c.table[nd.block] = id
	return nd
}
