package stress

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"kivaloo/wire"
)

// HotspotGet gets n pairs like the original's benchmark of that name: it chooses a group at random,
// gets every pair in it, and chooses again. It ignores an incomplete last group, so there must be
// at least one complete group. As in RandomGet, everything is chosen beforehand.
func HotspotGet(pairs, n, seed uint64) Workload {
	w := &randomGet{chosen: make([]Pair, n)}
	next := hotspot(OriginalOptions{Pairs: pairs, Seed: seed})
	for i := range w.chosen {
		w.chosen[i] = PairAt(next())
	}
	return w
}

// RandomMixed makes n requests, each for a pair chosen at random out of pairs. The last sets of
// every four requests are SETs like those of RandomSet. The others are GETs, which accept what the
// SETs have done.
func RandomMixed(pairs []Pair, n int, seed uint64, sets int) Workload {
	return &randomMixed{gets: uint64(4 - sets), sets: orderedLoad{pairs: randomChanges(pairs, n, seed)}}
}

type randomMixed struct {
	gets uint64 // of every four requests
	sets orderedLoad
}

// isGet reports whether request i is a GET. The number alone decides.
func (w *randomMixed) isGet(i uint64) bool { return i%4 < w.gets }

func (w *randomMixed) Next(dst []byte) ([]byte, uint64, bool) {
	i := w.sets.next
	if i == len(w.sets.pairs) || !w.isGet(uint64(i)) {
		return w.sets.Next(dst)
	}
	w.sets.next++
	return wire.AppendKVRequest(dst, &wire.KVRequest{Type: wire.TypeGet, Key: w.sets.pairs[i].Key()}), uint64(i), true
}

func (w *randomMixed) Check(tag uint64, answer []byte) error {
	if !w.isGet(tag) {
		return w.sets.Check(tag, answer)
	}
	p := &w.sets.pairs[tag]
	value, found, err := wire.ParseKVValue(answer)
	switch want := p.Value()[:KeyLen-1]; { // the last byte is the latest one set
	case err != nil:
		return fmt.Errorf("GET of %x: %w", p.Key(), err)
	case !found:
		return fmt.Errorf("GET of %x: the key is absent", p.Key())
	case len(value) != KeyLen || !bytes.Equal(value[:KeyLen-1], want):
		return fmt.Errorf("GET of %x: the value is %x, want %x and another byte", p.Key(), value, want)
	}
	return nil
}

// RandomRange reads count pairs in order, starting at one chosen at random out of pairs. The store
// must hold exactly these. It never ends. With sets, one request of every setEvery is a SET like
// those of RandomSet. The same seed makes the same choices.
func RandomRange(pairs []Pair, count int, sets bool, seed uint64) *Ranges {
	return &Ranges{pairs: pairs, most: uint32(count * pairBytes), sets: sets, random: rand.New(rand.NewPCG(seed, 2))}
}

const (
	setEvery  = 20
	pairBytes = PairLen + 2 // in an answer
)

// Ranges is the Workload of RandomRange.
type Ranges struct {
	pairs  []Pair
	most   uint32 // most bytes of pairs in an answer
	sets   bool
	random *rand.Rand
	next   uint64
	found  int
}

// Found returns how many pairs the answers had so far.
func (w *Ranges) Found() int { return w.found }

// Next makes tags from the number of a pair and whether the request is a SET.
func (w *Ranges) Next(dst []byte) ([]byte, uint64, bool) {
	i := w.random.IntN(len(w.pairs))
	w.next++
	if w.sets && w.next%setEvery == 0 {
		p := w.pairs[i]
		p[PairLen-1] = byte(w.random.Uint32())
		return wire.AppendKVRequest(dst, &wire.KVRequest{Type: wire.TypeSet, Key: p.Key(), Value: p.Value()}), uint64(i)<<1 | 1, true
	}
	return wire.AppendKVRequest(dst, &wire.KVRequest{Type: wire.TypeRange, Max: w.most, Key: w.pairs[i].Key()}), uint64(i) << 1, true
}

// Check only looks at the keys, because SETs change the values.
func (w *Ranges) Check(tag uint64, answer []byte) error {
	want := w.pairs[tag>>1:]
	if tag&1 == 1 {
		if _, err := wire.ParseKVStatus(wire.TypeSet, answer); err != nil {
			return fmt.Errorf("SET of %x: %w", want[0].Key(), err)
		}
		return nil
	}
	n, _, found, err := wire.ParseKVPairs(answer, w.most)
	if err != nil {
		return fmt.Errorf("RANGE from %x: %w", want[0].Key(), err)
	}
	if n == 0 || int(n) > len(want) {
		return fmt.Errorf("RANGE from %x: %d pairs of at most %d", want[0].Key(), n, len(want))
	}
	for i := range want[:n] {
		var key []byte
		key, _, found, err = wire.CutPair(found)
		if err != nil {
			return fmt.Errorf("RANGE from %x: pair %d: %w", want[0].Key(), i, err)
		}
		if !bytes.Equal(key, want[i].Key()) {
			return fmt.Errorf("RANGE from %x: pair %d has the key %x, want %x", want[0].Key(), i, key, want[i].Key())
		}
	}
	w.found += int(n)
	return nil
}

// OrderedUpdate sets all pairs, in order, to new values. Each call needs another round, from 1 to
// 255.
func OrderedUpdate(pairs []Pair, round byte) Workload {
	w := &orderedLoad{pairs: slices.Clone(pairs)}
	for i := range w.pairs {
		w.pairs[i][KeyLen] = round // the high byte of the pair's number, which nothing else changes
	}
	return w
}

// Within returns w limited to d after its first request.
func Within(w Workload, d time.Duration) Workload { return &within{Workload: w, left: d} }

type within struct {
	Workload
	left  time.Duration
	end   time.Time
	asked uint
	over  bool
}

// clockEvery is how many requests there are for each look at the clock. A look takes about as long
// as everything else for one request.
const clockEvery = 64

func (w *within) Next(dst []byte) ([]byte, uint64, bool) {
	if w.asked%clockEvery == 0 {
		now := time.Now()
		if w.asked == 0 {
			w.end = now.Add(w.left)
		}
		w.over = w.over || now.After(w.end)
	}
	if w.over {
		return dst, 0, false
	}
	w.asked++
	return w.Workload.Next(dst)
}

// Scan reads pairs in order, from the first, as the original's bulk-extract does: one request at a
// time, each for as much as one answer may have. It ends with the last pair, or after d. The Result
// counts pairs.
func Scan(ctx context.Context, nc net.Conn, d time.Duration) (Result, error) {
	extract := &bulkExtract{}
	w := &watched{Workload: extract, now: time.Now}
	end, pairs := time.Now().Add(d), 0
	w.done = func(now time.Time, n int) bool {
		pairs += n
		return len(extract.from) > 0 && now.Before(end)
	}
	r, err := drive(ctx, nc, w, 1, extractBytes, stallTimeout)
	r.Requests = pairs
	return r, err
}
