package stress

import (
	"bytes"
	"fmt"
	"math/rand/v2"

	"kivaloo/wire"
)

// Workload is the requests of a client and the answers it expects. Neither method should allocate,
// because both are called for every request.
type Workload interface {
	// Next appends the record of the next request to dst. Check receives the tag with the answer.
	// more is false if there is no request left.
	Next(dst []byte) (record []byte, tag uint64, more bool)
	// Check returns an error unless the answer is right. answer is only valid during the call.
	Check(tag uint64, answer []byte) error
}

// OrderedLoad sets all pairs, in order.
func OrderedLoad(pairs []Pair) Workload { return &orderedLoad{pairs: pairs} }

type orderedLoad struct {
	pairs []Pair
	next  int
}

func (w *orderedLoad) Next(dst []byte) ([]byte, uint64, bool) {
	i := w.next
	if i == len(w.pairs) {
		return dst, 0, false
	}
	w.next++
	p := &w.pairs[i]
	return wire.AppendKVRequest(dst, &wire.KVRequest{Type: wire.TypeSet, Key: p.Key(), Value: p.Value()}), uint64(i), true
}

func (w *orderedLoad) Check(tag uint64, answer []byte) error {
	if _, err := wire.ParseKVStatus(wire.TypeSet, answer); err != nil {
		return fmt.Errorf("SET of %x: %w", w.pairs[tag].Key(), err)
	}
	return nil
}

// RandomGet gets n pairs, each chosen at random out of pairs. The store must hold them. The same
// seed makes the same choices.
//
// They are chosen and copied beforehand. Looking them up during the measurement would cost more
// than everything else a client does for a request, because each would miss the processor's caches,
// and would evict the server's data from them.
func RandomGet(pairs []Pair, n int, seed uint64) Workload {
	w := &randomGet{chosen: make([]Pair, n)}
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range w.chosen {
		w.chosen[i] = pairs[random.IntN(len(pairs))]
	}
	return w
}

type randomGet struct {
	chosen []Pair
	next   int
}

func (w *randomGet) Next(dst []byte) ([]byte, uint64, bool) {
	i := w.next
	if i == len(w.chosen) {
		return dst, 0, false
	}
	w.next++
	return wire.AppendKVRequest(dst, &wire.KVRequest{Type: wire.TypeGet, Key: w.chosen[i].Key()}), uint64(i), true
}

func (w *randomGet) Check(tag uint64, answer []byte) error {
	value, found, err := wire.ParseKVValue(answer)
	switch p := &w.chosen[tag]; {
	case err != nil:
		return fmt.Errorf("GET of %x: %w", p.Key(), err)
	case !found:
		return fmt.Errorf("GET of %x: the key is absent", p.Key())
	case !bytes.Equal(value, p.Value()):
		return fmt.Errorf("GET of %x: the value is %x, want %x", p.Key(), value, p.Value())
	}
	return nil
}

// RandomSet sets n pairs, each chosen at random out of pairs, to their current value with another
// last byte. The same seed makes the same choices.
func RandomSet(pairs []Pair, n int, seed uint64) Workload {
	return &orderedLoad{pairs: randomChanges(pairs, n, seed)}
}

// randomChanges returns n pairs chosen at random, each with another last byte, because a SET of the
// current value would write nothing.
func randomChanges(pairs []Pair, n int, seed uint64) []Pair {
	chosen := make([]Pair, n)
	random := rand.New(rand.NewPCG(seed, 1))
	for i := range chosen {
		chosen[i] = pairs[random.IntN(len(pairs))]
		chosen[i][PairLen-1] = byte(random.Uint32())
	}
	return chosen
}
