package memtable

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"kivaloo/internal/must"
	"kivaloo/tree/offheap"
)

func newTable(t testing.TB, limit int) *Table {
	t.Helper()
	tab, err := new(Pool).New(limit, maphash.MakeSeed())
	must.Do(t, err)
	t.Cleanup(func() {
		tab.Free()
		tab.pool.Free()
	})
	return tab
}

func (t *Table) mustSet(key, val string) {
	if err := t.Set(t.Hash([]byte(key)), []byte(key), []byte(val)); err != nil {
		panic(err)
	}
}

// state is the expected content of a table. A missing key is unknown; a nil value means deleted.
type state map[string][]byte

func (t *Table) lookup(key string, at Pos) ([]byte, Found) {
	return t.Get(t.Hash([]byte(key)), []byte(key), at)
}

// check compares the content of a table at a position with want, by Get and in order.
func check(t rapid.TB, tab *Table, at Pos, want state, keys []string) {
	t.Helper()
	for _, k := range keys {
		got, found := tab.lookup(k, at)
		v, known := want[k]
		switch {
		case found == Unknown && !known, found == Absent && known && v == nil, found == Present && known && v != nil && bytes.Equal(got, v):
		default:
			t.Fatalf("at %d key %q holds %q (%d), want %q", at, k, got, found, v)
		}
	}
	sorted := slices.Sorted(maps.Keys(want))
	var c Cursor
	c.Add(tab, at, nil)
	walk(t, &c, at, want, sorted)
	c.Reset()
	c.AddDown(tab, at, nil)
	slices.Reverse(sorted)
	walk(t, &c, at, want, sorted)
	for _, below := range keys {
		if below == "" { // an empty below means no bound
			continue
		}
		c.Reset()
		c.AddDown(tab, at, []byte(below))
		walk(t, &c, at, want, slices.DeleteFunc(slices.Clone(sorted), func(k string) bool { return k >= below }))
	}
}

// walk compares a cursor at a position with the given keys.
func walk(t rapid.TB, c *Cursor, at Pos, want state, keys []string) {
	t.Helper()
	for _, k := range keys {
		if c.Done() {
			t.Fatalf("at %d the cursor ends before %q", at, k)
		}
		ch := c.Change()
		if string(c.Key()) != k || string(ch.Key) != k || ch.Deleted != (want[k] == nil) || !bytes.Equal(ch.Value, want[k]) {
			t.Fatalf("at %d the cursor shows %q = %q (%t), want %q = %q", at, ch.Key, ch.Value, ch.Deleted, k, want[k])
		}
		c.Next()
	}
	if !c.Done() {
		t.Fatalf("at %d the cursor shows %q behind the last key", at, c.Key())
	}
}

