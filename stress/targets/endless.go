package targets

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"kivaloo/stress"
	"kivaloo/wire"
)

// endless is random GETs, or random SETs that change the last byte of the value, until it is told
// that it is over. The pairs are chosen and copied beforehand, as in the workloads of package
// stress, and their turn comes again when all have had it.
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

// Next is that of stress.Workload.
func (w *endless) Next(dst []byte) ([]byte, uint64, bool) {
	if w.over.Load() {
		return dst, 0, false
	}
	tag := w.next % uint64(len(w.chosen))
	r, p := wire.KVRequest{Type: wire.TypeGet}, &w.chosen[tag]
	r.Key = p.Key()
	if w.set {
		// Another byte each time: a SET of the value that is there already would write nothing.
		p.Value()[stress.KeyLen-1] = byte(w.next + w.next/uint64(len(w.chosen)))
		r.Type, r.Value = wire.TypeSet, p.Value()
	}
	w.next++
	return wire.AppendKVRequest(dst, &r), tag, true
}

// Check is that of stress.Workload.
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
