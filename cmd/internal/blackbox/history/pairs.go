package history

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// serialBytes is the length of the number at the start of each value.
const serialBytes = 4

// version is what a key holds after one change. The change took effect between the ticks sent and
// done of the clock.
type version struct {
	serial uint32 // number of the change, which is in the value; 0: the key is absent
	batch  int    // number of the atomic batch, 0 for none
	sent   int64
	done   int64 // after the acknowledgement
}

// pairs holds all keys of a history, and what each has held since the round began.
type pairs struct {
	keys     [][]byte // in ascending order
	number   map[string]int
	maxValue int
	versions [][]version // of each key; the first is from before the round
}

func newPairs(rng *rand.Rand, n, maxKey, maxValue int) *pairs {
	p := &pairs{number: make(map[string]int), maxValue: maxValue, versions: make([][]version, n)}
	for len(p.number) < n {
		p.number[string(randomKey(rng, maxKey))] = 0
	}
	for key := range p.number {
		p.keys = append(p.keys, []byte(key))
	}
	slices.SortFunc(p.keys, bytes.Compare)
	for i, key := range p.keys {
		p.number[string(key)] = i
		p.versions[i] = []version{{}}
	}
	return p
}

// randomKey returns any key: some are short, some share their beginnings with many others, some
// have bytes of all kinds.
func randomKey(rng *rand.Rand, maxKey int) []byte {
	var key []byte
	switch rng.IntN(3) {
	case 0:
		key = fmt.Appendf(nil, "user/%06d/name", rng.IntN(1e6))
	case 1:
		key = fmt.Appendf(nil, "%d", rng.Uint64())
	default:
		key = make([]byte, rng.IntN(maxKey+1))
		for i := range key {
			key[i] = byte(rng.Uint32())
		}
	}
	return key[:min(len(key), maxKey)]
}

// value returns the value that change number serial writes to a key. Its length and content depend
// on both.
func (p *pairs) value(key int, serial uint32) []byte {
	h := rand.NewPCG(uint64(key), uint64(serial))
	v := binary.BigEndian.AppendUint32(nil, serial)
	v = binary.BigEndian.AppendUint64(v, h.Uint64())
	n := serialBytes + 1 + int(h.Uint64()%uint64(p.maxValue-serialBytes))
	for len(v) < n {
		v = append(v, byte(h.Uint64()))
	}
	return v[:n]
}

// serial returns the number of the change that wrote value to a key. It fails if no change wrote
// it.
func (p *pairs) serial(key int, value []byte) (uint32, error) {
	if len(value) > serialBytes {
		if serial := binary.BigEndian.Uint32(value); serial > 0 && bytes.Equal(value, p.value(key, serial)) {
			return serial, nil
		}
	}
	return 0, fmt.Errorf("%.40q holds %.40q, which nobody has written there", p.keys[key], value)
}

// now returns the serial of what a key holds, if nothing is under way. 0: the key is absent.
func (p *pairs) now(key int) uint32 { return p.versions[key][len(p.versions[key])-1].serial }

// settle forgets all versions but the last of each key, after a round.
func (p *pairs) settle() {
	for i, v := range p.versions {
		p.versions[i] = append(v[:0], version{serial: v[len(v)-1].serial})
	}
}

// span is a stretch of time by the clock.
type span struct{ from, to int64 }

func (s span) and(o span) span { return span{max(s.from, o.from), min(s.to, o.to)} }
func (s span) empty() bool     { return s.from > s.to }

// when returns the spans, as far as they overlap within, in which a key may have held what change
// number serial wrote, and the index of the version in each span.
func (p *pairs) when(key int, serial uint32, within span) (spans []span, at []int) {
	versions := p.versions[key]
	for i, v := range versions {
		if v.serial != serial {
			continue
		}
		s := span{v.sent, math.MaxInt64}
		if i+1 < len(versions) {
			s.to = versions[i+1].done
		}
		if s = s.and(within); !s.empty() {
			spans, at = append(spans, s), append(at, i)
		}
	}
	return spans, at
}
