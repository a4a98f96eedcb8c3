package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"kivaloo/cmd/internal/quantile"
	"kivaloo/wire"
)

// noType is the type of requests too short to have one, and of those beyond maxUnknownTypes.
const noType = math.MaxUint32

// unknown is the name of all types that no protocol has.
var unknown = wire.TypeName(noType)

// knownType returns typ, or noType if no protocol has it.
func knownType(typ uint32) uint32 {
	if wire.TypeName(typ) == unknown {
		return noType
	}
	return typ
}

// window has the counts of requests in a span of time.
type window struct {
	types   map[uint32]*stats
	unknown int // number of types that no protocol has
}

// stats describe one type of request. Times are in microseconds.
type stats struct {
	mean  float64
	times quantile.Set
}

func newWindow() *window { return &window{types: make(map[uint32]*stats)} }

// add counts one request.
func (w *window) add(typ uint32, took time.Duration) {
	s := w.types[typ]
	if s == nil {
		s = w.begin(typ)
	}
	t := max(took.Microseconds(), 0)
	s.times.Add(uint64(t))
	s.mean += (float64(t) - s.mean) / float64(s.times.Len())
}

// begin returns new stats for a type.
func (w *window) begin(typ uint32) *stats {
	if knownType(typ) == noType && typ != noType {
		if w.unknown == maxUnknownTypes {
			typ = noType
		} else {
			w.unknown++
		}
	}
	s := w.types[typ]
	if s == nil {
		s = new(stats)
		w.types[typ] = s
	}
	return s
}

// line returns the text after the time in a line of the log. For each type it has the name, the
// number of requests, and their mean, median, 99th percentile and maximum in milliseconds.
//
//	|KVLDS_SET|000120|0007.293|0007.012|0012.655|0013.020|KVLDS_GET|000001|...
func (w *window) line() string {
	var b []byte
	for _, typ := range slices.Sorted(maps.Keys(w.types)) {
		s := w.types[typ]
		b = fmt.Appendf(b, "|%s|%06d|%s", wire.TypeName(typ), s.times.Len(), milliseconds(s.mean))
		for _, x := range []float64{0.5, 0.99, 1} {
			t, err := s.times.Quantile(x)
			if err != nil {
				panic("perf: a type without a request: " + err.Error()) // begin is followed by Add
			}
			b = append(append(b, '|'), milliseconds(t)...)
		}
	}
	return string(b)
}

// milliseconds formats a time given in microseconds.
func milliseconds(microseconds float64) string { return fmt.Sprintf("%08.3f", microseconds/1000) }