// TestModel changes tables at random, commits some changes and truncates others, and compares every
// durable position with a map.
func TestModel(t *testing.T) {
	pool := new(Pool)
	defer pool.Free()
	rapid.Check(t, func(t *rapid.T) {
		tab, err := pool.New(rapid.SampledFrom([]int{1, 1 << 10, 1 << 20, 2 * segmentBytes}).Draw(t, "limit"), maphash.MakeSeed())
		must.Do(t, err)
		defer tab.Free()
		prefix := rapid.SampledFrom([]string{"", "a", "a long prefix of all keys "}).Draw(t, "prefix")
		keys := make([]string, rapid.IntRange(1, 60).Draw(t, "keys"))
		for i := range keys {
			keys[i] = prefix + fmt.Sprint(i * i)[:min(len(fmt.Sprint(i*i)), 4)]
		}
		if rapid.Bool().Draw(t, "empty key") {
			keys[0] = ""
		}
		durable, tip := state{}, state{}
		past := map[Pos]state{}
		appendedState := state{}
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			key := rapid.SampledFrom(keys).Draw(t, "key")
			hash := tab.Hash([]byte(key))
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2, 3, 4:
				v := bytes.Repeat([]byte{'x'}, rapid.IntRange(0, 255).Draw(t, "length"))
				must.Do(t, tab.Set(hash, []byte(key), v))
				tip[key] = v
			case 5:
				must.Do(t, tab.Delete(hash, []byte(key)))
				tip[key] = nil
			case 6:
				seen := map[string]bool{}
				tab.EachPending(func(c Change) {
					if seen[string(c.Key)] {
						t.Fatalf("key %q is pending twice", c.Key)
					}
					seen[string(c.Key)] = true
					if v := tip[string(c.Key)]; c.Deleted != (v == nil) || !bytes.Equal(c.Value, v) {
						t.Fatalf("pending: %q = %q (%t), want %q", c.Key, c.Value, c.Deleted, v)
					}
				})
				tab.Append()
				appendedState = maps.Clone(tip)
			case 7:
				if tab.Pending() && len(appendedState) == 0 && len(durable) == 0 {
					continue
				}
				tab.Commit()
				durable = maps.Clone(appendedState)
				past[tab.Durable()] = durable
			case 8:
				tab.Truncate()
				tip, appendedState = maps.Clone(durable), maps.Clone(durable)
				past[tab.Durable()] = durable
			case 9:
				tab.Sort(tab.Durable(), rapid.IntRange(1, 50).Draw(t, "chunk"))
			}
		}
		for !tab.Sort(tab.Durable(), 7) {
		}
		for at, want := range past {
			check(t, tab, at, want, keys)
		}
		for _, k := range keys {
			got, found := tab.lookup(k, tab.Tip())
			if v, known := tip[k]; found == Unknown == known || v != nil && !bytes.Equal(v, got) {
				t.Fatalf("at the tip %q holds %q, want %q", k, got, v)
			}
		}
	})
}

// TestHotKey sets one key again and again. It must take the memory of one entry, and one hop.
func TestHotKey(t *testing.T) {
	tab := newTable(t, 1<<20)
	for i := range 4096 {
		tab.mustSet("hot", fmt.Sprintf("%04d", i))
	}
	pending := 0
	tab.EachPending(func(Change) { pending++ })
	if pending != 1 || tab.Tip() > 10 {
		t.Errorf("%d entries pending, tip %d", pending, tab.Tip())
	}
	for i := range 4096 { // values of different lengths
		tab.mustSet("hot", fmt.Sprint(i))
	}
	if e := tab.entry(tab.tip - entryUnits(3, 4)); older(e) != 0 {
		t.Errorf("the newest entry is %d hops from the first", older(e))
	}
}

// TestGrow puts far more into a table than its limit.
func TestGrow(t *testing.T) {
	tab := newTable(t, 1)
	for i := range 100_000 {
		tab.mustSet(fmt.Sprintf("%06d", i*7919%100_000), fmt.Sprint(i))
	}
	tab.Append()
	tab.Commit()
	if !tab.Full() || tab.Len() != 100_000 {
		t.Errorf("full: %t, %d changes", tab.Full(), tab.Len())
	}
	for i := range 100_000 {
		if v, found := tab.lookup(fmt.Sprintf("%06d", i*7919%100_000), tab.Durable()); found != Present || string(v) != fmt.Sprint(i) {
			t.Fatalf("change %d: %q, %d", i, v, found)
		}
	}
	for !tab.Sort(tab.Durable(), 16<<10) {
	}
	var c Cursor
	c.Add(tab, tab.Durable(), []byte("05"))
	for i := 50_000; i < 100_000; i++ {
		if string(c.Key()) != fmt.Sprintf("%06d", i) {
			t.Fatalf("key %q, want %06d", c.Key(), i)
		}
		c.Next()
	}
	if !c.Done() {
		t.Error("the cursor goes on behind the last key")
	}
}

