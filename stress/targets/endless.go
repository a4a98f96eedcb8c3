package targets

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"kivaloo/stress"
	"kivaloo/wire"
)

// endless sends random GETs, or random SETs that change the last byte of the value, until over is
// set. The pairs are chosen and copied beforehand, as in the workloads of package stress, and are
// used again when all had their turn.
type endless struct {
	chosen   []stress.Pair
	set      bool
	next     uint64
	answered atomic.Int64
	over     atomic.Bool
}

func newEndless(pairs []stress.Pair, n int, set bool, seed uint64) *endless {
	w := &endless{chosen: make([]stress.Pair, n), set: set}
	random := rand.New(rand.NewPCG(seed, 2))
	for i := range w.chosen {
		w.chosen[i] = pairs[random.IntN(len(pairs))]
	}
	return w
}

// Next implements stress.Workload.
func (w *endless) Next(dst []byte) ([]byte, uint64, bool) {
	if w.over.Load() {
		return dst, 0, false
	}
	tag := w.next % uint64(len(w.chosen))
	r, p := wire.KVRequest{Type: wire.TypeGet}, &w.chosen[tag]
	r.Key = p.Key()
	if w.set {
		// Use another byte each time: a SET of the current value would write nothing.
		p.Value()[stress.KeyLen-1] = byte(w.next + w.next/uint64(len(w.chosen)))
		r.Type, r.Value = wire.TypeSet, p.Value()
	}
	w.next++
	return wire.AppendKVRequest(dst, &r), tag, true
}

// Check implements stress.Workload.
func (w *endless) Check(tag uint64, answer []byte) error {
	w.answered.Add(1)
	p := &w.chosen[tag]
	if w.set {
		if _, err := wire.ParseKVStatus(wire.TypeSet, answer); err != nil {
			return fmt.Errorf("SET of %x: %w", p.Key(), err)
		}
		return nil
	}
	if value, found, err := wire.ParseKVValue(answer); err != nil || !found || !bytes.Equal(value, p.Value()) {
		return fmt.Errorf("GET of %x: the value is %x, found: %v, want %x: %w", p.Key(), value, found, p.Value(), err)
	}
	return nil
}
