package tree

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func TestDbgSpread(t *testing.T) {
	cfg := Config{CachePages: 1 << 17, MaxKey: -1, MaxValue: -1, StorageCost: 10000, MaxSpread: 1.8, JournalBytes: DefaultJournalBytes}
	s := newMemStore(2048)
	h := newHarness(t, s, cfg)
	const pairs, batch = 200000, 2000
	put := func(i, version int) Request {
		return Request{Op: Set, Key: fmt.Appendf(nil, "%040d", uint64(i)*0x9E3779B97F4A7C15), Value: fmt.Appendf(nil, "%040d", version)}
	}
	requests := make([]Request, batch)
	report := func(what string, i int) {
		tr := h.tree
		root := tr.cache.node(tr.view.tree.root)
		var pages, journal int
		for _, b := range s.blocks {
			if string(b[:5]) == "KVJRN" {
				journal++
			} else {
				pages++
			}
		}
		fmt.Printf("%s %d: nodes %d blocks %.2f journal %.2f; next-root.oldest %.2f next-durable %.2f debt %.0f waiting %d flush %d active %.2f tables %d flushes %d written %d\n", what, i, tr.view.tree.nodes,
			float64(len(s.blocks))/float64(tr.view.tree.nodes), float64(journal)/float64(tr.view.tree.nodes), float64(tr.appends.next-root.oldest)/float64(tr.view.tree.nodes), float64(tr.appends.next-tr.appends.durable.block)/float64(tr.view.tree.nodes), tr.clean.debt, len(tr.clean.waiting), tr.flush.done, tr.active().Fill(), len(tr.view.tables), tr.counts.flushes, tr.counts.written)
		h.client = newRecorder()
	}
	for i := 0; i < pairs; i += batch {
		h.now += 2 * time.Millisecond
		for j := range requests {
			requests[j] = put(i+j, 0)
		}
		h.do(requests...)
		if i%20000 == 0 {
			report("load", i)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for version := range 300 {
		h.now += 2 * time.Millisecond
		for j := range requests {
			requests[j] = put(rng.IntN(pairs), version)
		}
		h.do(requests...)
		if version%20 == 0 {
			report("update", version)
		}
	}
}