// TestReaders has goroutines read while the owner writes. Each must see a commit as a whole or not
// at all, by Get and in order, and never an older one than before.
func TestReaders(t *testing.T) {
	tab := newTable(t, 1<<10)
	const keys = 50
	var stop atomic.Bool
	var readers sync.WaitGroup
	for r := range 4 {
		readers.Go(func() {
			last := ""
			for !stop.Load() {
				at := tab.Durable()
				var c Cursor
				if r%2 == 0 {
					for !tab.Sort(at, 1000) {
					}
					c.Add(tab, at, nil)
				}
				commit := ""
				for i := range keys {
					var v []byte
					var found Found
					if r%2 == 1 {
						v, found = tab.lookup(fmt.Sprint(i+100), at)
					} else if !c.Done() {
						v, found = c.Change().Value, Present
						c.Next()
					}
					if i == 0 {
						commit = string(v)
					}
					if string(v) != commit || (found == Present) != (commit != "") {
						t.Errorf("key %d holds %q of another commit than %q", i, v, commit)
						return
					}
				}
				if commit < last {
					t.Errorf("commit %q after %q", commit, last)
				}
				last = commit
			}
		})
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for commit := range 300 {
		for round := range 3 {
			for i := range keys {
				v := fmt.Sprintf("%06d", commit)
				if round < 2 {
					v = fmt.Sprintf("%06d"+"never seen"[:rng.IntN(10)], commit)
				}
				tab.mustSet(fmt.Sprint(i+100), v)
			}
			if round == 0 && rng.IntN(3) == 0 {
				tab.Append()
				tab.Truncate() // the append failed
			}
		}
		tab.Append()
		tab.Commit()
	}
	stop.Store(true)
	readers.Wait()
}

// TestPool checks that a pool keeps no more memory than the next table of that size needs.
func TestPool(t *testing.T) {
	if !offheap.Reusable {
		t.Skip("memory is not used again under -race")
	}
	const limit = 2 * segmentBytes
	pool := new(Pool)
	defer pool.Free()
	for range 3 {
		tab, err := pool.New(limit, maphash.MakeSeed())
		must.Do(t, err)
		if err := tab.Reserve(1, 5*segmentBytes); err != nil { // more than it was made for
			t.Fatal(err)
		}
		index := len(tab.index.Load().memory.Bytes())
		tab.Free()
		if n := pool.Bytes(); n != limit+index {
			t.Errorf("%d bytes are kept, want %d of entries and an index of %d", n, limit, index)
		}
	}
	pool.Free()
	if n := pool.Bytes(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

func BenchmarkSet(b *testing.B) {
	keys := make([][]byte, 700_000)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "%040d", rng.Uint64())
	}
	val := make([]byte, 40)
	tab := newTable(b, 64<<20)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if tab.Full() {
			tab.Free()
			tab, _ = tab.pool.New(64<<20, maphash.MakeSeed())
		}
		k := keys[i%len(keys)]
		_ = tab.Set(tab.Hash(k), k, val)
		if i%1000 == 0 {
			tab.Append()
			tab.Commit()
		}
	}
}

func BenchmarkSortAndWalk(b *testing.B) {
	tab := newTable(b, 64<<20)
	rng := rand.New(rand.NewPCG(1, 1))
	for !tab.Full() {
		k := fmt.Appendf(nil, "%040d", rng.Uint64())
		_ = tab.Set(tab.Hash(k), k, k)
	}
	tab.Append()
	tab.Commit()
	for b.Loop() {
		tab.runs.Store(&runs{to: 1})
		for !tab.Sort(tab.Durable(), 16<<10) {
		}
		var c Cursor
		for c.Add(tab, tab.Durable(), nil); !c.Done(); c.Next() {
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(tab.Len()), "ns/entry")
}

// TestHotKeyHops checks that a reader passes few entries of a key, however often the key is written
// between two appends and during one.
func TestHotKeyHops(t *testing.T) {
	tab := newTable(t, 1<<20)
	for commit := range 10 {
		for i := range 4096 {
			tab.mustSet("hot", fmt.Sprintf("%0*d", i%50, i))
		}
		tab.Append()
		for i := range 4096 { // decided while the append is under way
			tab.mustSet("hot", fmt.Sprintf("%0*d", i%50, i))
		}
		_, p := tab.find(tab.index.Load(), tab.Hash([]byte("hot")), []byte("hot"))
		hops := 1
		for ; p >= tab.Durable() && p != 0; hops++ {
			p = older(tab.entry(p))
		}
		if hops > 3 || (p == 0) != (commit == 0) {
			t.Fatalf("commit %d: %d hops to %d", commit, hops, p)
		}
		pending := 0
		tab.EachPending(func(Change) { pending++ })
		if pending != 1 {
			t.Fatalf("%d records", pending)
		}
		tab.Commit()
	}
}
