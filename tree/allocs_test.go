package tree

import (
	"fmt"
	"testing"

	"kivaloo/internal/must"
)

// TestNoAllocations checks that a Get or a Set between two flushes allocates nothing in steady
// state.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	cfg := journalConfig()
	cfg.CachePages, cfg.memtableBytes = 1<<14, 16<<20 // no flush happens
	tree, err := Open(newMemStore(2048), cfg)
	must.Do(t, err)
	defer tree.Close()
	const n = 64
	var requests [n]Request
	batch := &Batch{Client: nobody{}}
	do := func(op OpCode) {
		for i := range requests {
			requests[i].Op = op
		}
		batch.Requests = requests[:]
		in := Inputs{Requests: batch}
		for {
			out := tree.Step(in)
			if out.First == nil {
				return
			}
			for op := out.First; op != nil; op = op.Link.Next() {
				op.OK, op.Next = true, op.Block+uint64(len(op.Pages))
			}
			in = Inputs{Done: out.First}
		}
	}
	for i := range requests {
		requests[i].Key, requests[i].Value = fmt.Appendf(nil, "key %d", i), make([]byte, 40)
	}
	for range 10 {
		do(Set)
		do(Get)
	}
	for _, op := range []OpCode{Set, Get, CAS} {
		if allocs := testing.AllocsPerRun(200, func() { do(op) }); allocs >= 1 {
			t.Errorf("%v allocations for %d requests %v", allocs, n, op)
		}
	}
}
