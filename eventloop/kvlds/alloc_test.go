//go:build !race

package kvlds_test

import (
	"fmt"
	"io"
	"log/slog"
	"testing"

	"kivaloo/disk"
	"kivaloo/internal/must"
	"kivaloo/tree"
	"kivaloo/wire"
)

// TestNoAllocationsPerRequest checks that in steady state a GET or a SET allocates nothing between
// socket and disk. An append and a wake-up of a goroutine may allocate, because many requests share
// them. The race detector makes pools drop items at random, so the test does not run with it.
func TestNoAllocationsPerRequest(t *testing.T) {
	dir := t.TempDir()
	store, err := disk.Open(dir, disk.Options{BlockSize: 2048, NoSync: true})
	must.Do(t, err)
	tr, err := tree.Open(store, tree.Config{MaxKey: 64, MaxValue: 104, JournalBytes: tree.DefaultJournalBytes, Log: slog.New(slog.DiscardHandler)})
	must.Do(t, err)
	c := serveTree(t, tr, store).dial()
	const n, eachWakeUp, eachAppend = 64, 4, 16
	gets, sets := make([]wire.KVRequest, n), make([]wire.KVRequest, n)
	for i := range n {
		key := fmt.Sprintf("key %02d", i)
		gets[i], sets[i] = get(key), set(key, "value")
	}
	in := make([]byte, 1<<16)
	for _, test := range []struct {
		what     string
		requests []wire.KVRequest
		answer   []byte
		most     float64
	}{
		{"SETs", sets, done, eachAppend},
		{"GETs", gets, value("value"), eachWakeUp},
		{"one GET", gets[:1], value("value"), 1},
	} {
		out := packets(1, test.requests...)
		in := in[:len(test.requests)*(len(test.answer)+wire.Overhead)]
		allocs := testing.AllocsPerRun(300, func() {
			_, err := c.Write(out) // Send allocates
			must.Do(t, err)
			_, err = io.ReadFull(c, in)
			must.Do(t, err)
		})
		if allocs >= test.most {
			t.Errorf("%s: %v allocations for %d requests", test.what, allocs, len(test.requests))
		}
		t.Logf("%s: %v allocations for %d requests", test.what, allocs, len(test.requests))
	}
}
